"""What a node does with those who do not belong here, or do not behave."""

import asyncio
import os

import pytest

from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import Hash32
from keyserver.model.node_set import NodeAddress
from keyserver.net.errors import Flaw, HandshakeError
from keyserver.net.limits import TransportLimits
from keyserver.net.link import Hello, Ping, Pong, pack, unpack
from keyserver.net.stream import initiate, respond
from tests.integration.net.nodes import (
    IDS,
    KEYS,
    admit,
    dialled,
    introduce,
    open_socket,
    read_to_end,
    running,
    shaken,
)
from tests.unit.net.peers import hello

HEADER = b"\x01\x00" + bytes(32)
BRIEF = TransportLimits(handshake_s=0.2, first_retry_s=0.01, longest_retry_s=0.1)


async def test_a_stranger_is_refused_without_a_word() -> None:
    async with running(0) as node:
        admit(node, 1)
        async with shaken(node, KEYS[2]) as stranger:
            assert await read_to_end(stranger.reader) == b""
        assert node.witness.events == []


async def test_a_node_that_uses_our_own_key_is_a_stranger() -> None:
    async with running(0) as node:
        admit(node, 0, 1)
        async with shaken(node, KEYS[0]) as twin:
            assert await read_to_end(twin.reader) == b""


async def test_whoever_expects_another_node_gets_no_answer() -> None:
    async with running(0) as node:
        admit(node, 1)
        reader, writer = await open_socket(node)
        with pytest.raises(HandshakeError, match="act 2 of the handshake has the wrong length"):
            await initiate((reader, writer), KEYS[1], IDS[5], SystemRandom())
        writer.transport.abort()


@pytest.mark.parametrize(
    "first",
    [
        pack(hello(cluster_id=Hash32(bytes([9]) * 32))),
        pack(hello(protocol=2)),
        pack(hello())[:-1],
        pack(hello()) + b"\x00",
        pack(Ping(1)),
        HEADER + b"too early",
        b"short",
    ],
    ids=["other cluster", "other protocol", "cut", "too long", "ping", "session", "no header"],
)
async def test_a_member_that_does_not_greet_properly_is_closed(first: bytes) -> None:
    async with running(0) as node:
        admit(node, 1)
        async with shaken(node, KEYS[1]) as peer:
            await peer.send(first)
            unpack(Hello, await peer.receive())
            await peer.closed()
        assert node.witness.events == []


