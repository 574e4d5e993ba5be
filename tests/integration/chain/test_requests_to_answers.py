"""Requests on the real contracts, answered by several nodes (chain watcher, section 14)."""

from collections.abc import AsyncIterator

import pytest

from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import Address, KeyId
from keyserver.sessions.core import UnavailableError, Verdict
from keyserver.tasks.model import TaskState
from tests.support.chain_stack import Network
from tests.support.fake_cluster import point_of

KEY_ID = KeyId(keccak256(b"document-2"))
"""Of three nodes the first one starts it."""
COMMON, ENCRYPTED = point_of(101), point_of(102)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    network = Network.of(101, 102, 103)
    await network.mine(4)
    yield network
    await network.close()


async def generate(network: Network, key_id: KeyId = KEY_ID, threshold: int = 1) -> None:
    network.deployment.request("generateServerKey", key_id, threshold)
    await network.mine_until("ServerKeyGenerated")


def states(network: Network) -> list[list[TaskState]]:
    return [[task.state for task in stack.store.tasks.values()] for stack in network.stacks]


async def test_generation_is_answered_by_every_node_with_one_session(network: Network) -> None:
    network.deployment.request("generateServerKey", KEY_ID, 1)
    # mined in block b, acted upon at head b + 3, answered in b + 4
    assert await network.mine_until("ServerKeyGenerated") == 1 + 3 + 1
    starts = [call for call in network.cluster.calls if call[0] == "generate_server_key"]
    assert starts == [("generate_server_key", network.stacks[0].me)]
    public = network.cluster.records[KEY_ID].record.public
    assert network.deployment.events("ServerKeyGenerated") == [(KEY_ID, public.raw64)]
    await network.mine(4)
    assert states(network) == [[TaskState.SETTLED]] * 3


async def test_a_request_is_not_acted_upon_before_it_is_confirmed(network: Network) -> None:
    network.deployment.request("generateServerKey", KEY_ID, 1)
    await network.mine(1 + 2)
    assert states(network) == [[], [], []]
    await network.mine()
    assert states(network) == [[TaskState.ANSWERED]] * 3


async def test_all_four_services(network: Network) -> None:
    deployment = network.deployment
    await generate(network)
    deployment.request("retrieveServerKey", KEY_ID, sender=1)
    await network.mine_until("ServerKeyRetrieved(bytes32,bytes,uint256)")
    deployment.request("storeDocumentKey", KEY_ID, COMMON.raw64, ENCRYPTED.raw64)
    await network.mine_until("DocumentKeyStored")
    requester = point_of(2)  # the development accounts have the private keys 1, 2, …
    deployment.request("retrieveDocumentKeyShadow", KEY_ID, requester.raw64, sender=1)
    await network.mine_until("DocumentKeyCommonRetrieved")
    ((key_id, who, common, threshold),) = deployment.events("DocumentKeyCommonRetrieved")
    assert (key_id, threshold) == (KEY_ID, 1)
    assert common != COMMON.raw64  # negated for odd thresholds
    assert who == deployment.client.account(1)
    await network.mine(2)
    personal = deployment.events("DocumentKeyPersonalRetrieved")
    assert len(personal) == 2
    assert len({event[2] for event in personal}) == 1
    assert await deployment.pending("documentKeyShadowRetrievalRequestsCount") == 0
    await network.mine(8)
    open_tasks = [
        task.key.kind.name
        for stack in network.stacks
        for task in stack.store.tasks.values()
        if task.state.is_open
    ]
    assert open_tasks == []  # also of the node outside the t + 1


async def test_two_requests_in_one_block_get_consecutive_nonces(network: Network) -> None:
    other = KeyId(keccak256(b"document-3"))
    network.deployment.request("generateServerKey", KEY_ID, 1)
    network.deployment.request("generateServerKey", other, 0)
    await network.mine_until("ServerKeyGenerated")
    assert len(network.deployment.events("ServerKeyGenerated")) == 2
    for stack in network.stacks:
        assert sorted(entry.nonce or 0 for entry in stack.store.entries.values()) == [0, 1]


async def test_a_denied_requester_gets_an_error(network: Network) -> None:
    deployment = network.deployment
    await generate(network)
    for stack in network.stacks:
        stack.permissions.verdict = Verdict.DENIED
    deployment.request("retrieveDocumentKeyShadow", KEY_ID, point_of(2).raw64, sender=1)
    await network.mine_until("DocumentKeyShadowRetrievalError")
    assert deployment.events("DocumentKeyCommonRetrieved") == []


async def test_a_permission_that_is_one_block_old_is_waited_for(network: Network) -> None:
    deployment = network.deployment
    await generate(network)
    deployment.request("storeDocumentKey", KEY_ID, COMMON.raw64, ENCRYPTED.raw64)
    await network.mine_until("DocumentKeyStored")
    for stack in network.stacks:
        stack.permissions.verdict = Verdict.UNAVAILABLE
    deployment.request("retrieveDocumentKeyShadow", KEY_ID, point_of(2).raw64, sender=1)
    await network.mine(6)
    assert deployment.events("DocumentKeyCommonRetrieved") == []
    for stack in network.stacks:
        stack.permissions.verdict = Verdict.ALLOWED
    assert await network.mine_until("DocumentKeyCommonRetrieved") == 2


