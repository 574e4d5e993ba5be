"""`--seed N` replays one seed; `--seeds N` says how many are run."""

import logging

import pytest
import structlog


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run this seed only")
    parser.addoption("--seeds", type=int, default=150, help="how many seeds to run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames:
        return
    only = metafunc.config.getoption("--seed")
    seeds = range(metafunc.config.getoption("--seeds")) if only is None else [only]
    metafunc.parametrize("seed", seeds)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )
