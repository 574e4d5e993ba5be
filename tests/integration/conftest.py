"""What tests with real parts share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    """As in a process of the product; other libraries of the tests have raised it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
