"""A contract that behaves to clients as the originally published services do.

It has no fee, takes a retrieval of a server key or of a document key, and emits whatever event it
is told to, byte for byte: so also the two-argument `ServerKeyRetrieved` and unpadded data.
"""

from collections.abc import Sequence

from keyserver.client.contracts import RETRIEVAL, SHADOW_RETRIEVAL, Service
from keyserver.client.ethereum import Ethereum
from keyserver.client.wallet import Wallet
from keyserver.model.identifiers import Address

_OPCODES = {
    "SUB": "03", "EQ": "14", "SHR": "1c", "CALLER": "33", "CALLDATALOAD": "35",
    "CALLDATASIZE": "36", "CALLDATACOPY": "37", "CODECOPY": "39", "MLOAD": "51", "MSTORE": "52",
    "JUMPI": "57", "JUMPDEST": "5b", "DUP1": "80", "LOG1": "a1", "LOG2": "a2", "LOG3": "a3",
    "RETURN": "f3", "STOP": "00", "PUSH0": "5f",
}  # fmt: skip


def _assemble(source: str) -> bytes:
    """Words are opcodes, numbers to push (`#hex`), labels (`name:`) or jumps to them (`@name`)."""
    code, places, jumps = bytearray(), dict[str, int](), dict[int, str]()
    for word in source.split():
        if word.startswith("#"):
            value = bytes.fromhex(word[1:])
            code += bytes([0x5F + len(value)]) + value
        elif word.startswith("@"):
            jumps[len(code) + 1] = word[1:]
            code += b"\x61\0\0"
        elif word.endswith(":"):
            places[word[:-1]] = len(code)
            code += bytes.fromhex(_OPCODES["JUMPDEST"])
        else:
            code += bytes.fromhex(_OPCODES[word])
    for place, label in jumps.items():
        code[place : place + 2] = places[label].to_bytes(2, "big")
    return bytes(code)


def _requested(service: Service) -> str:
    return f"#{service.requested.topic0.hex()}"


_RUNTIME = _assemble(f"""
    CALLDATASIZE #04 EQ @nothing JUMPI
    PUSH0 CALLDATALOAD #e0 SHR
    DUP1 #{RETRIEVAL.request.selector.hex()} EQ @retrieval JUMPI
    DUP1 #{SHADOW_RETRIEVAL.request.selector.hex()} EQ @shadow JUMPI
    #04 CALLDATASIZE SUB #04 PUSH0 CALLDATACOPY
    #03 EQ @three JUMPI
    #20 MLOAD PUSH0 MLOAD #64 CALLDATASIZE SUB #60 LOG2 STOP
  three:
    #40 MLOAD #20 MLOAD PUSH0 MLOAD #64 CALLDATASIZE SUB #60 LOG3 STOP
  nothing:
    #20 PUSH0 RETURN
  retrieval:
    #04 CALLDATALOAD PUSH0 MSTORE {_requested(RETRIEVAL)} #20 PUSH0 LOG1 STOP
  shadow:
    #04 CALLDATALOAD PUSH0 MSTORE CALLER #20 MSTORE
    {_requested(SHADOW_RETRIEVAL)} #40 PUSH0 LOG1 STOP
""")
# Copies what stands after these 11 bytes to memory and returns it.
_CREATION = _assemble(f"#{len(_RUNTIME):04x} DUP1 #000b PUSH0 CODECOPY PUSH0 RETURN") + _RUNTIME


async def deploy(chain_url: str, wallet: Wallet) -> Address:
    """Deploy the contract and return its address."""
    from eth_account import Account
    from web3 import AsyncWeb3

    from keyserver.client.http_provider import HttpProvider

    provider = HttpProvider(chain_url)
    w3 = AsyncWeb3(provider)
    account = Account.from_key(wallet._secret.expose())
    try:
        nonce = await w3.eth.get_transaction_count(account.address)
        fields = {"chainId": await w3.eth.chain_id, "nonce": nonce, "data": _CREATION, "value": 0}
        fees = {"gas": 1_000_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
        signed = account.sign_transaction({**fields, **fees})
        sent = await w3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = await w3.eth.wait_for_transaction_receipt(sent, timeout=10, poll_latency=0.02)
        return Address(bytes.fromhex(str(receipt["contractAddress"])[2:]))
    finally:
        await provider.disconnect()


async def emit(
    ethereum: Ethereum, wallet: Wallet, contract: Address, topics: Sequence[bytes], data: bytes
) -> None:
    """Have two or three topics and data logged."""
    padded = b"".join(topics).ljust(96, b"\0")
    call = len(topics).to_bytes(4, "big") + padded + data
    await ethereum.send(wallet, contract, call)
