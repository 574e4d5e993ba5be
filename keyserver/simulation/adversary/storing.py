"""Cheats in the storing of a document key (engine design, section 8)."""

from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import SecretScalar, mul_base
from keyserver.model.identifiers import Hash32, Signature
from keyserver.model.keys import Decision, DocumentKey, NodeSignature
from keyserver.sessions.certificates import document_subject, vote_digest
from keyserver.sessions.core import Refusal
from keyserver.sessions.storing.messages import StoreAck, StoreCommit
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.adversary import floods
from keyserver.simulation.adversary.generation_coordinators import half, unsigned_all
from keyserver.simulation.adversary.generation_members import IDENTITY_RAW, OFF_CURVE_RAW
from keyserver.simulation.adversary.rows import (
    Acts,
    Behaviour,
    Crashes,
    Deed,
    Must,
    Part,
    Protocol,
    Refusing,
    Replays,
    Row,
    Tells,
)
from keyserver.simulation.liars import (
    Lie,
    Place,
    garbage,
    silent,
    to_some,
    unsigned,
    with_bytes,
    with_field,
)

B = Behaviour
OTHER = Hash32(b"\x0f" * 32)
OTHER_DOCUMENT = DocumentKey(
    mul_base(SecretScalar.from_int(78)), mul_base(SecretScalar.from_int(79))
)


def _vote(place: Place, kind: VoteKind, value: Hash32) -> Signature:
    proposal = place.phase.proposal
    subject = document_subject(proposal.record.key_id, proposal.attempt)
    return place.signer.sign(vote_digest(kind, subject, 0, value, place.ctx.me))


def _ack_of_another(place: Place, _: StoreAck) -> StoreAck:
    return StoreAck(_vote(place, VoteKind.PREPARE, OTHER))


def _commit_to_another(place: Place, _: StoreCommit) -> StoreCommit:
    return StoreCommit(_vote(place, VoteKind.COMMIT, OTHER))


def kind_of(code: Refusal) -> Behaviour:
    """STALE is what a node says that knows a later set's record."""
    return B.LIED_SET if code is Refusal.STALE else B.LIED_REQUEST


def _member(behaviour: Behaviour, name: str, deed: Deed, *, left_out: bool = True) -> Row:
    return Row(
        behaviour,
        Protocol.STORING,
        Part.MEMBER,
        name,
        deed,
        Must.COMPLETES,
        left_out=left_out,
    )


MEMBERS: tuple[Row, ...] = (
    _member(B.SILENT, "no ack", Tells("StoreAck", silent)),
    _member(B.SILENT, "no commit", Tells("StoreCommit", silent)),
    _member(B.CRASH, "ends before its StoreAck", Crashes("StoreAck")),
    _member(B.CRASH, "ends before its StoreCommit", Crashes("StoreCommit")),
    _member(B.EQUIVOCATION, "an ack of another document key", Tells("StoreAck", _ack_of_another)),
    _member(
        B.EQUIVOCATION,
        "a commit to another document key after its ack",
        Tells("StoreCommit", _commit_to_another),
    ),
    _member(B.REPLAY, "what it said in an earlier session", Replays()),
    _member(B.BAD_PROOF, "an unsigned ack", Tells("StoreAck", unsigned)),
    _member(B.BAD_PROOF, "an unsigned commit", Tells("StoreCommit", unsigned)),
    _member(B.NONCE, "randomness of before", Acts(floods.with_old_randomness), left_out=False),
    _member(
        B.FLOOD,
        "messages of sessions that do not exist",
        Acts(floods.STRAY_MESSAGES),
        left_out=False,
    ),
    _member(
        B.FALSE_ACCUSATION,
        "evidence that convicts nobody",
        Acts(floods.accuse_wrongly),
        left_out=False,
    ),
    _member(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), left_out=False),
    _member(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS), left_out=False),
    *(
        _member(B.OVERSIZED, f"a {name} with {what}", Tells(name, lie))
        for name in ("StoreAck", "StoreCommit")
        for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage))
    ),
    _member(B.STALE_ACL, "its chain denies what is pending", Acts(floods.as_denied)),
    _member(B.STALE_ACL, "its chain does not show what is pending", Acts(floods.as_unavailable)),
    *(
        _member(kind_of(code), f"it refuses: {code.name}", Tells("StoreAck", Refusing(code)))
        for code in Refusal
    ),
    _member(B.LIED_REQUEST, "it refuses for no known reason", Tells("StoreAck", Refusing(999))),
    _member(
        B.LIED_REQUEST,
        "it takes its ack back",
        Tells("StoreCommit", Refusing(Refusal.TEMPORARY)),
    ),
)


