"""The late node's part of a share addition (engine design, section 14.1).

Every donor is needed: the session ends with the first one that fails, and the caller tries again
without it. The late node is no donor, so it has no participant's part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from keyserver.crypto.curve import MaybeSecret
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.errors import CryptoError, DecryptionError, InvalidScalarError
from keyserver.crypto.proofs import prove
from keyserver.crypto.share_addition import (
    blinded_hash,
    blinded_is_right,
    mask_hash,
    open_blinded,
    recover_share,
    vanishes,
)
from keyserver.crypto.transcripts import complaint_statement, share_digest
from keyserver.crypto.vss import sum_commitments
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import KeyRecord, KeyShare
from keyserver.model.requests import Proof
from keyserver.sessions.conviction import Evidence, is_signed, reports_of
from keyserver.sessions.core import (
    Completed,
    Context,
    Effect,
    Event,
    Failed,
    PeerLost,
    Persist,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.identity import check_signature
from keyserver.sessions.messages import Refuse
from keyserver.sessions.rounds import Round
from keyserver.sessions.share_addition.evidence import (
    Addition,
    WrongBlinded,
    WrongMask,
    WrongMaskValue,
)
from keyserver.sessions.share_addition.messages import (
    AddAccept,
    AddBlinded,
    AddCommitments,
    AddComplaint,
    AddInvestigate,
    AddMask,
    AddMasks,
    AddPropose,
    AddStart,
    RelayedMask,
)
from keyserver.sessions.share_addition.phases import (
    AwaitingAccepts,
    AwaitingBlinded,
    AwaitingMasks,
    CoordinatorPhase,
    Group,
    Phase,
)
from keyserver.sessions.share_addition.terms import ROUND_S, check_request, group_of, terms_of
from keyserver.sessions.sharing.messages import Accepted, DealtCommitments
from keyserver.sessions.sharing.terms import accept_with, check_one_time_key
from keyserver.sessions.writes import PutShare

_TIMER = SetTimer("round", ROUND_S)


@dataclass(frozen=True, slots=True)
class Target:
    """For which record a share is wanted, and from whom: t + 1 holders in canonical order."""

    record_hash: Hash32
    donors: tuple[NodeId, ...]


def start(ctx: Context, target: Target) -> Step[Phase]:
    """Propose to the donors; raises a `SessionError` or `Refused` if that is pointless."""
    check_request(ctx)
    active = ctx.key.active
    if active is None or active.record.hash != target.record_hash or ctx.key.share is not None:
        raise UnavailableError("the record is not one in force without a share here")
    terms = terms_of(ctx.sid, active.record, ctx.me, target.donors)
    one_time = OneTimeKey.random(ctx.random)
    own = accept_with(ctx, terms.params_hash, one_time)
    propose = AddPropose(ctx.counter, ctx.request, target.record_hash, terms.donors)
    effects = [Send(node, propose) for node in terms.donors]
    waiting = AwaitingAccepts(terms, one_time, own, Round.among(terms.donors))
    return Step(waiting, (_TIMER, *effects))


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case AwaitingAccepts(), Received(sender, AddAccept() as accept):
            return _on_accept(phase, sender, accept)
        case AwaitingMasks(), Received(sender, AddMask() as mask):
            return _on_mask(ctx, phase, sender, mask)
        case AwaitingBlinded(), Received(sender, AddInvestigate()):
            return _on_investigate(phase, sender)
        case AwaitingBlinded(), Received(sender, AddComplaint() as complaint):
            return _on_complaint(ctx, phase, sender, complaint)
        case AwaitingBlinded(), Received(sender, AddBlinded() as blinded):
            return _on_blinded(ctx, phase, sender, blinded)
        case _, Received(sender, Refuse()) | PeerLost(sender):
            return _on_lost(phase, sender)
        case _, TimerFired():
            return Step(_failed("donors have not answered", phase.round.waiting))
        case _:
            return Step(phase)


def _failed(why: str, donors: frozenset[NodeId]) -> Failed:
    """Another attempt without these may succeed."""
    return Failed(UnavailableError(why, failed=donors))


def _on_lost(phase: CoordinatorPhase, node: NodeId) -> Step[Phase]:
    """A donor is needed until it has given its blinded value."""
    needed = phase.round.waiting
    if not isinstance(phase, AwaitingBlinded):
        needed = phase.round.expected
    if node not in needed:
        return Step(phase)
    return Step(_failed("a donor takes no part", frozenset({node})))


# --- starting --------------------------------------------------------------------------------


def _on_accept(phase: AwaitingAccepts, sender: NodeId, accept: AddAccept) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    check_one_time_key(phase.terms.params_hash, _accepted(sender, accept))
    round_ = phase.round.add(sender, accept)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    accepts = [_accepted(node, each) for node, each in round_.in_order()]
    accepted = tuple(sorted([*accepts, phase.accepted], key=lambda entry: entry.node))
    group = group_of(phase.terms, accepted)
    listed = AddStart(accepted)
    effects: tuple[Effect, ...] = (_TIMER, *(Send(node, listed) for node in phase.terms.donors))
    if phase.terms.record.threshold == 0:
        return Step(_awaiting_blinded(group, phase.one_time, {}), effects)
    return Step(AwaitingMasks(group, phase.one_time, Round.among(phase.terms.donors)), effects)


def _accepted(node: NodeId, accept: AddAccept) -> Accepted:
    return Accepted(node, accept.one_time, accept.proof, accept.signature)


# --- masks -----------------------------------------------------------------------------------


def _on_mask(ctx: Context, phase: AwaitingMasks, sender: NodeId, mask: AddMask) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    group = phase.group
    if len(mask.values) != len(group.terms.donors):
        raise Refused(Refusal.BAD, "a mask has the wrong number of values")
    right_degree = len(mask.commitments) == group.terms.record.threshold + 1
    if not right_degree or not vanishes(mask.commitments, group.terms.x):
        return _convict(sender, _wrong_mask(ctx, group, sender, mask))
    round_ = phase.round.add(sender, mask)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    return _hand_round(group, phase.one_time, round_.answers)


def _wrong_mask(ctx: Context, group: Group, dealer: NodeId, mask: AddMask) -> WrongMask:
    """The first donor stands for all: each has the dealer's signature on the same mask."""
    addition = Addition.of(ctx.sid, group)
    return WrongMask(addition, dealer, group.terms.donors[0], mask.commitments, mask.values[0])


