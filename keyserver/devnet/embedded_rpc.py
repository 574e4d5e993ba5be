"""The JSON-RPC methods of a node: what clients read of the chain, and sending transactions."""

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from eth_typing import Address

from keyserver.devnet import embedded_json as codec
from keyserver.devnet.embedded_control import ControlMethods
from keyserver.devnet.embedded_errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RpcError,
    invalid_params,
)
from keyserver.devnet.embedded_evm import Block, Call
from keyserver.devnet.embedded_json import JsonObject
from keyserver.devnet.embedded_node import EmbeddedNode

SUGGESTED_TIP_WEI = 10**9
MAX_FEE_HISTORY_BLOCKS = 1024

Method = Callable[..., Any]  # parameters and results are JSON
_log = logging.getLogger(__name__)


class Dispatcher:
    """Answers one JSON-RPC request after the other from a table of methods."""

    def __init__(self, node: EmbeddedNode) -> None:
        methods = EthMethods(node).table() | ControlMethods(node).table()
        self._methods = {
            name: (method, inspect.signature(method)) for name, method in methods.items()
        }

    def answer(self, request: object, extra: Mapping[str, Method] | None = None) -> JsonObject:
        """Answer `request`; `extra` holds methods of the connection it came by."""
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            error = RpcError("invalid request", rpc_code=INVALID_REQUEST)
            return {"jsonrpc": "2.0", "id": None, "error": codec.error_json(error)}
        answer: JsonObject = {"jsonrpc": "2.0", "id": request.get("id")}
        try:
            answer["result"] = self._call(request["method"], request.get("params", []), extra or {})
        except RpcError as error:
            answer["error"] = codec.error_json(error)
        except Exception as error:  # a defect of ours: the client hears of it, the server goes on
            _log.exception("%s failed", request["method"])
            internal = RpcError(f"internal error: {error!r}", rpc_code=INTERNAL_ERROR)
            answer["error"] = codec.error_json(internal)
        return answer

    def _call(self, name: str, params: object, extra: Mapping[str, Method]) -> Any:
        if not isinstance(params, list):
            raise invalid_params("params", "a list is expected")
        if name in extra:
            method = extra[name]
            signature = inspect.signature(method)
        elif name in self._methods:
            method, signature = self._methods[name]
        else:
            raise RpcError(
                f"the method {name} does not exist/is not available", rpc_code=METHOD_NOT_FOUND
            )
        try:
            signature.bind(*params)
        except TypeError as error:
            raise RpcError(f"invalid params: {error}", rpc_code=INVALID_PARAMS) from error
        return method(*params)


