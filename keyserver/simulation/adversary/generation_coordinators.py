"""Coordinators that cheat honest members of a generation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Point, Scalar
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.keys import NodeSignature
from keyserver.model.requests import Proof
from keyserver.sessions.sharing.messages import Finalize, Shares
from keyserver.simulation.adversary import dealing, floods
from keyserver.simulation.adversary.generation_members import (
    IDENTITY,
    OFF_CURVE,
)
from keyserver.simulation.adversary.rows import (
    Acts,
    Behaviour,
    Crashes,
    Deed,
    Must,
    Part,
    Protocol,
    Replays,
    Row,
    Tells,
)
from keyserver.simulation.liars import (
    OTHER_POINT,
    UNSIGNED,
    Lie,
    Place,
    garbage,
    silent,
    to_some,
    with_bytes,
    with_field,
)

B = Behaviour
OTHER = Hash32(b"\x0f" * 32)


def params(**change: Callable[[Any], Any]) -> Lie:
    """Propose other parameters than those of request and set."""

    def lie(_: Any, message: Any) -> Any:
        changed = {name: new(getattr(message.params, name)) for name, new in change.items()}
        return replace(message, params=replace(message.params, **changed))

    return lie


def half(place: Place) -> frozenset[NodeId]:
    """Every other node of the set."""
    return frozenset(place.ctx.node_set.nodes[::2])


def one_less(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without the first."""
    return items[1:]


