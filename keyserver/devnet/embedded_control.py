"""The JSON-RPC methods that steer a local chain: mining, time, snapshots, reorganisations.

Names and parameters are those of anvil wherever it has the method.
"""

from collections.abc import Callable
from typing import Any

from keyserver.devnet import embedded_json as codec
from keyserver.devnet.embedded_errors import invalid_params
from keyserver.devnet.embedded_node import EmbeddedNode

MAX_BLOCKS_PER_CALL = 10_000
"""More would hold the event loop for too long."""


class ControlMethods:
    """The `evm_`, `anvil_` and `miner_` methods over one node."""

    def __init__(self, node: EmbeddedNode) -> None:
        self._node = node

    def table(self) -> dict[str, Callable[..., Any]]:  # parameters and results are JSON
        """Return the methods by name."""
        return {
            "anvil_dropTransaction": self._drop_transaction,
            "anvil_mine": self._mine,
            "anvil_reorg": self._reorganise,
            "anvil_rollback": self._roll_back,
            "anvil_setBalance": self._set_balance,
            "evm_increaseTime": self._increase_time,
            "evm_mine": self._mine_one,
            "evm_revert": self._revert,
            "evm_setAutomine": self._set_automine,
            "evm_setIntervalMining": self._set_interval_mining,
            "evm_setNextBlockTimestamp": self._set_next_timestamp,
            "evm_snapshot": lambda: hex(self._node.snapshot()),
            "miner_setGasPrice": self._set_minimum_tip,
        }

    def _mine_one(self, options: object = None) -> str:
        if isinstance(options, dict):
            options = options.get("timestamp")
        if options is not None:
            self._node.set_next_timestamp(codec.quantity(options, "timestamp"))
        self._node.mine()
        return "0x0"

    def _mine(self, count: object = 1, interval_s: object = 0) -> None:
        blocks = codec.quantity(count, "block count")
        if blocks > MAX_BLOCKS_PER_CALL:
            raise invalid_params("block count", f"at most {MAX_BLOCKS_PER_CALL}, got {blocks}")
        interval = codec.quantity(interval_s, "interval")
        for index in range(blocks):
            if interval and index:
                self._node.set_next_timestamp(self._node.head.header.timestamp + interval)
            self._node.mine()

    def _set_automine(self, enabled: object) -> None:
        if not isinstance(enabled, bool):
            raise invalid_params("automine", f"true or false is expected, got {enabled!r}")
        self._node.set_mining(automine=enabled, interval_s=None)

    def _set_interval_mining(self, interval_s: object) -> None:
        """Mine every `interval_s` seconds (may be a fraction); 0 leaves mining to the caller."""
        seconds = (
            interval_s
            if isinstance(interval_s, float) and interval_s >= 0
            else codec.quantity(interval_s, "interval")
        )
        self._node.set_mining(automine=False, interval_s=seconds or None)

    def _set_minimum_tip(self, wei_per_gas: object) -> bool:
        """Leave transactions that tip less in the mempool."""
        self._node.minimum_tip = codec.quantity(wei_per_gas, "gas price")
        return True

    def _increase_time(self, seconds: object) -> int:
        self._node.clock_offset_s += codec.quantity(seconds, "seconds")
        return self._node.clock_offset_s

    def _set_next_timestamp(self, timestamp: object) -> None:
        self._node.set_next_timestamp(codec.quantity(timestamp, "timestamp"))

    def _revert(self, snapshot_id: object) -> bool:
        return self._node.revert(codec.quantity(snapshot_id, "snapshot id"))

    def _reorganise(self, depth: object, transactions: object = None) -> None:
        """Replace `depth` blocks; `transactions` is a list of [raw transaction, block offset]."""
        pairs = [] if transactions is None else transactions
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list) and len(pair) == 2 for pair in pairs
        ):
            raise invalid_params("transactions", "a list of [raw transaction, block offset]")
        raw_by_offset: dict[int, list[bytes]] = {}
        for raw, offset in pairs:
            position = codec.quantity(offset, "block offset")
            raw_by_offset.setdefault(position, []).append(codec.data(raw, "raw transaction"))
        self._node.reorganise(codec.quantity(depth, "depth"), raw_by_offset)

    def _roll_back(self, depth: object = 1) -> None:
        removed = codec.quantity(depth, "depth")
        height = self._node.head.number
        if removed > height:
            raise invalid_params("depth", f"at most {height}, got {removed}")
        self._node.rewind(height - removed)

    def _set_balance(self, address: object, wei: object) -> None:
        """Set a balance in a block mined at once: mined state cannot be altered afterwards."""
        account = codec.address(address, "address")
        self._node.mine({account: codec.quantity(wei, "balance")})

    def _drop_transaction(self, transaction_hash: object) -> str | None:
        wanted = codec.data(transaction_hash, "transaction hash", codec.HASH_BYTES)
        return codec.to_hex(wanted) if self._node.mempool.drop(wanted) else None
