"""Whole meshes over loopback: connect, lose each other, find each other again."""

import time
from contextlib import AsyncExitStack
from itertools import permutations

import pytest

from keyserver.errors import ConfigError
from keyserver.model.node_set import NodeAddress
from keyserver.net.limits import TransportLimits
from tests.integration.net.nodes import (
    IDS,
    PATIENCE_S,
    Doorstep,
    Node,
    Witness,
    admit,
    bring,
    introduce,
    introduce_fully,
    make_mesh,
    running,
)

HEADER = b"\x01\x00" + bytes(32)


def message(text: str) -> bytes:
    return HEADER + text.encode()


async def until_connected(*nodes: Node) -> None:
    for one, other in permutations(nodes, 2):
        await one.witness.until_event("connected", other.id)


async def test_five_nodes_all_connect_and_all_hear_each_other() -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(number)) for number in range(5)]
        introduce_fully(*nodes)
        for one, other in permutations(nodes, 2):
            await bring(one, other, message(f"from {one.id.short}"))
        for node in nodes:
            await node.witness.until(
                lambda node=node: node.mesh.connected == frozenset(IDS[:5]) - {node.id}  # type: ignore[misc]
            )


async def test_boot_nonce_and_hello_of_a_peer() -> None:
    async with running(0, boot=3) as one, running(1, boot=4) as other:
        assert one.mesh.boot_nonce(other.id) is None
        introduce(one, other)
        await until_connected(one, other)
        assert one.mesh.boot_nonce(other.id) == bytes([4]) * 32
        assert other.mesh.boot_nonce(one.id) == bytes([3]) * 32
        said = one.mesh.hello(other.id)
        assert said is not None
        assert (said.protocol, said.software) == (1, b"test")
        assert abs(said.unix_seconds - time.time()) < PATIENCE_S


@pytest.mark.parametrize("restarted", [0, 1], ids=["lower", "higher"])
async def test_a_node_that_restarts_is_found_again(restarted: int) -> None:
    async with running(1 - restarted) as staying:
        async with running(restarted, boot=1) as first:
            introduce(staying, first)
            await until_connected(staying, first)
            address = first.address
        await staying.witness.until_event("disconnected", first.id)
        assert staying.mesh.connected == frozenset()
        assert not staying.mesh.send(first.id, message("nobody there"))
        async with running(restarted, boot=2, listen=address) as second:
            introduce(staying, second)
            await staying.witness.until_event("connected", second.id, times=2)
            await second.witness.until_event("connected", staying.id)
            assert staying.mesh.boot_nonce(second.id) == bytes([2]) * 32
            assert staying.mesh.send(second.id, message("again"))
            await second.witness.until_message(staying.id, message("again"))


async def test_a_node_that_comes_up_later_is_reached_by_whoever_knows_its_address() -> None:
    async with running(0) as early:
        async with running(1) as probe:
            address = probe.address
        early.mesh.update_peers({IDS[1]: address}, frozenset({IDS[1]}))
        async with running(1, listen=address) as late:
            admit(late, 0)
            await until_connected(early, late)


async def test_nodes_that_are_no_longer_admitted_are_disconnected() -> None:
    async with running(0) as one, running(1) as other, running(2) as third:
        introduce(one, other, third)
        await until_connected(one, other, third)
        addresses = {node.id: node.address for node in (one, other, third)}
        one.mesh.update_peers(addresses, frozenset({one.id, third.id}))
        assert one.mesh.connected == {third.id}
        assert ("disconnected", other.id) in one.witness.events
        await other.witness.until_event("disconnected", one.id)
        assert other.mesh.connected == {third.id}
        introduce(one, other, third)
        await one.witness.until_event("connected", other.id, times=2)


async def test_a_changed_address_is_dialled() -> None:
    async with running(0) as node, Doorstep(1) as old, Doorstep(1, boot=2) as new:
        node.mesh.update_peers({IDS[1]: old.address}, frozenset({IDS[1]}))
        at_old = await old.next()
        await node.witness.until_event("connected", IDS[1])
        node.mesh.update_peers({IDS[1]: new.address}, frozenset({IDS[1]}))
        await at_old.closed()
        await new.next()
        await node.witness.until_event("connected", IDS[1], times=2)
        assert node.mesh.boot_nonce(IDS[1]) == bytes([2]) * 32


async def test_an_unchanged_address_changes_nothing() -> None:
    async with running(0) as one, running(1) as other:
        introduce(one, other)
        await until_connected(one, other)
        for _ in range(3):
            introduce(one, other)
        assert one.mesh.send(other.id, message("still there"))
        await other.witness.until_message(one.id, message("still there"))
        assert one.witness.events == [("connected", other.id)]


async def test_a_node_does_not_dial_itself() -> None:
    async with running(0) as one, running(1) as other:
        introduce(one, other)
        await until_connected(one, other)
        assert not one.mesh.send(one.id, message("to myself"))
        assert one.mesh.connected == {other.id}


