"""One generation of a key at a time: who is let in, who waits, who gives way."""

import asyncio

from keyserver.engine.session_table import LiveSession, SessionTable
from keyserver.engine.turns import (
    FIRST_LOCK_S,
    LONGEST_LOCK_S,
    LONGEST_TURN_S,
    MAX_FAILURES,
    PATIENCE_S,
    Locks,
    Turns,
    rank,
)
from keyserver.model.identifiers import KeyId, NodeId, SessionId
from keyserver.sessions.core import Completed, Failed, SessionKind, UnavailableError
from keyserver.sessions.runner import Role
from keyserver.simulation.loop import run_virtual
from tests.support.keys import nodes_of

NODES = nodes_of(4)
FIRST_KEY, LAST_KEY = KeyId(bytes(32)), KeyId(b"\xff" * 32)
(STRANGER,) = set(nodes_of(5)) - set(NODES)


class Node:
    """The sessions of one node; coordinators are numbered by their rank."""

    def __init__(self) -> None:
        self.table = SessionTable()
        self.turns = Turns(self.table)
        self._number = 0

    def opened(self, coordinator: NodeId, at: float = 0.0) -> LiveSession:
        self._number += 1
        key = (SessionId(self._number.to_bytes(32, "big")), Role.PARTICIPANT)
        session = LiveSession(key, coordinator, at, (SessionKind.GENERATION, FIRST_KEY))
        self.table.add(session)
        return session

    async def turn(self, session: LiveSession) -> bool:
        return await self.turns.wait(session, NODES, session.opened_at)

    def end(self, session: LiveSession, *, completed: bool = False, at: float = 0.0) -> None:
        self.table.remove(session)
        session.ended.set()
        outcome = Completed(None) if completed else Failed(UnavailableError("nothing came of it"))
        self.turns.note_end(session, outcome, at)

    async def fail(self, coordinator: NodeId, times: int, at: float = 0.0) -> None:
        """Sessions that are let in and come to nothing."""
        for _ in range(times):
            session = self.opened(coordinator, at)
            assert await self.turn(session)
            self.end(session, at=at)


def test_the_range_of_a_key_says_who_comes_first() -> None:
    assert sorted(NODES, key=lambda node: rank(FIRST_KEY, node, NODES)) == list(NODES)
    ranked = sorted(NODES, key=lambda node: rank(LAST_KEY, node, NODES))
    assert ranked == [NODES[3], *NODES[:3]]
    assert all(rank(FIRST_KEY, STRANGER, NODES) > rank(FIRST_KEY, n, NODES) for n in NODES)


def test_a_worse_one_gives_way_and_a_better_one_waits() -> None:
    async def scenario() -> None:
        node = Node()
        holder = node.opened(NODES[1])
        assert await node.turn(holder)
        assert not await node.turn(node.opened(NODES[2]))
        better = node.opened(NODES[0])
        waiting = asyncio.ensure_future(node.turn(better))
        await asyncio.sleep(1)
        assert not waiting.done()
        node.end(holder)
        assert await waiting

    run_virtual(scenario())


def test_of_two_that_wait_the_better_one_is_let_in() -> None:
    async def scenario() -> None:
        node = Node()
        holder = node.opened(NODES[3])
        assert await node.turn(holder)
        waiting = [asyncio.ensure_future(node.turn(node.opened(NODES[n]))) for n in (2, 1)]
        await asyncio.sleep(1)
        node.end(holder)
        assert [await each for each in waiting] == [False, True]

    run_virtual(scenario())


def test_two_of_the_same_coordinator_come_one_after_the_other() -> None:
    async def scenario() -> None:
        node = Node()
        first, second = node.opened(NODES[0]), node.opened(NODES[0])
        assert await node.turn(first)
        waiting = asyncio.ensure_future(node.turn(second))
        await asyncio.sleep(1)
        node.end(first)
        assert await waiting

    run_virtual(scenario())


def test_nobody_waits_for_ever() -> None:
    async def scenario() -> None:
        node = Node()
        assert await node.turn(node.opened(NODES[3]))
        began = asyncio.get_running_loop().time()
        assert not await node.turn(node.opened(NODES[0]))
        assert asyncio.get_running_loop().time() - began == PATIENCE_S

    run_virtual(scenario())


def test_a_session_that_does_not_end_is_in_the_way_for_some_time_only() -> None:
    async def scenario() -> None:
        node = Node()
        assert await node.turn(node.opened(NODES[0]))
        assert not await node.turn(node.opened(NODES[1], at=LONGEST_TURN_S - 1))
        assert await node.turn(node.opened(NODES[1], at=LONGEST_TURN_S))

    run_virtual(scenario())


def test_who_has_not_asked_for_a_turn_yet_is_in_nobodys_way() -> None:
    """A request that is still being checked may turn out to be none."""

    async def scenario() -> None:
        node = Node()
        node.opened(NODES[0])
        assert await node.turn(node.opened(NODES[1]))

    run_virtual(scenario())


