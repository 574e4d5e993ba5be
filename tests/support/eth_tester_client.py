"""A `ChainClient` over a chain in this process: fast, and steered by the test.

The chain is the embedded one (eth-tester's EVM), used through its Python interface, not through
JSON-RPC. By default a block is mined only when the test says so; `automine` mines each transaction
at once. `client.node` offers everything else: reorganisations, snapshots, time, the mempool.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeVar

from eth._utils.address import generate_contract_address
from eth_typing import Address as EthAddress

from keyserver.chain.client import (
    HEAD,
    At,
    BlockId,
    BlockRef,
    BlockReplacedError,
    BlockTag,
    CallResult,
    ContractCall,
    FeeInputs,
    Log,
    Receipt,
    Returned,
    Reverted,
    SendRefusedError,
)
from keyserver.chain.rpc_errors import send_refusal
from keyserver.devnet.embedded_errors import RpcError
from keyserver.devnet.embedded_evm import Block, Call
from keyserver.devnet.embedded_node import EmbeddedNode
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.model.identifiers import Address, Hash32

T = TypeVar("T")
NOBODY = bytes(20)
CALL_GAS = 1_000_000
DEPLOYMENT_GAS = 6_000_000
"""Enough for all that tests send, and quicker than an estimate."""
TIP_WEI = 10**9


class EthTesterClient:
    """Access to an embedded chain of this process."""

    def __init__(self, node: EmbeddedNode) -> None:
        self.node = node
        self.calls: Counter[str] = Counter()
        """How often each method was used."""
        self._changed = asyncio.Event()
        node.observe(self)

    @classmethod
    def start(
        cls,
        *,
        chain_id: int = 1337,
        automine: bool = False,
        funded: Sequence[bytes] = (),
        clock: Callable[[], float] | None = None,
    ) -> "EthTesterClient":
        """A client of a new chain, at its genesis block."""
        if clock is None:
            node = EmbeddedNode(chain_id=chain_id, funded=funded)
        else:
            node = EmbeddedNode(chain_id=chain_id, funded=funded, clock=clock)
        node.set_mining(automine=automine, interval_s=None)
        return cls(node)

    # what tests do to the chain

    def mine(self, count: int = 1) -> BlockRef:
        """Mine blocks of what waits in the mempool; the new head."""
        for _ in range(count):
            self.node.mine()
        return _ref(self.node.head)

    def reorganise(self, depth: int, raw_by_offset: dict[int, list[bytes]] | None = None) -> None:
        """Replace the newest blocks by as many others with only these transactions."""
        self.node.reorganise(depth, raw_by_offset or {})

    def account(self, number: int) -> Address:
        """The address of a development account, from 0."""
        return Address(list(self.node.key_by_account)[number])

    def private_key(self, number: int) -> bytes:
        """The private key of a development account, from 0."""
        return DEVELOPMENT_PRIVATE_KEYS[number]

    def transact(
        self, to: Address | None, data: bytes = b"", *, sender: int = 0, value: int = 0
    ) -> Hash32:
        """Put a transaction of a development account into the mempool."""
        return Hash32(self.node.submit(self.sign(to, data, sender=sender, value=value)))

    def sign(
        self, to: Address | None, data: bytes = b"", *, sender: int = 0, value: int = 0
    ) -> bytes:
        """A signed transaction of a development account, with its next nonce."""
        account = self.account(sender)
        call = self.message(to, data, sender=sender, value=value)
        self.node.evm.call(self.node.head.header, call)  # raises, where it would fail
        gas = CALL_GAS if to is not None else DEPLOYMENT_GAS
        fee = 2 * self.node.head.header.base_fee_per_gas + TIP_WEI
        nonce = self.node.pending_nonce(account)
        return self.node.sign(call, gas=gas, nonce=nonce, max_fee=fee, tip=TIP_WEI)

    def succeeds(self, to: Address, data: bytes, *, sender: int = 0, value: int = 0) -> bool:
        """Whether the transaction would succeed at the head."""
        call = self.message(to, data, sender=sender, value=value)
        try:
            self.node.evm.call(self.node.head.header, call)
        except RpcError:
            return False
        return True

    def deploy(self, creation_code: bytes, *, sender: int = 0) -> Address:
        """Deploy a contract in a block of its own and return its address."""
        tx_hash = self.transact(None, creation_code, sender=sender)
        if self.node.executed(tx_hash) is None:
            self.mine()
        mined = self.node.executed(tx_hash)
        assert mined is not None
        assert mined[2].succeeded, "the deployment failed"
        transaction = mined[2].transaction
        return self.contract_address(Address(transaction.sender), transaction.nonce)

    @staticmethod
    def contract_address(sender: Address, nonce: int) -> Address:
        """Where the contract stands that this transaction creates."""
        return Address(generate_contract_address(EthAddress(sender), nonce))

    def message(self, to: Address | None, data: bytes, *, sender: int = 0, value: int = 0) -> Call:
        """What the node signs or executes for a development account."""
        return Call(self.account(sender), b"" if to is None else to, value, data, None)

    # ChainClient

    async def chain_id(self) -> int:
        return self._count("chain_id", self.node.chain_id)

    async def syncing(self) -> bool:
        return self._count("syncing", False)

    async def block(self, which: int | BlockTag) -> BlockRef | None:
        self.calls["block"] += 1
        match which:
            case BlockTag.LATEST:
                return _ref(self.node.head)
            case BlockTag.SAFE:
                return _ref(self.node.safe)
            case BlockTag.FINALIZED:
                return _ref(self.node.finalized)
            case int():
                block = self.node.block_by_number(which)
                return _ref(block) if block else None

    async def blocks(self, numbers: Sequence[int]) -> tuple[BlockRef | None, ...]:
        return tuple([await self.block(number) for number in numbers])

    async def endpoints_agree(self, block: BlockId) -> bool:
        self.calls["endpoints_agree"] += 1
        found = self.node.block_by_number(block.number)
        return found is None or found.hash == block.hash

    async def logs(
        self,
        addresses: Sequence[Address],
        from_block: int,
        to_block: int,
        topics: Sequence[Hash32] | None = None,
    ) -> tuple[Log, ...]:
        self.calls["logs"] += 1
        return tuple(
            log
            for block in self.node.blocks(from_block, to_block)
            for log in _logs(block)
            if log.address in addresses
            and (topics is None or (log.topics and log.topics[0] in topics))
        )

    async def call(self, call: ContractCall, at: At = HEAD) -> CallResult:
        self.calls["call"] += 1
        try:
            return Returned(self.node.evm.call(self._at(at).header, _message(call)))
        except RpcError as error:
            return Reverted(error.data or b"")

    async def call_many(
        self, calls: Sequence[ContractCall], at: At = HEAD
    ) -> tuple[CallResult, ...]:
        return tuple([await self.call(call, at) for call in calls])

    async def call_everywhere(self, call: ContractCall, at: BlockId) -> frozenset[CallResult]:
        return frozenset({await self.call(call, at)})

    async def code(self, address: Address, at: At = HEAD) -> bytes:
        state = self.node.evm.state_at(self._at(at).header)
        return self._count("code", bytes(state.get_code(EthAddress(address))))

    async def balance(self, address: Address) -> int:
        state = self.node.evm.state_at(self.node.head.header)
        return self._count("balance", state.get_balance(EthAddress(address)))

    async def transaction_count(self, address: Address, *, pending: bool) -> int:
        self.calls["transaction_count"] += 1
        return self.node.pending_nonce(address) if pending else self.node.account_nonce(address)

    async def estimate_gas(self, call: ContractCall) -> int | Reverted:
        self.calls["estimate_gas"] += 1
        try:
            return self.node.evm.estimate_gas(self.node.head.header, _message(call))
        except RpcError as error:
            return Reverted(error.data or b"")

    async def fee_inputs(self) -> FeeInputs:
        base_fee = self.node.head.header.base_fee_per_gas
        return self._count("fee_inputs", FeeInputs(base_fee, TIP_WEI, base_fee + TIP_WEI))

    async def send_raw_transaction(self, raw: bytes) -> Hash32:
        self.calls["send_raw_transaction"] += 1
        try:
            return Hash32(self.node.submit(raw))
        except RpcError as error:
            raise SendRefusedError(send_refusal(error.message), error.message) from error

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        self.calls["receipt"] += 1
        mined = self.node.executed(tx_hash)
        if mined is None:
            return None
        block, _, executed = mined
        transaction = executed.transaction
        base_fee = block.header.base_fee_per_gas
        tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee)
        return Receipt(
            tx_hash,
            executed.succeeded,
            block.number,
            Hash32(block.hash),
            executed.gas_used,
            base_fee + tip,
        )

    async def knows_transaction(self, tx_hash: Hash32) -> bool:
        self.calls["knows_transaction"] += 1
        waiting = self.node.mempool.get(tx_hash) is not None
        return waiting or self.node.executed(tx_hash) is not None

    async def heads(self) -> AsyncGenerator[BlockRef, None]:
        seen: bytes = b""
        while True:
            self._changed.clear()
            if self.node.head.hash != seen:
                seen = self.node.head.hash
                yield _ref(self.node.head)
            else:
                await self._changed.wait()

    async def close(self) -> None:
        self.node.unobserve(self)

    # what the chain tells

    def block_added(self, block: Block) -> None:
        self._changed.set()

    def block_removed(self, block: Block) -> None:
        self._changed.set()

    def _at(self, at: At) -> Block:
        if at == HEAD:
            return self.node.head
        block = self.node.block_by_hash(at.hash)
        if block is None:
            raise BlockReplacedError(f"block {at.number} is not canonical any more")
        return block

    def _count(self, method: str, value: T) -> T:
        self.calls[method] += 1
        return value


def _message(call: ContractCall) -> Call:
    return Call(call.sender or NOBODY, call.to, call.value, call.data, None)


def _ref(block: Block) -> BlockRef:
    header = block.header
    return BlockRef(
        block.number,
        Hash32(block.hash),
        Hash32(bytes(header.parent_hash)),
        header.timestamp,
        header.base_fee_per_gas,
    )


def _logs(block: Block) -> list[Log]:
    return [
        Log(
            Address(log.address),
            tuple(Hash32(topic) for topic in log.topics),
            log.data,
            block.number,
            Hash32(block.hash),
            Hash32(log.transaction_hash),
            log.log_index,
        )
        for log in block.logs
    ]
