"""JSON-RPC values as typed ones, and back: pure, hexadecimal only here.

What an endpoint sends is not trusted: a missing field, a number that is none or bytes of a wrong
length raise `MalformedAnswerError`. Unknown fields are ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from keyserver.chain.client import (
    HEAD,
    At,
    BlockRef,
    ChainUnavailableError,
    ContractCall,
    Log,
    Receipt,
)
from keyserver.chain.rpc_errors import RpcFailure
from keyserver.model.identifiers import Address, FixedBytes, Hash32

Json = Any
"""A parsed JSON value: its shape is checked here, field by field."""

Fixed = TypeVar("Fixed", bound=FixedBytes)


class MalformedAnswerError(ChainUnavailableError):
    """An endpoint answered something that the JSON-RPC interface does not allow."""


# --- to JSON ---------------------------------------------------------------------------------


def hex_bytes(data: bytes) -> str:
    """Bytes of any length."""
    return "0x" + data.hex()


def pinned_block(at: At) -> Json:
    """A block parameter that names the block by hash (EIP-1898), or the latest block."""
    if at == HEAD:
        return "latest"
    return {"blockHash": hex_bytes(at.hash), "requireCanonical": True}


def numbered_block(at: At) -> str:
    """A block parameter for endpoints that know no pinning: what is read may be another block."""
    return "latest" if at == HEAD else hex(at.number)


def call_object(call: ContractCall) -> dict[str, str]:
    """The transaction object of `eth_call` and `eth_estimateGas`."""
    fields = {"to": hex_bytes(call.to), "data": hex_bytes(call.data)}
    if call.sender is not None:
        fields["from"] = hex_bytes(call.sender)
    if call.value:
        fields["value"] = hex(call.value)
    return fields


def log_filter(
    addresses: Sequence[Address], first: int, last: int, topics: Sequence[Hash32] | None
) -> dict[str, Json]:
    """The filter of `eth_getLogs`, both ends included."""
    fields: dict[str, Json] = {
        "address": [hex_bytes(address) for address in addresses],
        "fromBlock": hex(first),
        "toBlock": hex(last),
    }
    if topics is not None:
        fields["topics"] = [[hex_bytes(topic) for topic in topics]]
    return fields


MAX_QUANTITY: Final = 2**256

MAX_COUNT: Final = 2**63
"""What a database takes as a number: no chain has so many blocks."""

# --- from JSON -------------------------------------------------------------------------------


def quantity(value: Json, name: str) -> int:
    """A `0x` number, as large as the chain has them."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise MalformedAnswerError(f"{name}: {value!r:.80} is no number")
    try:
        found = int(value, 16)
    except ValueError:
        raise MalformedAnswerError(f"{name}: {value!r:.80} is no number") from None
    if found >= MAX_QUANTITY:
        raise MalformedAnswerError(f"{name}: {value!r:.80} is more than 256 bits")
    return found


def count(value: Json, name: str) -> int:
    """A `0x` number of things that are counted, such as blocks and seconds."""
    found = quantity(value, name)
    if found >= MAX_COUNT:
        raise MalformedAnswerError(f"{name}: {value!r:.80} is more than 63 bits")
    return found


def data(value: Json, name: str) -> bytes:
    """`0x` bytes of any length."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise MalformedAnswerError(f"{name}: {value!r:.80} is no hexadecimal")
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise MalformedAnswerError(f"{name}: {value!r:.80} is no hexadecimal") from None


def fixed(kind: type[Fixed], value: Json, name: str) -> Fixed:
    """`0x` bytes of the length of `kind`."""
    raw = data(value, name)
    if len(raw) != kind.SIZE:
        raise MalformedAnswerError(f"{name}: {kind.SIZE} bytes expected, got {len(raw)}")
    return kind(raw)


def block(value: Json) -> BlockRef | None:
    """A block or header object; `None` for a block that is not there."""
    if value is None:
        return None
    fields = _object(value, "block")
    base_fee = fields.get("baseFeePerGas")
    return BlockRef(
        count(fields.get("number"), "block.number"),
        fixed(Hash32, fields.get("hash"), "block.hash"),
        fixed(Hash32, fields.get("parentHash"), "block.parentHash"),
        count(fields.get("timestamp"), "block.timestamp"),
        None if base_fee is None else quantity(base_fee, "block.baseFeePerGas"),
    )


def logs(value: Json) -> tuple[Log, ...]:
    """The answer of `eth_getLogs`, without removed logs, in the order of the chain."""
    if not isinstance(value, list):
        raise MalformedAnswerError("logs: a list is expected")
    kept = [_log(_object(each, "log")) for each in value if not _object(each, "log").get("removed")]
    return tuple(sorted(kept, key=lambda log: (log.block_number, log.log_index)))


def receipt(value: Json) -> Receipt | None:
    """A receipt; `None` while the transaction is not mined."""
    if value is None:
        return None
    fields = _object(value, "receipt")
    if fields.get("blockNumber") is None:
        return None  # some nodes answer so for a transaction that waits in the pool
    price = fields.get("effectiveGasPrice", "0x0")
    return Receipt(
        fixed(Hash32, fields.get("transactionHash"), "receipt.transactionHash"),
        quantity(fields.get("status", "0x1"), "receipt.status") == 1,
        count(fields.get("blockNumber"), "receipt.blockNumber"),
        fixed(Hash32, fields.get("blockHash"), "receipt.blockHash"),
        count(fields.get("gasUsed"), "receipt.gasUsed"),
        quantity(price, "receipt.effectiveGasPrice"),
    )


def failure(value: Json) -> RpcFailure:
    """The `error` of an answer; revert data where it carries any."""
    if not isinstance(value, dict):
        return RpcFailure(0, str(value))
    code = value.get("code")
    message = value.get("message")
    return RpcFailure(
        code if isinstance(code, int) else 0,
        message if isinstance(message, str) else "",
        _revert_data(value.get("data")),
    )


def _revert_data(value: Json) -> bytes | None:
    # Some nodes wrap the bytes in an object, some put words before them.
    if isinstance(value, dict):
        return _revert_data(value.get("data"))
    if not isinstance(value, str):
        return None
    try:
        return bytes.fromhex(value.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return None


def _log(fields: Mapping[str, Json]) -> Log:
    topics = fields.get("topics")
    if not isinstance(topics, list):
        raise MalformedAnswerError("log.topics: a list is expected")
    return Log(
        fixed(Address, fields.get("address"), "log.address"),
        tuple(fixed(Hash32, topic, "log.topics") for topic in topics),
        data(fields.get("data"), "log.data"),
        count(fields.get("blockNumber"), "log.blockNumber"),
        fixed(Hash32, fields.get("blockHash"), "log.blockHash"),
        fixed(Hash32, fields.get("transactionHash"), "log.transactionHash"),
        count(fields.get("logIndex"), "log.logIndex"),
    )


def _object(value: Json, name: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise MalformedAnswerError(f"{name}: an object is expected")
    return value
