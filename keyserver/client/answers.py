"""From the logs after a request to its outcome; plain computation.

Each function takes the logs of one service that concern the request, in order, and returns the
outcome or None while it is open. Logs that do not decode are passed over: on the originally
published contracts a single dishonest server can emit such.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from keyserver.client.contracts import (
    GENERATION,
    RETRIEVAL,
    SHADOW_RETRIEVAL,
    SIGNING,
    STORE,
    Service,
)
from keyserver.client.errors import BadAnswerError, RefusedByKeyServersError
from keyserver.client.ethereum import EventLog
from keyserver.client.results import ASK_AGAIN, ServerKey, ShadowAnswer
from keyserver.crypto.curve import Point
from keyserver.crypto.errors import CryptoError
from keyserver.evm.abi import AbiError, Event
from keyserver.model.requests import SigningScheme


def generated(logs: Sequence[EventLog]) -> Point | None:
    """The public key of a generation."""
    for event, values in _decoded(GENERATION, logs):
        if event is GENERATION.error:
            raise _refusal(
                GENERATION, "The id may be in use, or a key server is away: try another one."
            )
        return _point("server key", values[1])
    return None


def retrieved(logs: Sequence[EventLog]) -> ServerKey | None:
    """The server key of a retrieval; of both forms of the event the longer one is preferred."""
    found: ServerKey | None = None
    for event, values in _decoded(RETRIEVAL, logs):
        if event is RETRIEVAL.error:
            if found is not None:
                break
            raise _refusal(RETRIEVAL, "The key servers know no key with this id.")
        public = _point("server key", values[1])
        if len(values) == 3:
            return ServerKey(public, values[2])
        found = found or ServerKey(public, None)
    return found


def stored(logs: Sequence[EventLog]) -> bool:
    """Whether the document key is stored."""
    for event, _ in _decoded(STORE, logs):
        if event is STORE.error:
            raise _refusal(
                STORE, "Each key takes one document key, from the account that generated it."
            )
        return True
    return False


def shadow_retrieved(logs: Sequence[EventLog]) -> ShadowAnswer | None:
    """The first group of personal answers with one secret that has `threshold + 1` members.

    Groups of different attempts never mix: each has a secret of its own.
    """
    common: tuple[Point, int] | None = None
    groups: dict[bytes, list[bytes]] = {}
    for event, values in _decoded(SHADOW_RETRIEVAL, logs):
        if event is SHADOW_RETRIEVAL.error:
            raise _refusal(
                SHADOW_RETRIEVAL,
                "You may have no permission for this key, or it has no document key.",
            )
        if event is _COMMON:
            common = _point("common point", values[2]), values[3]
        elif common is not None and _is_point(values[2]):
            group = groups.setdefault(values[2], [])
            group.append(values[3])
            if len(group) == common[1] + 1:
                return ShadowAnswer(common[0], Point.from_raw64(values[2]), tuple(group))
    return None


def signed(service: Service, logs: Sequence[EventLog]) -> tuple[Point, bytes] | None:
    """The server key that the key servers agree on, and what they give as its signature."""
    common, made = service.results
    public: Point | None = None
    for event, values in _decoded(service, logs):
        if event is service.error:
            needs_more = service is SIGNING[SigningScheme.ECDSA]
            raise _refusal(service, _NOT_SIGNED + (_ECDSA_NEEDS if needs_more else ""))
        if event is common:
            public = _point("server key", values[3])
        elif event is made and public is not None:
            return public, values[3]
    return None


def personal_answers(logs: Sequence[EventLog]) -> tuple[int, int] | None:
    """How many of how many personal answers are there; None before the common stage is done."""
    required = None
    secrets: list[bytes] = []
    for event, values in _decoded(SHADOW_RETRIEVAL, logs):
        if event is _COMMON:
            required = values[3] + 1
        elif event is _PERSONAL:
            secrets.append(values[2])
    if required is None:
        return None
    return max((secrets.count(secret) for secret in secrets), default=0), required


_COMMON, _PERSONAL = SHADOW_RETRIEVAL.results
_NOT_SIGNED = (
    "There may be no such key, or you may have no permission for it: `keyserver client show KEY_ID`"
    " tells what the contracts know, for nothing."
)
_ECDSA_NEEDS = " ECDSA needs a key that 2t + 1 key servers hold."


def _decoded(service: Service, logs: Sequence[EventLog]) -> Iterator[tuple[Event, tuple[Any, ...]]]:
    events = {event.topic0: event for event in (*service.results, service.error)}
    for log in logs:
        event = events.get(log.topics[0]) if log.topics else None
        if event is None:
            continue
        try:
            yield event, event.decode(log.topics, log.data)
        except AbiError:
            continue


def _point(what: str, data: bytes) -> Point:
    try:
        return Point.from_raw64(data)
    except CryptoError as error:
        raise BadAnswerError(f"{what}: {error}", advice=ASK_AGAIN) from error


def _is_point(data: bytes) -> bool:
    try:
        Point.from_raw64(data)
    except CryptoError:
        return False
    return True


def _refusal(service: Service, advice: str) -> RefusedByKeyServersError:
    return RefusedByKeyServersError(
        f"{service.title}: the key servers answered with an error", advice=advice
    )
