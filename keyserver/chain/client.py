"""What this node needs of an Ethereum node: the `ChainClient` protocol and its values.

Nothing here knows how the node is reached; `keyserver.chain.rpc_client` does. Every answer is
one of three things that callers must never confuse (chain watcher, section 13): a *value*, *the
contract reverted* (`Reverted`), or *unavailable* (`ChainUnavailableError`). A method that says
nothing about errors raises `ChainUnavailableError` for any trouble of the connection and
`WrongChainError` when no endpoint is on the configured chain.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from keyserver.errors import ChainError
from keyserver.model.blocks import BlockId as BlockId
from keyserver.model.identifiers import Address, Hash32

# --- errors ----------------------------------------------------------------------------------


class ChainUnavailableError(ChainError):
    """No endpoint gave an answer: refused, timed out, rate-limited, or answered nonsense.

    Says nothing about the chain's state, so it must never change what the node believes.
    """


class BlockReplacedError(ChainUnavailableError):
    """The block that a read was pinned to is no longer canonical: discard the evaluation."""


class OtherBlockError(BlockReplacedError):
    """At the height of the block that a read was pinned to, the endpoint has another one."""


class TooManyLogsError(ChainUnavailableError):
    """An endpoint refused a log query because of its range or its number of results."""


class WrongChainError(ChainError):
    """An endpoint is on another chain than the configured one."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"chain_id: configured is {expected}, the endpoint is on {found}")
        self.expected = expected
        self.found = found


class SendRefusal(Enum):
    """Why an Ethereum node did not take a transaction."""

    NONCE_TOO_LOW = "nonce too low"
    """The account has used this nonce: this or another transaction of it is mined."""
    ALREADY_KNOWN = "already known"
    """The very same transaction is in the pool."""
    UNDERPRICED = "underpriced"
    """The fee is too low, as such or to replace the one in the pool."""
    INSUFFICIENT_FUNDS = "insufficient funds"
    OTHER = "refused"
    """Anything else; the message tells."""


class SendRefusedError(ChainError):
    """The Ethereum node answered, and did not take the transaction."""

    def __init__(self, refusal: SendRefusal, message: str) -> None:
        super().__init__(f"transaction: {refusal.value}: {message}")
        self.refusal = refusal


# --- values ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block's header, as far as we look at it."""

    number: int
    hash: Hash32
    parent_hash: Hash32
    timestamp: int
    """Unix seconds, as the block says."""
    base_fee: int | None
    """Wei per gas; `None` on a chain without EIP-1559."""

    @property
    def id(self) -> BlockId:
        """Number and hash."""
        return BlockId(self.number, self.hash)


class BlockTag(Enum):
    """Blocks that the chain itself names."""

    LATEST = "latest"
    SAFE = "safe"
    FINALIZED = "finalized"


HEAD: Literal["head"] = "head"
"""Read at whatever block the endpoint has as its latest."""

At = BlockId | BlockRef | Literal["head"]
"""Where a read happens; a block pins it to exactly that one, by its hash."""


@dataclass(frozen=True, slots=True)
class Log:
    """One event of a contract; logs that a reorganisation removed are never delivered."""

    address: Address
    topics: tuple[Hash32, ...]
    data: bytes
    block_number: int
    block_hash: Hash32
    tx_hash: Hash32
    log_index: int
    """Position in the block."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction."""

    tx_hash: Hash32
    succeeded: bool
    block_number: int
    block_hash: Hash32
    gas_used: int
    effective_gas_price: int
    """Wei per gas."""


