"""What every `Transport` promises the engine, whatever carries the messages."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from keyserver.engine.ports import Transport, TransportListener
from keyserver.model.identifiers import NodeId
from keyserver.net.limits import TransportLimits
from tests.integration.net.nodes import IDS, Witness, admit, introduce, running

HEADER = b"\x01\x00" + bytes(32)


@dataclass(frozen=True)
class End:
    """A node of the network under test."""

    id: NodeId
    transport: Transport
    witness: Witness


@dataclass(frozen=True)
class Network:
    """Two nodes that know each other, and how to bring them together and apart."""

    one: End
    other: End
    join: Callable[[], None]
    part: Callable[[], None]

    async def connect(self) -> None:
        self.join()
        await self.one.witness.until_event("connected", self.other.id)
        await self.other.witness.until_event("connected", self.one.id)


@asynccontextmanager
async def mesh_network() -> AsyncIterator[Network]:
    limits = TransportLimits(queued_messages=100)
    async with running(0, limits=limits) as one, running(1, limits=limits) as other:
        yield Network(
            End(one.id, one.mesh, one.witness),
            End(other.id, other.mesh, other.witness),
            lambda: introduce(one, other),
            lambda: admit(one),
        )


NETWORKS: dict[str, Callable[[], AbstractAsyncContextManager[Network]]] = {"mesh": mesh_network}


@pytest.fixture(params=list(NETWORKS.values()), ids=list(NETWORKS))
async def network(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    async with request.param() as made:
        yield made


def test_the_witness_is_a_listener() -> None:
    listener: TransportListener = Witness()
    assert listener.on_message(IDS[0], b"") is True


async def test_without_a_connection(network: Network) -> None:
    one, other = network.one, network.other
    assert one.transport.connected == frozenset()
    assert one.transport.send(other.id, HEADER) is False
    assert one.transport.boot_nonce(other.id) is None


async def test_with_a_connection(network: Network) -> None:
    one, other = network.one, network.other
    await network.connect()
    assert one.transport.connected == {other.id}
    assert other.transport.connected == {one.id}
    nonce = one.transport.boot_nonce(other.id)
    assert nonce is not None
    assert len(nonce) == 32
    assert not one.transport.send(one.id, HEADER)


async def test_messages_arrive_whole_in_order_and_with_their_sender(network: Network) -> None:
    one, other = network.one, network.other
    await network.connect()
    messages = [HEADER + bytes([number]) * (number * 997) for number in range(100)]
    assert [one.transport.send(other.id, message) for message in messages] == [True] * 100
    await other.witness.until_message(one.id, messages[-1])
    assert other.witness.messages == [(one.id, message) for message in messages]
    assert one.witness.messages == []


async def test_a_connection_that_ends_is_told_on_both_sides(network: Network) -> None:
    one, other = network.one, network.other
    await network.connect()
    network.part()
    await one.witness.until_event("disconnected", other.id)
    await other.witness.until_event("disconnected", one.id)
    for here, there in ((one, other), (other, one)):
        assert here.transport.connected == frozenset()
        assert here.transport.send(there.id, HEADER) is False
        assert here.transport.boot_nonce(there.id) is None


async def test_a_refused_message_ends_the_connection(network: Network) -> None:
    one, other = network.one, network.other
    other.witness.refuses.add(HEADER + b"no")
    await network.connect()
    assert one.transport.send(other.id, HEADER + b"no")
    await other.witness.until_event("disconnected", one.id)
    await one.witness.until_event("disconnected", other.id)


async def test_an_overflow_ends_the_connection(network: Network) -> None:
    one, other = network.one, network.other
    await network.connect()
    sent = 0
    while one.transport.send(other.id, HEADER):  # never yields: nothing leaves the queue
        sent += 1
    assert sent == 100
    assert other.id not in one.transport.connected
    assert ("disconnected", other.id) not in one.witness.events
    await one.witness.until_event("disconnected", other.id)
