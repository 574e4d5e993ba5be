"""Cheats in the rounds that decide what a session left undecided (engine design, section 7.6).

A liar has withheld a certificate before; now it votes, or proposes, or says what was decided.
"""

from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Scalar
from keyserver.engine.links import (
    Backing,
    CommitVote,
    Entered,
    Keys,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    Subject,
    pack_link,
)
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.sessions.certificates import vote_digest
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.adversary import floods
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
    Replays,
    Row,
    TellsOnLinks,
)
from keyserver.simulation.liars import OTHER_POINT, LinkLie, LinkPlace, silent, unsigned

B = Behaviour
OTHER = Hash32(b"\x0f" * 32)
_KINDS = {
    Status: VoteKind.STATUS,
    Entered: VoteKind.STATUS,
    PrepareVote: VoteKind.PREPARE,
    CommitVote: VoteKind.COMMIT,
}


def _voted(place: LinkPlace, message: Any, value: Hash32) -> Any:
    """The vote for another value, well signed."""
    kind = _KINDS[type(message)]
    signed = vote_digest(kind, message.subject.hash, message.round, value, place.me)
    return replace(message, signature=place.signer.sign(signed))


def _for_another(place: LinkPlace, message: PrepareVote | CommitVote) -> Any:
    return _voted(place, replace(message, value=OTHER), OTHER)


def _hiding(place: LinkPlace, message: Status) -> Any:
    """Enter the round as if nothing had been prepared, for the proposer only."""
    return _voted(place, replace(message, highest=None), Hash32(bytes(32)))


def _naming_another(place: LinkPlace, message: Entered) -> Any:
    return _voted(place, replace(message, certificate=OTHER), OTHER)


def _later(place: LinkPlace, message: Any) -> Any:
    """Claim to be a hundred rounds ahead, well signed."""
    ahead = replace(message, round=message.round + 100)
    return _voted(place, ahead, getattr(message, "certificate", Hash32(bytes(32))))


def _later_status(place: LinkPlace, message: Status) -> Any:
    return _later(place, replace(message, highest=None))


def _last(place: LinkPlace, message: Any) -> Any:
    """Claim to be in the last round whose number can be written, well signed."""
    return _voted(place, replace(message, round=2**32 - 1), message.certificate)


def _forged_backing(_: LinkPlace, message: Status) -> Any:
    """A certificate without signatures behind the status."""
    if message.highest is None:
        return message
    certificate = message.highest.certificate
    bare = replace(certificate, signatures=unsigned_all(certificate.signatures))
    return replace(message, highest=replace(message.highest, certificate=bare))


def _of_other_set(_: LinkPlace, message: Status) -> Any:
    """A record of a committee with other coordinates behind the status."""
    held = message.highest.backing.record if message.highest is not None else None
    if message.highest is None or held is None:
        return message
    moved = tuple(replace(m, x=Scalar(int(m.x) + 1)) for m in held.record.committee)
    record = replace(held.record, committee=moved)
    backing = Backing(record=replace(held, record=record))
    return replace(message, highest=replace(message.highest, backing=backing))


def _of_other_subject(_: LinkPlace, message: Any) -> Any:
    subject = message.subject
    return replace(message, subject=Subject(subject.kind, subject.key_id, subject.count + 1))


def _off_curve(_: LinkPlace, message: Status) -> Any:
    """A record, or a document key, with a point off the curve behind the status."""
    if message.highest is None:
        return message
    backing = message.highest.backing
    if backing.record is not None:
        return pack_link(message).replace(backing.record.record.public.compressed, OFF_CURVE)
    if backing.document is not None:
        return pack_link(message).replace(backing.document.document.common.raw64, OFF_CURVE_RAW)
    return message


def too_long(_: LinkPlace, message: Any) -> bytes:
    """A message with 64 KiB behind its end."""
    return pack_link(message) + bytes(2**16)


def garbled(_: LinkPlace, message: Any) -> bytes:
    """The header of a message, and nothing that parses behind it."""
    return pack_link(message)[:42] + b"\xff" * 90


_SHAPES: dict[str, LinkLie] = {"64 KiB too long": too_long, "garbage": garbled}


