"""What the unseal daemon decides: the whole table."""

from typing import Any

import pytest

from keyserver.cli.unseal_deciding import (
    AGAIN_S,
    LONGEST_S,
    LOOK_S,
    Finding,
    HeldShare,
    Watch,
    find,
)

SHARE = HeldShare("thirty-three words", "ab" * 16, 2, 4711)
STATUS: dict[str, Any] = {
    "sealed": True,
    "required": 3,
    "seal_id": "ab" * 16,
    "epoch": 2,
    "identifier": 4711,
    "boot_id": "boot-1",
}
WAS_GIVEN = Watch().sent("boot-1", 1000.0)


@pytest.mark.parametrize(
    ("changes", "watch", "now", "finding"),
    [
        ({}, Watch(), 0.0, Finding.WANTS_SHARE),
        ({"sealed": False}, Watch(), 0.0, Finding.OPEN),
        ({"sealed": False, "seal_id": "cd" * 16}, Watch(), 0.0, Finding.OPEN),
        ({"required": 0, "identifier": None}, Watch(), 0.0, Finding.NO_SHARES),
        ({"seal_id": "cd" * 16}, Watch(), 0.0, Finding.FOREIGN),
        ({"seal_id": "AB" * 16}, Watch(), 0.0, Finding.FOREIGN),
        ({"epoch": 1}, Watch(), 0.0, Finding.REPLACED),
        ({"epoch": 3}, Watch(), 0.0, Finding.REPLACED),
        ({"identifier": 4712}, Watch(), 0.0, Finding.REPLACED),
        ({}, WAS_GIVEN, 1000.0 + AGAIN_S - 1, Finding.WAITS),
        ({}, WAS_GIVEN, 1000.0 + AGAIN_S, Finding.WANTS_SHARE),
        ({"boot_id": "boot-2"}, WAS_GIVEN, 1001.0, Finding.WANTS_SHARE),
        ({"boot_id": "boot-2", "epoch": 3}, WAS_GIVEN, 1001.0, Finding.REPLACED),
        ({"seal_id": None}, Watch(), 0.0, Finding.FOREIGN),
        ({"boot_id": None}, Watch(), 0.0, Finding.ODD),
        ({"epoch": "2"}, Watch(), 0.0, Finding.ODD),
        ({"sealed": 1}, Watch(), 0.0, Finding.ODD),
    ],
)
def test_the_table(changes: dict[str, Any], watch: Watch, now: float, finding: Finding) -> None:
    assert find(SHARE, {**STATUS, **changes}, watch, now) is finding


@pytest.mark.parametrize("status", [None, [], "sealed", 3, {}, {"sealed": True}])
def test_what_is_no_status(status: Any) -> None:
    assert find(SHARE, status, Watch(), 0.0) is Finding.ODD


@pytest.mark.parametrize("missing", sorted(STATUS))
def test_every_field_is_needed(missing: str) -> None:
    status = {name: value for name, value in STATUS.items() if name != missing}
    assert find(SHARE, status, Watch(), 0.0) is Finding.ODD


def test_only_what_an_operator_must_look_at_is_trouble() -> None:
    calm = {Finding.OPEN, Finding.WAITS, Finding.WANTS_SHARE}
    assert {finding for finding in Finding if not finding.is_trouble} == calm


def test_trouble_slows_the_looks_down() -> None:
    watch, waits = Watch(), []
    for _ in range(8):
        waits.append(watch.next_look_s(0.5))
        watch = watch.troubled()
    assert waits == [LOOK_S, 20.0, 40.0, 80.0, 160.0, LONGEST_S, LONGEST_S, LONGEST_S]
    assert watch.well().next_look_s(0.5) == LOOK_S
    assert Watch().next_look_s(0.0) == pytest.approx(0.8 * LOOK_S)
    assert Watch().next_look_s(1.0) == pytest.approx(1.2 * LOOK_S)
    for _ in range(5000):
        watch = watch.troubled()
    assert watch.next_look_s(0.5) == LONGEST_S


def test_a_share_that_was_taken_ends_trouble_and_one_that_was_not_changes_nothing() -> None:
    troubled = WAS_GIVEN.troubled().troubled()
    assert troubled.sent_to == "boot-1"
    assert troubled.sent("boot-2", 5.0) == Watch("boot-2", 5.0, 0)


def test_the_share_is_not_shown() -> None:
    assert "thirty" not in repr(SHARE)
