"""Cheats where the shares of a key move to other nodes, or are renewed (engine design, 13).

Most messages are those of a generation, and so are the lies in them. Three forms: one node of the
set is replaced, all are (then liars sit among the old and among the new nodes), none is.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import Decision
from keyserver.model.requests import NodeCredential, Request
from keyserver.sessions.certificates import record_subject, vote_digest
from keyserver.sessions.core import Refusal
from keyserver.sessions.identity import session_id
from keyserver.sessions.sharing.messages import (
    Accept,
    Inheritance,
    Prepare,
    Redistribute,
)
from keyserver.sessions.wire import pack
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.adversary import (
    catalogue,
    floods,
    generation_coordinators,
    generation_members,
)
from keyserver.simulation.adversary.generation_coordinators import (
    OTHER,
    doubled,
    one_less,
    params,
    unsigned_all,
)
from keyserver.simulation.adversary.rows import (
    Behaviour,
    Crashes,
    Deed,
    Must,
    Part,
    Protocol,
    Refusing,
    Row,
    Tells,
)
from keyserver.simulation.liars import (
    OTHER_POINT,
    Lie,
    Place,
    garbage,
    silent,
    unsigned,
    with_field,
)

B, P = Behaviour, Protocol

MOVES: Final = (P.REDISTRIBUTION, P.HANDOVER)
"""Where another committee decides than the one that is to hold the shares."""

FORMS: Final = (*MOVES, P.REFRESH)


# --- what members say ----------------------------------------------------------------------------


def promise_of_other_parameters(place: Place, message: Accept) -> Accept:
    """Promise something else, with the one-time key that was proven for this."""
    return replace(message, signature=place.signer.sign(OTHER))


def prepare_another(place: Place, _: Prepare) -> Prepare:
    """Prepare a record of another node set, well signed."""
    record = replace(place.phase.record, set_id=OTHER)
    subject = record_subject(record.key_id, record.version)
    return Prepare(
        place.signer.sign(vote_digest(VoteKind.PREPARE, subject, 0, record.hash, place.ctx.me))
    )


def prepare_nothing(place: Place, _: Prepare) -> Prepare:
    """Prepare that the version be given up, well signed."""
    record = place.phase.record
    subject = record_subject(record.key_id, record.version)
    nothing = Hash32(bytes(32))
    return Prepare(
        place.signer.sign(vote_digest(VoteKind.PREPARE, subject, 0, nothing, place.ctx.me))
    )


def _member(protocol: Protocol, behaviour: Behaviour, name: str, deed: Deed) -> Row:
    return Row(behaviour, protocol, Part.MEMBER, name, deed, Must.COMPLETES, left_out=False)


_OF_A_GENERATION: Final = frozenset({"no proof of possession"})
"""What there is nothing of to lie about: constants follow from shares that everybody knows of."""


def _as_member(row: Row, protocol: Protocol) -> Row:
    """The same cheat; who has only dealt falsely still becomes a holder.

    With t = 0 the liar may be the one dealer: then there is nobody to accuse.
    """
    left_out = row.message in ("Accept", "Ready")
    accuses = row.behaviour is B.FALSE_ACCUSATION and row.message == "Ok"
    least = 1 if accuses else row.least_threshold
    return replace(row, protocol=protocol, left_out=left_out, least_threshold=least)


def _members(protocol: Protocol) -> Iterator[Row]:
    for row in generation_members.ROWS:
        if row.behaviour is not B.STALE_ACL and row.name not in _OF_A_GENERATION:
            yield _as_member(row, protocol)
    yield _member(
        protocol,
        B.BAD_PROOF,
        "a proof of possession where none is wanted",
        Tells("Deal", with_field("possession", lambda _: bytes(64))),
    )
    yield _member(
        protocol,
        B.EQUIVOCATION,
        "a promise of other parameters",
        Tells("Accept", promise_of_other_parameters),
    )
    if protocol is not P.REFRESH:
        yield from _preparing(protocol)


def _preparing(protocol: Protocol) -> Iterator[Row]:
    told: tuple[tuple[Behaviour, str, Lie], ...] = (
        (B.SILENT, "no PREPARE", silent),
        (B.EQUIVOCATION, "a PREPARE of another record", prepare_another),
        (B.EQUIVOCATION, "a PREPARE of nothing", prepare_nothing),
        (B.BAD_PROOF, "an unsigned PREPARE", unsigned),
        (B.OVERSIZED, "garbage for Prepare", garbage),
        (B.LIED_REQUEST, "it takes its Prepare back", Refusing(Refusal.DENIED)),
        (B.LIED_SET, "it knows of a later set", Refusing(Refusal.STALE)),
        *((B.OVERSIZED, f"a Prepare with {what}", lie) for what, lie in floods.OVERSIZED.items()),
    )
    for behaviour, name, lie in told:
        yield _member(protocol, behaviour, name, Tells("Prepare", lie))
    yield _member(protocol, B.CRASH, "ends before its Prepare", Crashes("Prepare"))


# --- what coordinators say -----------------------------------------------------------------------


def asking(change: Callable[[Any], Any]) -> Lie:
    """Ask for something else, with everything that follows from it."""

    def propose(place: Place, message: Redistribute) -> bytes:
        ctx, operation = place.ctx, change(message.request.operation())
        request = Request.of(operation, NodeCredential())
        sid = session_id(ctx.kind, ctx.me, ctx.boot_nonce, ctx.counter, request.hash)
        changed = replace(message.params, sid=sid, request_hash=request.hash)
        return pack(sid, replace(message, request=request, params=changed))

    return propose


def _given_up(place: Place, message: Redistribute) -> Redistribute:
    """Claim that a version was given up before, by a decision that nobody has signed."""
    skipped = (*message.skipped, Decision(0, Hash32(bytes(32)), ()))
    return replace(
        message,
        skipped=skipped,
        params=replace(message.params, version=message.params.version + 1),
    )


def inheriting(change: Callable[[Inheritance], Inheritance | None]) -> Lie:
    """Tell those who join something else about the key."""

    def propose(_: Place, message: Redistribute) -> Redistribute:
        if message.inheritance is None:
            return message
        return replace(message, inheritance=change(message.inheritance))

    return propose


def _of_record(change: Callable[[Any], Any]) -> Lie:
    return inheriting(lambda known: replace(known, record=change(known.record)))


def _other_document(known: Inheritance) -> Inheritance:
    if known.document is None:
        return known
    other = replace(known.document.document, common=OTHER_POINT)
    return replace(known, document=replace(known.document, document=other))


def _leader(
    protocol: Protocol, behaviour: Behaviour, name: str, deed: Deed, must: Must = Must.REFUSED
) -> Row:
    return Row(behaviour, protocol, Part.COORDINATOR, name, deed, must)


_RENAMED: Final = {"Propose": "Redistribute", "Start": "Handover"}
_OF_ALL_DEALERS: Final = frozenset(
    {
        "SHARES of too few",
        "SHARES out of order",
        "SHARES with the shares of others",
        "other deals for every receiver",
    }
)
"""With t = 0 there is one dealer: nothing to be mixed up."""


def _as_leader(row: Row, protocol: Protocol) -> Iterator[Row]:
    """The same cheat under the names that the messages have here."""
    message, name = _RENAMED.get(row.message, row.message), row.name
    if message == "Cert" and protocol in MOVES:
        message = "Certified"
        name = re.sub(r"\bCert\b", message, name)
    deed = row.deed
    if isinstance(deed, Tells | Crashes):
        deed = replace(deed, message=message)
    for old, new in (("Propose", "Redistribute"), ("START", "HANDOVER"), ("Start", "Handover")):
        name = name.replace(old, new)
    least = 1 if row.name in _OF_ALL_DEALERS else row.least_threshold
    yield replace(row, protocol=protocol, deed=deed, name=name, least_threshold=least)


def _leaders(protocol: Protocol) -> Iterator[Row]:
    for row in generation_coordinators.ROWS:
        if row.behaviour is not B.STALE_ACL and row.name != "another kind":
            yield from _as_leader(row, protocol)
    yield from _proposing(protocol)
    if protocol in MOVES:
        yield from _deciding(protocol)
    if protocol is P.HANDOVER:
        yield from _inheriting(protocol)


def _proposing(protocol: Protocol) -> Iterator[Row]:
    proposals: tuple[tuple[Behaviour, str, Lie], ...] = (
        (B.LIED_REQUEST, "another kind", with_field("kind", lambda _: 1)),
        (
            B.LIED_REQUEST,
            "a change that nobody has ordered",
            asking(lambda operation: replace(operation, change_id=OTHER)),
        ),
        (
            B.LIED_REQUEST,
            "another document key",
            asking(lambda operation: replace(operation, document=OTHER)),
        ),
        (
            B.LIED_REQUEST,
            "no document key",
            asking(lambda operation: replace(operation, document=Hash32(bytes(32)))),
        ),
        (B.BAD_PROOF, "a version that was not given up", _given_up),
        (B.LIED_SET, "a dealer fewer", params(dealers=one_less)),
        (B.LIED_SET, "a dealer twice", params(dealers=doubled)),
    )
    for behaviour, name, lie in proposals:
        yield _leader(protocol, behaviour, name, Tells("Redistribute", lie))


def _deciding(protocol: Protocol) -> Iterator[Row]:
    for name in ("Prepared",):
        yield _leader(protocol, B.SILENT, f"no {name}", Tells(name, silent), Must.DECIDED)
        yield _leader(protocol, B.CRASH, f"ends before its {name}", Crashes(name), Must.DECIDED)
        for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage)):
            yield _leader(
                protocol, B.OVERSIZED, f"a {name} with {what}", Tells(name, lie), Must.DECIDED
            )
    certificates: tuple[tuple[Behaviour, str, str, Lie], ...] = (
        (B.BAD_PROOF, "PREPARED of too few", "Prepared", with_field("signatures", lambda s: s[:1])),
        (B.BAD_PROOF, "a forged PREPARED", "Prepared", with_field("signatures", unsigned_all)),
        (
            B.LIED_REQUEST,
            "another record certified",
            "Certified",
            with_field("record", lambda record: replace(record, document=OTHER)),
        ),
        (
            B.EQUIVOCATION,
            "PREPARED for one node only",
            "Prepared",
            _to_first_voter_only,
        ),
        (B.EQUIVOCATION, "CERTIFIED for one node only", "Certified", _to_first_voter_only),
    )
    for behaviour, told, message, lie in certificates:
        yield _leader(protocol, behaviour, told, Tells(message, lie), Must.DECIDED)


def _to_first_voter_only(place: Place, message: Any) -> Any:
    voters: Iterable[NodeId] = place.phase.sharing.group.terms.voters
    return message if place.to == next(iter(voters)) else None


def _inheriting(protocol: Protocol) -> Iterator[Row]:
    told: tuple[tuple[Behaviour, str, Lie], ...] = (
        (B.SILENT, "no inheritance", inheriting(lambda _: None)),
        (B.BAD_PROOF, "an inheritance that nobody decided", _of_record(catalogue.undecided)),
        (B.BAD_PROOF, "an inheritance that too few hold", _of_record(catalogue.of_few)),
        (
            B.LIED_SET,
            "an inheritance of an invented committee",
            _of_record(catalogue.of_invented_committee),
        ),
        (B.LIED_REQUEST, "an inheritance of another key", _of_record(catalogue.of_other_public)),
        (
            B.LIED_REQUEST,
            "an inheritance with another document key",
            inheriting(_other_document),
        ),
        (
            B.LIED_REQUEST,
            "an inheritance without the document key",
            inheriting(lambda known: replace(known, document=None)),
        ),
    )
    for behaviour, name, lie in told:
        yield _leader(protocol, behaviour, name, Tells("Redistribute", lie))
    yield _leader(
        protocol,
        B.LIED_SET,
        "HANDOVER without promises",
        Tells("Handover", with_field("promised", lambda _: ())),
    )


MEMBERS: tuple[Row, ...] = tuple(row for form in FORMS for row in _members(form))
COORDINATORS: tuple[Row, ...] = tuple(row for form in FORMS for row in _leaders(form))

ROWS: tuple[Row, ...] = (*MEMBERS, *COORDINATORS)
