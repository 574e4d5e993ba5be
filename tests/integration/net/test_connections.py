"""One connection at a time: duplicates, queues, keep-alive, fairness."""

import asyncio

import pytest

from keyserver.model.identifiers import NodeId
from keyserver.net.limits import TransportLimits
from keyserver.net.link import Ping, Pong, pack, unpack
from tests.integration.net.nodes import (
    IDS,
    QUICK,
    Doorstep,
    admit,
    dialled,
    introduce,
    running,
)

HEADER = b"\x01\x00" + bytes(32)
MEBIBYTE = HEADER + bytes(2**20)


def message(text: str) -> bytes:
    return HEADER + text.encode()


# --- duplicates ------------------------------------------------------------------------------


async def test_the_connection_dialled_by_the_lower_node_stays() -> None:
    """The mesh is lower and has dialled: what the peer dials is closed."""
    async with running(0) as node, Doorstep(1) as door:
        node.mesh.update_peers({IDS[1]: door.address}, frozenset({IDS[1]}))
        first = await door.next()
        await node.witness.until_event("connected", IDS[1])
        async with dialled(node, 1) as second:
            await second.closed()
        await first.send(message("here"))
        await node.witness.until_message(IDS[1], message("here"))
        assert node.witness.events == [("connected", IDS[1])]


async def test_the_connection_dialled_by_the_lower_node_replaces_the_other() -> None:
    """The mesh is higher and has dialled: what the peer dials takes over."""
    async with running(1) as node, Doorstep(0) as door:
        node.mesh.update_peers({IDS[0]: door.address}, frozenset({IDS[0]}))
        first = await door.next()
        await node.witness.until_event("connected", IDS[0])
        async with dialled(node, 0) as second:
            await first.closed()
            await second.send(message("here"))
            await node.witness.until_message(IDS[0], message("here"))
            assert node.witness.events == [
                (kind, IDS[0]) for kind in ("connected", "disconnected", "connected")
            ]
            assert node.mesh.send(IDS[0], message("back"))
            assert await second.receive() == message("back")


@pytest.mark.parametrize("number", [0, 2], ids=["lower peer", "higher peer"])
async def test_a_peer_that_dials_again_has_lost_its_first_connection(number: int) -> None:
    async with running(1) as node:
        admit(node, number)
        async with dialled(node, number) as first:
            await node.witness.until_event("connected", IDS[number])
            async with dialled(node, number) as second:
                await first.closed()
                await second.send(message("here"))
                await node.witness.until_message(IDS[number], message("here"))


async def test_a_peer_that_has_restarted_is_not_kept_out_by_its_dead_connection() -> None:
    """The mesh is lower and has dialled, but the peer's process is another one now."""
    async with running(0) as node, Doorstep(1, boot=1) as door:
        node.mesh.update_peers({IDS[1]: door.address}, frozenset({IDS[1]}))
        first = await door.next()
        await node.witness.until_event("connected", IDS[1])
        async with dialled(node, 1, boot=2):
            await first.closed()
            await node.witness.until_event("connected", IDS[1], times=2)
            assert node.mesh.boot_nonce(IDS[1]) == bytes([2]) * 32


async def test_no_message_of_a_replaced_connection_is_delivered() -> None:
    async with running(1) as node:
        admit(node, 0)
        async with dialled(node, 0) as first:
            await node.witness.until_event("connected", IDS[0])

            def replaced(peer: NodeId, text: bytes) -> None:
                if text == message("last"):
                    admit(node)  # ends the connection while its reader has more

            node.witness.on_each_message = replaced
            await first.send(message("last"))
            await first.send(message("too late"))
            await first.closed()
        assert node.witness.messages == [(IDS[0], message("last"))]


# --- the queue -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "unit"),
    [
        (TransportLimits(queued_messages=10), MEBIBYTE),
        (TransportLimits(queued_bytes=10 * len(MEBIBYTE)), MEBIBYTE),
    ],
    ids=["messages", "bytes"],
)
async def test_a_peer_that_does_not_read_is_lost_when_its_queue_overflows(
    limits: TransportLimits, unit: bytes
) -> None:
    async with running(0, limits=limits) as node:
        admit(node, 1, 2)
        async with dialled(node, 1), dialled(node, 2) as reading:
            await node.witness.until_event("connected", IDS[1])
            await node.witness.until_event("connected", IDS[2])
            accepted = 0
            while node.mesh.send(IDS[1], unit):
                accepted += 1
            assert accepted == 10
            assert IDS[1] not in node.mesh.connected
            assert not node.mesh.send(IDS[1], message("small"))
            await node.witness.until_event("disconnected", IDS[1])
            assert node.mesh.send(IDS[2], message("others go on"))
            assert await reading.receive() == message("others go on")
            assert node.mesh.connected == {IDS[2]}