def _voters(protocol: Protocol) -> tuple[Row, ...]:
    def row(
        behaviour: Behaviour,
        name: str,
        deed: Deed,
        *,
        provable: bool = False,
        two_faced: bool = False,
    ) -> Row:
        return Row(
            behaviour,
            protocol,
            Part.MEMBER,
            name,
            deed,
            Must.DECIDED,
            provable,
            two_faced=two_faced,
        )

    votes = ("Status", "Entered", "PrepareVote", "CommitVote")
    return (
        *(row(B.SILENT, f"no {name}", TellsOnLinks(name, silent)) for name in votes),
        *(
            row(B.CRASH, f"ends before its {name}", Crashes(name))
            for name in ("Status", "PrepareVote", "CommitVote")
        ),
        row(
            B.EQUIVOCATION,
            "it has entered with a certificate, and for the proposer without",
            TellsOnLinks("Status", _hiding),
            provable=True,
            two_faced=True,
        ),
        row(
            B.EQUIVOCATION,
            "it has entered with another certificate than it shows",
            TellsOnLinks("Entered", _naming_another),
            provable=True,
            two_faced=True,
        ),
        row(
            B.EQUIVOCATION,
            "it prepares what was not proposed",
            TellsOnLinks("PrepareVote", _for_another),
        ),
        row(
            B.EQUIVOCATION,
            "it commits to what was not proposed",
            TellsOnLinks("CommitVote", _for_another),
        ),
        row(B.BAD_POINT, "a point off the curve", TellsOnLinks("Status", _off_curve)),
        row(B.REPLAY, "its votes on another key", Replays()),
        *(row(B.BAD_PROOF, f"an unsigned {name}", TellsOnLinks(name, unsigned)) for name in votes),
        row(B.BAD_PROOF, "a forged certificate", TellsOnLinks("Status", _forged_backing)),
        *(
            (
                row(
                    B.LIED_SET,
                    "a record of another committee",
                    TellsOnLinks("Status", _of_other_set),
                ),
            )
            if protocol is Protocol.AGREEMENT
            else ()
        ),
        row(
            B.LIED_REQUEST,
            "a status a hundred rounds on",
            TellsOnLinks("Status", _later_status),
            two_faced=True,
        ),
        row(
            B.LIED_REQUEST,
            "a round a hundred rounds on",
            TellsOnLinks("Entered", _later),
            two_faced=True,
        ),
        row(
            B.LIED_REQUEST, "the last round of all", TellsOnLinks("Entered", _last), two_faced=True
        ),
        *(
            row(
                B.LIED_REQUEST,
                f"a {name} on another subject",
                TellsOnLinks(name, _of_other_subject),
            )
            for name in votes
        ),
        *(
            row(B.OVERSIZED, f"a {name} with {what}", TellsOnLinks(name, lie))
            for name in votes
            for what, lie in _SHAPES.items()
        ),
        row(B.FALSE_ACCUSATION, "evidence that convicts nobody", Acts(floods.accuse_wrongly)),
        row(B.FLOOD, "votes on subjects that nobody knows", Acts(floods.VOTES)),
        row(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS)),
    )


# --- proposers -----------------------------------------------------------------------------------


def _proposing_nothing(_: LinkPlace, message: Proposal) -> Any:
    """Leave the certificates out that the STATUS votes name."""
    return replace(message, certificates=(), backing=Backing())


def _unsigned_statuses(_: LinkPlace, message: Proposal) -> Any:
    return replace(message, statuses=unsigned_all(message.statuses))


def _one_status(_: LinkPlace, message: Proposal) -> Any:
    return replace(message, statuses=message.statuses[:1])


def _one_voter_repeated(_: LinkPlace, message: Proposal) -> Any:
    return replace(message, statuses=message.statuses[:1] * len(message.statuses))


def _with_stranger(_: LinkPlace, message: Proposal) -> Any:
    stranger = replace(message.statuses[0], node=NodeId.of(OTHER_POINT))
    return replace(message, statuses=(stranger, *message.statuses[1:]))


def _other_round(_: LinkPlace, message: Proposal) -> Any:
    return replace(message, round=message.round + 1)


def _certificate(**change: Any) -> LinkLie:
    def lie(_: LinkPlace, message: PreparedValue) -> Any:
        made = {name: new(getattr(message.certificate, name)) for name, new in change.items()}
        return replace(message, certificate=replace(message.certificate, **made))

    return lie