def _convict(node: NodeId, evidence: Evidence) -> Step[Phase]:
    """Go on without a node in any case; name it if it has signed what convicts it."""
    ended = _failed("a donor has given what is wrong", frozenset({node}))
    return Step(ended, reports_of(evidence))


def _hand_round(group: Group, one_time: OneTimeKey, masks: Mapping[NodeId, AddMask]) -> Step[Phase]:
    """Give every donor its part of all masks."""
    waiting = _awaiting_blinded(group, one_time, masks)
    if len(waiting.sums) != group.terms.record.threshold + 1:
        return Step(_failed("the masks cancel each other", frozenset()))
    session = group.session_hash
    names = {
        node: Hash32(mask_hash(session, node.point, masks[node].commitments))
        for node in group.terms.donors
    }
    effects: list[Effect] = [_TIMER]
    for place, donor in enumerate(group.terms.donors):
        relayed = tuple(
            RelayedMask(
                dealer,
                names[dealer],
                masks[dealer].values[place].ciphertext,
                masks[dealer].values[place].signature,
            )
            for dealer in group.terms.donors
        )
        effects.append(Send(donor, AddMasks(relayed, waiting.sums)))
    return Step(waiting, tuple(effects))


def _awaiting_blinded(
    group: Group, one_time: OneTimeKey, masks: Mapping[NodeId, AddMask]
) -> AwaitingBlinded:
    sums = sum_commitments([mask.commitments for mask in masks.values()])
    present = tuple(point for point in sums if point is not None)
    answers: Round[MaybeSecret] = Round.among(group.terms.donors)
    return AwaitingBlinded(group, one_time, MappingProxyType(dict(masks)), present, answers)


# --- when a donor finds something wrong ------------------------------------------------------


def _on_investigate(phase: AwaitingBlinded, sender: NodeId) -> Step[Phase]:
    """It may be a signature, which convicts nobody, or a value."""
    if not phase.round.expects(sender) or sender in phase.investigating:
        return Step(phase)
    unsigned = _unsigned_mask(phase, sender)
    if unsigned is not None:
        return Step(_failed("a mask is not signed", frozenset({unsigned})))
    dealt = tuple(
        DealtCommitments(dealer, phase.masks[dealer].commitments)
        for dealer in phase.group.terms.donors
        if dealer in phase.masks
    )
    asked = replace(phase, investigating=phase.investigating | {sender})
    return Step(asked, (_TIMER, Send(sender, AddCommitments(dealt))))


