"""The four services once more, as plainly as possible: what every call does and announces."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_utils.crypto import keccak

from tests.contracts.reference_model import ERROR, ERROR_THRESHOLD, Answer, Result, outcome
from tests.contracts.world import (
    ALL_SERVICES,
    GENERATION,
    RETRIEVAL,
    SHADOW_RETRIEVAL,
    STORE,
    Service,
)

MAX_VARIANTS = 32
EventData = tuple[str, tuple[Any, ...]]


class RefusedError(Exception):
    """The contract has to revert."""


@dataclass(slots=True, eq=False)
class Request:
    """One pending request; whatever was answered belongs to `epoch`."""

    subject: tuple[Any, ...]
    author: str
    payload: tuple[Any, ...]
    created: int
    epoch: int = -1
    votes: dict[str, Hashable] = field(default_factory=dict)
    threshold: int | None = None
    """Of a shadow retrieval, once its common stage is completed."""
    variants: dict[Hashable, set[str]] = field(default_factory=dict)
    errors: set[str] = field(default_factory=set)

    def enter(self, epoch: int) -> bool:
        """Drop all answers of another epoch; whether there was one."""
        if epoch == self.epoch:
            return False
        self.epoch, self.votes, self.variants, self.errors = epoch, {}, {}, set()
        return True


@dataclass(slots=True)
class ServiceModel:
    """All four services over one list of key servers, by address."""

    servers: list[str]
    epoch: int = 0
    lifetime: int = 600
    balances: Counter[str] = field(default_factory=Counter)
    pending: dict[str, list[Request]] = field(
        default_factory=lambda: {service.noun: [] for service in ALL_SERVICES}
    )
    limits: dict[str, int] = field(
        default_factory=lambda: {service.noun: service.limit for service in ALL_SERVICES}
    )
    authors: dict[bytes, str] = field(default_factory=dict)

    def change_set(self, servers: Sequence[str]) -> None:
        self.servers, self.epoch = list(servers), self.epoch + 1

    @property
    def majority(self) -> int:
        return len(self.servers) // 2 + 1

    # --- clients

    def request(
        self, service: Service, args: tuple[Any, ...], sender: str, value: int, block: int
    ) -> list[EventData]:
        key, *payload = args
        subject: tuple[Any, ...] = (key,)
        announced = (key, *payload)
        match service.noun:
            case GENERATION.noun:
                self._require(payload[0] <= 254 and payload[0] < len(self.servers))
                announced = key, sender, *payload
            case STORE.noun:
                self._require(all(len(point) == 64 for point in payload))
                self._require(self.authors.get(key, sender) == sender)
                announced = key, sender, *payload
            case SHADOW_RETRIEVAL.noun:
                self._require(keccak(payload[0])[-20:] == bytes.fromhex(sender[2:]))
                subject, announced = (key, sender), (key, sender)
        pending = self.pending[service.noun]
        self._require(value >= service.fee and len(pending) < self.limits[service.noun])
        self._require(self.find(service, subject) is None)
        pending.append(Request(subject, sender, tuple(payload), block))
        for server in self.servers:
            self.balances[server] += value // len(self.servers)
        self.balances[self.servers[-1]] += value % len(self.servers)
        return [(service.requested_event, announced)]

    def drain(self, sender: str) -> list[EventData]:
        due = self.balances.pop(sender, 0)
        self._require(due > 0)
        return [("Drained", (sender, due))]

    # --- key servers

    def generated(self, sender: str, key: bytes, public: bytes) -> list[EventData]:
        request = self._asked(GENERATION, (key,), sender, (public,))
        if request is None or not self._vote(request, sender, public):
            return []
        if len(set(request.votes.values())) > 1:
            return self.fail(GENERATION, request)
        if len(request.votes) < len(self.servers):
            return []
        self._remove(GENERATION, request)
        self.authors[key] = request.author
        return [("ServerKeyGenerated", (key, public))]

    def retrieved(self, sender: str, key: bytes, public: bytes, threshold: int) -> list[EventData]:
        answer = ERROR if threshold == ERROR_THRESHOLD else Answer(public.hex(), threshold)
        request = self._asked(RETRIEVAL, (key,), sender, (public,))
        return self._vote_for_public(request, sender, answer)

    def stored(self, sender: str, key: bytes) -> list[EventData]:
        request = self._asked(STORE, (key,), sender)
        if request is None or not self._vote(request, sender, None):
            return []
        if len(request.votes) < len(self.servers):
            return []
        self._remove(STORE, request)
        return [("DocumentKeyStored", (key,))]

    def common(
        self, sender: str, key: bytes, requester: str, point: bytes, threshold: int
    ) -> list[EventData]:
        request = self._asked(SHADOW_RETRIEVAL, (key, requester), sender, (point,))
        return [] if request is None else self._vote_common(request, sender, (point, threshold))

    def personal(
        self, sender: str, key: bytes, requester: str, mask: int, secret: bytes, shadow: bytes
    ) -> list[EventData]:
        request = self._asked(SHADOW_RETRIEVAL, (key, requester), sender, (secret,))
        if request is None:
            return []
        self._require(request.threshold is not None and 1 <= len(shadow) <= 1024)
        variants = request.variants if request.epoch == self.epoch else {}
        answered = variants.get((mask, secret), set())
        need = (request.threshold or 0) + 1
        self._require(mask >> self.servers.index(sender) & 1 == 1)
        self._require(mask >> len(self.servers) == 0 and mask.bit_count() == need)
        self._require(sender not in answered)
        self._require(sum(sender in s for s in variants.values()) < MAX_VARIANTS)
        events = self._notice(request)
        request.variants[mask, secret] = {*answered, sender}
        if len(answered) + 1 == need:
            self._remove(SHADOW_RETRIEVAL, request)
        return [*events, ("DocumentKeyPersonalRetrieved", (key, requester, secret, shadow))]

    def error(self, service: Service, sender: str, subject: tuple[Any, ...]) -> list[EventData]:
        if service is GENERATION:
            self._require(sender in self.servers)
        request = self._asked(service, subject, sender)
        if request is None:
            return []
        if service in (GENERATION, STORE):
            return self.fail(service, request)
        if service is RETRIEVAL:
            return self._vote_for_public(request, sender, ERROR)
        if request.threshold is None:
            return self._vote_common(request, sender, None)
        events = self._notice(request)
        request.errors.add(sender)
        if len(request.errors) >= self.majority:
            events += self.fail(service, request)
        return events

    # --- anybody and the owner

    def expire(self, service: Service, subject: tuple[Any, ...], block: int) -> list[EventData]:
        request = self.find(service, subject)
        self._require(request is not None and 0 < self.lifetime <= block - request.created)
        return self.delete(service, subject)

    def delete(self, service: Service, subject: tuple[Any, ...]) -> list[EventData]:
        request = self.find(service, subject)
        if request is None:
            raise RefusedError
        return self.fail(service, request)

    def required(self, service: Service, subject: tuple[Any, ...], server: str) -> bool:
        self._require(server in self.servers)
        request = self.find(service, subject)
        if request is None:
            return False
        voted = request.epoch == self.epoch and server in request.votes
        return request.threshold is not None or not voted

    def listed(self, service: Service) -> list[Any]:
        """What enumeration tells, in order."""
        pending = self.pending[service.noun]
        match service.noun:
            case RETRIEVAL.noun:
                return [request.subject[0] for request in pending]
            case SHADOW_RETRIEVAL.noun:
                return [[r.subject[0], *r.payload, r.threshold is not None] for r in pending]
            case _:
                return [[r.subject[0], r.author, *r.payload] for r in pending]

    def find(self, service: Service, subject: tuple[Any, ...]) -> Request | None:
        found = [r for r in self.pending[service.noun] if r.subject == subject]
        return found[0] if found else None

    # --- inside

    @staticmethod
    def _require(condition: bool) -> None:
        if not condition:
            raise RefusedError

    def _asked(
        self, service: Service, subject: tuple[Any, ...], sender: str, points: Sequence[bytes] = ()
    ) -> Request | None:
        """The request that a server answers; `None` if there is none, which is silent."""
        self._require(all(len(point) == 64 for point in points))
        request = self.find(service, subject)
        self._require(request is None or sender in self.servers)
        return request

    def _vote(self, request: Request, sender: str, answer: Hashable) -> bool:
        request.enter(self.epoch)
        if sender in request.votes:
            return False
        request.votes[sender] = answer
        return True

    def _vote_for_public(
        self, request: Request | None, sender: str, answer: Answer
    ) -> list[EventData]:
        if request is None or not self._vote(request, sender, answer):
            return []
        votes: Any = list(request.votes.values())
        match outcome(votes, len(self.servers)):
            case None:
                return []
            case Result(Answer(public, threshold)):
                self._remove(RETRIEVAL, request)
                short = *request.subject, bytes.fromhex(public)
                return [("ServerKeyRetrieved", (*short, threshold)), ("ServerKeyRetrieved", short)]
            case _:
                return self.fail(RETRIEVAL, request)

    def _vote_common(
        self, request: Request, sender: str, answer: tuple[bytes, int] | None
    ) -> list[EventData]:
        """`None` is an error."""
        if request.threshold is not None:
            return self._notice(request)
        if not self._vote(request, sender, answer):
            return []
        counts = Counter(request.votes.values())
        if counts[answer] >= self.majority and answer is not None:
            request.threshold = answer[1]
            told = ("DocumentKeyCommonRetrieved", (*request.subject, *answer))
            return [told, self._announcement(request)]
        left = len(self.servers) - len(request.votes)
        hopeless = max(counts.values()) + left < self.majority
        if hopeless or counts[answer] >= self.majority:
            return self.fail(SHADOW_RETRIEVAL, request)
        return []

    def _notice(self, request: Request) -> list[EventData]:
        return [self._announcement(request)] if request.enter(self.epoch) else []

    def _announcement(self, request: Request) -> EventData:
        return ("DocumentKeyPersonalRetrievalRequested", (request.subject[0], *request.payload))

    def fail(self, service: Service, request: Request) -> list[EventData]:
        self._remove(service, request)
        return [(service.error_event, request.subject)]

    def _remove(self, service: Service, request: Request) -> None:
        """The last one takes over the place."""
        pending = self.pending[service.noun]
        place = pending.index(request)
        pending[place] = pending[-1]
        pending.pop()
