"""`eth_getLogs`: addresses, topics, ranges, tags and block hashes."""

from typing import Any

import pytest
from web3 import AsyncWeb3

from tests.integration.devnet.accounts import SOMEONE, Sender
from tests.integration.devnet.conftest import control, mined, raw_answer
from tests.integration.devnet.contract import STORED_TOPIC, deploy, encoded, store

TOPIC = "0x" + STORED_TOPIC.hex()
OTHER_TOPIC = "0x" + "77" * 32


def padded(address: str) -> str:
    return "0x" + "00" * 12 + address[2:].lower()


async def values(client: AsyncWeb3[Any], **wanted: Any) -> list[int]:
    logs = await control(client, "eth_getLogs", wanted)
    assert all(log["removed"] is False for log in logs)
    return [int(log["data"], 16) for log in logs]


async def test_logs_are_chosen_by_range_address_and_topics(
    client: AsyncWeb3[Any], alice: Sender, bob: Sender
) -> None:
    first = await deploy(client, alice)
    second = await deploy(client, alice)
    start = (await store(client, alice, first, 1))["blockNumber"]
    await store(client, bob, second, 2)
    await store(client, alice, second, 3)
    everything: dict[str, Any] = {"fromBlock": "earliest", "toBlock": "latest"}

    assert await values(client, **everything) == [1, 2, 3]
    assert await values(client) == [3]
    assert await values(client, fromBlock=hex(start), toBlock=hex(start + 1)) == [1, 2]
    assert await values(client, fromBlock=hex(start + 1), toBlock="latest") == [2, 3]
    assert await values(client, **everything, address=second.address) == [2, 3]
    assert await values(client, **everything, address=[first.address, SOMEONE]) == [1]
    assert await values(client, **everything, topics=[TOPIC]) == [1, 2, 3]
    assert await values(client, **everything, topics=[OTHER_TOPIC]) == []
    assert await values(client, **everything, topics=[[OTHER_TOPIC, TOPIC]]) == [1, 2, 3]
    assert await values(client, **everything, topics=[None, padded(bob.address)]) == [2]


async def test_a_place_no_topic_has_matches_nothing(
    embedded_client: AsyncWeb3[Any], alice: Sender
) -> None:
    """As in go-ethereum; anvil ignores trailing nulls."""
    client = embedded_client
    await store(client, alice, await deploy(client, alice), 1)
    assert await values(client, topics=[TOPIC, None]) == [1]
    assert await values(client, topics=[TOPIC, None, None]) == []


async def test_logs_of_one_block_are_found_by_its_hash(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    await control(client, "evm_setAutomine", False)
    sent = [
        await alice.send(client, to=contract.address, data=encoded(contract, "store", value))
        for value in (5, 6)
    ]
    await control(client, "evm_mine")
    receipts = [await mined(client, transaction) for transaction in sent]
    block_hash = receipts[0]["blockHash"].to_0x_hex()
    logs = await control(client, "eth_getLogs", {"blockHash": block_hash})
    assert [int(log["data"], 16) for log in logs] == [5, 6]
    assert [int(log["logIndex"], 16) for log in logs] == [0, 1]
    assert [int(log["transactionIndex"], 16) for log in logs] == [0, 1]
    assert [receipt["logs"][0]["logIndex"] for receipt in receipts] == [0, 1]


async def test_many_blocks_of_logs_are_read_at_once(
    embedded_client: AsyncWeb3[Any], alice: Sender
) -> None:
    client = embedded_client
    contract = await deploy(client, alice)
    for value in range(100):
        await alice.send(client, to=contract.address, data=encoded(contract, "store", value))
    assert await values(client, fromBlock="0x0", toBlock="latest") == list(range(100))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"blockHash": "0x" + "99" * 32}, "unknown block"),
        ({"blockHash": "0x" + "99" * 32, "fromBlock": "0x0"}, "blockHash stands without"),
        ({"fromBlock": "0x5", "toBlock": "0x1"}, "block range"),
        ({"address": "0x1234"}, "invalid address: 20 bytes are expected, got 2"),
        ({"topics": ["77" * 32]}, "invalid topic"),
        ({"topics": [None] * 5}, "invalid topics"),
        ({"fromBlock": "soon"}, "invalid block number"),
    ],
)
async def test_a_bad_filter_is_refused(
    embedded_client: AsyncWeb3[Any], wanted: dict[str, Any], message: str
) -> None:
    answer = await raw_answer(embedded_client, "eth_getLogs", wanted)
    assert message in answer["error"]["message"]