# --- coordinators --------------------------------------------------------------------------------


def _swapped(document: DocumentKey) -> DocumentKey:
    return DocumentKey(document.encrypted, document.common)


def twice(signatures: tuple[NodeSignature, ...]) -> tuple[NodeSignature, ...]:
    """The first signature for all."""
    return (signatures[0],) * len(signatures)


def _decision(name: str, new: Any) -> Lie:
    def change(decision: Decision) -> Decision:
        return replace(decision, **{name: new(getattr(decision, name))})

    return with_field("decision", change)


def _points(message: Any) -> bytes:
    raw: bytes = message.document.common.raw64
    return raw


def _coordinator(behaviour: Behaviour, name: str, deed: Deed, must: Must = Must.REFUSED) -> Row:
    return Row(behaviour, Protocol.STORING, Part.COORDINATOR, name, deed, must)


def _must(name: str) -> Must:
    return Must.REFUSED if name == "StorePropose" else Must.DECIDED


COORDINATORS: tuple[Row, ...] = (
    *(
        _coordinator(B.SILENT, f"no {name}", Tells(name, silent), _must(name))
        for name in ("StorePropose", "StoreCert", "Stored")
    ),
    *(
        _coordinator(B.CRASH, f"ends before its {name}", Crashes(name), _must(name))
        for name in ("StorePropose", "StoreCert", "Stored")
    ),
    _coordinator(
        B.EQUIVOCATION,
        "another document key for half of them",
        Tells("StorePropose", to_some(half, with_field("document", lambda _: OTHER_DOCUMENT))),
        Must.DECIDED,
    ),
    _coordinator(
        B.EQUIVOCATION,
        "a certificate for half of them",
        Tells("StoreCert", to_some(half, silent)),
        Must.DECIDED,
    ),
    _coordinator(
        B.EQUIVOCATION,
        "the decision for half of them",
        Tells("Stored", to_some(half, silent)),
        Must.DECIDED,
    ),
    _coordinator(
        B.BAD_POINT,
        "points off the curve",
        Tells("StorePropose", with_bytes(_points, OFF_CURVE_RAW)),
    ),
    _coordinator(
        B.BAD_POINT,
        "the identity as common point",
        Tells("StorePropose", with_bytes(_points, IDENTITY_RAW)),
    ),
    _coordinator(B.REPLAY, "what it said in an earlier session", Replays()),
    _coordinator(
        B.BAD_PROOF,
        "too small a certificate",
        Tells("StoreCert", with_field("signatures", lambda s: s[:1])),
        Must.DECIDED,
    ),
    _coordinator(
        B.BAD_PROOF,
        "one signature for all",
        Tells("StoreCert", with_field("signatures", twice)),
        Must.DECIDED,
    ),
    _coordinator(
        B.BAD_PROOF,
        "a forged certificate",
        Tells("StoreCert", with_field("signatures", unsigned_all)),
        Must.DECIDED,
    ),
    _coordinator(
        B.BAD_PROOF,
        "a forged decision",
        Tells("Stored", _decision("signatures", unsigned_all)),
        Must.DECIDED,
    ),
    _coordinator(
        B.LIED_REQUEST,
        "a decision for another document key",
        Tells("Stored", _decision("value", lambda _: OTHER)),
        Must.DECIDED,
    ),
    _coordinator(
        B.LIED_REQUEST,
        "a decision of another round",
        Tells("Stored", _decision("round", lambda _: 3)),
        Must.DECIDED,
    ),
    _coordinator(
        B.LIED_REQUEST,
        "another document key than requested",
        Tells("StorePropose", with_field("document", _swapped)),
    ),
    _coordinator(
        B.LIED_REQUEST,
        "an attempt of its own",
        Tells("StorePropose", with_field("attempt", lambda n: n + 1)),
    ),
    _coordinator(
        B.LIED_REQUEST,
        "attempt zero",
        Tells("StorePropose", with_field("attempt", lambda _: 0)),
    ),
    _coordinator(
        B.LIED_SET,
        "another record",
        Tells("StorePropose", with_field("record_hash", lambda _: OTHER)),
    ),
    *(
        _coordinator(B.OVERSIZED, f"a {name} with {what}", Tells(name, lie), _must(name))
        for name in ("StorePropose", "StoreCert", "Stored")
        for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage))
    ),
    _coordinator(
        B.STALE_ACL, "it alone sees the request", Acts(floods.permitted_only_here), Must.DENIED
    ),
    _coordinator(
        B.FALSE_ACCUSATION,
        "evidence that convicts nobody",
        Acts(floods.accuse_wrongly),
        Must.DECIDED,
    ),
    _coordinator(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), Must.DECIDED),
)