class EthMethods:
    """The `eth_`, `net_` and `web3_` methods over one node."""

    def __init__(self, node: EmbeddedNode) -> None:
        self._node = node

    def table(self) -> dict[str, Method]:
        """Return the methods by name."""
        return self._chain_methods() | self._account_methods() | self._transaction_methods()

    def _chain_methods(self) -> dict[str, Method]:
        return {
            "eth_blockNumber": lambda: hex(self._node.head.number),
            "eth_chainId": lambda: hex(self._node.chain_id),
            "eth_feeHistory": self._fee_history,
            "eth_gasPrice": lambda: hex(self._next_base_fee() + SUGGESTED_TIP_WEI),
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getLogs": self._logs,
            "eth_maxPriorityFeePerGas": lambda: hex(SUGGESTED_TIP_WEI),
            "eth_syncing": lambda: False,
            "net_listening": lambda: True,
            "net_version": lambda: str(self._node.chain_id),
            "web3_clientVersion": lambda: f"keyserver-embedded/py-evm/prague/{os.getpid()}",
        }

    def _account_methods(self) -> dict[str, Method]:
        return {
            "eth_accounts": lambda: [codec.to_hex(a) for a in self._node.key_by_account],
            "eth_getBalance": self._balance,
            "eth_getCode": self._code,
            "eth_getStorageAt": self._storage,
            "eth_getTransactionCount": self._transaction_count,
        }

    def _transaction_methods(self) -> dict[str, Method]:
        return {
            "eth_call": self._call,
            "eth_estimateGas": self._estimate_gas,
            "eth_getTransactionByHash": self._transaction_by_hash,
            "eth_getTransactionReceipt": self._receipt,
            "eth_sendRawTransaction": self._send_raw,
            "eth_sendTransaction": self._send,
        }

    # Blocks

    def _block_by_number(self, number: object, full: object = False) -> JsonObject | None:
        if number == "pending":
            return self._pending_block()
        block = self._find_block(number)
        return None if block is None else codec.block_json(block, full_transactions=bool(full))

    def _block_by_hash(self, block_hash: object, full: object = False) -> JsonObject | None:
        block = self._node.block_by_hash(codec.data(block_hash, "block hash", codec.HASH_BYTES))
        return None if block is None else codec.block_json(block, full_transactions=bool(full))

    def _pending_block(self) -> JsonObject:
        encoded = codec.block_json(
            Block(self._node.pending_header(), (), 0), full_transactions=True
        )
        hashes = [codec.to_hex(h) for h in self._node.mempool.hashes()]
        return encoded | {"hash": None, "nonce": None, "transactions": hashes}

    def _block_receipts(self, reference: object) -> list[JsonObject] | None:
        block = self._find_block(reference)
        if block is None:
            return None
        return [codec.receipt_json(block, i, executed) for i, executed in enumerate(block.executed)]

    def _find_block(self, reference: object) -> Block | None:
        """Find the block of a tag, a quantity, a hash, or the object of EIP-1898."""
        if isinstance(reference, dict):
            return self._find_block(reference.get("blockHash", reference.get("blockNumber")))
        match reference:
            case "latest" | "pending":
                return self._node.head
            case "safe":
                return self._node.safe
            case "finalized":
                return self._node.finalized
            case "earliest":
                return self._node.block_by_number(0)
            case str() if len(reference) == 2 + 2 * codec.HASH_BYTES:
                return self._node.block_by_hash(codec.data(reference, "block hash"))
            case _:
                return self._node.block_by_number(codec.quantity(reference, "block number"))

    def _block(self, reference: object) -> Block:
        block = self._find_block(reference)
        if block is None:
            raise RpcError("header not found")
        return block

    def _logs(self, wanted: object) -> list[JsonObject]:
        fields = codec.json_object(wanted, "filter")
        log_filter = codec.LogFilter.from_json(fields)
        return [
            codec.log_json(block, log)
            for block in self._log_range(fields)
            for log in block.logs
            if log_filter.matches(log)
        ]

    def _log_range(self, fields: Mapping[str, Any]) -> list[Block]:
        if fields.get("blockHash") is not None:
            if "fromBlock" in fields or "toBlock" in fields:
                raise invalid_params("filter", "blockHash stands without fromBlock and toBlock")
            block_hash = codec.data(fields["blockHash"], "blockHash", codec.HASH_BYTES)
            block = self._node.block_by_hash(block_hash)
            if block is None:
                raise RpcError("unknown block")
            return [block]
        first = self._height(fields.get("fromBlock", "latest"))
        last = self._height(fields.get("toBlock", "latest"))
        if first > last:
            raise invalid_params("block range", f"fromBlock {first} is after toBlock {last}")
        return list(self._node.blocks(first, last))

    def _height(self, reference: object) -> int:
        if isinstance(reference, str) and not reference.startswith("0x"):
            return self._block(reference).number
        return codec.quantity(reference, "block number")

    def _fee_history(
        self, count: object, newest: object, percentiles: list[float] | None = None
    ) -> JsonObject:
        last = self._block(newest).number
        wanted = codec.quantity(count, "block count")
        if not 1 <= wanted <= MAX_FEE_HISTORY_BLOCKS:
            raise invalid_params("block count", f"1 to {MAX_FEE_HISTORY_BLOCKS}, got {wanted}")
        blocks = self._node.blocks(last - wanted + 1, last)
        after = self._node.evm.next_header(blocks[-1].header)
        history: JsonObject = {
            "oldestBlock": hex(blocks[0].number),
            "baseFeePerGas": [
                hex(header.base_fee_per_gas) for header in (*(b.header for b in blocks), after)
            ],
            "gasUsedRatio": [b.header.gas_used / b.header.gas_limit for b in blocks],
        }
        if percentiles:
            history["reward"] = [
                [hex(_tip_at(block, percentile)) for percentile in percentiles] for block in blocks
            ]
        return history

    def _next_base_fee(self) -> int:
        return int(self._node.evm.next_header(self._node.head.header).base_fee_per_gas)

    # Accounts

    def _balance(self, address: object, block: object = "latest") -> str:
        state = self._node.evm.state_at(self._block(block).header)
        return hex(state.get_balance(Address(codec.address(address, "address"))))

    def _code(self, address: object, block: object = "latest") -> str:
        state = self._node.evm.state_at(self._block(block).header)
        return codec.to_hex(state.get_code(Address(codec.address(address, "address"))))

    def _storage(self, address: object, slot: object, block: object = "latest") -> str:
        state = self._node.evm.state_at(self._block(block).header)
        owner = Address(codec.address(address, "address"))
        return codec.to_hex(
            state.get_storage(owner, codec.quantity(slot, "slot")).to_bytes(32, "big")
        )

    def _transaction_count(self, address: object, block: object = "latest") -> str:
        owner = codec.address(address, "address")
        if block == "pending":
            return hex(self._node.pending_nonce(owner))
        state = self._node.evm.state_at(self._block(block).header)
        return hex(state.get_nonce(Address(owner)))

    # Transactions

    def _call(self, call: object, block: object = "latest") -> str:
        request = codec.call_object(call)
        return codec.to_hex(self._node.evm.call(self._block(block).header, request))

    def _estimate_gas(self, call: object, block: object = "latest") -> str:
        request = codec.call_object(call)
        return hex(self._node.evm.estimate_gas(self._block(block).header, request))

    def _transaction_by_hash(self, transaction_hash: object) -> JsonObject | None:
        wanted = codec.data(transaction_hash, "transaction hash", codec.HASH_BYTES)
        mined = self._node.executed(wanted)
        if mined is not None:
            return codec.mined_transaction_json(*mined)
        waiting = self._node.mempool.get(wanted)
        return None if waiting is None else codec.pending_transaction_json(waiting)

    def _receipt(self, transaction_hash: object) -> JsonObject | None:
        wanted = codec.data(transaction_hash, "transaction hash", codec.HASH_BYTES)
        mined = self._node.executed(wanted)
        return None if mined is None else codec.receipt_json(*mined)

    def _send_raw(self, raw: object) -> str:
        return codec.to_hex(self._node.submit(codec.data(raw, "raw transaction")))

    def _send(self, transaction: object) -> str:
        call = codec.call_object(transaction)
        fields = codec.json_object(transaction, "transaction")
        if call.sender not in self._node.key_by_account:
            raise RpcError("unknown account")
        nonce = fields.get("nonce", self._node.pending_nonce(call.sender))
        tip = codec.quantity(fields.get("maxPriorityFeePerGas", SUGGESTED_TIP_WEI), "tip")
        default_fee = 2 * self._next_base_fee() + tip
        fee = fields.get("maxFeePerGas", fields.get("gasPrice", default_fee))
        raw = self._node.sign(
            call,
            gas=call.gas or self._estimate_with_margin(call),
            nonce=codec.quantity(nonce, "nonce"),
            max_fee=codec.quantity(fee, "fee"),
            tip=min(tip, codec.quantity(fee, "fee")),
        )
        return codec.to_hex(self._node.submit(raw))

    def _estimate_with_margin(self, call: Call) -> int:
        return self._node.evm.estimate_gas(self._node.head.header, call) * 5 // 4


def _tip_at(block: Block, percentile: float) -> int:
    """Return the tip (wei per gas) that `percentile` % of the block's gas paid at most."""
    base_fee = block.header.base_fee_per_gas
    tips = sorted(
        (
            min(
                executed.transaction.max_fee_per_gas - base_fee,
                executed.transaction.max_priority_fee_per_gas,
            ),
            executed.gas_used,
        )
        for executed in block.executed
    )
    threshold = block.header.gas_used * percentile / 100
    passed = 0
    for tip, gas in tips:
        passed += gas
        if passed >= threshold:
            return int(tip)
    return 0
