"""The `ChainClient` of a running node: JSON-RPC over one or several endpoints.

Reads pinned to a block name it by hash (EIP-1898); where an endpoint does not take that, by number,
with a look at the hash afterwards (W-17). Which endpoint answers is the matter of `endpoint_pool`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeVar

import structlog

from keyserver.chain import rpc_codec as codec
from keyserver.chain.backoff import ANY_FRACTION, Fraction
from keyserver.chain.client import (
    HEAD,
    At,
    BlockId,
    BlockRef,
    BlockReplacedError,
    BlockTag,
    CallResult,
    ChainUnavailableError,
    ContractCall,
    FeeInputs,
    Log,
    OtherBlockError,
    Receipt,
    Returned,
    Reverted,
    SendRefusal,
    SendRefusedError,
    TooManyLogsError,
)
from keyserver.chain.endpoint import Endpoint, RpcAnswer, RpcRequest
from keyserver.chain.endpoint_pool import EndpointPool, Slot, value_of
from keyserver.chain.rpc_codec import Json, MalformedAnswerError
from keyserver.chain.rpc_errors import (
    RpcFailure,
    is_overloaded,
    is_revert,
    is_too_many_logs,
    is_unknown_block,
    is_unknown_method,
    is_unsupported_pin,
    send_refusal,
)
from keyserver.chain.websocket_endpoint import WebSocketEndpoint
from keyserver.engine.ports import Clock
from keyserver.errors import ChainError, ConfigError
from keyserver.model.identifiers import Address, Hash32

T = TypeVar("T")

REQUEST_TIMEOUT_S = 10.0
QUIET_S = 30.0
"""After so long without a new head the endpoint is asked for one, and the others are too."""

_log = structlog.get_logger(__name__)


def endpoint_for(url: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> Endpoint:
    """The way to the node at `url`; raises `ConfigError` for another scheme than the four."""
    scheme = url.partition("://")[0]
    if scheme in ("http", "https"):
        # Only here: nodes on a WebSocket should not carry aiohttp.
        from keyserver.chain.http_endpoint import HttpEndpoint

        return HttpEndpoint(url, timeout_s=timeout_s)
    if scheme in ("ws", "wss"):
        return WebSocketEndpoint(url, timeout_s=timeout_s)
    raise ConfigError(f"rpc_endpoints: {scheme!r} is none of http, https, ws, wss")


class RpcClient:
    """Access to the chain through the endpoints of the configuration."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        chain_id: int,
        poll_s: float,
        clock: Clock,
        quiet_s: float = QUIET_S,
        fraction: Fraction = ANY_FRACTION,
    ) -> None:
        """`endpoints` in order of preference; `poll_s`: how often to ask where none is pushed.

        `fraction`: the jitter of how long endpoints rest.
        """
        self._pool = EndpointPool(endpoints, chain_id=chain_id, clock=clock, fraction=fraction)
        self._poll_s = poll_s
        self._quiet_s = quiet_s

    @property
    def request_counts(self) -> Counter[str]:
        """How many requests were sent, by method; each member of a batch counts."""
        return self._pool.request_counts

    # --- ChainClient -------------------------------------------------------------------------

    async def chain_id(self) -> int:
        """As configured, and checked with every endpoint that is used."""
        return await self._ask_one("eth_chainId", (), lambda value: _number(value, "chain id"))

    async def syncing(self) -> bool:
        """Whether `eth_syncing` says anything but false."""
        return await self._ask_one("eth_syncing", (), lambda value: value is not False)

    async def block(self, which: int | BlockTag) -> BlockRef | None:
        """The header by number or tag."""
        return await self._ask_one("eth_getBlockByNumber", (_block_name(which), False), codec.block)

    async def blocks(self, numbers: Sequence[int]) -> tuple[BlockRef | None, ...]:
        """The headers of these numbers."""
        requests = [RpcRequest("eth_getBlockByNumber", (hex(n), False)) for n in numbers]

        async def read(slot: Slot) -> tuple[BlockRef | None, ...]:
            return tuple(
                codec.block(value_of(each)) for each in await self._pool.send(slot, requests)
            )

        return await self._pool.read(read)

    async def endpoints_agree(self, block: BlockId) -> bool:
        """Compare the hash at this height; goes back to the preferred endpoint where it can."""
        if len(self._pool.slots) == 1:
            return True
        answering: list[Slot] = []
        for slot in self._pool.slots:
            if not self._pool.is_resting(slot):
                try:
                    await self._pool.verify(slot)
                    found = await self._header_at(slot, block.number)
                except ChainError as error:
                    self._pool.note_failure(slot, error)
                    continue
                if found is not None and found.hash != block.hash:
                    _log.warning(
                        "chain_endpoints_disagree", endpoint=slot.endpoint.label, block=block.number
                    )
                    return False
                if found is not None:
                    answering.append(slot)
        if answering:
            self._pool.active = answering[0]
        return True

    async def logs(
        self,
        addresses: Sequence[Address],
        from_block: int,
        to_block: int,
        topics: Sequence[Hash32] | None = None,
    ) -> tuple[Log, ...]:
        """One `eth_getLogs`."""
        request = RpcRequest(
            "eth_getLogs", (codec.log_filter(addresses, from_block, to_block, topics),)
        )

        async def read(slot: Slot) -> tuple[Log, ...]:
            (answer,) = await self._pool.send(slot, [request])
            if isinstance(answer, RpcFailure) and is_too_many_logs(answer):
                raise TooManyLogsError(f"{slot.endpoint.label}: {answer}")
            return codec.logs(value_of(answer))

        return await self._pool.read(read)

    async def call(self, call: ContractCall, at: At = HEAD) -> CallResult:
        """One `eth_call`."""
        (result,) = await self.call_many([call], at)
        return result

    async def call_many(
        self, calls: Sequence[ContractCall], at: At = HEAD
    ) -> tuple[CallResult, ...]:
        """`eth_call` in batches, each pinned alike."""

        def requests(block: Json) -> list[RpcRequest]:
            return [RpcRequest("eth_call", (codec.call_object(call), block)) for call in calls]

        async def read(slot: Slot) -> tuple[CallResult, ...]:
            answers = await self._read_at(slot, requests, at)
            return tuple(_call_result(answer) for answer in answers)

        return await self._pool.read(read)

    async def call_everywhere(self, call: ContractCall, at: BlockId) -> frozenset[CallResult]:
        """`eth_call` at each endpoint that can be used."""

        def requests(block: Json) -> list[RpcRequest]:
            return [RpcRequest("eth_call", (codec.call_object(call), block))]

        async def read(slot: Slot) -> CallResult:
            try:
                (answer,) = await self._read_at(slot, requests, at)
            except BlockReplacedError as error:
                if await self._header_at(slot, at.number) is not None:
                    raise OtherBlockError(str(error)) from error
                raise  # it lags
            return _call_result(answer)

        return await self._pool.read_everywhere(read)

    async def code(self, address: Address, at: At = HEAD) -> bytes:
        """`eth_getCode`."""

        def requests(block: Json) -> list[RpcRequest]:
            return [RpcRequest("eth_getCode", (codec.hex_bytes(address), block))]

        async def read(slot: Slot) -> bytes:
            (answer,) = await self._read_at(slot, requests, at)
            return codec.data(value_of(answer), "code")

        return await self._pool.read(read)

    async def balance(self, address: Address) -> int:
        """`eth_getBalance` at the head."""
        params = (codec.hex_bytes(address), "latest")
        return await self._ask_one("eth_getBalance", params, lambda v: _number(v, "balance"))

    async def transaction_count(self, address: Address, *, pending: bool) -> int:
        """`eth_getTransactionCount`."""
        params = (codec.hex_bytes(address), "pending" if pending else "latest")
        return await self._ask_one(
            "eth_getTransactionCount", params, lambda v: codec.count(v, "nonce")
        )

    async def estimate_gas(self, call: ContractCall) -> int | Reverted:
        """`eth_estimateGas`."""
        request = RpcRequest("eth_estimateGas", (codec.call_object(call),))

        async def read(slot: Slot) -> int | Reverted:
            (answer,) = await self._pool.send(slot, [request])
            if isinstance(answer, RpcFailure) and is_revert(answer):
                return Reverted(answer.data or b"")
            return codec.count(value_of(answer), "gas")

        return await self._pool.read(read)

    async def fee_inputs(self) -> FeeInputs:
        """Header, `eth_gasPrice` and, if offered, `eth_maxPriorityFeePerGas`, in one batch."""
        requests = [
            RpcRequest("eth_getBlockByNumber", ("latest", False)),
            RpcRequest("eth_gasPrice"),
            RpcRequest("eth_maxPriorityFeePerGas"),
        ]

        async def read(slot: Slot) -> FeeInputs:
            header, price, tip = await self._pool.send(slot, requests)
            return _fee_inputs(
                codec.block(value_of(header)), _number(value_of(price), "price"), tip
            )

        return await self._pool.read(read)

    async def send_raw_transaction(self, raw: bytes) -> Hash32:
        """`eth_sendRawTransaction`; tries the next endpoint only if one cannot be reached."""
        request = RpcRequest("eth_sendRawTransaction", (codec.hex_bytes(raw),))

        async def send(slot: Slot) -> Hash32:
            (answer,) = await self._pool.send(slot, [request])
            if isinstance(answer, RpcFailure):
                refusal = send_refusal(answer.message)
                if refusal is SendRefusal.OTHER and is_overloaded(answer):
                    raise ChainUnavailableError(f"{slot.endpoint.label}: {answer}")
                raise SendRefusedError(refusal, answer.message)
            return codec.fixed(Hash32, answer.value, "transaction hash")

        return await self._pool.read(send)

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        """`eth_getTransactionReceipt`."""
        params = (codec.hex_bytes(tx_hash),)
        return await self._ask_one("eth_getTransactionReceipt", params, codec.receipt)

    async def knows_transaction(self, tx_hash: Hash32) -> bool:
        """Whether `eth_getTransactionByHash` finds it."""
        params = (codec.hex_bytes(tx_hash),)
        return await self._ask_one(
            "eth_getTransactionByHash", params, lambda value: value is not None
        )

    async def heads(self) -> AsyncGenerator[BlockRef, None]:
        """Pushed heads where the endpoint in use offers them, polled ones otherwise.

        An endpoint that tells of no new block while others do is left: raises
        `ChainUnavailableError`, and the next heads come from another one.
        """
        seen: BlockRef | None = None
        while True:
            slot, subscribed = await self._pool.read(self._subscribe)
            told_at = asyncio.get_running_loop().time()
            while slot is self._pool.active:
                head = await self._newest(slot, wait=subscribed and seen is not None)
                now = asyncio.get_running_loop().time()
                if head is not None and (seen is None or head.hash != seen.hash):
                    seen, told_at = head, now
                    yield head
                    continue
                if seen is not None and now - told_at >= self._quiet_s:
                    told_at = now
                    await self._leave_if_overtaken(slot, seen)
                if not subscribed:
                    await asyncio.sleep(self._poll_s)

    async def close(self) -> None:
        """Close all endpoints."""
        await self._pool.close()

    # --- heads -------------------------------------------------------------------------------

    async def _subscribe(self, slot: Slot) -> tuple[Slot, bool]:
        await self._pool.verify(slot)
        return slot, await slot.endpoint.subscribe()

    async def _newest(self, slot: Slot, *, wait: bool) -> BlockRef | None:
        """The next head told, or the latest block if none is told for long or `wait` is false."""
        if wait:
            try:
                async with asyncio.timeout(self._quiet_s):
                    return codec.block(await slot.endpoint.next_head())
            except TimeoutError:
                _log.debug("chain_heads_quiet", endpoint=slot.endpoint.label)
        return await self.block(BlockTag.LATEST)

    async def _leave_if_overtaken(self, slot: Slot, seen: BlockRef) -> None:
        """Raises `ChainUnavailableError` if an endpoint knows more than the one in use."""
        for other in self._pool.slots:
            if other is slot or self._pool.is_resting(other):
                continue
            try:
                await self._pool.verify(other)
                latest = await self._header(other, BlockTag.LATEST.value)
            except ChainError as error:
                self._pool.note_failure(other, error)
                continue
            if latest is not None and latest.number > seen.number:
                still = ChainUnavailableError(
                    f"{slot.endpoint.label} stands still at block {seen.number},"
                    f" {other.endpoint.label} tells of block {latest.number}"
                )
                self._pool.note_failure(slot, still)
                raise still

    # --- reading ------------------------------------------------------------------------------

    async def _ask_one(
        self, method: str, params: tuple[Json, ...], parse: Callable[[Json], T]
    ) -> T:
        async def read(slot: Slot) -> T:
            (answer,) = await self._pool.send(slot, [RpcRequest(method, params)])
            return parse(value_of(answer))

        return await self._pool.read(read)

    async def _read_at(
        self, slot: Slot, requests: Callable[[Json], list[RpcRequest]], at: At
    ) -> list[RpcAnswer]:
        """Read state at a block; raises `BlockReplacedError` when it is not canonical."""
        if at == HEAD:
            return await self._pool.send(slot, requests("latest"))
        if slot.takes_pins:
            answers = await self._pool.send(slot, requests(codec.pinned_block(at)))
            failures = [
                each for each in answers if isinstance(each, RpcFailure) and not is_revert(each)
            ]
            if any(is_unknown_block(failure) for failure in failures):
                raise BlockReplacedError(f"block {at.number} is not canonical any more")
            if not any(is_unsupported_pin(failure) for failure in failures):
                return answers
            _log.info("chain_pins_not_supported", endpoint=slot.endpoint.label)
            slot.takes_pins = False
        answers = await self._pool.send(slot, requests(codec.numbered_block(at)))
        found = await self._header_at(slot, at.number)
        if found is None or found.hash != at.hash:
            raise BlockReplacedError(f"block {at.number} is not canonical any more")
        return answers

    async def _header_at(self, slot: Slot, number: int) -> BlockRef | None:
        return await self._header(slot, hex(number))

    async def _header(self, slot: Slot, name: str) -> BlockRef | None:
        request = RpcRequest("eth_getBlockByNumber", (name, False))
        (answer,) = await self._pool.send(slot, [request])
        return codec.block(value_of(answer))


# --- answers ------------------------------------------------------------------------------------


def _number(value: Json, name: str) -> int:
    return codec.quantity(value, name)


def _call_result(answer: RpcAnswer) -> CallResult:
    if isinstance(answer, RpcFailure) and is_revert(answer):
        return Reverted(answer.data or b"")
    return Returned(codec.data(value_of(answer), "call"))


def _fee_inputs(header: BlockRef | None, gas_price: int, tip: RpcAnswer) -> FeeInputs:
    if header is None:
        raise MalformedAnswerError("there is no latest block")
    if header.base_fee is None:
        return FeeInputs(None, 0, gas_price)
    if isinstance(tip, RpcFailure) and is_unknown_method(tip):
        return FeeInputs(header.base_fee, max(0, gas_price - header.base_fee), gas_price)
    return FeeInputs(header.base_fee, _number(value_of(tip), "priority fee"), gas_price)


def _block_name(which: int | BlockTag) -> str:
    return which.value if isinstance(which, BlockTag) else hex(which)