def _forged_decisions(_: LinkPlace, message: Keys) -> Any:
    """Facts whose decisions are not signed."""
    return replace(message, keys=tuple(_forged(facts) for facts in message.keys))


def _forged(facts: Any) -> Any:
    record = facts.record
    if record is None:
        return facts
    decision = replace(
        record.certificate.decision, signatures=unsigned_all(record.certificate.decision.signatures)
    )
    certificate = replace(record.certificate, decision=decision)
    return replace(facts, record=replace(record, certificate=certificate))


def _proposers(protocol: Protocol) -> tuple[Row, ...]:
    def row(behaviour: Behaviour, name: str, deed: Deed, *, provable: bool = False) -> Row:
        return Row(behaviour, protocol, Part.COORDINATOR, name, deed, Must.DECIDED, provable)

    says = ("Proposal", "PreparedValue", "Keys")
    return (
        *(row(B.SILENT, f"no {name}", TellsOnLinks(name, silent)) for name in says),
        *(row(B.CRASH, f"ends before its {name}", Crashes(name)) for name in says),
        row(
            B.EQUIVOCATION,
            "a proposal for one node only",
            TellsOnLinks("Proposal", _to_first(silent)),
        ),
        row(
            B.EQUIVOCATION,
            "a prepared certificate for one node only",
            TellsOnLinks("PreparedValue", _to_first(silent)),
        ),
        row(B.REPLAY, "its proposal of another key", Replays()),
        row(B.FALSE_ACCUSATION, "evidence that convicts nobody", Acts(floods.accuse_wrongly)),
        row(B.FLOOD, "votes on subjects that nobody knows", Acts(floods.VOTES)),
        row(
            B.BAD_PROOF,
            "a proposal with unsigned votes",
            TellsOnLinks("Proposal", _unsigned_statuses),
        ),
        row(B.BAD_PROOF, "a proposal of one vote", TellsOnLinks("Proposal", _one_status)),
        row(
            B.BAD_PROOF,
            "a proposal of one vote, repeated",
            TellsOnLinks("Proposal", _one_voter_repeated),
        ),
        row(
            B.BAD_PROOF,
            "an unsigned prepared certificate",
            TellsOnLinks("PreparedValue", _certificate(signatures=unsigned_all)),
        ),
        row(
            B.BAD_PROOF,
            "a prepared certificate of one vote",
            TellsOnLinks("PreparedValue", _certificate(signatures=lambda s: s[:1])),
        ),
        row(B.BAD_PROOF, "a decision that nobody signed", TellsOnLinks("Keys", _forged_decisions)),
        row(
            B.LIED_REQUEST,
            "a proposal that does not follow",
            TellsOnLinks("Proposal", _proposing_nothing),
        ),
        row(B.LIED_REQUEST, "a proposal of another round", TellsOnLinks("Proposal", _other_round)),
        row(
            B.LIED_REQUEST,
            "a prepared certificate for another value",
            TellsOnLinks("PreparedValue", _certificate(value=lambda _: OTHER)),
        ),
        row(
            B.LIED_REQUEST,
            "a prepared certificate of another round",
            TellsOnLinks("PreparedValue", _certificate(round=lambda r: r + 1)),
        ),
        row(
            B.LIED_SET,
            "a proposal with a stranger's vote",
            TellsOnLinks("Proposal", _with_stranger),
        ),
        *(
            row(B.OVERSIZED, f"a {name} with {what}", TellsOnLinks(name, lie))
            for name in says
            for what, lie in _SHAPES.items()
        ),
    )


def _to_first(lie: LinkLie) -> LinkLie:
    """Tell the truth to the first node that asks, and lie to all others."""
    first: list[NodeId] = []

    def told(place: LinkPlace, message: Any) -> Any:
        if not first:
            first.append(place.to)
        return message if place.to == first[0] else lie(place, message)

    return told


ROWS: tuple[Row, ...] = tuple(
    row
    for protocol in (Protocol.AGREEMENT, Protocol.DOCUMENT_AGREEMENT)
    for row in (*_voters(protocol), *_proposers(protocol))
)
