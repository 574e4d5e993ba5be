"""The chain takes another branch: by snapshot, by reorganisation, by rolling back."""

from typing import Any

import pytest
from web3 import AsyncWeb3, WebSocketProvider

from tests.integration.devnet.accounts import SOMEONE, Sender
from tests.integration.devnet.conftest import Chain, control, mined, raw_answer
from tests.integration.devnet.contract import deploy, encoded, store


async def logged(client: AsyncWeb3[Any]) -> list[int]:
    logs = await control(client, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})
    return [int(log["data"], 16) for log in logs]


async def test_a_snapshot_is_returned_to_and_another_branch_grows(
    client: AsyncWeb3[Any], alice: Sender, bob: Sender
) -> None:
    contract = await deploy(client, alice)
    snapshot = await control(client, "evm_snapshot")
    abandoned = await store(client, alice, contract, 1)
    assert await control(client, "evm_revert", snapshot) is True
    assert await client.eth.block_number == abandoned["blockNumber"] - 1
    kept = await store(client, bob, contract, 2)
    assert kept["blockNumber"] == abandoned["blockNumber"]
    assert kept["blockHash"] != abandoned["blockHash"]
    assert await logged(client) == [2]
    assert await contract.functions.stored().call() == 2
    assert await client.eth.get_transaction_count(alice.address) == 1
    assert await control(client, "evm_revert", snapshot) is False


async def test_branches_of_empty_blocks_differ(embedded_client: AsyncWeb3[Any]) -> None:
    client = embedded_client
    hashes = []
    for _ in range(2):
        snapshot = await control(client, "evm_snapshot")
        await control(client, "evm_mine")
        hashes.append((await client.eth.get_block("latest"))["hash"])
        await control(client, "evm_revert", snapshot)
    assert hashes[0] != hashes[1]


async def test_a_reorganisation_keeps_the_height_and_drops_transactions(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    dropped = await store(client, alice, contract, 1)
    await control(client, "anvil_mine", 2)
    before = [(await client.eth.get_block(number))["hash"] for number in range(5)]
    await control(client, "anvil_reorg", 3, [])
    after = [(await client.eth.get_block(number))["hash"] for number in range(5)]
    assert await client.eth.block_number == 4
    assert before[:2] == after[:2]
    assert all(old != new for old, new in zip(before[2:], after[2:], strict=True))
    assert await logged(client) == []
    assert await contract.functions.stored().call() == 0
    lost = dropped["transactionHash"].to_0x_hex()
    assert await control(client, "eth_getTransactionReceipt", lost) is None
    again = await store(client, Sender(1, await client.eth.chain_id), contract, 2)
    assert again["blockNumber"] == 5


async def test_a_reorganised_block_holds_the_given_transactions(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    data = encoded(contract, "store", 8)
    raw = alice.sign(to=contract.address, data=data)
    sent = bytes(await client.eth.send_raw_transaction(raw))
    first = await mined(client, sent)
    await control(client, "anvil_mine", 1)
    await control(client, "anvil_reorg", 2, [["0x" + raw.hex(), 1]])
    moved = await mined(client, sent)
    assert moved["blockNumber"] == first["blockNumber"] + 1
    assert moved["blockHash"] != first["blockHash"]
    assert await logged(client) == [8]


async def test_rolling_back_shortens_the_chain(client: AsyncWeb3[Any]) -> None:
    await control(client, "anvil_mine", 4)
    kept = (await client.eth.get_block(2))["hash"]
    await control(client, "anvil_rollback", 2)
    assert (await client.eth.get_block("latest"))["hash"] == kept


async def test_a_snapshot_outlives_a_reorganisation_below_it(
    embedded_client: AsyncWeb3[Any], alice: Sender
) -> None:
    client = embedded_client
    contract = await deploy(client, alice)
    await store(client, alice, contract, 1)
    head = (await client.eth.get_block("latest"))["hash"]
    snapshot = await control(client, "evm_snapshot")
    await control(client, "anvil_reorg", 1, [])
    assert await control(client, "evm_revert", snapshot) is True
    assert (await client.eth.get_block("latest"))["hash"] == head
    assert await contract.functions.stored().call() == 1
    assert await logged(client) == [1]


async def test_subscribers_hear_of_every_new_head_of_a_reorganisation(
    chain: Chain, client: AsyncWeb3[Any]
) -> None:
    await control(client, "anvil_mine", 3)
    async with AsyncWeb3(WebSocketProvider(chain.ws_url)) as socket:
        await socket.eth.subscribe("newHeads")
        await control(client, "anvil_reorg", 2, [])
        heads: list[Any] = []
        async for message in socket.socket.process_subscriptions():
            heads.append(message["result"])
            if len(heads) == 2:
                break
    assert [head["number"] for head in heads] == [2, 3]
    assert heads[1]["parentHash"] == heads[0]["hash"]
    assert heads[1]["hash"] == (await client.eth.get_block("latest"))["hash"]


@pytest.mark.parametrize("chain", ["embedded"], indirect=True)
async def test_subscribers_hear_of_removed_logs(
    chain: Chain, client: AsyncWeb3[Any], alice: Sender
) -> None:
    """As go-ethereum pushes them; anvil does not."""
    contract = await deploy(client, alice)
    stored = await store(client, alice, contract, 1)
    async with AsyncWeb3(WebSocketProvider(chain.ws_url)) as socket:
        await socket.eth.subscribe("logs", {"address": contract.address})
        await control(client, "anvil_reorg", 1, [])
        async for message in socket.socket.process_subscriptions():
            log: Any = message["result"]
            break
    assert log["removed"] is True
    assert log["blockHash"] == stored["blockHash"]


@pytest.mark.parametrize(
    "parameters",
    [[0], [9], [1, [["0x00", 0]]], [1, ["0x00"]], [1, [["0x00", 1]]], ["one"]],
)
async def test_an_impossible_reorganisation_changes_nothing(
    embedded_client: AsyncWeb3[Any], parameters: list[Any]
) -> None:
    client = embedded_client
    await control(client, "anvil_mine", 3)
    head = await client.eth.get_block("latest")
    answer = await raw_answer(client, "anvil_reorg", *parameters)
    assert answer["error"]["code"] == -32602
    assert await client.eth.get_block("latest") == head


async def test_a_balance_is_set(client: AsyncWeb3[Any]) -> None:
    await control(client, "anvil_setBalance", SOMEONE, hex(77))
    assert await client.eth.get_balance(SOMEONE) == 77
