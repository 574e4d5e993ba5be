"""What tests with real parts share."""

import sys
from collections.abc import Iterator, Sequence

import pytest


@pytest.fixture
def dumps_forbidden(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """Forbids nothing, in the process of the tests; tells how often it was asked to."""
    asked: list[str] = []
    monkeypatch.setattr("keyserver.app.memory.forbid_dumps", lambda: asked.append("forbidden"))
    return asked


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    """As in a process of the product; other libraries of the tests have raised it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
