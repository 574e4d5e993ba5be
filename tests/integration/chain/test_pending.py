"""Pending lists, logs and the work driver beside the main road (W-02, W-13, W-31)."""

from collections.abc import AsyncIterator, Sequence

import pytest

from keyserver.chain.client import (
    HEAD,
    At,
    CallResult,
    ChainUnavailableError,
    ContractCall,
    Returned,
    Reverted,
)
from keyserver.crypto.hashing import keccak256
from keyserver.evm.abi import Event
from keyserver.model.identifiers import Address, KeyId
from keyserver.services.server_key_generation import bindings as generation
from keyserver.tasks.model import TaskState
from tests.support.chain_stack import Deployment, Stack
from tests.support.fake_cluster import FakeCluster, node_of
from tests.support.faulty_client import FaultyClient
from tests.support.work import task

NUMBER = 101
IDS = [KeyId(keccak256(b"document-%d" % number)) for number in range(3)]


class TamperingClient(FaultyClient):
    """Shows entries of the pending list as the test wants them."""

    items: dict[int, CallResult]

    async def call_many(
        self, calls: Sequence[ContractCall], at: At = HEAD
    ) -> tuple[CallResult, ...]:
        results = list(await super().call_many(calls, at))
        for position, call in enumerate(calls):
            if call.data[:4] == generation.ITEM.selector:
                (index,) = generation.ITEM.decode_call(call.data)
                results[position] = self.items.get(index, results[position])
        return tuple(results)


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    deployment = Deployment.of(NUMBER)
    client = TamperingClient(deployment.client)
    client.items = {}
    cluster = FakeCluster((node_of(NUMBER),))
    stack = Stack(deployment, NUMBER, cluster, confirmations=0, interval=10, chain=client)
    yield stack
    await stack.kill()


def client_of(stack: Stack) -> TamperingClient:
    assert isinstance(stack.chain, TamperingClient)
    return stack.chain


async def see(stack: Stack, blocks: int = 1) -> None:
    for _ in range(blocks):
        await stack.see(stack.deployment.client.mine())


def request_all(stack: Stack) -> None:
    for key_id in IDS:
        stack.deployment.request("generateServerKey", key_id, 0)
    stack.deployment.client.mine(3)


async def test_requests_made_before_the_start_are_found(stack: Stack) -> None:
    request_all(stack)
    await see(stack, 3)
    assert len(stack.deployment.events("ServerKeyGenerated")) == 3


@pytest.mark.parametrize("bad", [Reverted(b""), Returned(b"short"), Returned(b"\xff" * 96)])
async def test_an_entry_that_cannot_be_read_stops_no_other(stack: Stack, bad: CallResult) -> None:
    client_of(stack).items = {0: bad}
    request_all(stack)
    await see(stack, 3)
    generated = {event[0] for event in stack.deployment.events("ServerKeyGenerated")}
    assert generated == set(IDS[1:])


async def test_a_poisonous_threshold_is_answered_with_an_error(stack: Stack) -> None:
    """As from an original contract, which lets 255 through."""
    author = stack.deployment.client.account(0)
    item = IDS[0] + author.rjust(32, b"\0") + (255).to_bytes(32, "big")
    client_of(stack).items = {0: Returned(item)}
    request_all(stack)
    await see(stack, 3)
    assert stack.deployment.events("ServerKeyGenerationError") == [(IDS[0],)]
    generated = {event[0] for event in stack.deployment.events("ServerKeyGenerated")}
    assert generated == set(IDS[1:])


async def test_a_chain_that_cannot_be_reached_changes_nothing_and_is_asked_again(
    stack: Stack,
) -> None:
    request_all(stack)
    client_of(stack).fail_next("call_many", ChainUnavailableError("timeout"))
    with pytest.raises(ChainUnavailableError):
        await see(stack)
    assert stack.store.tasks == {}
    await see(stack, 2)
    assert len(stack.store.tasks) == 3


async def test_a_node_outside_the_set_takes_no_tasks_until_it_joins(stack: Stack) -> None:
    stack.change_set(0, node_of(5))
    request_all(stack)
    await see(stack, 2)
    assert stack.store.tasks == {}
    assert stack.store.blocks != ()
    stack.change_set(9)
    await see(stack, 3)
    assert len(stack.deployment.events("ServerKeyGenerated")) == 3


async def test_lists_are_read_again_after_a_change_of_the_set_and_now_and_then(
    stack: Stack,
) -> None:
    client = stack.deployment.client
    await see(stack, 2)
    before = client.calls["call"]
    await see(stack)
    assert client.calls["call"] == before
    stack.change_set(8)
    await see(stack)
    once = client.calls["call"] - before
    assert once > 0
    await see(stack, 10)
    assert client.calls["call"] - before == 2 * once


async def test_a_log_that_does_not_decode_is_skipped(stack: Stack) -> None:
    await see(stack)
    service = stack.services.by_address[stack.deployment.service][0]

    class Broken:
        topics = service.topics

        def asked_in_log(self, log: object) -> object:
            return Event.parse("Other(bytes32)").decode((), b"")

    stack.services.by_address = {
        stack.deployment.service: (Broken(), service),  # type: ignore[dict-item]
        Address(b"\1" * 20): (),
    }
    request_all(stack)
    head = stack.deployment.client.node.head.number
    block = await stack.deployment.client.block(head)
    assert block is not None
    await stack.intake.accept(await stack.batch(block.id))
    assert stack.store.tasks == {}
    assert stack.store.blocks[-1].number == head


async def test_old_rows_are_removed(stack: Stack) -> None:
    stack.store.tasks[1] = task(state=TaskState.SETTLED, closed_block=-10_000)
    stack.store.tasks[2] = task(id=2, state=TaskState.SETTLED, closed_block=3)
    await see(stack)
    assert list(stack.store.tasks) == [2]


async def test_nothing_starts_while_the_chain_is_not_to_be_trusted(stack: Stack) -> None:
    await see(stack)
    stack.driver.on_unavailable()
    stack.sender.on_unavailable()
    stack.pending.on_unavailable()
    await stack.store.admit([])
    stack.queue.wake()
    await stack.rest()
    assert stack.cluster.calls == []
