"""Attacks on the links between nodes, over real sockets: W6, W7, W23, W24, W31."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.net.errors import HandshakeError
from keyserver.net.framing import MAX_MESSAGE
from keyserver.net.handshake import AwaitingActOne, begin
from keyserver.net.limits import TransportLimits
from keyserver.net.link import pack
from tests.integration.net.nodes import (
    IDS,
    KEYS,
    QUICK,
    Node,
    admit,
    dialled,
    open_socket,
    read_to_end,
    running,
)
from tests.unit.net.peers import hello
from tests.weaknesses.relay import Relay, relaying, transparent

HEADER = b"\x01\x00" + bytes(32)


@asynccontextmanager
async def _pair(
    alter: object, limits: TransportLimits = QUICK
) -> AsyncIterator[tuple[Node, Node, Relay]]:
    """Node 0 dials node 1 through the attacker."""
    async with (
        running(0, limits=limits) as one,
        running(1, limits=limits) as other,
        relaying(other.address, alter) as relay,  # type: ignore[arg-type]
    ):
        other.mesh.update_peers({}, frozenset({IDS[0]}))
        one.mesh.update_peers({IDS[1]: relay.address}, frozenset({IDS[1]}))
        yield one, other, relay


def _open(one: Node) -> bool:
    return IDS[1] in one.mesh.connected


async def _until_tried(relay: Relay, times: int = 2) -> None:
    async with asyncio.timeout(20):
        while relay.connections < times:
            await asyncio.sleep(0.005)


def _own_key(act: bytes) -> bytes:
    """An act with a one-time key of the attacker's in it."""
    return act[:1] + KEYS[9].public.compressed + act[34:]


@pytest.mark.parametrize("attacked", [("out", 50), ("in", 50)], ids=["act one", "act two"])
async def test_w06_one_time_keys_are_replaced(attacked: tuple[str, int]) -> None:
    """The relay of the original: pass the handshake on, but with the attacker's one-time keys, so
    that both sides share their secrets with him. The node's static keys enter the key schedule."""

    async def alter(relay: Relay, direction: str, data: bytes) -> None:
        mine = (direction, len(data)) == attacked
        relay.pass_on(direction, _own_key(data) if mine else data)

    async with _pair(alter) as (one, other, relay):
        await _until_tried(relay)
        assert one.witness.events == []
        assert other.witness.events == []


async def test_w06_the_attacker_answers_himself() -> None:
    """He plays the dialled node towards one side and the dialling node towards the other, with keys
    of his own: he can do neither without their node keys."""
    understood: list[bytes] = []

    async def alter(relay: Relay, direction: str, data: bytes) -> None:
        if direction == "in":
            return
        ephemeral = SecretScalar.random(SystemRandom())
        if len(data) == 50:
            try:
                AwaitingActOne(KEYS[9], ephemeral).receive(data)
                understood.append(data)
            except HandshakeError:
                pass  # his key is not the one that was dialled
            _, act_one = begin(KEYS[9], IDS[1].point, ephemeral)
            relay.pass_on("out", act_one)
            relay.pass_on("in", bytes(1) + ephemeral.public().compressed + bytes(16))

    async with _pair(alter) as (one, other, relay):
        await _until_tried(relay)
        assert one.witness.events == []
        assert other.witness.events == []
        assert not understood


class SilentKey:
    """A node key that can do what the transport needs, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    @property
    def public(self) -> Point:
        return KEYS[0].public

    def ecdh(self, point: Point) -> bytes:
        self.calls += 1
        return KEYS[0].ecdh(point)


@pytest.mark.parametrize("proper", [True, False], ids=["a proper handshake", "chosen bytes"])
async def test_w07_strangers_get_nothing_signed(*, proper: bool) -> None:
    """Anybody who can open a connection sends 32 bytes of his choice, to get a signature of the
    node's Ethereum key over them. All he gets are 50 bytes: a one-time key and a tag."""
    async with running(0) as node:
        admit(node, 1)
        key = SilentKey()
        node.mesh._key = key
        reader, writer = await open_socket(node)
        state, act_one = begin(KEYS[7], IDS[0].point, SecretScalar.random(SystemRandom()))
        writer.write(act_one if proper else b"\x00\x02" + b"\x11" * 48)
        if proper:
            act_two = await reader.readexactly(50)
            act_three, _ = state.receive(act_two)
            writer.write(act_three)
        assert await read_to_end(reader) == b""
        assert key.calls <= 1
        assert not hasattr(key, "sign"), "the transport needs no key that can sign"
        assert node.witness.events == []
        writer.transport.abort()


