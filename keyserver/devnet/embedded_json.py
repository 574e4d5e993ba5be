"""JSON-RPC values: hex parameters in, blocks, transactions, receipts and logs out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import rlp  # type: ignore[import-untyped]
from eth.abc import SignedTransactionAPI
from eth_hash.auto import keccak

from keyserver.devnet.embedded_errors import RpcError, invalid_params
from keyserver.devnet.embedded_evm import Block, Call, Executed, LogEntry

ADDRESS_BYTES = 20
HASH_BYTES = 32
BLOOM_BYTES = 256
MAX_TOPICS = 4

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")

JsonObject = dict[str, Any]  # Any: JSON


def to_hex(value: bytes) -> str:
    """Write bytes as the protocol does."""
    return "0x" + value.hex()


def quantity(value: object, name: str) -> int:
    """Read a non-negative number, given as 0x quantity or (by control methods) as JSON number."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise invalid_params(name, f"a 0x hex quantity is expected, got {value!r}")
    return int(value, 16)


def data(value: object, name: str, length: int | None = None) -> bytes:
    """Read 0x hex bytes, of `length` bytes if given."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise invalid_params(name, f"0x hex bytes are expected, got {value!r}")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError as error:
        raise invalid_params(name, f"0x hex bytes are expected, got {value!r}") from error
    if length is not None and len(raw) != length:
        raise invalid_params(name, f"{length} bytes are expected, got {len(raw)}")
    return raw


def address(value: object, name: str) -> bytes:
    """Read a 20-byte address."""
    return data(value, name, ADDRESS_BYTES)


def json_object(value: object, name: str) -> Mapping[str, Any]:
    """Read a JSON object."""
    if not isinstance(value, dict):
        raise invalid_params(name, f"an object is expected, got {value!r}")
    return value


def call_object(value: object) -> Call:
    """Read the transaction object of `eth_call`, `eth_estimateGas` or `eth_sendTransaction`."""
    fields = json_object(value, "transaction")
    payload = fields.get("input") or fields.get("data") or "0x"
    return Call(
        sender=address(fields.get("from") or to_hex(bytes(ADDRESS_BYTES)), "from"),
        to=address(fields["to"], "to") if fields.get("to") else b"",
        value=quantity(fields.get("value", 0), "value"),
        data=data(payload, "input"),
        gas=quantity(fields["gas"], "gas") if "gas" in fields else None,
    )


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which events a client wants; `None` accepts anything at that place."""

    addresses: frozenset[bytes] | None
    topics: tuple[frozenset[bytes] | None, ...]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "LogFilter":
        """Read `address` (one or a list) and `topics` (each null, one or a list)."""
        wanted = fields.get("address")
        topics = fields.get("topics") or []
        if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
            raise invalid_params("topics", f"a list of at most {MAX_TOPICS}")
        return cls(
            addresses=_alternatives(wanted, "address", ADDRESS_BYTES) if wanted else None,
            topics=tuple(
                _alternatives(topic, "topic", HASH_BYTES) if topic else None for topic in topics
            ),
        )

    def matches(self, log: LogEntry) -> bool:
        """Tell whether `log` is wanted."""
        if self.addresses is not None and log.address not in self.addresses:
            return False
        if len(self.topics) > len(log.topics):
            return False
        pairs = zip(self.topics, log.topics, strict=False)
        return all(wanted is None or topic in wanted for wanted, topic in pairs)


def _alternatives(value: object, name: str, length: int) -> frozenset[bytes]:
    options: Sequence[object] = value if isinstance(value, list) else [value]
    return frozenset(data(option, name, length) for option in options)


def header_json(block: Block) -> JsonObject:
    """Encode what `newHeads` pushes."""
    header = block.header
    return {
        "number": hex(block.number),
        "hash": to_hex(block.hash),
        "parentHash": to_hex(header.parent_hash),
        "sha3Uncles": to_hex(header.uncles_hash),
        "logsBloom": to_hex(header.bloom.to_bytes(BLOOM_BYTES, "big")),
        "transactionsRoot": to_hex(header.transaction_root),
        "stateRoot": to_hex(header.state_root),
        "receiptsRoot": to_hex(header.receipt_root),
        "miner": to_hex(header.coinbase),
        "difficulty": hex(header.difficulty),
        "extraData": to_hex(header.extra_data),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "mixHash": to_hex(header.mix_hash),
        "nonce": to_hex(header.nonce),
        "baseFeePerGas": hex(header.base_fee_per_gas),
        "withdrawalsRoot": to_hex(header.withdrawals_root),
        "blobGasUsed": hex(header.blob_gas_used),
        "excessBlobGas": hex(header.excess_blob_gas),
        "parentBeaconBlockRoot": to_hex(header.parent_beacon_block_root),
        "requestsHash": to_hex(header.requests_hash),
    }


