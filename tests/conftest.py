"""Options of the whole suite, and what every test is held to."""

import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

UNIT = Path(__file__).parent / "unit"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="simulate this seed only")
    parser.addoption("--seeds", type=int, default=25, help="how many seeds to simulate")
    parser.addoption(
        "--full-matrix", action="store_true", help="play all cells, deaths and changes of the set"
    )


def pytest_configure() -> None:
    """Where tests run in the background, they and their nodes would ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    only = metafunc.config.getoption("--seed")
    seeds = range(metafunc.config.getoption("--seeds")) if only is None else [only]
    metafunc.parametrize("seed", seeds)


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Logs are for people; a test that is about them configures them itself."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit test that dials is no unit test."""
    if UNIT not in request.path.parents:
        return

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a unit test opens a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
