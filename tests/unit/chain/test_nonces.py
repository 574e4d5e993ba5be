"""Which nonce comes next (chain watcher, W-04)."""

import pytest

from keyserver.chain.nonces import gap_below, next_nonce


@pytest.mark.parametrize(
    ("pending", "in_flight", "expected"),
    [
        (0, [], 0),
        (5, [], 5),
        (5, [3, 4], 5),  # the pool knows ours
        (5, [5, 6], 7),  # it has forgotten ours
        (5, [6, 7], 5),  # a gap is filled first
        (8, [5], 8),  # somebody else used 6 and 7
    ],
)
def test_next_nonce(pending: int, in_flight: list[int], expected: int) -> None:
    assert next_nonce(pending=pending, in_flight=in_flight) == expected


@pytest.mark.parametrize(
    ("pending", "in_flight", "expected"),
    [(5, [], None), (5, [3, 4], None), (5, [5, 6], None), (5, [6, 7], 5), (5, [4, 6], 5)],
)
def test_gap(pending: int, in_flight: list[int], expected: int | None) -> None:
    assert gap_below(pending=pending, in_flight=in_flight) == expected
