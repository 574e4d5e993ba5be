"""Limits of refused attempts, and what the audit log hears of them."""

import asyncio

from keyserver.api.refusals import MOST_OF_ALL, MOST_OF_ONE, SUM_S, WINDOW_S, Refusals, RefusalTally
from keyserver.sealing.ports import SYSTEM, Actor, ActorKind, AuditOutcome
from keyserver.simulation.loop import run_virtual
from tests.support.manual_clock import ManualClock
from tests.support.sealing import AuditList

SHARE = Actor(ActorKind.SHARE)
REFUSED = AuditOutcome.REFUSED


def test_an_address_has_ten_in_ten_minutes() -> None:
    clock = ManualClock()
    tally = RefusalTally(clock.monotonic)
    for _ in range(MOST_OF_ONE):
        assert tally.note("a") is None
        clock.advance(1)
    assert tally.note("a") == WINDOW_S - MOST_OF_ONE
    assert tally.note("b") is None
    clock.advance(WINDOW_S - MOST_OF_ONE)
    assert tally.note("a") is None, "the first one is ten minutes old"
    assert tally.note("a") == 1


def test_all_addresses_together_have_a_hundred() -> None:
    clock = ManualClock()
    tally = RefusalTally(clock.monotonic)
    assert [tally.note(f"{n // 5}") for n in range(MOST_OF_ALL)] == [None] * MOST_OF_ALL
    assert tally.note("new") == WINDOW_S
    clock.advance(WINDOW_S)
    assert tally.note("new") is None


def test_what_is_over_the_limit_counts_for_nothing() -> None:
    """Whoever goes on all the time is not locked out for ever."""
    clock = ManualClock()
    tally = RefusalTally(clock.monotonic)
    noted = 0
    for _ in range(3 * int(WINDOW_S)):
        noted += tally.note("a") is None
        clock.advance(1)
    assert noted == 3 * MOST_OF_ONE


async def test_each_is_written_down_and_then_sums() -> None:
    audit, clock = AuditList(), ManualClock()
    refusals = Refusals("seal.unseal.share", audit, clock.monotonic, REFUSED)
    for _ in range(MOST_OF_ONE):
        assert await refusals.note("2001:db8::/64", "SHARE_UNKNOWN", SHARE) is None
    for _ in range(7):
        assert await refusals.note("2001:db8::/64", "SHARE_UNKNOWN", SHARE) == WINDOW_S
    assert await refusals.note("2001:db8::/64", "SHARE_MALFORMED", SHARE) == WINDOW_S
    details = {"address": "2001:db8::", "code": "SHARE_UNKNOWN"}
    assert audit.entries == [("seal.unseal.share", REFUSED, SHARE, details)] * MOST_OF_ONE
    audit.entries.clear()
    await refusals.write_sums()
    assert audit.entries == [
        ("seal.unseal.share", REFUSED, SYSTEM, {"code": "SHARE_UNKNOWN", "count": 7}),
        ("seal.unseal.share", REFUSED, SYSTEM, {"code": "SHARE_MALFORMED", "count": 1}),
    ]
    await refusals.write_sums()
    assert len(audit.entries) == 2


async def test_a_unix_socket_has_a_name_too() -> None:
    audit = AuditList()
    refusals = Refusals("seal.unseal.share", audit, ManualClock().monotonic, REFUSED)
    await refusals.note("", "SHARE_UNKNOWN", SHARE)
    assert audit.entries[0][3] == {"address": "unix", "code": "SHARE_UNKNOWN"}


async def test_sums_wait_for_a_log_that_cannot_be_written() -> None:
    audit = AuditList()
    refusals = Refusals("seal.unseal.share", audit, ManualClock().monotonic, REFUSED)
    for _ in range(MOST_OF_ONE + 3):
        await refusals.note("a", "SHARE_UNKNOWN", SHARE)
    audit.entries.clear()
    audit.fails = True
    await refusals.write_sums()
    audit.fails = False
    await refusals.write_sums()
    assert [details for _, _, _, details in audit.entries] == [
        {"code": "SHARE_UNKNOWN", "count": 3}
    ]


def test_sums_are_written_once_a_minute() -> None:
    audit = AuditList()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        refusals = Refusals("auth.denied", audit, loop.time, AuditOutcome.DENIED)
        task = asyncio.create_task(refusals.run())
        for _ in range(MOST_OF_ONE + 2):
            await refusals.note("a", "FORBIDDEN", SYSTEM)
        await asyncio.sleep(SUM_S + 1)
        assert audit.entries[-1][3] == {"code": "FORBIDDEN", "count": 2}
        assert len(audit.entries) == MOST_OF_ONE + 1
        await asyncio.sleep(5 * SUM_S)
        assert len(audit.entries) == MOST_OF_ONE + 1
        task.cancel()

    run_virtual(story())
