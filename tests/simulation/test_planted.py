"""Some planted bugs, found within few runs; `python -m tests.simulation.planted` finds all."""

import pytest

from tests.simulation.planted.search import BUGS, search

QUICK = {"author": 60, "credential": 60, "masks": 40, "agreement quorum": 40}
"""Bugs, and within how many runs they are found."""


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    assert search(name, QUICK[name]) is not None


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 18
