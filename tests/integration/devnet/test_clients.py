"""Every kind of web3 client works against the chain."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from web3 import AsyncWeb3, HTTPProvider, Web3, WebSocketProvider
from web3.exceptions import BlockNotFound, ContractCustomError, TransactionNotFound

from keyserver.devnet.local_chain import DEVELOPMENT_BALANCE_WEI
from tests.integration.devnet.accounts import SOMEONE, TRANSFER_GAS, Sender
from tests.integration.devnet.conftest import Chain, control, mined
from tests.integration.devnet.contract import (
    REFUSED_SELECTOR,
    STORED_TOPIC,
    deploy,
    encoded,
    store,
)


async def test_a_synchronous_client_sends_and_reads(chain: Chain, alice: Sender) -> None:
    def transfer() -> None:
        client = Web3(HTTPProvider(chain.rpc_url))
        assert client.eth.chain_id == chain.chain_id
        assert int(client.net.version) == chain.chain_id
        assert client.eth.syncing is False
        assert client.eth.get_balance(alice.address) == DEVELOPMENT_BALANCE_WEI
        raw = alice.sign(value=5, gas=TRANSFER_GAS)
        receipt = client.eth.wait_for_transaction_receipt(client.eth.send_raw_transaction(raw))
        assert (receipt["status"], receipt["gasUsed"]) == (1, TRANSFER_GAS)
        assert client.eth.get_balance(SOMEONE) == 5
        block = client.eth.get_block("latest", full_transactions=True)
        full: Any = block["transactions"][0]
        assert full["value"] == 5

    await asyncio.to_thread(transfer)


async def test_a_legacy_transaction_is_mined(client: AsyncWeb3[Any], alice: Sender) -> None:
    fields = {
        **{"nonce": 0, "to": SOMEONE, "value": 1, "gas": TRANSFER_GAS, "gasPrice": 10**10},
        "chainId": await client.eth.chain_id,
    }
    signed = alice.account.sign_transaction(fields)
    sent = await client.eth.send_raw_transaction(signed.raw_transaction)
    assert (await mined(client, sent))["effectiveGasPrice"] == 10**10
    assert (await client.eth.get_transaction(sent))["type"] == 0


async def test_a_contract_is_deployed_called_and_emits(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    sent = await alice.send(client, to=contract.address, data=encoded(contract, "store", 7))
    receipt = await mined(client, sent)
    assert await contract.functions.stored().call() == 7
    (event,) = contract.events.Stored().process_receipt(receipt)
    assert (event["args"]["sender"], event["args"]["value"]) == (alice.address, 7)
    (log,) = await contract.events.Stored().get_logs(from_block=0)
    assert log["transactionHash"] == receipt["transactionHash"]
    assert (await client.eth.get_code(contract.address)) != b""


async def test_a_past_block_is_called_by_number_and_by_hash(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    await store(client, alice, contract, 1)
    past = await client.eth.get_block("latest")
    await store(client, alice, contract, 2)
    stored = contract.functions.stored()
    assert await stored.call(block_identifier=past["number"]) == 1
    assert await stored.call(block_identifier=past["hash"]) == 1
    by_object = await control(
        client,
        "eth_call",
        {"to": contract.address, "data": contract.encode_abi("stored")},
        {"blockHash": past["hash"].to_0x_hex(), "requireCanonical": True},
    )
    assert int(by_object, 16) == 1
    assert await stored.call() == 2


async def test_a_custom_error_surfaces_with_its_data(client: AsyncWeb3[Any], alice: Sender) -> None:
    contract = await deploy(client, alice)
    expected = "0x" + (REFUSED_SELECTOR + (42).to_bytes(32, "big")).hex()
    with pytest.raises(ContractCustomError) as called:
        await contract.functions.refuse(42).call()
    assert called.value.data == expected
    with pytest.raises(ContractCustomError) as estimated:
        await contract.functions.refuse(42).estimate_gas({"from": alice.address})
    assert estimated.value.data == expected


async def test_a_reverting_transaction_is_mined_as_failed(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    data = encoded(contract, "refuse", 1)
    sent = await alice.send(client, to=contract.address, data=data)
    receipt = await mined(client, sent)
    assert (receipt["status"], receipt["logs"]) == (0, [])


async def test_the_estimate_is_enough_and_not_much_more(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    estimate = await contract.functions.store(9).estimate_gas({"from": alice.address})
    data = encoded(contract, "store", 9)
    sent = await alice.send(client, to=contract.address, data=data, gas=estimate)
    receipt = await mined(client, sent)
    assert receipt["status"] == 1
    assert estimate <= receipt["gasUsed"] * 1.05
    transfer: Any = {"from": alice.address, "to": SOMEONE, "value": 1}
    assert await client.eth.estimate_gas(transfer) == TRANSFER_GAS


async def test_a_batch_is_answered_in_order(client: AsyncWeb3[Any]) -> None:
    await control(client, "anvil_mine", 20)
    async with client.batch_requests() as batch:
        for number in range(20):
            batch.add(client.eth.get_block(number))
        blocks: Any = await batch.async_execute()
    assert [block["number"] for block in blocks] == list(range(20))
    assert all(child["parentHash"] == parent["hash"] for parent, child in pairwise(blocks))


async def test_tags_name_their_blocks(client: AsyncWeb3[Any]) -> None:
    await control(client, "anvil_mine", 5)
    tags = ("earliest", "finalized", "safe", "latest")
    numbers = [(await client.eth.get_block(tag))["number"] for tag in tags]  # type: ignore[arg-type]
    assert numbers == [0, 3, 4, 5]
    with pytest.raises(BlockNotFound):
        await client.eth.get_block(6)
    with pytest.raises(BlockNotFound):
        await client.eth.get_block("0x" + "12" * 32)  # type: ignore[arg-type]
    with pytest.raises(TransactionNotFound):
        await client.eth.get_transaction_receipt("0x" + "12" * 32)  # type: ignore[arg-type]


async def test_fees_are_suggested(client: AsyncWeb3[Any]) -> None:
    await control(client, "anvil_mine", 3)
    history = await client.eth.fee_history(2, "latest", [50])
    assert len(history["baseFeePerGas"]) == 3
    assert len(history["reward"]) == 2
    assert history["oldestBlock"] == 2
    assert history["baseFeePerGas"][1] < history["baseFeePerGas"][0]
    assert await client.eth.gas_price > 0
    assert await client.eth.max_priority_fee > 0


async def test_heads_and_logs_are_pushed(
    chain: Chain, client: AsyncWeb3[Any], alice: Sender
) -> None:
    contract = await deploy(client, alice)
    async with AsyncWeb3(WebSocketProvider(chain.ws_url)) as socket:
        heads = await socket.eth.subscribe("newHeads")
        wanted: Any = {"address": contract.address, "topics": ["0x" + STORED_TOPIC.hex()]}
        logs = await socket.eth.subscribe("logs", wanted)
        receipt = await store(client, alice, contract, 3)
        # The order of the two is not promised by real nodes.
        pushed: dict[Any, Any] = {}
        async for message in socket.socket.process_subscriptions():
            pushed[message["subscription"]] = message["result"]
            if len(pushed) == 2:
                break
        assert pushed[heads]["hash"] == receipt["blockHash"]
        assert pushed[logs]["blockHash"] == receipt["blockHash"]
        assert pushed[logs]["removed"] is False
        assert await socket.eth.unsubscribe(heads)