def doubled(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first twice."""
    return (items[0], *items)


def without_receiver(place: Place, message: Any) -> Any:
    """Leave the receiver out of the list."""
    others = tuple(entry for entry in message.accepted if entry.node != place.to)
    return replace(message, accepted=others)


def _receiver_key_replaced(place: Place, message: Any) -> Any:
    changed = tuple(
        replace(entry, one_time=OTHER_POINT) if entry.node == place.to else entry
        for entry in message.accepted
    )
    return replace(message, accepted=changed)


def _with_stranger(_: Place, message: Any) -> Any:
    stranger = replace(message.accepted[0], node=NodeId.of(OTHER_POINT))
    listed = sorted((*message.accepted, stranger), key=lambda entry: entry.node)
    return replace(message, accepted=tuple(listed))


def key_substituted(place: Place, message: Any) -> Any:
    """Replace another node's one-time key by one whose secret the coordinator knows."""
    entries = list(message.accepted)
    index = next(i for i, entry in enumerate(entries) if entry.node not in (place.to, place.ctx.me))
    entries[index] = dealing.accepted_by(place, entries[index].node)
    return replace(message, accepted=tuple(entries))


def _bad_proofs(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(replace(item, proof=Proof(bytes(64))) for item in items)


def unsigned_all(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leave all signatures out."""
    return tuple(replace(item, signature=UNSIGNED) for item in items)


def _other_sum(points: tuple[Point, ...]) -> tuple[Point, ...]:
    return (OTHER_POINT, *points[1:])


def _other_tail(points: tuple[Point, ...]) -> tuple[Point, ...]:
    return (*points[:-1], OTHER_POINT)


def _swapped_ciphertexts(place: Place, message: Shares) -> Shares:
    """Give each deal the sealed share of the next dealer."""
    sealed = [entry.ciphertext for entry in message.deals]
    moved = zip(message.deals, sealed[1:] + sealed[:1], strict=True)
    return replace(message, deals=tuple(replace(d, ciphertext=c) for d, c in moved))


def _without_an_honest_deal(place: Place, message: Shares) -> Shares:
    """Leave another dealer out for every receiver: no two see the same deals."""
    others = [e for e in message.deals if e.dealer not in (place.ctx.me, place.to)]
    if not others:
        return message
    return replace(message, deals=tuple(e for e in message.deals if e != others[-1]))


def _record(**change: Any) -> Lie:
    return with_field("record", lambda record: replace(record, **change))


def _moved_coordinates(_: Place, message: Finalize) -> Finalize:
    record = message.record
    moved = tuple(replace(m, x=Scalar(int(m.x) + 10)) for m in record.committee)
    return replace(message, record=replace(record, committee=moved))


def _strangers(signatures: tuple[NodeSignature, ...]) -> tuple[NodeSignature, ...]:
    return tuple(NodeSignature(NodeId.of(OTHER_POINT), e.signature) for e in signatures)


def _decision(**change: Callable[[Any], Any]) -> Lie:
    def lie(decision: Any) -> Any:
        return replace(decision, **{n: new(getattr(decision, n)) for n, new in change.items()})

    return with_field("decision", lie)


def _first_constant(message: Any) -> bytes:
    compressed: bytes = message.deals[0].constant.compressed
    return compressed


def _first_sum(message: Any) -> bytes:
    compressed: bytes = message.commitments[-1].compressed
    return compressed


def _first_key(message: Any) -> bytes:
    compressed: bytes = message.accepted[0].one_time.compressed
    return compressed


def _row(behaviour: Behaviour, name: str, deed: Deed, must: Must = Must.REFUSED) -> Row:
    return Row(behaviour, Protocol.GENERATION, Part.COORDINATOR, name, deed, must)


_PROPOSALS = (
    _row(
        B.LIED_REQUEST,
        "another author",
        Tells("Propose", params(author=lambda _: Address(b"\xee" * 20))),
    ),
    _row(B.LIED_REQUEST, "another threshold", Tells("Propose", params(threshold=lambda t: t + 1))),
    _row(
        B.LIED_REQUEST, "another key", Tells("Propose", params(key_id=lambda k: type(k)(bytes(32))))
    ),
    _row(B.LIED_REQUEST, "a later version", Tells("Propose", params(version=lambda v: v + 1))),
    _row(B.LIED_REQUEST, "a predecessor", Tells("Propose", params(previous=lambda _: OTHER))),
    _row(B.LIED_REQUEST, "another request", Tells("Propose", params(request_hash=lambda _: OTHER))),
    _row(
        B.LIED_REQUEST,
        "dealers",
        Tells("Propose", params(dealers=lambda _: (NodeId.of(OTHER_POINT),))),
    ),
    _row(B.LIED_REQUEST, "another kind", Tells("Propose", with_field("kind", lambda _: 2))),
    _row(B.LIED_SET, "another set", Tells("Propose", params(set_id=lambda _: OTHER))),
    _row(B.LIED_SET, "a smaller set", Tells("Propose", params(committee=one_less))),
    _row(
        B.LIED_SET,
        "chosen coordinates",
        Tells(
            "Propose",
            params(committee=lambda c: tuple(replace(m, x=Scalar(int(m.x) + 1)) for m in c)),
        ),
    ),
    _row(
        B.LIED_SET,
        "coordinate zero",
        Tells("Propose", params(committee=lambda c: (replace(c[0], x=Scalar(0)), *c[1:]))),
    ),
)

_STARTS = (
    _row(B.LIED_SET, "START without the receiver", Tells("Start", without_receiver)),
    _row(
        B.LIED_SET,
        "START with too few",
        Tells("Start", with_field("accepted", lambda a: a[:1])),
    ),
    _row(B.LIED_SET, "START with a stranger", Tells("Start", _with_stranger)),
    _row(B.LIED_SET, "START with one node twice", Tells("Start", with_field("accepted", doubled))),
    _row(
        B.LIED_SET,
        "START out of order",
        Tells("Start", with_field("accepted", lambda a: a[::-1])),
    ),
    _row(B.NONCE, "START with a key of its own for another", Tells("Start", key_substituted)),
    _row(
        B.NONCE,
        "START with another key for the receiver",
        Tells("Start", _receiver_key_replaced),
    ),
    _row(B.BAD_PROOF, "START without proofs", Tells("Start", with_field("accepted", _bad_proofs))),
    _row(B.BAD_PROOF, "START unsigned", Tells("Start", with_field("accepted", unsigned_all))),
    _row(
        B.BAD_POINT,
        "START with a key off the curve",
        Tells("Start", with_bytes(_first_key, OFF_CURVE)),
    ),
    _row(B.BAD_POINT, "START with the identity", Tells("Start", with_bytes(_first_key, IDENTITY))),
)

_SHARES = (
    _row(B.LIED_SET, "SHARES of too few", Tells("Shares", with_field("deals", lambda d: d[:1]))),
    _row(B.LIED_SET, "SHARES of one dealer twice", Tells("Shares", with_field("deals", doubled))),
    _row(
        B.LIED_SET,
        "SHARES out of order",
        Tells("Shares", with_field("deals", lambda d: d[::-1])),
    ),
    _row(B.WRONG_SHARE, "SHARES with the shares of others", Tells("Shares", _swapped_ciphertexts)),
    _row(B.BAD_PROOF, "SHARES unsigned", Tells("Shares", with_field("deals", unsigned_all))),
    _row(
        B.WRONG_SHARE,
        "SHARES with another public key",
        Tells("Shares", with_field("commitments", _other_sum)),
    ),
    _row(
        B.WRONG_SHARE,
        "SHARES with another polynomial",
        Tells("Shares", with_field("commitments", _other_tail)),
    ),
    _row(
        B.DEGREE,
        "SHARES of a lower degree",
        Tells("Shares", with_field("commitments", lambda c: c[:-1])),
    ),
    _row(
        B.DEGREE,
        "SHARES of a higher degree",
        Tells("Shares", with_field("commitments", lambda c: (*c, OTHER_POINT))),
    ),
    _row(
        B.BAD_POINT,
        "SHARES with a constant off the curve",
        Tells("Shares", with_bytes(_first_constant, OFF_CURVE)),
    ),
    _row(
        B.BAD_POINT,
        "SHARES with the identity as highest coefficient",
        Tells("Shares", with_bytes(_first_sum, IDENTITY)),
    ),
    _row(
        B.EQUIVOCATION,
        "other deals for every receiver",
        Tells("Shares", _without_an_honest_deal),
    ),
)

_RECORDS = (
    _row(
        B.LIED_REQUEST,
        "a record of another author",
        Tells("Finalize", _record(author=Address(b"\xee" * 20))),
    ),
    _row(B.LIED_SET, "a record of another set", Tells("Finalize", _record(set_id=OTHER))),
    _row(B.LIED_REQUEST, "a record with a document", Tells("Finalize", _record(document=OTHER))),
    _row(B.LIED_REQUEST, "a record of another version", Tells("Finalize", _record(version=99))),
    _row(B.LIED_SET, "a record with other coordinates", Tells("Finalize", _moved_coordinates)),
    _row(
        B.LIED_REQUEST,
        "another transcript",
        Tells("Finalize", with_field("transcript", lambda _: OTHER)),
    ),
)

_CERTIFICATES = (
    _row(
        B.BAD_PROOF,
        "a certificate of too few",
        Tells("Cert", with_field("signatures", lambda s: s[:1])),
        Must.DECIDED,
    ),
    _row(
        B.BAD_PROOF,
        "a certificate signed twice by one",
        Tells("Cert", with_field("signatures", lambda s: (s[0],) * len(s))),
        Must.DECIDED,
    ),
    _row(
        B.BAD_PROOF,
        "a forged certificate",
        Tells("Cert", with_field("signatures", unsigned_all)),
        Must.DECIDED,
    ),
    _row(
        B.LIED_SET,
        "a certificate of strangers",
        Tells("Cert", with_field("signatures", _strangers)),
        Must.DECIDED,
    ),
    _row(
        B.EQUIVOCATION,
        "a certificate for half of them",
        Tells("Cert", to_some(half, silent)),
        Must.DECIDED,
    ),
    _row(
        B.EQUIVOCATION,
        "the decision for half of them",
        Tells("Installed", to_some(half, silent)),
        Must.DECIDED,
    ),
    _row(
        B.LIED_REQUEST,
        "a decision for another record",
        Tells("Installed", _decision(value=lambda _: OTHER)),
        Must.DECIDED,
    ),
    _row(
        B.LIED_REQUEST,
        "a decision of another round",
        Tells("Installed", _decision(round=lambda _: 1)),
        Must.DECIDED,
    ),
    _row(
        B.BAD_PROOF,
        "a decision of too few",
        Tells("Installed", _decision(signatures=lambda s: s[:1])),
        Must.DECIDED,
    ),
)

_LATE = ("Cert", "Installed")
"""With these messages the record is PREPARED: what follows is decided by vote."""


def _must(name: str) -> Must:
    return Must.DECIDED if name in _LATE else Must.REFUSED


_ANY = (
    *(
        _row(B.SILENT, f"no {name}", Tells(name, silent), _must(name))
        for name in ("Propose", "Start", "Shares", "Finalize", *_LATE)
    ),
    *(
        _row(B.CRASH, f"ends before its {name}", Crashes(name), _must(name))
        for name in ("Propose", "Start", "Shares", "Finalize", *_LATE)
    ),
    *(
        _row(B.OVERSIZED, f"a {name} with {what}", Tells(name, lie), _must(name))
        for name in ("Propose", "Start", "Shares", "Finalize", *_LATE)
        for what, lie in floods.OVERSIZED.items()
    ),
    *(
        _row(B.OVERSIZED, f"garbage for {name}", Tells(name, garbage), _must(name))
        for name in ("Propose", "Start", "Shares", "Finalize", *_LATE)
    ),
    _row(B.REPLAY, "what it said in an earlier session", Replays()),
    _row(B.STALE_ACL, "it alone sees the request", Acts(floods.permitted_only_here), Must.DENIED),
    _row(
        B.FALSE_ACCUSATION,
        "evidence that convicts nobody",
        Acts(floods.accuse_wrongly),
        Must.DECIDED,
    ),
    _row(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), Must.DECIDED),
)

ROWS: tuple[Row, ...] = (*_PROPOSALS, *_STARTS, *_SHARES, *_RECORDS, *_CERTIFICATES, *_ANY)
