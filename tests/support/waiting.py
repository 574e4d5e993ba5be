"""Waiting for a fact, such as that another process has done something."""

import time
from collections.abc import Callable
from typing import TypeVar

PAUSE_S = 0.05

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], *, timeout_s: float, doing: str) -> T:
    """Ask until there is an answer other than `None`; a test fails if there is none in time."""
    deadline = time.monotonic() + timeout_s
    while (found := what()) is None:
        assert time.monotonic() < deadline, f"{doing}: nothing within {timeout_s} s"
        time.sleep(PAUSE_S)
    return found