def _unsigned_mask(phase: AwaitingBlinded, receiver: NodeId) -> NodeId | None:
    """The first dealer whose value for a donor does not carry its signature."""
    session, place = phase.group.session_hash, phase.group.terms.donors.index(receiver)
    for dealer, mask in sorted(phase.masks.items()):
        named = mask_hash(session, dealer.point, mask.commitments)
        value = mask.values[place]
        signed = share_digest(session, dealer.point, receiver.point, named, value.ciphertext)
        if not is_signed(signed, value.signature, dealer):
            return dealer
    return None


def _on_complaint(
    ctx: Context, phase: AwaitingBlinded, sender: NodeId, complaint: AddComplaint
) -> Step[Phase]:
    """Either the complaint convicts the dealer, or the accuser is not needed any more."""
    if sender not in phase.investigating or not phase.round.expects(sender):
        return Step(phase)
    dealer, mask = complaint.dealer, phase.masks.get(complaint.dealer)
    if mask is None:
        raise Refused(Refusal.BAD, "the complaint is about a node that dealt nothing")
    evidence = WrongMaskValue(
        Addition.of(ctx.sid, phase.group),
        dealer,
        sender,
        mask.commitments,
        mask.values[phase.group.terms.donors.index(sender)],
        complaint.opened,
        complaint.proof,
    )
    reports = reports_of(evidence)
    if not reports:
        raise Refused(Refusal.BAD, "the complaint convicts nobody")
    return Step(_failed("a donor has dealt a wrong value", frozenset({dealer})), reports)


# --- the share -------------------------------------------------------------------------------


def _on_blinded(
    ctx: Context, phase: AwaitingBlinded, sender: NodeId, blinded: AddBlinded
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    group = phase.group
    record, donor = group.terms.record, group.members[sender]
    bound_to = blinded_hash(group.session_hash, donor.node, phase.sums)
    signed = share_digest(
        group.session_hash, donor.node, ctx.me.point, bound_to, blinded.ciphertext
    )
    check_signature(Hash32(signed), blinded.signature, sender)
    try:
        value = open_blinded(
            blinded.ciphertext,
            bound_to=bound_to,
            donor=donor.node,
            late=ctx.me.point,
            shared=phase.one_time.shared_with(donor.one_time),
            session=group.session_hash,
        )
    except (DecryptionError, InvalidScalarError):
        return _convict(sender, _wrong_blinded(ctx, phase, sender, blinded))
    if not blinded_is_right(value, record.commitments, phase.sums, donor.x):
        return _convict(sender, _wrong_blinded(ctx, phase, sender, blinded))
    round_ = phase.round.add(sender, value)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    return _recover(record, group, round_)


def _wrong_blinded(
    ctx: Context, phase: AwaitingBlinded, donor: NodeId, blinded: AddBlinded
) -> WrongBlinded:
    """Opens the one message that the donor has sealed for this node."""
    group, giver = phase.group, phase.group.members[donor]
    common = phase.one_time.reveal(giver.one_time)
    statement = complaint_statement(
        group.session_hash,
        dealer=giver.node,
        dealer_one_time=giver.one_time,
        accuser=ctx.me.point,
        accuser_one_time=phase.one_time.public,
        common=common,
    )
    proof = Proof(prove(statement, [phase.one_time.secret], ctx.random))
    addition = Addition.of(ctx.sid, group)
    return WrongBlinded(
        addition, donor, phase.sums, blinded.ciphertext, blinded.signature, common, proof
    )


def _recover(record: KeyRecord, group: Group, round_: Round[MaybeSecret]) -> Step[Phase]:
    places = [(group.members[node].x, value) for node, value in round_.in_order()]
    try:
        value = recover_share(places, record.commitments, group.terms.x)
    except CryptoError as problem:
        return Step(_failed(f"the key has no share for this node: {problem}", frozenset()))
    share = KeyShare(group.terms.x, value)
    write = PutShare(record.key_id, record.hash, share)
    return Step(Completed(share), (Persist((write,)),))
