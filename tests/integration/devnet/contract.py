"""A small contract assembled by hand: it stores a number, emits it, and reverts when asked."""

from typing import Any

from eth_utils.crypto import keccak
from web3 import AsyncWeb3
from web3.contract import AsyncContract
from web3.types import TxReceipt

from tests.integration.devnet.accounts import Sender
from tests.integration.devnet.conftest import mined

UINT = [{"name": "value", "type": "uint256"}]
ABI: list[dict[str, Any]] = [
    {"type": "function", "name": "store", "inputs": UINT, "outputs": []}
    | {"stateMutability": "nonpayable"},
    {"type": "function", "name": "refuse", "inputs": UINT, "outputs": []}
    | {"stateMutability": "nonpayable"},
    {"type": "function", "name": "stored", "inputs": [], "outputs": UINT}
    | {"stateMutability": "view"},
    {"type": "error", "name": "Refused", "inputs": UINT},
    {
        "type": "event",
        "name": "Stored",
        "anonymous": False,
        "inputs": [
            {"name": "sender", "type": "address", "indexed": True},
            {"name": "value", "type": "uint256", "indexed": False},
        ],
    },
]

STORED_TOPIC = keccak(text="Stored(address,uint256)")
REFUSED_SELECTOR = keccak(text="Refused(uint256)")[:4]

OPCODES = {
    **{"STOP": 0x00, "EQ": 0x14, "SHL": 0x1B, "SHR": 0x1C, "CALLER": 0x33, "CALLDATALOAD": 0x35},
    **{
        "CALLDATACOPY": 0x37,
        "CODECOPY": 0x39,
        "GAS": 0x5A,
        "CALL": 0xF1,
        "MSTORE": 0x52,
        "SLOAD": 0x54,
        "SSTORE": 0x55,
        "JUMPI": 0x57,
    },
    **{"JUMPDEST": 0x5B, "DUP1": 0x80, "LOG2": 0xA2, "RETURN": 0xF3, "REVERT": 0xFD},
}
PUSH1 = 0x60


def _selector(signature: str) -> str:
    return "0x" + keccak(text=signature)[:4].hex()


RUNTIME = f"""
0x00 CALLDATALOAD 0xe0 SHR
DUP1 {_selector("store(uint256)")} EQ @store JUMPI
DUP1 {_selector("refuse(uint256)")} EQ @refuse JUMPI
DUP1 {_selector("stored()")} EQ @stored JUMPI
0x00 0x00 REVERT
:store  0x04 CALLDATALOAD DUP1 0x00 SSTORE 0x00 MSTORE
        CALLER 0x{STORED_TOPIC.hex()} 0x20 0x00 LOG2 STOP
:refuse 0x{REFUSED_SELECTOR.hex()} 0xe0 SHL 0x00 MSTORE
        0x04 CALLDATALOAD 0x04 MSTORE 0x24 0x00 REVERT
:stored 0x00 SLOAD 0x00 MSTORE 0x20 0x00 RETURN
"""


def assemble(source: str) -> bytes:
    """Assemble opcodes, 0x constants (pushed), `:label` (a JUMPDEST) and `@label` (pushed)."""
    code = bytearray()
    place_by_label: dict[str, int] = {}
    uses: list[tuple[int, str]] = []
    for word in source.split():
        if word.startswith("0x"):
            constant = bytes.fromhex(word[2:])
            code += bytes([PUSH1 + len(constant) - 1]) + constant
        elif word.startswith(":"):
            place_by_label[word[1:]] = len(code)
            code.append(OPCODES["JUMPDEST"])
        elif word.startswith("@"):
            uses.append((len(code) + 1, word[1:]))
            code += bytes([PUSH1, 0])
        else:
            code.append(OPCODES[word])
    for place, label in uses:
        code[place] = place_by_label[label]
    return bytes(code)


def creation(runtime: bytes) -> bytes:
    """Wrap runtime code into code that deploys it."""
    size = f"0x{len(runtime):02x}"
    header_length = len(assemble(f"{size} 0x00 0x00 CODECOPY {size} 0x00 RETURN"))
    return assemble(f"{size} 0x{header_length:02x} 0x00 CODECOPY {size} 0x00 RETURN") + runtime


CREATION_CODE = creation(assemble(RUNTIME))


async def deploy(client: AsyncWeb3[Any], sender: Sender) -> AsyncContract:
    """Deploy the contract and wait until it is mined; the chain must mine by itself."""
    sent = await sender.send(client, to=None, data=CREATION_CODE, gas=500_000)
    receipt = await mined(client, sent)
    assert receipt["contractAddress"] is not None
    return client.eth.contract(address=receipt["contractAddress"], abi=ABI)


def encoded(contract: AsyncContract, function: str, value: int) -> bytes:
    """Encode a call of one of the functions that take a number."""
    return bytes.fromhex(contract.encode_abi(function, [value])[2:])


async def store(
    client: AsyncWeb3[Any], sender: Sender, contract: AsyncContract, value: int
) -> TxReceipt:
    """Store a number and wait until that is mined."""
    data = encoded(contract, "store", value)
    return await mined(client, await sender.send(client, to=contract.address, data=data))
