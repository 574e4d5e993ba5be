"""One generation of a key at a time: who is let in, who waits, who gives way."""

import asyncio

from keyserver.engine.session_table import LiveSession, SessionTable
from keyserver.engine.turns import LONGEST_TURN_S, PATIENCE_S, rank, wait_for_turn
from keyserver.model.identifiers import KeyId, NodeId, SessionId
from keyserver.sessions.core import SessionKind
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
        self._number = 0

    def opened(self, coordinator: NodeId, at: float = 0.0) -> LiveSession:
        self._number += 1
        key = (SessionId(self._number.to_bytes(32, "big")), Role.PARTICIPANT)
        session = LiveSession(key, coordinator, at, (SessionKind.GENERATION, FIRST_KEY))
        self.table.add(session)
        return session

    async def turn(self, session: LiveSession) -> bool:
        return await wait_for_turn(session, self.table, NODES)

    def end(self, session: LiveSession) -> None:
        self.table.remove(session)
        session.ended.set()


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