def block_json(block: Block, *, full_transactions: bool) -> JsonObject:
    """Encode a block with its transactions, whole or as hashes."""
    transactions: list[Any] = [
        mined_transaction_json(block, index, executed)
        if full_transactions
        else to_hex(executed.transaction.hash)
        for index, executed in enumerate(block.executed)
    ]
    return header_json(block) | {
        "totalDifficulty": "0x0",
        "size": hex(block.size),
        "transactions": transactions,
        "uncles": [],
        "withdrawals": [],
    }


def pending_transaction_json(transaction: SignedTransactionAPI) -> JsonObject:
    """Encode a transaction that waits for a block."""
    return _transaction_json(transaction) | {
        "blockHash": None,
        "blockNumber": None,
        "transactionIndex": None,
        "gasPrice": hex(transaction.max_fee_per_gas),
    }


def mined_transaction_json(block: Block, index: int, executed: Executed) -> JsonObject:
    """Encode a transaction of a block."""
    return _transaction_json(executed.transaction) | {
        "blockHash": to_hex(block.hash),
        "blockNumber": hex(block.number),
        "transactionIndex": hex(index),
        "gasPrice": hex(_effective_gas_price(block, executed.transaction)),
    }


def receipt_json(block: Block, index: int, executed: Executed) -> JsonObject:
    """Encode the outcome of a mined transaction."""
    transaction = executed.transaction
    return {
        "transactionHash": to_hex(transaction.hash),
        "transactionIndex": hex(index),
        "blockHash": to_hex(block.hash),
        "blockNumber": hex(block.number),
        "from": to_hex(transaction.sender),
        "to": to_hex(transaction.to) if transaction.to else None,
        "contractAddress": None if transaction.to else to_hex(_created_address(transaction)),
        "cumulativeGasUsed": hex(executed.cumulative_gas_used),
        "gasUsed": hex(executed.gas_used),
        "effectiveGasPrice": hex(_effective_gas_price(block, transaction)),
        "logs": [log_json(block, log) for log in executed.logs],
        "logsBloom": to_hex(executed.bloom.to_bytes(BLOOM_BYTES, "big")),
        "status": hex(executed.succeeded),
        "type": hex(transaction.type_id or 0),
    }


def log_json(block: Block, log: LogEntry, *, removed: bool = False) -> JsonObject:
    """Encode an event of `block`."""
    return {
        "address": to_hex(log.address),
        "topics": [to_hex(topic) for topic in log.topics],
        "data": to_hex(log.data),
        "blockHash": to_hex(block.hash),
        "blockNumber": hex(block.number),
        "transactionHash": to_hex(log.transaction_hash),
        "transactionIndex": hex(log.transaction_index),
        "logIndex": hex(log.log_index),
        "removed": removed,
    }


def error_json(error: RpcError) -> JsonObject:
    """Encode the `error` of an answer."""
    encoded: JsonObject = {"code": error.rpc_code, "message": error.message}
    if error.data is not None:
        encoded["data"] = to_hex(error.data)
    return encoded


def _transaction_json(transaction: SignedTransactionAPI) -> JsonObject:
    is_typed = transaction.type_id is not None
    encoded: JsonObject = {
        "hash": to_hex(transaction.hash),
        "type": hex(transaction.type_id or 0),
        "nonce": hex(transaction.nonce),
        "from": to_hex(transaction.sender),
        "to": to_hex(transaction.to) if transaction.to else None,
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "input": to_hex(transaction.data),
        "v": hex(transaction.y_parity if is_typed else cast(Any, transaction).v),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
    }
    if transaction.chain_id is not None:
        encoded["chainId"] = hex(transaction.chain_id)
    if is_typed:
        encoded["yParity"] = encoded["v"]
        encoded["accessList"] = [
            {
                "address": to_hex(accessed),
                "storageKeys": [to_hex(slot.to_bytes(32, "big")) for slot in slots],
            }
            for accessed, slots in transaction.access_list
        ]
    if _has_dynamic_fee(transaction):
        encoded["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        encoded["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    return encoded


def _has_dynamic_fee(transaction: SignedTransactionAPI) -> bool:
    return (transaction.type_id or 0) > 1


def _effective_gas_price(block: Block, transaction: SignedTransactionAPI) -> int:
    return min(
        transaction.max_fee_per_gas,
        int(block.header.base_fee_per_gas) + transaction.max_priority_fee_per_gas,
    )


def _created_address(transaction: SignedTransactionAPI) -> bytes:
    return bytes(keccak(rlp.encode([transaction.sender, transaction.nonce]))[-ADDRESS_BYTES:])