async def test_w23_long_messages_arrive_or_are_refused() -> None:
    """A message above 64 KiB was lost without a word. Now it arrives whole, up to 4 MiB; a longer
    one is an error where it is made."""
    async with _pair(transparent) as (one, other, _):
        await one.witness.until_event("connected", IDS[1])
        for size in (65_535, 65_536, 70_000, MAX_MESSAGE):
            message = HEADER + bytes([size % 251]) * (size - len(HEADER))
            assert one.mesh.send(IDS[1], message)
            await other.witness.until_message(IDS[0], message)
        with pytest.raises(ValueError, match="cannot be sent"):
            one.mesh.send(IDS[1], HEADER + bytes(MAX_MESSAGE))
        assert ("disconnected", IDS[1]) not in one.witness.events


TRICKS = ["twice", "reflected", "swapped", "dropped", "altered", "shortened"]


@pytest.mark.parametrize("trick", TRICKS)
async def test_w24_frames_are_replayed_dropped_reordered_reflected(trick: str) -> None:
    """Somebody on the path repeats a frame, sends it back to its sender, swaps two, leaves one out,
    flips one bit of the header or cuts one. The connection ends; nothing arrives that was not sent,
    in that order."""
    held: list[bytes] = []
    armed = False

    async def alter(relay: Relay, direction: str, data: bytes) -> None:
        if not armed or direction == "in":
            relay.pass_on(direction, data)
            return
        match trick:
            case "twice":
                relay.pass_on("out", data + data)
            case "reflected":
                relay.pass_on("in", data)
            case "swapped":
                held.append(data)
                if len(held) == 2:
                    relay.pass_on("out", held[1] + held[0])
            case "dropped":
                held.append(data)
                if len(held) > 1:
                    relay.pass_on("out", data)
            case "altered":
                relay.pass_on("out", bytes([data[0] ^ 1]) + data[1:])
            case "shortened":
                relay.pass_on("out", data[:-1])

    async with _pair(alter) as (one, other, relay):
        await one.witness.until_event("connected", IDS[1])
        await other.witness.until_event("connected", IDS[0])
        armed = True
        before = len(relay.seen)
        sent = [HEADER + b"first", HEADER + b"second"]
        for number, message in enumerate(sent, 1):
            if not one.mesh.send(IDS[1], message):
                break  # the connection has ended
            async with asyncio.timeout(20):  # each in a piece of its own
                while sum(d == "out" for d, _ in relay.seen[before:]) < number and _open(one):
                    await asyncio.sleep(0.002)
        loser = one if trick == "reflected" else other
        await loser.witness.until_event("disconnected", IDS[1] if loser is one else IDS[0])
        arrived = [message for _, message in other.witness.messages]
        assert arrived == sent[: len(arrived)]
        assert one.witness.messages == []


async def test_w31_lost_and_silent_connections_are_noticed() -> None:
    """A connection is cut without a farewell; another stays open, but nothing comes any more. Both
    sides notice and tell, soon; one that only carries signs of life is kept."""
    limits = TransportLimits(
        ping_after_s=0.1, close_after_s=0.4, first_retry_s=0.01, longest_retry_s=0.1
    )
    silent = False

    async def alter(relay: Relay, direction: str, data: bytes) -> None:
        if not silent:
            relay.pass_on(direction, data)

    async with _pair(alter, limits) as (one, other, relay):
        await one.witness.until_event("connected", IDS[1])
        await asyncio.sleep(limits.close_after_s * 2)  # nothing but signs of life
        assert ("disconnected", IDS[1]) not in one.witness.events
        relay.cut()
        await one.witness.until_event("disconnected", IDS[1])
        await other.witness.until_event("disconnected", IDS[0])
        await one.witness.until_event("connected", IDS[1], times=2)
        silent = True
        await one.witness.until_event("disconnected", IDS[1], times=2)
        await other.witness.until_event("disconnected", IDS[0], times=2)


async def test_w25_greeting_with_the_boot_nonce_of_another_process() -> None:
    """A member says HELLO twice on one connection, to change the boot nonce that its session ids
    are made with and to open old sessions again: the connection ends."""
    async with running(0) as node:
        admit(node, 1)
        async with dialled(node, 1, boot=1) as peer:
            await node.witness.until_event("connected", IDS[1])
            await peer.send(pack(hello(boot=2)))
            await peer.closed()
        await node.witness.until_event("disconnected", IDS[1])
