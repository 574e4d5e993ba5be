"""What the EVM does with hard cases: reasons, gas that runs out, calls within calls, old types."""

from typing import Any

import pytest
from eth_abi.abi import encode
from web3 import AsyncWeb3
from web3.exceptions import ContractLogicError, Web3RPCError

from tests.integration.devnet.accounts import SOMEONE, TRANSFER_GAS, Sender
from tests.integration.devnet.conftest import control, mined, raw_answer
from tests.integration.devnet.contract import OPCODES, assemble, creation, deploy, encoded

ERROR_SELECTOR = bytes.fromhex("08c379a0")
"""Of `Error(string)`."""


async def deploy_code(client: AsyncWeb3[Any], sender: Sender, runtime: bytes) -> str:
    sent = await sender.send(client, to=None, data=creation(runtime), gas=500_000)
    address = (await mined(client, sent))["contractAddress"]
    assert address is not None
    return str(address)


def reverting_with(output: bytes) -> bytes:
    """Code that reverts with `output`, which follows the code."""
    size = f"0x{len(output):02x}"
    length = len(assemble(f"{size} 0x00 0x00 CODECOPY {size} 0x00 REVERT"))
    return assemble(f"{size} 0x{length:02x} 0x00 CODECOPY {size} 0x00 REVERT") + output


async def test_a_reason_string_is_told(client: AsyncWeb3[Any], alice: Sender) -> None:
    output = ERROR_SELECTOR + encode(["string"], ["not today"])
    address: Any = await deploy_code(client, alice, reverting_with(output))
    with pytest.raises(ContractLogicError, match="not today") as failed:
        await client.eth.call({"to": address})
    assert failed.value.data == "0x" + output.hex()


async def test_a_broken_reason_is_passed_on_as_data(client: AsyncWeb3[Any], alice: Sender) -> None:
    output = ERROR_SELECTOR + b"\xff" * 32
    address: Any = await deploy_code(client, alice, reverting_with(output))
    answer = await raw_answer(client, "eth_call", {"to": address}, "latest")
    assert answer["error"]["code"] == 3
    assert answer["error"]["data"] == "0x" + output.hex()


async def test_a_call_that_runs_out_of_gas_is_an_error(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    endless = bytes([OPCODES["JUMPDEST"]]) + bytes.fromhex("600056")  # JUMPDEST PUSH1 0 JUMP
    address: Any = await deploy_code(client, alice, endless)
    with pytest.raises(Web3RPCError, match=r"(?i)out ?of ?gas"):
        await client.eth.call({"to": address, "gas": 50_000})
    invalid: Any = await deploy_code(client, alice, b"\xfe")
    with pytest.raises(Web3RPCError, match=r"(?i)invalid"):
        await client.eth.call({"to": invalid})


async def test_the_estimate_leaves_enough_for_an_inner_call(
    client: AsyncWeb3[Any], alice: Sender
) -> None:
    """An inner call gets at most 63/64 of the gas: what is spent does not suffice as a limit."""
    contract = await deploy(client, alice)
    relay: Any = await deploy_code(
        client,
        alice,
        assemble(
            "0x24 0x00 0x00 CALLDATACOPY 0x00 0x00 0x24 0x00 0x00 "
            f"{contract.address.lower()} GAS CALL @done JUMPI 0x00 0x00 REVERT :done STOP"
        ),
    )
    data = encoded(contract, "store", 9)
    call: Any = {"from": alice.address, "to": relay, "data": "0x" + data.hex()}
    estimate = await client.eth.estimate_gas(call)
    receipt = await mined(client, await alice.send(client, to=relay, data=data, gas=estimate))
    assert receipt["status"] == 1
    assert receipt["gasUsed"] < estimate < receipt["gasUsed"] * 1.1
    assert await contract.functions.stored().call() == 9


async def test_a_full_block_leaves_the_rest_for_the_next(
    embedded_client: AsyncWeb3[Any], alice: Sender, bob: Sender
) -> None:
    """How anvil fills its blocks is its own matter."""
    client = embedded_client
    burning: Any = await deploy_code(client, alice, b"\xfe")  # takes all the gas it is given
    await control(client, "evm_setAutomine", False)
    sent = [
        await sender.send(client, to=burning, gas=14_000_000, fee=50 * 10**9)
        for sender in (alice, bob, bob)
    ]
    sent.append(await bob.send(client, fee=50 * 10**9))
    await control(client, "evm_mine")
    await control(client, "evm_mine")
    assert [(await mined(client, h))["blockNumber"] for h in sent] == [2, 2, 3, 3]


async def test_an_access_list_is_kept(client: AsyncWeb3[Any], alice: Sender) -> None:
    fields = {
        **{"nonce": 0, "to": SOMEONE, "gas": 50_000, "gasPrice": 10**10, "type": 1, "value": 0},
        "accessList": [{"address": SOMEONE, "storageKeys": ["0x" + "00" * 31 + "05"]}],
        "chainId": await client.eth.chain_id,
    }
    signed = alice.account.sign_transaction(fields)
    sent = bytes(await client.eth.send_raw_transaction(signed.raw_transaction))
    assert (await mined(client, sent))["gasUsed"] == TRANSFER_GAS + 2400 + 1900
    transaction: Any = await client.eth.get_transaction(sent)  # type: ignore[arg-type]
    (accessed,) = transaction["accessList"]
    assert int(accessed["storageKeys"][0], 16) == 5


async def test_the_fee_history_knows_the_tips_that_were_paid(
    client: AsyncWeb3[Any], alice: Sender, bob: Sender
) -> None:
    await control(client, "evm_setAutomine", False)
    await alice.send(client, tip=10**9)
    await bob.send(client, tip=3 * 10**9)
    await control(client, "evm_mine")
    history = await client.eth.fee_history(1, "latest", [10, 90])
    assert history["reward"] == [[10**9, 3 * 10**9]]
    assert history["gasUsedRatio"][0] > 0
