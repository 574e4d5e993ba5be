"""Cheats where a node that has missed everything catches up (engine design, section 14.3)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Scalar, SecretScalar, sign_digest
from keyserver.engine.links import (
    CataloguePage,
    Digest,
    Entry,
    KeyFacts,
    Keys,
    pack_link,
)
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import (
    Certificate,
    CommitteeMember,
    Decision,
    HoldingCertificate,
    NodeSignature,
)
from keyserver.sessions.certificates import ready_digest, record_subject, vote_digest
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.adversary import floods
from keyserver.simulation.adversary.agreement import garbled, too_long
from keyserver.simulation.adversary.generation_coordinators import unsigned_all
from keyserver.simulation.adversary.generation_members import OFF_CURVE, OFF_CURVE_RAW
from keyserver.simulation.adversary.rows import (
    Acts,
    Behaviour,
    Crashes,
    Deed,
    Must,
    Part,
    Protocol,
    Row,
    TellsOnLinks,
)
from keyserver.simulation.liars import OTHER_POINT, LinkLie, LinkPlace, silent

B = Behaviour
OTHER = Hash32(b"\x0f" * 32)
_INVENTED = tuple(Entry(KeyId(i.to_bytes(32, "big")), 1, OTHER, 3) for i in range(1, 65))


def _empty(_: LinkPlace, message: CataloguePage) -> Any:
    return replace(message, entries=())


def _invented(_: LinkPlace, message: CataloguePage) -> Any:
    """Entries of keys that do not exist, before and after the real ones."""
    real = {entry.key_id: entry for entry in (*_INVENTED, *message.entries)}
    return replace(message, entries=tuple(real[key_id] for key_id in sorted(real)))


def _twice(_: LinkPlace, message: CataloguePage) -> Any:
    return replace(message, entries=message.entries * 2)


def _later_version(_: LinkPlace, message: CataloguePage) -> Any:
    later = tuple(replace(entry, version=entry.version + 7) for entry in message.entries)
    return replace(message, entries=later)


def _as_if_equal(_: LinkPlace, message: Digest) -> Any:
    """A digest of nothing: what a node has that knows no keys."""
    return replace(message, keys=OTHER, documents=OTHER)


def _facts(change: Any) -> LinkLie:
    def lie(_: LinkPlace, message: Keys) -> Any:
        return replace(message, keys=tuple(change(facts) for facts in message.keys))

    return lie


def _with_record(change: Any) -> LinkLie:
    def changed(facts: KeyFacts) -> KeyFacts:
        if facts.record is None:
            return facts
        return replace(facts, record=change(facts.record))

    return _facts(changed)


def _of_other_author(certified: Any) -> Any:
    return replace(certified, record=replace(certified.record, author=Address(b"\xee" * 20)))


def of_invented_committee(certified: Any) -> Any:
    """A record of nodes that the liar has made up, with everything signed as it should be."""
    known = [SecretScalar.from_int(1000 + i) for i in range(len(certified.record.committee))]
    signers = dict(sorted((NodeId.of(secret.public()), secret) for secret in known))
    committee = tuple(CommitteeMember(node, Scalar(i)) for i, node in enumerate(signers, 1))
    record = replace(certified.record, set_id=OTHER, committee=committee)
    subject = record_subject(record.key_id, record.version)

    def signed(digest_for: Callable[[NodeId], Hash32]) -> tuple[NodeSignature, ...]:
        return tuple(
            NodeSignature(node, Signature(sign_digest(secret, digest_for(node))))
            for node, secret in signers.items()
        )

    transcript = certified.certificate.holding.transcript
    holding = signed(lambda node: ready_digest(record.hash, transcript, node))
    commits = signed(lambda node: vote_digest(VoteKind.COMMIT, subject, 0, record.hash, node))
    certificate = Certificate(
        HoldingCertificate(transcript, holding), Decision(0, record.hash, commits)
    )
    return replace(certified, record=record, certificate=certificate)


def of_other_public(certified: Any) -> Any:
    """The record with another public key."""
    commitments = (OTHER_POINT, *certified.record.commitments[1:])
    record = replace(certified.record, public=OTHER_POINT, commitments=commitments)
    return replace(certified, record=record)


def undecided(certified: Any) -> Any:
    """The record with a decision that nobody has signed."""
    decision = certified.certificate.decision
    bare = replace(decision, signatures=unsigned_all(decision.signatures))
    return replace(certified, certificate=replace(certified.certificate, decision=bare))


def of_few(certified: Any) -> Any:
    """The record with a holding certificate of one node."""
    holding = certified.certificate.holding
    few = replace(holding, signatures=holding.signatures[:1])
    return replace(certified, certificate=replace(certified.certificate, holding=few))


def _other_document(facts: KeyFacts) -> KeyFacts:
    if facts.document is None:
        return facts
    other = replace(facts.document.document, common=OTHER_POINT)
    return replace(facts, document=replace(facts.document, document=other))


def _without_document(facts: KeyFacts) -> KeyFacts:
    return replace(facts, document=None)


def _of_other_key(facts: KeyFacts) -> KeyFacts:
    return replace(facts, key_id=KeyId(b"\x77" * 32))


def _off_curve(_: LinkPlace, message: Keys) -> bytes:
    data = pack_link(message)
    for facts in message.keys:
        if facts.record is not None:
            public = facts.record.record.public
            data = data.replace(public.compressed, OFF_CURVE).replace(public.raw64, OFF_CURVE_RAW)
    return data


def _row(behaviour: Behaviour, name: str, deed: Deed) -> Row:
    return Row(behaviour, Protocol.CATALOGUE, Part.MEMBER, name, deed, Must.COMPLETES)


ROWS: tuple[Row, ...] = (
    *(
        _row(B.SILENT, f"no {name}", TellsOnLinks(name, silent))
        for name in ("Digest", "CataloguePage", "Keys")
    ),
    *(
        _row(B.CRASH, f"ends before its {name}", Crashes(name))
        for name in ("Digest", "CataloguePage", "Keys")
    ),
    _row(B.EQUIVOCATION, "another digest than its pages", TellsOnLinks("Digest", _as_if_equal)),
    _row(B.EQUIVOCATION, "one entry twice", TellsOnLinks("CataloguePage", _twice)),
    _row(B.BAD_POINT, "a public key off the curve", TellsOnLinks("Keys", _off_curve)),
    _row(
        B.BAD_PROOF, "a decision that nobody signed", TellsOnLinks("Keys", _with_record(undecided))
    ),
    _row(B.BAD_PROOF, "a certificate of too few", TellsOnLinks("Keys", _with_record(of_few))),
    _row(B.REPLAY, "facts of another key", TellsOnLinks("Keys", _facts(_of_other_key))),
    _row(B.LIED_REQUEST, "no keys", TellsOnLinks("CataloguePage", _empty)),
    _row(B.LIED_REQUEST, "keys that do not exist", TellsOnLinks("CataloguePage", _invented)),
    _row(B.LIED_REQUEST, "versions to come", TellsOnLinks("CataloguePage", _later_version)),
    _row(
        B.LIED_REQUEST,
        "a record of another author",
        TellsOnLinks("Keys", _with_record(_of_other_author)),
    ),
    _row(B.LIED_REQUEST, "another public key", TellsOnLinks("Keys", _with_record(of_other_public))),
    _row(B.LIED_REQUEST, "another document key", TellsOnLinks("Keys", _facts(_other_document))),
    _row(B.LIED_REQUEST, "no document key", TellsOnLinks("Keys", _facts(_without_document))),
    _row(
        B.LIED_SET,
        "a record of an invented committee",
        TellsOnLinks("Keys", _with_record(of_invented_committee)),
    ),
    *(
        _row(B.OVERSIZED, f"a {name} with {what}", TellsOnLinks(name, lie))
        for name in ("Digest", "CataloguePage", "Keys")
        for what, lie in (("64 KiB too long", too_long), ("garbage", garbled))
    ),
    _row(B.FALSE_ACCUSATION, "evidence that convicts nobody", Acts(floods.accuse_wrongly)),
    _row(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS)),
    _row(B.FLOOD, "votes on subjects that nobody knows", Acts(floods.VOTES)),
)
