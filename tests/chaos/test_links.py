"""The proxies between nodes: who dials is known, and each way is disturbed alone."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import pytest

from keyserver.devnet.local_chain import LOOPBACK
from tests.chaos.links import Links
from tests.support.ports import free_port

ME, OTHER, THIRD = 0, 1, 2
WAIT_S = 5


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(100):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def links(echo: int) -> AsyncIterator[Callable[[int], tuple[Links, int]]]:
    made: list[Links] = []

    def make(dialler: int) -> tuple[Links, int]:
        links = Links(lambda: {os.getpid(): dialler})
        made.append(links)
        return links, free_port()

    yield make
    for each in made:
        await each.close()


Make = Callable[[int], tuple[Links, int]]


async def dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(LOOPBACK, port)


async def test_what_is_sent_arrives_until_the_way_is_cut(links: Make, echo: int) -> None:
    between, port = links(ME)
    await between.listen(OTHER, port, echo)
    reader, writer = await dial(port)
    async with asyncio.timeout(WAIT_S):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        between.cut(ME, THIRD)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again", "that was another way"
        between.cut(OTHER, ME)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()
    assert between.cut_connections == 1


async def test_nobody_gets_through_a_cut_way_until_it_is_healed(links: Make, echo: int) -> None:
    between, port = links(ME)
    await between.listen(OTHER, port, echo)
    between.cut(ME, OTHER)
    async with asyncio.timeout(WAIT_S):
        reader, writer = await dial(port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        between.heal(ME, OTHER)
        reader, writer = await dial(port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_a_way_that_holds_up_gives_all_of_it_later(links: Make, echo: int) -> None:
    between, port = links(ME)
    await between.listen(OTHER, port, echo)
    async with asyncio.timeout(WAIT_S):
        reader, writer = await dial(port)
        between.hold(ME, OTHER)
        writer.write(b"hello")
        answer = asyncio.ensure_future(reader.readexactly(5))
        done, _ = await asyncio.wait({answer}, timeout=0.2)
        assert not done
        between.heal(ME, OTHER)
        assert await answer == b"hello"
        writer.close()


async def test_strangers_are_turned_away(echo: int) -> None:
    between = Links(lambda: {1: ME})  # no process of this test
    port = free_port()
    await between.listen(OTHER, port, echo)
    async with asyncio.timeout(WAIT_S):
        reader, writer = await dial(port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
    await between.close()
