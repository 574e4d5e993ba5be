"""Endpoints of Ethereum nodes over the simulated chain, with everything that is wrong with them.

An endpoint answers in the JSON of real ones, beneath the real endpoint pool and client, so that
their judgement is simulated too. What it gets wrong is in its `Condition`, which outlives the
process that uses the endpoint.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from keyserver.chain.client import ChainUnavailableError, ContractCall, Log, Receipt
from keyserver.chain.endpoint import RpcAnswer, RpcRequest, RpcValue
from keyserver.chain.rpc_codec import Json, hex_bytes
from keyserver.chain.rpc_errors import EXECUTION_REVERTED, METHOD_NOT_FOUND, RpcFailure
from keyserver.evm.transaction import DynamicFee, read_transaction
from keyserver.model.identifiers import Address, Hash32
from keyserver.simulation.chain import GWEI, Block, VirtualChain
from keyserver.simulation.contracts.contract import RevertError
from keyserver.simulation.mempool import NotTakenError, Transaction
from keyserver.simulation.process import Process, never

TIMEOUT_S: Final = 10.0
BEHIND_BLOCKS: Final = 3
SHORT_RANGE: Final = 2
DEPTH_OF_TAG: Final = {"latest": 0, "safe": 4, "finalized": 9}
TIP: Final = GWEI
BALANCE: Final = 10**21


@dataclass
class Condition:
    """How an endpoint fares now."""

    troubles: Counter[str] = field(default_factory=Counter)
    """`chain_faults.TROUBLES` that last, each as often as it was begun."""
    frozen: tuple[Block, ...] = ()
    """What a stale endpoint has of the chain."""

    def has(self, trouble: str) -> bool:
        """Whether this trouble lasts."""
        return self.troubles[trouble] > 0

    def begin(self, trouble: str, chain: VirtualChain) -> None:
        """From now on."""
        if trouble == "stale" and not self.has(trouble):
            self.frozen = tuple(chain.blocks)
        self.troubles[trouble] += 1

    def end(self, trouble: str) -> None:
        """Take back one `begin`."""
        self.troubles[trouble] -= 1

    def heal(self) -> None:
        """Take all back."""
        self.troubles.clear()


class SimulatedEndpoint:
    """A `keyserver.chain.endpoint.Endpoint` of one process."""

    def __init__(
        self,
        label: str,
        chain: VirtualChain,
        condition: Condition,
        process: Process,
        random: Random,
        *,
        pushes: bool,
        latency_s: float = 0.03,
    ) -> None:
        """`pushes`: whether it tells of new heads; `latency_s`: of an answer at most."""
        self.label = label
        self._chain = chain
        self._condition = condition
        self._process = process
        self._random = random
        self._pushes = pushes
        self._latency_s = latency_s
        self._told: Hash32 | None = None

    # --- Endpoint -----------------------------------------------------------------------------

    async def exchange(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        """Answers after a while; raises `ChainUnavailableError`."""
        if not self._process.acts():
            await never()
        await self._reach()
        answers = [self._answer(request) for request in requests]
        if not self._process.alive:
            await never()
        return answers

    async def subscribe(self) -> bool:
        """Whether heads are pushed."""
        await self._reach()
        return self._pushes

    async def next_head(self) -> Json:
        """The next header told; raises `ChainUnavailableError` when the connection breaks."""
        while self._view[-1].hash == self._told:
            await self._chain.changed()
        await self._reach()
        if not self._process.alive:
            await never()
        head = self._view[-1]
        self._told = head.hash
        return self._forged(head) if self._condition.has("forged_head") else _header(head)

    async def close(self) -> None:
        """Nothing is open."""

    # --- reaching it --------------------------------------------------------------------------

    async def _reach(self) -> None:
        await asyncio.sleep(self._random.uniform(0, self._latency_s))
        if self._condition.has("refused"):
            raise ChainUnavailableError(f"{self.label}: connection refused")
        if self._condition.has("timeout"):
            await asyncio.sleep(TIMEOUT_S)
            raise ChainUnavailableError(f"{self.label}: no answer in {TIMEOUT_S:.0f} s")

    @property
    def _view(self) -> Sequence[Block]:
        """The blocks that this endpoint knows, by number."""
        if self._condition.has("stale"):
            return self._condition.frozen
        blocks = self._chain.blocks
        if self._condition.has("behind") and len(blocks) > BEHIND_BLOCKS:
            return blocks[:-BEHIND_BLOCKS]
        return blocks

    # --- answering ----------------------------------------------------------------------------

    def _answer(self, request: RpcRequest) -> RpcAnswer:
        if self._condition.has("errors"):
            return RpcFailure(-32603, "internal error")
        if self._condition.has("limited") and self._random.random() < 0.7:
            return RpcFailure(-32005, "too many requests")
        method = _METHODS.get(request.method)
        if method is None:
            return RpcFailure(METHOD_NOT_FOUND, "the method does not exist")
        answer = method(self, *request.params)
        return answer if isinstance(answer, RpcFailure) else RpcValue(answer)

    def chain_id(self) -> Json:
        """`eth_chainId`."""
        return hex(self._chain.chain_id + self._condition.has("other_chain"))

    def syncing(self) -> Json:
        """`eth_syncing`."""
        return {"currentBlock": "0x1"} if self._condition.has("syncing") else False

    def block(self, which: str, _full: bool) -> Json:
        """`eth_getBlockByNumber`."""
        view = self._view
        if which in DEPTH_OF_TAG:
            block = view[max(0, len(view) - 1 - DEPTH_OF_TAG[which])]
            forged = which == "latest" and self._condition.has("forged_head")
            return self._forged(block) if forged else _header(block)
        number = int(which, 16)
        return _header(view[number]) if number < len(view) else None

    def logs(self, wanted: Mapping[str, Any]) -> Json:
        """`eth_getLogs`."""
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if self._condition.has("short_ranges") and last - first >= SHORT_RANGE:
            return RpcFailure(-32000, f"block range exceeds limit of {SHORT_RANGE}")
        if self._condition.has("no_logs"):
            return []
        addresses, topics = set(wanted["address"]), wanted.get("topics")
        found = [
            log
            for block in self._view[first : last + 1]
            for log in _logs(block)
            if log["address"] in addresses and (topics is None or log["topics"][0] in topics[0])
        ]
        if self._condition.has("odd_logs"):
            odd = hex_bytes(self._random.randbytes(32))
            return [{**log, "blockHash": odd} for log in found]
        return found

    def call(self, call: Mapping[str, str], at: Json) -> Json:
        """`eth_call`."""
        block = self._block_at(at)
        if isinstance(block, RpcFailure):
            return block
        key = tuple(call.items())
        if key not in block.remembered:
            block.remembered[key] = _called(block, call)
        return block.remembered[key]

    def estimate(self, call: Mapping[str, str]) -> Json:
        """`eth_estimateGas`."""
        try:
            return hex(self._view[-1].estimate(_contract_call(call)))
        except RevertError as refused:
            return _revert(refused)

    def code(self, address: str, at: Json) -> Json:
        """`eth_getCode`."""
        block = self._block_at(at)
        if isinstance(block, RpcFailure):
            return block
        return "0x60" if Address(bytes.fromhex(address[2:])) in block.state.contracts else "0x"

    def transaction_count(self, address: str, which: str) -> Json:
        """`eth_getTransactionCount`."""
        account, head = Address(bytes.fromhex(address[2:])), self._view[-1]
        if which == "latest" or self._condition.has("stale"):
            return hex(head.nonce_of(account))
        return hex(self._chain.pool.next_nonce(account, self._chain.head.nonce_of(account)))

    def send(self, raw: str) -> Json:
        """`eth_sendRawTransaction`."""
        transaction = _transaction(bytes.fromhex(raw[2:]))
        if not self._condition.has("swallows"):
            try:
                self._chain.submit(transaction)
            except NotTakenError as refused:
                return RpcFailure(-32000, str(refused))
        return hex_bytes(transaction.hash)

    def receipt(self, tx_hash: str) -> Json:
        """`eth_getTransactionReceipt`."""
        found = self._chain.receipt(Hash32(bytes.fromhex(tx_hash[2:])))
        view = self._view
        if found is None or found.block_number >= len(view):
            return None
        return _receipt(found) if view[found.block_number].hash == found.block_hash else None

    def transaction(self, tx_hash: str) -> Json:
        """`eth_getTransactionByHash`."""
        mined = self.receipt(tx_hash) is not None
        known = mined or Hash32(bytes.fromhex(tx_hash[2:])) in self._chain.pool
        return {"hash": tx_hash} if known else None

    def gas_price(self) -> Json:
        """`eth_gasPrice`."""
        return hex(self._chain.base_fee + TIP)

    def _block_at(self, at: Json) -> Block | RpcFailure:
        view = self._view
        if at == "latest":
            return view[-1]
        if isinstance(at, str):
            number = int(at, 16)
            return view[number] if number < len(view) else RpcFailure(-32000, "header not found")
        if self._condition.has("no_pins"):
            return RpcFailure(-32602, "invalid argument 1: cannot unmarshal object into a string")
        block = self._chain.block_of(Hash32(bytes.fromhex(at["blockHash"][2:])))
        if block is None or block.number >= len(view) or view[block.number] is not block:
            return RpcFailure(-32000, "hash is not currently canonical")
        return block

    def _forged(self, head: Block) -> Json:
        header = dict(_header(head))
        header["number"] = hex(head.number + self._random.randint(1, 20))
        header["hash"] = hex_bytes(self._random.randbytes(32))
        header["parentHash"] = hex_bytes(self._random.randbytes(32))
        return header


_METHODS: Final[Mapping[str, Callable[..., Json]]] = {
    "eth_chainId": SimulatedEndpoint.chain_id,
    "eth_syncing": SimulatedEndpoint.syncing,
    "eth_getBlockByNumber": SimulatedEndpoint.block,
    "eth_getLogs": SimulatedEndpoint.logs,
    "eth_call": SimulatedEndpoint.call,
    "eth_estimateGas": SimulatedEndpoint.estimate,
    "eth_getCode": SimulatedEndpoint.code,
    "eth_getTransactionCount": SimulatedEndpoint.transaction_count,
    "eth_sendRawTransaction": SimulatedEndpoint.send,
    "eth_getTransactionReceipt": SimulatedEndpoint.receipt,
    "eth_getTransactionByHash": SimulatedEndpoint.transaction,
    "eth_gasPrice": SimulatedEndpoint.gas_price,
    "eth_maxPriorityFeePerGas": lambda _: hex(TIP),
    "eth_getBalance": lambda *_: hex(BALANCE),
}


# --- JSON ----------------------------------------------------------------------------------------


def _header(block: Block) -> dict[str, Json]:
    known = block.remembered.get("header")
    if known is None:
        known = block.remembered["header"] = {
            "number": hex(block.number),
            "hash": hex_bytes(block.hash),
            "parentHash": hex_bytes(block.parent_hash),
            "timestamp": hex(block.timestamp),
            "baseFeePerGas": hex(block.base_fee),
        }
    return known  # type: ignore[return-value]


def _logs(block: Block) -> list[dict[str, Json]]:
    known = block.remembered.get("logs")
    if known is None:
        known = block.remembered["logs"] = [_log(log) for log in block.logs]
    return known  # type: ignore[return-value]


def _log(log: Log) -> dict[str, Json]:
    return {
        "address": hex_bytes(log.address),
        "topics": [hex_bytes(topic) for topic in log.topics],
        "data": hex_bytes(log.data),
        "blockNumber": hex(log.block_number),
        "blockHash": hex_bytes(log.block_hash),
        "transactionHash": hex_bytes(log.tx_hash),
        "logIndex": hex(log.log_index),
    }


def _receipt(receipt: Receipt) -> dict[str, Json]:
    return {
        "transactionHash": hex_bytes(receipt.tx_hash),
        "status": hex(receipt.succeeded),
        "blockNumber": hex(receipt.block_number),
        "blockHash": hex_bytes(receipt.block_hash),
        "gasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(receipt.effective_gas_price),
    }


def _contract_call(call: Mapping[str, str]) -> ContractCall:
    sender = call.get("from")
    return ContractCall(
        Address(bytes.fromhex(call["to"][2:])),
        bytes.fromhex(call["data"][2:]),
        Address(bytes.fromhex(sender[2:])) if sender else None,
        int(call.get("value", "0x0"), 16),
    )


def _called(block: Block, call: Mapping[str, str]) -> Json:
    try:
        return hex_bytes(block.call(_contract_call(call)))
    except RevertError as refused:
        return _revert(refused)


def _revert(refused: RevertError) -> RpcFailure:
    return RpcFailure(EXECUTION_REVERTED, "execution reverted", refused.data)


def _transaction(raw: bytes) -> Transaction:
    read = read_transaction(raw)
    fields, fee = read.unsigned, read.unsigned.fee
    assert isinstance(fee, DynamicFee), "other kinds are not read"
    return Transaction(
        read.tx_hash,
        read.sender,
        fields.nonce,
        fields.to,
        fields.data,
        fields.gas,
        fee.max_fee,
        fee.priority_fee,
        fields.value,
    )