async def test_poison_gets_an_error_and_stops_nobody(network: Network) -> None:
    deployment = network.deployment
    await generate(network)
    off_curve = b"\x01" * 64
    deployment.request("storeDocumentKey", KEY_ID, off_curve, ENCRYPTED.raw64)
    other = KeyId(keccak256(b"document-3"))
    deployment.request("generateServerKey", other, 1)
    await network.mine_until("DocumentKeyStoreError")
    await network.mine(2)
    assert len(deployment.events("ServerKeyGenerated")) == 2
    assert await deployment.pending("documentKeyStoreRequestsCount") == 0


async def test_a_starter_that_is_offline_is_stood_in_for(network: Network) -> None:
    network.deployment.request("generateServerKey", KEY_ID, 1)
    starter, *others = network.stacks
    network.stacks = others
    await network.mine(30)
    assert network.cluster.calls == []
    await network.mine(5)
    starts = [call for call in network.cluster.calls if call[0] == "generate_server_key"]
    assert [node for _, node in starts] == [others[0].me]
    network.stacks = [starter, *others]
    await network.mine(3)
    assert len(network.deployment.events("ServerKeyGenerated")) == 1


async def test_after_a_failed_session_the_next_node_tries_after_thirty_blocks(
    network: Network,
) -> None:
    network.cluster.failures["generate_server_key"].append(UnavailableError("a peer is lost"))
    network.deployment.request("generateServerKey", KEY_ID, 1)
    await network.mine(4)
    (task,) = network.stacks[0].store.tasks.values()
    assert (task.state, task.attempts) == (TaskState.PENDING, 1)
    taken = await network.mine_until("ServerKeyGenerated", most=40)
    assert taken == 30 - 3 + 1  # counted from the block of the request, mined 3 blocks earlier
    starts = [call for call in network.cluster.calls if call[0] == "generate_server_key"]
    assert [node for _, node in starts] == [stack.me for stack in network.stacks[:2]]


async def test_the_same_request_again_is_a_success(network: Network) -> None:
    await generate(network)
    await network.mine(5)
    network.deployment.request("generateServerKey", KEY_ID, 1)
    await network.mine(5)
    assert len(network.deployment.events("ServerKeyGenerated")) == 2
    network.deployment.request("generateServerKey", KEY_ID, 0)
    await network.mine_until("ServerKeyGenerationError")


async def test_the_same_store_again_is_a_success_and_another_one_an_error(
    network: Network,
) -> None:
    deployment = network.deployment
    await generate(network)
    for count in (1, 2):
        deployment.request("storeDocumentKey", KEY_ID, COMMON.raw64, ENCRYPTED.raw64)
        await network.mine(6)
        assert len(deployment.events("DocumentKeyStored")) == count
    deployment.request("storeDocumentKey", KEY_ID, ENCRYPTED.raw64, COMMON.raw64)
    await network.mine_until("DocumentKeyStoreError")


async def test_downtime_in_which_requests_came_and_went(network: Network) -> None:
    deployment = network.deployment
    await generate(network)
    await network.mine(5)
    (away, *_) = network.stacks
    network.stacks = network.stacks[1:]
    await away.kill()
    deployment.request("retrieveServerKey", KEY_ID, sender=1)
    await network.mine(8)
    event = "ServerKeyRetrieved(bytes32,bytes,uint256)"
    assert len(deployment.events(event)) == 1
    head = deployment.client.mine(480)
    deployment.request("retrieveServerKey", KEY_ID, sender=2)
    head = deployment.client.mine(1)
    away.start()
    network.stacks = [away, *network.stacks]
    for stack in network.stacks:
        await stack.see(head)
    await network.mine(6)
    assert len(deployment.events(event)) == 2
    answered = [e for e in away.store.entries.values() if e.key.method == "serverKeyRetrieved"]
    assert len(answered) == 1  # nothing was sent for the request that others had served


async def test_a_start_near_the_genesis_block() -> None:
    network = Network.of(101, confirmations=50)
    await network.mine(3)
    assert network.stacks[0].store.blocks[-1].number == 0
    await network.close()


async def test_an_idle_node_makes_no_call_for_durable_work(network: Network) -> None:
    client = network.deployment.client
    await network.mine(3)
    before = client.calls["call"], client.calls["receipt"], client.calls["transaction_count"]
    await network.mine(5)
    after = client.calls["call"], client.calls["receipt"], client.calls["transaction_count"]
    assert after == before


async def test_fees_are_collected_when_they_are_worth_it() -> None:
    network = Network.of(101, 102, confirmations=0, interval=5)
    (first, second) = network.stacks
    await first.kill()
    first.drain_above = 10**16
    first.start()
    network.deployment.request("generateServerKey", KEY_ID, 1)
    await network.mine(12)
    sent = [entry.key.method for entry in first.store.entries.values()]
    assert sorted(sent) == ["drain", "serverKeyGenerated"]
    assert [task.state for task in first.store.tasks.values()] == [TaskState.SETTLED] * 2
    assert "drain" not in [entry.key.method for entry in second.store.entries.values()]
    await network.close()


def test_accounts_are_those_of_the_private_keys(network: Network) -> None:
    assert network.deployment.client.account(1) == Address(
        bytes.fromhex("2b5ad5c4795c026514f8317c7a215e218dccd6cf")
    )
