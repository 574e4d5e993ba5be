"""One request to a contract, from its transaction to its outcome."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keyserver.client import answers
from keyserver.client.contracts import (
    CURRENT_KEY_SERVERS,
    KEY_SERVER_SET,
    SHADOW_RETRIEVAL,
    Contracts,
    Service,
)
from keyserver.client.errors import NoAnswerError, RefusedByContractError
from keyserver.client.ethereum import Ethereum, EventLog, Receipt
from keyserver.evm.abi import AbiError, Event
from keyserver.model.identifiers import Address, Hash32, KeyId

T = TypeVar("T")
U = TypeVar("U")

MOST_REFUSALS = 3
"""How many blocks in a row the Ethereum node may refuse to show logs of; a reorganisation, or an
address with several nodes behind it, takes blocks away for a moment."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known when a new block has come and the request is still open."""

    title: str
    """Of the service."""
    block: int
    answered: int | None
    """Key servers that have answered in this stage; None where the contracts do not tell."""
    expected: int | None
    """How many there are, or how many are enough."""

    def __str__(self) -> str:
        if self.answered is None:
            return f"block {self.block}: waiting for answers"
        return f"block {self.block}: {self.answered} of {self.expected} answers"


Watch = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of a request, and what it took."""

    value: T
    requested_in: int
    """Block of the request."""
    answered_in: int
    """Newest block when the outcome was seen."""
    gas_used: int
    """By the request's own transaction."""

    def with_value(self, value: U) -> "Answer[U]":
        """The same answer with something that was made of its value."""
        return Answer(value, self.requested_in, self.answered_in, self.gas_used)


@dataclass(frozen=True, slots=True)
class Subject:
    """What tells one request of a service from the others."""

    key_id: KeyId
    requester: Address | None = None
    """Where every account may have a request for the same key."""
    message: Hash32 | None = None
    """Where an account may have several."""

    @property
    def topics(self) -> list[list[bytes]]:
        """What stands in the answers after their own topic."""
        found: list[list[bytes]] = [[self.key_id]]
        if self.requester is not None:
            found.append([bytes(12) + self.requester])
        if self.message is not None:
            found.append([self.message])
        return found

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What functions about the request are called with."""
        found: list[Any] = [self.key_id]
        if self.requester is not None:
            found.append("0x" + self.requester.hex())
        if self.message is not None:
            found.append(self.message)
        return tuple(found)


class Follower:
    """Waits for the outcome of requests."""

    def __init__(
        self,
        ethereum: Ethereum,
        contracts: Contracts,
        *,
        watch: Watch,
        confirmations: int,
        patience_s: float,
    ) -> None:
        """As of `KeyServers`."""
        self._ethereum = ethereum
        self._contracts = contracts
        self._watch = watch
        self._confirmations = confirmations
        self._patience_s = patience_s

    async def outcome(
        self,
        service: Service,
        receipt: Receipt,
        subject: Subject,
        decide: Callable[[Sequence[EventLog]], T | None],
    ) -> Answer[T]:
        """Look at every new block until `decide` finds the outcome in the logs."""
        refusals = 0
        try:
            async with asyncio.timeout(self._patience_s):
                async for head in self._ethereum.heads():
                    # Asked anew each time: a reorganisation may have moved the request.
                    placed = await self._ethereum.receipt(receipt.tx_hash)
                    confirmed = head - self._confirmations
                    if placed is None or placed.block > confirmed:
                        continue
                    try:
                        logs = await self._logs(service, placed, subject, confirmed)
                    except RefusedByContractError:
                        refusals += 1
                        if refusals == MOST_REFUSALS:
                            raise
                        continue
                    refusals = 0
                    outcome = decide(logs)
                    if outcome is not None:
                        return Answer(outcome, placed.block, head, placed.gas_used)
                    self._watch(await self._progress(service, subject, logs, head))
        except TimeoutError:
            pass
        raise NoAnswerError(
            f"{service.title}: no answer within {self._patience_s:.0f} s",
            advice="The request stays pending on the contract; are the key servers running?",
        )

    async def _logs(
        self, service: Service, placed: Receipt, subject: Subject, to_block: int
    ) -> list[EventLog]:
        """The answers to the request in `placed`: what came after it, and is about it."""
        events = [event.topic0 for event in (*service.results, service.error)]
        logs = await self._ethereum.logs(
            self._contracts.service(service),
            [events, *subject.topics],
            from_block=placed.block,
            to_block=to_block,
        )
        start = requested(service, placed, subject.key_id)[0].place
        return [log for log in logs if log.place > start]

    async def _members(self) -> Sequence[Address]:
        key_server_set = self._contracts.find(KEY_SERVER_SET)
        if key_server_set is None:
            return ()
        members: Sequence[Address] = await self._ethereum.call(key_server_set, CURRENT_KEY_SERVERS)
        return members

    async def _progress(
        self, service: Service, subject: Subject, logs: Sequence[EventLog], head: int
    ) -> Progress:
        if service is SHADOW_RETRIEVAL and (personal := answers.personal_answers(logs)):
            return Progress(service.title, head, *personal)
        members = await self._members()
        if not members or logs:
            # Logs: the key servers agree, and one of them answers for all.
            return Progress(service.title, head, None, None)
        contract = self._contracts.service(service)
        waiting = 0
        try:
            for member in members:
                arguments = *subject.arguments, "0x" + member.hex()
                function = service.is_response_required
                waiting += await self._ethereum.call(contract, function, *arguments)
        except RefusedByContractError:
            # The set has changed between two of the questions.
            return Progress(service.title, head, None, None)
        return Progress(service.title, head, len(members) - waiting, len(members))


def requested(
    service: Service, receipt: Receipt, key_id: KeyId
) -> tuple[EventLog, tuple[Any, ...]]:
    """The request's own event in its receipt, with what it says.

    Raises `RefusedByContractError` if there is none: then the address is not such a contract.
    """
    for log, values in decoded(service.requested, receipt.logs):
        if values[0] == key_id:
            return log, values
    raise RefusedByContractError(
        f"{service.title}: the transaction went through and requested nothing",
        advice="Is the address that of the service contract?",
    )


def decoded(event: Event, logs: Sequence[EventLog]) -> list[tuple[EventLog, tuple[Any, ...]]]:
    """The logs of this event; what does not decode was not emitted by a service contract."""
    found = []
    for log in logs:
        if not log.topics or log.topics[0] != event.topic0:
            continue
        try:
            found.append((log, event.decode(log.topics, log.data)))
        except AbiError:
            continue
    return found
