"""Waiting transactions: order, replacement, gaps, and what is refused in which words."""

from typing import Any

import pytest
from web3 import AsyncWeb3
from web3.exceptions import Web3RPCError

from tests.integration.devnet.accounts import GWEI, SOMEONE, TRANSFER_GAS, Sender
from tests.integration.devnet.conftest import CHAIN_ID, control, mined


async def test_several_of_one_sender_go_into_one_block(
    client: AsyncWeb3[Any], alice: Sender, bob: Sender
) -> None:
    await control(client, "evm_setAutomine", False)
    sent = [await alice.send(client, value=1) for _ in range(5)]
    sent.append(await bob.send(client, value=1))
    assert await client.eth.get_transaction_count(alice.address) == 0
    assert await client.eth.get_transaction_count(alice.address, "pending") == 5
    await control(client, "evm_mine")
    block = await client.eth.get_block("latest")
    assert block["number"] == 1
    assert {bytes(h) for h in block["transactions"]} == set(sent)  # type: ignore[arg-type]
    assert await client.eth.get_balance(SOMEONE) == 6
    assert await client.eth.get_transaction_count(alice.address) == 5


async def test_a_waiting_transaction_is_visible_but_has_no_receipt(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    await control(client, "evm_setAutomine", False)
    sent = await alice.send(client, value=3)
    waiting: Any = await client.eth.get_transaction(sent)  # type: ignore[arg-type]
    assert (waiting["blockNumber"], waiting["value"], waiting["from"]) == (None, 3, alice.address)
    assert await control(client, "eth_getTransactionReceipt", "0x" + sent.hex()) is None
    await control(client, "evm_mine")
    assert (await mined(client, sent))["blockNumber"] == 1


async def test_a_transaction_behind_a_gap_waits_for_it(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    later = await alice.send(client, nonce=1)
    await control(client, "evm_mine")
    assert (await client.eth.get_block("latest"))["transactions"] == []
    assert await client.eth.get_transaction_count(alice.address, "pending") == 0
    first = await alice.send(client, nonce=0)
    assert (await mined(client, first))["status"] == 1
    assert (await mined(client, later))["status"] == 1


async def test_a_replacement_must_pay_more(client: AsyncWeb3[Any], alice: Sender) -> None:
    await control(client, "evm_setAutomine", False)
    replaced = await alice.send(client, nonce=0, fee=10 * GWEI, tip=2 * GWEI)
    with pytest.raises(Web3RPCError, match="replacement transaction underpriced"):
        await alice.send(client, nonce=0, value=1, fee=10 * GWEI, tip=2 * GWEI)
    replacing = await alice.send(client, nonce=0, value=2, fee=11 * GWEI, tip=2_200_000_000)
    await control(client, "evm_mine")
    assert (await mined(client, replacing))["status"] == 1
    assert await control(client, "eth_getTransactionByHash", "0x" + replaced.hex()) is None


@pytest.mark.parametrize(
    ("fee", "tip"),
    [
        (10_900_000_000, 2_180_000_000),
        (20 * GWEI, 2 * GWEI),
        (10 * GWEI, 4 * GWEI),
    ],
)
async def test_a_replacement_must_raise_both_fees_by_a_tenth(
    embedded_client: AsyncWeb3[Any], alice: Sender, fee: int, tip: int
) -> None:
    """As go-ethereum wants it; anvil takes any higher fee."""
    client = embedded_client
    await control(client, "evm_setAutomine", False)
    await alice.send(client, nonce=0, fee=10 * GWEI, tip=2 * GWEI)
    with pytest.raises(Web3RPCError, match="replacement transaction underpriced"):
        await alice.send(client, nonce=0, value=1, fee=fee, tip=tip)


async def test_what_cannot_be_sent_is_refused_in_the_words_of_nodes(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    await mined(client, await alice.send(client))
    with pytest.raises(Web3RPCError, match="nonce too low"):
        await alice.send(client, nonce=0, value=9)
    with pytest.raises(Web3RPCError, match=r"[Ii]nsufficient funds"):
        await alice.send(client, nonce=1, value=10**30)
    with pytest.raises(Web3RPCError, match="intrinsic gas too low"):
        await alice.send(client, nonce=1, gas=TRANSFER_GAS - 1)
    with pytest.raises(Web3RPCError, match="chain"):
        await Sender(0, CHAIN_ID + 1).send(client, nonce=1)
    await control(client, "evm_setAutomine", False)
    raw = alice.sign(nonce=1)
    await client.eth.send_raw_transaction(raw)
    with pytest.raises(Web3RPCError, match=r"already known|already imported"):
        await client.eth.send_raw_transaction(raw)


async def test_a_dropped_transaction_is_gone(client: AsyncWeb3[Any], alice: Sender) -> None:
    await control(client, "evm_setAutomine", False)
    sent = await alice.send(client, nonce=0)
    assert await control(client, "anvil_dropTransaction", "0x" + sent.hex())
    assert await client.eth.get_transaction_count(alice.address, "pending") == 0
    await control(client, "evm_mine")
    assert (await client.eth.get_block("latest"))["transactions"] == []


async def test_a_tip_below_the_miners_minimum_waits(
    embedded_client: AsyncWeb3[Any], alice: Sender
) -> None:
    client = embedded_client
    await control(client, "miner_setGasPrice", hex(2 * GWEI))
    cheap = await alice.send(client, nonce=0, tip=GWEI)
    behind = await alice.send(client, nonce=1, tip=3 * GWEI)
    await control(client, "evm_mine")
    assert (await client.eth.get_block("latest"))["transactions"] == []
    better = await alice.send(client, nonce=0, fee=20 * GWEI, tip=3 * GWEI)
    assert (await mined(client, better))["blockNumber"] == (await mined(client, behind))[
        "blockNumber"
    ]
    assert not await control(client, "anvil_dropTransaction", "0x" + cheap.hex())


async def test_a_fee_below_the_base_fee_waits_until_it_falls(
    embedded_client: AsyncWeb3[Any], alice: Sender
) -> None:
    client = embedded_client
    base_fee = (await client.eth.get_block("pending"))["baseFeePerGas"]
    sent = await alice.send(client, fee=base_fee * 3 // 4, tip=0)
    assert (await client.eth.get_block_number()) == 0
    for _ in range(3):
        await control(client, "evm_mine")
    await control(client, "evm_mine")
    assert (await mined(client, sent))["blockNumber"] in (3, 4)


async def test_a_block_holds_at_most_fifty(embedded_client: AsyncWeb3[Any], alice: Sender) -> None:
    client = embedded_client
    await control(client, "evm_setAutomine", False)
    for _ in range(60):
        await alice.send(client)
    await control(client, "evm_mine")
    await control(client, "evm_mine")
    counts = [len((await client.eth.get_block(number))["transactions"]) for number in (1, 2)]
    assert counts == [50, 10]


async def test_one_that_became_unaffordable_is_dropped_and_the_rest_waits(
    embedded_client: AsyncWeb3[Any], alice: Sender, bob: Sender
) -> None:
    client = embedded_client
    await control(client, "evm_setAutomine", False)
    balance = await client.eth.get_balance(alice.address)
    spending = await alice.send(client, nonce=0, value=balance - 10**18)
    unaffordable = await alice.send(client, nonce=1, value=10**20)
    behind = await alice.send(client, nonce=2)
    other = await bob.send(client)
    await control(client, "evm_mine")
    block = await client.eth.get_block("latest")
    assert {bytes(h) for h in block["transactions"]} == {spending, other}  # type: ignore[arg-type]
    assert not await control(client, "anvil_dropTransaction", "0x" + unaffordable.hex())
    filler = await alice.send(client, nonce=1)
    await control(client, "evm_mine")
    assert [(await mined(client, sent))["blockNumber"] for sent in (filler, behind)] == [2, 2]