@pytest.mark.parametrize("sent", [b"", b"\x00", bytes(49)])
async def test_a_handshake_that_does_not_go_on_is_closed_at_the_deadline(sent: bytes) -> None:
    async with running(0, limits=BRIEF) as node:
        admit(node, 1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = await open_socket(node)
        writer.write(sent)
        assert await read_to_end(reader) == b""
        assert loop.time() - began >= BRIEF.handshake_s * 0.9
        writer.transport.abort()


async def test_a_member_that_never_greets_is_closed_at_the_deadline() -> None:
    async with running(0, limits=BRIEF) as node:
        admit(node, 1)
        async with shaken(node, KEYS[1]) as peer:
            await peer.closed()
        assert node.witness.events == []


async def test_a_dialled_address_that_says_nothing_is_given_up_and_tried_again() -> None:
    attempts: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
    writers = []

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await attempts.put(reader)

    server = await asyncio.start_server(listen_only, "127.0.0.1", 0)
    address = NodeAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    async with running(0, limits=BRIEF) as node:
        node.mesh.update_peers({IDS[1]: address}, frozenset({IDS[1]}))
        for _ in range(2):
            assert len(await read_to_end(await attempts.get())) == 50
        assert node.witness.events == []
    server.close()
    for writer in writers:
        writer.transport.abort()


async def test_one_address_gets_four_handshakes_at_a_time_and_frees_them() -> None:
    limits = TransportLimits(handshake_s=0.5)
    async with running(0, limits=limits) as node:
        admit(node, 1)
        idle = [await open_socket(node) for _ in range(4)]
        reader, writer = await open_socket(node)
        began = asyncio.get_running_loop().time()
        assert await read_to_end(reader) == b""
        assert asyncio.get_running_loop().time() - began < limits.handshake_s / 2
        for held, _ in idle:
            assert await read_to_end(held) == b""
        async with dialled(node, 1):
            await node.witness.until_event("connected", IDS[1])
        for _, each in [*idle, (reader, writer)]:
            each.transport.abort()


async def test_greeted_peers_hold_no_slot() -> None:
    limits = TransportLimits(handshakes=1, handshakes_per_address=1)
    async with running(0, limits=limits) as node:
        admit(node, 1, 2)
        async with dialled(node, 1):
            await node.witness.until_event("connected", IDS[1])
            async with dialled(node, 2):
                await node.witness.until_event("connected", IDS[2])


async def test_garbage_disturbs_nobody_else() -> None:
    async with running(0) as node, running(1) as friend:
        introduce(node, friend)
        node.mesh.update_peers({IDS[1]: friend.address}, frozenset({IDS[1], IDS[2]}))
        await node.witness.until_event("connected", IDS[1])
        for _ in range(3):
            reader, writer = await open_socket(node)
            writer.write(os.urandom(100_000))
            assert await read_to_end(reader) == b""
            writer.transport.abort()
        async with dialled(node, 2) as member:
            await node.witness.until_event("connected", IDS[2])
            member.writer.write(os.urandom(100_000))
            await node.witness.until_event("disconnected", IDS[2])
        assert friend.mesh.send(node.id, HEADER + b"all well")
        await node.witness.until_message(IDS[1], HEADER + b"all well")
        assert ("disconnected", IDS[1]) not in node.witness.events


@pytest.mark.parametrize(
    "sent",
    [
        pack(hello()),
        b"\x00\x04" + bytes(32),
        b"\x00\x0f" + bytes(32),
        b"\x00\x00" + bytes(32),
        b"\x00\x10" + bytes([1]) * 32,
        pack(Ping(1)) + b"\x00",
        pack(Pong(1))[:-1],
        b"\x01\x00" + bytes(31),
    ],
    ids=["second hello", "4", "15", "0", "named session", "long ping", "short pong", "no header"],
)
async def test_messages_that_no_correct_node_sends_close_the_connection(sent: bytes) -> None:
    async with running(0) as node:
        admit(node, 1)
        async with dialled(node, 1) as peer:
            await node.witness.until_event("connected", IDS[1])
            await peer.send(sent)
            await peer.closed()
        await node.witness.until_event("disconnected", IDS[1])
        assert node.witness.messages == []


async def test_the_engines_link_messages_reach_the_engine() -> None:
    for kind in (b"\x00\x10", b"\x00\xff", b"\x01\x00", b"\xff\xff"):
        async with running(0) as node:
            admit(node, 1)
            async with dialled(node, 1) as peer:
                await peer.send(kind + bytes(32))
                await node.witness.until_message(IDS[1], kind + bytes(32))


async def test_the_engine_can_refuse_a_peer() -> None:
    async with running(0) as node:
        admit(node, 1)
        node.witness.refuses.add(HEADER + b"enough")
        async with dialled(node, 1) as peer:
            await peer.send(HEADER + b"enough")
            await peer.send(HEADER + b"more")
            await peer.closed()
        await node.witness.until_event("disconnected", IDS[1])
        assert node.witness.messages == [(IDS[1], HEADER + b"enough")]


async def test_a_mistake_of_the_engine_costs_one_connection_only() -> None:
    async with running(0) as node:
        admit(node, 1, 2)
        node.witness.breaks_on.add(HEADER + b"break")
        async with dialled(node, 1) as one, dialled(node, 2) as other:
            await node.witness.until_event("connected", IDS[2])
            await one.send(HEADER + b"break")
            await node.witness.until_event("disconnected", IDS[1])
            await other.send(HEADER + b"fine")
            await node.witness.until_message(IDS[2], HEADER + b"fine")


async def test_a_peer_that_is_expelled_while_it_greets_is_not_taken_in() -> None:
    async with running(0) as node:
        admit(node, 1)
        async with shaken(node, KEYS[1]) as peer:
            unpack(Hello, await peer.receive())
            admit(node, 2)
            await peer.send(pack(hello()))
            await peer.closed()
        assert node.witness.events == []


async def test_another_node_at_a_dialled_address_brings_no_connection() -> None:
    failures: asyncio.Queue[HandshakeError] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await respond((reader, writer), KEYS[2], lambda _: True, SystemRandom())
        except HandshakeError as problem:
            await failures.put(problem)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = NodeAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    async with running(0) as node:
        node.mesh.update_peers({IDS[1]: address}, frozenset({IDS[1], IDS[2]}))
        for _ in range(2):
            failure = await failures.get()
            assert (failure.act, failure.flaw) == (1, Flaw.BAD_TAG)
        assert node.witness.events == []
    server.close()