@dataclass(frozen=True, slots=True)
class ContractCall:
    """A call that changes nothing: `eth_call`, or the input of an estimate."""

    to: Address
    data: bytes
    sender: Address | None = None
    """The account that calls; the zero address when `None`."""
    value: int = 0
    """Wei sent along."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The call succeeded; an account without code returns nothing at all."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reverted:
    """The contract refused the call (also: out of gas, invalid opcode)."""

    data: bytes
    """What it said, often nothing."""


CallResult = Returned | Reverted


@dataclass(frozen=True, slots=True)
class FeeInputs:
    """What the endpoint says about prices now, in wei per gas."""

    base_fee: int | None
    """Of the latest block; `None` on a chain without EIP-1559."""
    priority_fee: int
    """Suggested tip; 0 on a chain without EIP-1559."""
    gas_price: int
    """Suggested price of a transaction in the old form."""


# --- the protocol ----------------------------------------------------------------------------


class ChainClient(Protocol):
    """Access to one chain, through one or several endpoints."""

    async def chain_id(self) -> int:
        """The chain's id, as the endpoint says."""
        ...

    async def syncing(self) -> bool:
        """Whether the endpoint says that it is still catching up."""
        ...

    async def block(self, which: int | BlockTag) -> BlockRef | None:
        """The canonical block of this number or tag; `None` if there is none (yet)."""
        ...

    async def blocks(self, numbers: Sequence[int]) -> tuple[BlockRef | None, ...]:
        """The canonical blocks of these numbers, in one batch."""
        ...

    async def endpoints_agree(self, block: BlockId) -> bool:
        """Whether no endpoint that answers has another block at this height."""
        ...

    async def logs(
        self,
        addresses: Sequence[Address],
        from_block: int,
        to_block: int,
        topics: Sequence[Hash32] | None = None,
    ) -> tuple[Log, ...]:
        """Logs of any of the addresses, both ends included, in the order of the chain.

        `topics`: alternatives for the first topic; `None` takes all. Raises `TooManyLogsError`
        when a smaller range might be answered.
        """
        ...

    async def call(self, call: ContractCall, at: At = HEAD) -> CallResult:
        """Run one call; raises `BlockReplacedError` when pinned to a block that is gone."""
        ...

    async def call_many(
        self, calls: Sequence[ContractCall], at: At = HEAD
    ) -> tuple[CallResult, ...]:
        """Run several calls in one batch, all at the same block if `at` pins one.

        Raises `BlockReplacedError` when pinned to a block that is gone.
        """
        ...

    async def call_everywhere(self, call: ContractCall, at: BlockId) -> frozenset[CallResult]:
        """Run one call at every endpoint that has the block; all the answers there are.

        More than one answer: somebody lies. Raises as `call` does if nobody answers, and
        `ChainUnavailableError` if one endpoint answers and another has another block there.
        """
        ...

    async def code(self, address: Address, at: At = HEAD) -> bytes:
        """The account's code, empty if it has none; `BlockReplacedError` as in `call`."""
        ...

    async def balance(self, address: Address) -> int:
        """Wei at the head."""
        ...

    async def transaction_count(self, address: Address, *, pending: bool) -> int:
        """The account's next nonce, with or without the transactions in the pool."""
        ...

    async def estimate_gas(self, call: ContractCall) -> int | Reverted:
        """Gas that the call would take as a transaction at the head."""
        ...

    async def fee_inputs(self) -> FeeInputs:
        """Prices now."""
        ...

    async def send_raw_transaction(self, raw: bytes) -> Hash32:
        """Broadcast a signed transaction and return its hash; raises `SendRefusedError`."""
        ...

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        """The receipt of a transaction that is mined on the canonical chain, else `None`."""
        ...

    async def knows_transaction(self, tx_hash: Hash32) -> bool:
        """Whether the endpoint has the transaction, mined or in its pool."""
        ...

    def heads(self) -> AsyncGenerator[BlockRef, None]:
        """New latest blocks as they appear, the present one first.

        Blocks in between may be missing, and the number may go down in a reorganisation. A block
        of the same hash is not repeated. Raises `ChainUnavailableError` when the connection is
        lost; call again to go on.
        """
        ...

    async def close(self) -> None:
        """Release connections; the client is not used afterwards."""
        ...
