"""Every peer gets its turn, and none may have more waiting than its share."""

import asyncio
from collections.abc import Callable

import pytest

from keyserver.engine.inbox import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, Inbox
from keyserver.simulation.loop import run_virtual
from tests.support.keys import nodes_of

PEER, OTHER, THIRD = nodes_of(3)

Act = Callable[[], str]


def saying(word: str) -> Act:
    return lambda: word


async def drained(inbox: Inbox[Act], count: int) -> list[str]:
    return [(await inbox.get())() for _ in range(count)]


def test_peers_take_turns_whatever_one_of_them_has_waiting() -> None:
    async def scenario() -> None:
        inbox: Inbox[Act] = Inbox()
        for number in range(5):
            assert inbox.put(PEER, saying(f"flood {number}"))
        assert inbox.put(OTHER, saying("a"))
        assert inbox.put(THIRD, saying("x"))
        assert inbox.put(OTHER, saying("b"))
        assert await drained(inbox, 8) == [
            *("flood 0", "a", "x"),
            *("flood 1", "b"),
            *("flood 2", "flood 3", "flood 4"),
        ]

    run_virtual(scenario())


def test_what_the_node_itself_has_to_do_comes_first_and_in_order() -> None:
    async def scenario() -> None:
        inbox: Inbox[Act] = Inbox()
        assert inbox.put(PEER, saying("theirs"))
        inbox.post(saying("ours"))
        inbox.post(saying("ours too"))
        assert await drained(inbox, 3) == ["ours", "ours too", "theirs"]

    run_virtual(scenario())


def test_whoever_takes_waits_for_something_to_come() -> None:
    async def scenario() -> None:
        inbox: Inbox[Act] = Inbox()
        for arrive in (lambda: inbox.post(saying("own")), lambda: inbox.put(PEER, saying("own"))):
            taking = asyncio.ensure_future(inbox.get())
            await asyncio.sleep(1)
            assert not taking.done()
            arrive()
            assert (await taking)() == "own"

    run_virtual(scenario())


@pytest.mark.parametrize("size", [0, 100])
def test_a_peer_may_have_so_many_messages_waiting(size: int) -> None:
    async def scenario() -> None:
        inbox: Inbox[Act] = Inbox()
        for _ in range(MAX_QUEUED_MESSAGES):
            assert inbox.put(PEER, saying("one"), size)
        assert not inbox.put(PEER, saying("one too many"), size)
        assert inbox.put(OTHER, saying("another's"), size)
        await inbox.get()
        assert inbox.put(PEER, saying("one"), size)

    run_virtual(scenario())


def test_a_peer_may_have_so_many_bytes_waiting() -> None:
    async def scenario() -> None:
        inbox: Inbox[Act] = Inbox()
        assert inbox.put(PEER, saying("all"), MAX_QUEUED_BYTES)
        assert not inbox.put(PEER, saying("more"), 1)
        assert inbox.put(OTHER, saying("another's"), 1)
        await inbox.get()
        assert inbox.put(PEER, saying("all"), MAX_QUEUED_BYTES)

    run_virtual(scenario())
