"""Several endpoints as one: which is in use, who follows when it fails, who rests.

One endpoint is in use at a time; the others follow, in the configured order, when it fails. An
endpoint's chain id is checked before its first answer is used and again after every failure
(W-10); one that failed is left alone for a while, longer each time (W-09).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from keyserver.chain import rpc_codec as codec
from keyserver.chain.backoff import ANY_FRACTION, Backoff, Fraction
from keyserver.chain.client import (
    BlockReplacedError,
    ChainUnavailableError,
    OtherBlockError,
    TooManyLogsError,
    WrongChainError,
)
from keyserver.chain.endpoint import MAX_BATCH, Endpoint, RpcAnswer, RpcRequest, RpcValue
from keyserver.chain.rpc_codec import Json
from keyserver.chain.rpc_errors import RpcFailure, is_overloaded
from keyserver.engine.ports import Clock
from keyserver.errors import ChainError, ConfigError

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class EndpointFailureError(ChainUnavailableError):
    """The endpoint answered one question with an error of its own; others it may answer."""


@dataclass(eq=False)
class Slot:
    """An endpoint and how it fares."""

    endpoint: Endpoint
    backoff: Backoff = field(default_factory=Backoff)
    verified: bool = False
    """Whether its chain id was checked since its last failure."""
    takes_pins: bool = True
    """Whether it reads state at a block named by hash (EIP-1898), as far as we know."""
    resting_until: float = 0.0
    last_error: ChainError | None = None


class EndpointPool:
    """The endpoints of one chain."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        chain_id: int,
        clock: Clock,
        fraction: Fraction = ANY_FRACTION,
    ) -> None:
        """`endpoints` in order of preference; raises `ConfigError` without any."""
        if not endpoints:
            raise ConfigError("rpc_endpoints: at least one is needed")
        self.slots = tuple(Slot(endpoint, Backoff(fraction)) for endpoint in endpoints)
        self.active = self.slots[0]
        """The one in use."""
        self._chain_id = chain_id
        self._clock = clock
        self.request_counts: Counter[str] = Counter()
        """How many requests were sent, by method; each member of a batch counts."""

    async def read(self, read: Callable[[Slot], Awaitable[T]]) -> T:
        """Read from the endpoint in use, else from the next one that answers.

        Raises the first endpoint's error if none does.
        """
        failed: ChainError | None = None
        for slot in self._candidates():
            try:
                await self.verify(slot)
                result = await read(slot)
            except (BlockReplacedError, TooManyLogsError):
                raise
            except (ChainUnavailableError, WrongChainError) as error:
                self.note_failure(slot, error)
                failed = failed or error
            else:
                slot.backoff.reset()
                self.active = slot
                return result
        raise failed or self._all_resting()

    async def read_everywhere(self, read: Callable[[Slot], Awaitable[T]]) -> frozenset[T]:
        """Read from every endpoint that can be used; all the different results.

        One that lags behind the block of a pinned read has nothing to say; one that has another
        block there contradicts the rest, and then `ChainUnavailableError` is raised. Raises an
        endpoint's error if none has anything to say.
        """
        found: set[T] = set()
        failed: ChainError | None = None
        contradicted = False
        for slot in self._candidates():
            try:
                await self.verify(slot)
                found.add(await read(slot))
            except BlockReplacedError as error:
                contradicted = contradicted or isinstance(error, OtherBlockError)
                failed = failed or error
            except (ChainUnavailableError, WrongChainError) as error:
                self.note_failure(slot, error)
                failed = failed or error
        if not found:
            raise failed or self._all_resting()
        if contradicted:
            raise ChainUnavailableError(f"endpoints have different blocks: {failed}")
        return frozenset(found)

    async def send(self, slot: Slot, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        """Ask one endpoint, in batches of at most `MAX_BATCH`; answers in the same order."""
        answers: list[RpcAnswer] = []
        for start in range(0, len(requests), MAX_BATCH):
            batch = requests[start : start + MAX_BATCH]
            self.request_counts.update(request.method for request in batch)
            answers += await slot.endpoint.exchange(batch)
        return answers

    async def verify(self, slot: Slot) -> None:
        """Check the endpoint's chain id, once after every failure; raises `WrongChainError`."""
        if slot.verified:
            return
        (answer,) = await self.send(slot, [RpcRequest("eth_chainId")])
        found = codec.quantity(value_of(answer), "chain id")
        if found != self._chain_id:
            raise WrongChainError(self._chain_id, found)
        slot.verified = True

    def is_resting(self, slot: Slot) -> bool:
        """Whether it failed lately and is left alone."""
        return self._clock.monotonic() < slot.resting_until

    def note_failure(self, slot: Slot, error: ChainError) -> None:
        """Remember the error; an endpoint that cannot be used rests for a while."""
        slot.last_error = error
        if isinstance(error, EndpointFailureError):
            return
        slot.verified = False
        delay = slot.backoff.next_delay()
        slot.resting_until = self._clock.monotonic() + delay
        _log.warning(
            "chain_endpoint_failed",
            endpoint=slot.endpoint.label,
            error=str(error),
            retry_in_s=round(delay, 1),
        )

    async def close(self) -> None:
        """Close all endpoints."""
        for slot in self.slots:
            await slot.endpoint.close()

    def _candidates(self) -> Iterator[Slot]:
        others = [slot for slot in self.slots if slot is not self.active]
        return (slot for slot in (self.active, *others) if not self.is_resting(slot))

    def _all_resting(self) -> ChainError:
        errors = [slot.last_error for slot in self.slots]
        wrong = [error for error in errors if isinstance(error, WrongChainError)]
        if len(wrong) == len(errors):
            return WrongChainError(wrong[0].expected, wrong[0].found)
        reasons = "; ".join(str(error) for error in errors if error is not None)
        return ChainUnavailableError(f"no endpoint can be used now: {reasons}")


def value_of(answer: RpcAnswer) -> Json:
    """The result of an answer; raises `ChainUnavailableError` if it is an error."""
    match answer:
        case RpcValue(value):
            return value
        case RpcFailure() if is_overloaded(answer):
            raise ChainUnavailableError(str(answer))
        case RpcFailure():
            raise EndpointFailureError(str(answer))