async def test_a_slow_peer_blocks_nobody() -> None:
    async with running(0) as node, running(1) as friend:
        introduce(node, friend)
        admit_both = frozenset({IDS[1], IDS[2]})
        await node.witness.until_event("connected", IDS[1])
        node.mesh.update_peers({IDS[1]: friend.address}, admit_both)
        async with dialled(node, 2):  # never reads
            await node.witness.until_event("connected", IDS[2])
            for _ in range(30):
                assert node.mesh.send(IDS[2], MEBIBYTE)
            for number in range(100):
                assert node.mesh.send(IDS[1], message(str(number)))
            await friend.witness.until_message(IDS[0], message("99"))
            assert IDS[2] in node.mesh.connected


async def test_a_peer_with_many_messages_does_not_starve_another() -> None:
    many = 20_000
    async with running(0) as node, running(1) as friend:
        introduce(node, friend)
        await node.witness.until_event("connected", IDS[1])
        await friend.witness.until_event("connected", IDS[0])
        node.mesh.update_peers({IDS[1]: friend.address}, frozenset({IDS[1], IDS[2]}))

        def wake_friend(peer: NodeId, _: bytes) -> None:
            if peer == IDS[2] and len(node.witness.messages) == 1:
                assert friend.mesh.send(IDS[0], message("a word"))

        node.witness.on_each_message = wake_friend
        async with dialled(node, 2) as flooding:
            frames = [
                frame
                for _ in range(many)
                for frame in flooding.stream._outgoing.frames(message("flood"))
            ]
            flooding.writer.write(b"".join(frames))
            await node.witness.until(lambda: len(node.witness.messages) == many + 1)
        assert node.witness.messages.index((IDS[1], message("a word"))) < many / 2


@pytest.mark.parametrize("size", [0, 33, 4 * 2**20 + 1])
async def test_what_is_no_message_is_a_mistake_of_the_caller(size: int) -> None:
    async with running(0) as node:
        admit(node, 1)
        async with dialled(node, 1):
            await node.witness.until_event("connected", IDS[1])
            with pytest.raises(ValueError, match=f"a message of {size} bytes"):
                node.mesh.send(IDS[1], bytes(size))
            assert IDS[1] in node.mesh.connected


# --- keep-alive ------------------------------------------------------------------------------


async def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    limits = TransportLimits(ping_after_s=0.05, close_after_s=0.3)
    async with running(0, limits=limits) as node:
        admit(node, 1)
        loop = asyncio.get_running_loop()
        async with dialled(node, 1) as peer:
            began = loop.time()
            unpack(Ping, await peer.receive())
            asked = loop.time()
            unpack(Ping, await peer.receive())
            await peer.closed()
            assert asked - began >= 0.04
            assert loop.time() - began >= 0.29
        await node.witness.until_event("disconnected", IDS[1])


async def test_a_peer_that_answers_stays() -> None:
    limits = TransportLimits(ping_after_s=0.02, close_after_s=2)
    async with running(0, limits=limits) as node:
        admit(node, 1)
        async with dialled(node, 1) as peer:
            for _ in range(20):
                ping = unpack(Ping, await peer.receive())
                await peer.send(pack(Pong(ping.number)))
            assert node.mesh.connected == {IDS[1]}
        assert node.witness.messages == []


async def test_two_silent_meshes_keep_each_other() -> None:
    limits = TransportLimits(ping_after_s=0.02, close_after_s=1, first_retry_s=0.01)
    async with running(0, limits=limits) as one, running(1, limits=limits) as other:
        introduce(one, other)
        await one.witness.until_event("connected", IDS[1])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await one.witness.until_event("disconnected", IDS[1])


async def test_bytes_that_make_no_frame_are_no_sign_of_life() -> None:
    limits = TransportLimits(ping_after_s=0.05, close_after_s=0.3)
    async with running(0, limits=limits) as node:
        admit(node, 1)
        async with dialled(node, 1) as peer:
            (frame,) = peer.stream._outgoing.frames(message("x" * 1000))

            async def drip() -> None:
                for number in range(len(frame)):
                    peer.writer.write(frame[number : number + 1])
                    await asyncio.sleep(0.01)

            dripping = asyncio.create_task(drip())
            await node.witness.until_event("disconnected", IDS[1])
            dripping.cancel()
            await asyncio.wait([dripping])
        assert node.witness.messages == []


async def test_a_ping_is_answered_ahead_of_what_waits() -> None:
    async with running(0, limits=QUICK) as node:
        admit(node, 1)
        async with dialled(node, 1) as peer:
            await node.witness.until_event("connected", IDS[1])
            for number in range(10):
                node.mesh.send(IDS[1], MEBIBYTE + bytes([number]))
            await peer.send(pack(Ping(77)))
            await peer.send(message("after the ping"))
            await node.witness.until_message(IDS[1], message("after the ping"))
            received = [await peer.receive() for _ in range(11)]
        assert pack(Pong(77)) in received[:10]
        assert [m for m in received if len(m) > 100] == [MEBIBYTE + bytes([n]) for n in range(10)]