# --- locks: failures cost a coordinator its rank -------------------------------------------------


def test_a_coordinator_that_occupies_an_id_comes_behind_all_others() -> None:
    async def scenario() -> None:
        node = Node()
        await node.fail(NODES[0], 2)
        occupying = node.opened(NODES[0])
        assert await node.turn(occupying), "nobody else wants the key"
        assert await node.turn(node.opened(NODES[3])), "it is in nobody's way"
        assert not await node.turn(node.opened(NODES[0])), "it gives way"

    run_virtual(scenario())


def test_who_overstays_its_turn_has_failed_before_it_ends() -> None:
    async def scenario() -> None:
        node = Node()
        for turn in (0, 1):
            at = turn * LONGEST_TURN_S
            assert await node.turn(node.opened(NODES[0], at))
            assert node.turns.is_occupied(FIRST_KEY, NODES[1], at)
            assert not await node.turn(node.opened(NODES[1], at))
            assert not node.turns.is_occupied(FIRST_KEY, NODES[1], at + LONGEST_TURN_S)
        assert await node.turn(node.opened(NODES[0], 2 * LONGEST_TURN_S))
        assert not node.turns.is_occupied(FIRST_KEY, NODES[1], 2 * LONGEST_TURN_S), "it is locked"
        assert await node.turn(node.opened(NODES[1], 2 * LONGEST_TURN_S))

    run_virtual(scenario())


def test_one_failure_is_nothing_to_hold_against_a_coordinator() -> None:
    async def scenario() -> None:
        node = Node()
        await node.fail(NODES[0], 1)
        assert await node.turn(node.opened(NODES[0]))
        assert not await node.turn(node.opened(NODES[1]))

    run_virtual(scenario())


def test_two_that_are_locked_alike_keep_their_order() -> None:
    async def scenario() -> None:
        node = Node()
        await node.fail(NODES[0], 2)
        await node.fail(NODES[1], 2)
        assert await node.turn(node.opened(NODES[0]))
        assert not await node.turn(node.opened(NODES[1]))

    run_virtual(scenario())


def test_success_wipes_the_slate_clean() -> None:
    async def scenario() -> None:
        node = Node()
        await node.fail(NODES[0], 2)
        good = node.opened(NODES[0])
        assert await node.turn(good)
        node.end(good, completed=True)
        assert await node.turn(node.opened(NODES[0]))
        assert not await node.turn(node.opened(NODES[1]))

    run_virtual(scenario())


def test_whoever_was_not_let_in_has_not_failed() -> None:
    locks, turns = Locks(), Node()
    turned_away = turns.opened(NODES[1])
    for _ in range(5):
        turns.turns.note_end(turned_away, Failed(UnavailableError("in the way")), 0.0)
    assert locks.level(NODES[1], FIRST_KEY, 0.0) == 0


def test_a_lock_doubles_up_to_an_hour_and_is_forgotten_an_hour_later() -> None:
    locks, now = Locks(), 0.0
    locks.failed(NODES[0], FIRST_KEY, now)
    assert locks.level(NODES[0], FIRST_KEY, now) == 0
    for failures, length in enumerate([60, 120, 240, 480, 960, 1920, 3600, 3600], 1):
        locks.failed(NODES[0], FIRST_KEY, now)
        assert locks.level(NODES[0], FIRST_KEY, now + length - 1) == failures
        assert locks.level(NODES[0], FIRST_KEY, now + length) == 0
        assert locks.level(NODES[0], LAST_KEY, now) == 0, "another key"
        assert locks.level(NODES[1], FIRST_KEY, now) == 0, "another coordinator"
        now += min(length, LONGEST_LOCK_S - 1)
    locks.failed(NODES[0], FIRST_KEY, now + LONGEST_LOCK_S)
    assert locks.level(NODES[0], FIRST_KEY, now + LONGEST_LOCK_S) == 0


def test_failures_fill_a_bounded_memory_and_none_is_pushed_out() -> None:
    locks = Locks()
    keys = [KeyId(number.to_bytes(32, "big")) for number in range(3 * MAX_FAILURES)]
    locks.failed(NODES[0], keys[0], 0.0)
    locks.failed(NODES[0], keys[0], 0.0)
    for key in keys[1:]:
        locks.failed(NODES[0], key, 1.0)
    assert locks.remembered(NODES[0]) == MAX_FAILURES
    assert locks.level(NODES[0], keys[0], 1.0) == 1
    assert locks.level(NODES[0], keys[-1], 1.0) == 1, "one that fails that often is not trusted"
    assert locks.level(NODES[1], keys[-1], 1.0) == 0
    locks.failed(NODES[0], keys[-1], LONGEST_LOCK_S + 1)
    assert locks.remembered(NODES[0]) == 1
    assert FIRST_LOCK_S < LONGEST_LOCK_S