@pytest.mark.parametrize(
    "address",
    [
        NodeAddress("127.0.0.1", 1),
        NodeAddress("127.0.0.1", 70_000),
        NodeAddress("not..a..name", 80),
        NodeAddress("null\0byte", 80),
        NodeAddress("x" * 300, 80),
    ],
    ids=str,
)
async def test_an_address_of_no_use_costs_nobody_else(address: NodeAddress) -> None:
    async with running(0) as one, running(1) as other:
        addresses = {IDS[2]: address, one.id: one.address, other.id: other.address}
        one.mesh.update_peers(addresses, frozenset(addresses))
        admit(other, 0)
        await until_connected(one, other)
        assert one.mesh.connected == {other.id}


async def test_three_mebibytes_both_ways() -> None:
    big = message("big") + bytes(range(256)) * (3 * 4096)
    async with running(0) as one, running(1) as other:
        introduce(one, other)
        await until_connected(one, other)
        assert one.mesh.send(other.id, big)
        assert other.mesh.send(one.id, big)
        await other.witness.until_message(one.id, big)
        await one.witness.until_message(other.id, big)


async def test_messages_arrive_in_order_across_changes_of_the_key() -> None:
    texts = [message(str(number)) for number in range(3000)]
    async with running(0) as one, running(1) as other:
        introduce(one, other)
        await until_connected(one, other)
        for start in range(0, len(texts), 1000):
            for text in texts[start : start + 1000]:
                assert one.mesh.send(other.id, text)
            await other.witness.until_message(one.id, texts[start + 999])
        assert [text for _, text in other.witness.messages] == texts


async def test_stopping_takes_less_than_a_second() -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(number)) for number in range(3)]
        silent = await stack.enter_async_context(Doorstep(3))
        introduce(*nodes)
        nodes[0].mesh.update_peers(
            {IDS[3]: silent.address, **{node.id: node.address for node in nodes}},
            frozenset(IDS[:4]),
        )
        await until_connected(*nodes)
        await nodes[0].witness.until_event("connected", IDS[3])
        for _ in range(20):  # more than the sockets take: a writer is in the middle of one
            nodes[0].mesh.send(IDS[3], message("") + bytes(2**20))
        began = time.monotonic()
        await nodes[0].stop()
        assert time.monotonic() - began < 1
        lost = {peer for kind, peer in nodes[0].witness.events if kind == "disconnected"}
        assert lost == {IDS[1], IDS[2], IDS[3]}
        assert nodes[0].mesh.connected == frozenset()


async def test_a_stopped_mesh_can_be_told_of_peers_without_harm() -> None:
    async with running(0) as one, running(1) as other:
        introduce(one, other)
        await until_connected(one, other)
        await one.stop()
        introduce(one, other)
        assert one.mesh.connected == frozenset()
        assert one.mesh.hello(other.id) is None


@pytest.mark.parametrize("port", ["taken", 70_000])
async def test_an_address_that_cannot_be_listened_on(port: str | int) -> None:
    async with running(0) as node:
        listen = node.address if port == "taken" else NodeAddress("127.0.0.1", int(port))
        with pytest.raises(ConfigError, match=f"cannot listen for peers on {listen}"):
            await make_mesh(1, listen=listen).run(Witness())


async def test_pauses_grow_with_short_connections_and_begin_anew_after_a_long_one() -> None:
    limits = TransportLimits(first_retry_s=0.02, longest_retry_s=0.5, ping_after_s=0.5)
    async with running(0, limits=limits) as node, Doorstep(1) as door:

        async def reconnected(times: int, long: bool = False) -> float:
            """Seconds from the loss of a connection to the next."""
            peer = await door.next()
            await node.witness.until_event("connected", IDS[1], times)
            if long:
                await peer.receive()  # a ping: half a second has passed
            peer.writer.transport.abort()
            lost = time.monotonic()
            await node.witness.until_event("connected", IDS[1], times + 1)
            return time.monotonic() - lost

        node.mesh.update_peers({IDS[1]: door.address}, frozenset({IDS[1]}))
        # Pauses of at least half of 20, 40, 80, 160, 320 and 500 ms, ..
        assert sum([await reconnected(times) for times in range(1, 7)]) > 0.55
        # .. then one of at most 20 ms.
        assert await reconnected(7, long=True) < 0.2


async def test_a_peer_that_sends_what_is_not_wanted_stays_away_for_a_while() -> None:
    """Whoever dials: this node does not, and lets nobody of that name in."""
    limits = TransportLimits(first_retry_s=0.01, first_penalty_s=0.4)
    async with running(0, limits=limits) as node, running(1) as other:
        introduce_fully(node, other)
        await bring(other, node, message("wanted"))
        node.witness.refuses.add(message("not wanted"))
        other.mesh.send(node.id, message("not wanted"))
        await other.witness.until_event("disconnected", node.id)
        sent_away = time.monotonic()
        await node.witness.until_event("connected", other.id, 2)
        assert time.monotonic() - sent_away > 0.3
        await bring(other, node, message("wanted again"))


async def test_two_meshes_that_dial_at_once_agree_on_one_connection() -> None:
    async with running(0) as one, running(1) as other:
        for _ in range(5):
            introduce_fully(one, other)
            await bring(one, other, message("there"))
            await bring(other, one, message("and back"))
            admit(one)
            admit(other)
            await one.witness.until(lambda: not one.mesh.connected)
            await other.witness.until(lambda: not other.mesh.connected)
            one.witness.messages.clear()
            other.witness.messages.clear()
