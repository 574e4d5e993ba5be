"""A donor's part of a share addition (engine design, section 14.1).

The donor trusts the late node for nothing. Its share leaves it only under masks of all donors, of
which those of honest ones are known to nobody else.
"""

from keyserver.crypto.curve import MaybeSecret, Point
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.errors import (
    DecryptionError,
    InvalidDealError,
    InvalidScalarError,
    InvalidShareError,
)
from keyserver.crypto.share_addition import (
    ReceivedMask,
    add_masks,
    blinded_hash,
    first_wrong_mask,
    make_mask,
    random_mask,
    seal_blinded,
)
from keyserver.crypto.transcripts import share_digest
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.requests import Proof
from keyserver.sessions.core import (
    Completed,
    Context,
    Event,
    Failed,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    UnavailableError,
)
from keyserver.sessions.key_in_force import check_share, record_in_force
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
)
from keyserver.sessions.share_addition.phases import (
    AwaitingCommitments,
    AwaitingMasked,
    AwaitingStart,
    Group,
    ParticipantPhase,
    Phase,
)
from keyserver.sessions.share_addition.terms import check_request, group_of, terms_of
from keyserver.sessions.sharing.messages import SealedShare, SignedShare
from keyserver.sessions.sharing.terms import IDLE_TIMEOUT_S, accept_with, check_listed_keys

_IDLE = SetTimer("idle", IDLE_TIMEOUT_S)


def join(ctx: Context, sender: NodeId, message: AddPropose) -> Step[Phase]:
    """A node says that it lacks its share: check that the record gives it one."""
    check_request(ctx)
    if sender not in ctx.node_set:
        raise Refused(Refusal.TEMPORARY, "the node is not in the current set, as far as known here")
    record = record_in_force(ctx, message.record_hash)
    terms = terms_of(ctx.sid, record, sender, message.donors)
    if ctx.me not in terms.donors:
        raise Refused(Refusal.BAD, "this node is not among the donors")
    check_share(ctx)
    one_time = OneTimeKey.random(ctx.random)
    own = accept_with(ctx, terms.params_hash, one_time)
    accept = AddAccept(own.one_time, own.proof, own.signature)
    return Step(AwaitingStart(terms, one_time, own), (_IDLE, Send(ctx.coordinator, accept)))


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case AwaitingStart(), Received(_, AddStart() as start):
            return _on_start(ctx, phase, start)
        case AwaitingMasked(), Received(_, AddMasks() as masks):
            return _on_masks(ctx, phase, masks)
        case AwaitingCommitments(), Received(_, AddCommitments() as lists):
            return _on_commitments(ctx, phase, lists)
        case _:
            return Step(phase)


def _on_start(ctx: Context, phase: AwaitingStart, start: AddStart) -> Step[Phase]:
    terms = phase.terms
    if [entry.node for entry in start.accepted] != terms.nodes:
        raise Refused(Refusal.BAD, "START does not list the donors and the late node")
    check_listed_keys(ctx, terms.params_hash, start.accepted, phase.accepted)
    group = group_of(terms, start.accepted)
    if terms.record.threshold == 0:
        return _give(ctx, group, phase.one_time, None, ())
    mask = _mask(ctx, group, phase.one_time)
    return Step(AwaitingMasked(group, phase.one_time), (_IDLE, Send(ctx.coordinator, mask)))


def _mask(ctx: Context, group: Group, one_time: OneTimeKey) -> AddMask:
    """This node's mask, committed to, and sealed and signed for every donor."""
    polynomial = random_mask(group.terms.record.threshold, group.terms.x, ctx.random)
    made = make_mask(
        polynomial,
        group.donors,
        dealer=ctx.me.point,
        one_time=one_time,
        session=group.session_hash,
    )
    values = []
    for donor, ciphertext in zip(group.donors, made.ciphertexts, strict=True):
        signed = share_digest(
            group.session_hash, ctx.me.point, donor.node, made.mask_hash, ciphertext
        )
        signature = ctx.signer.sign(Hash32(signed))
        values.append(SignedShare(SealedShare(ciphertext), signature))
    return AddMask(made.commitments, tuple(values))


def _on_masks(ctx: Context, phase: AwaitingMasked, message: AddMasks) -> Step[Phase]:
    """One validly signed value from every donor: this is what protects the share."""
    group, one_time = phase.group, phase.one_time
    if tuple(entry.dealer for entry in message.masks) != group.terms.donors:
        raise Refused(Refusal.BAD, "the masks are not one of every donor")
    if len(message.sums) != group.terms.record.threshold + 1:
        raise Refused(Refusal.BAD, "the masks have the wrong number of commitments")
    masks = tuple(
        ReceivedMask(
            group.members[entry.dealer], entry.mask_hash, entry.ciphertext, entry.signature
        )
        for entry in message.masks
    )
    try:
        total = add_masks(
            masks,
            message.sums,
            receiver=group.members[ctx.me],
            one_time=one_time,
            session=group.session_hash,
            late=group.terms.x,
        )
    except InvalidDealError as problem:
        if problem.dealer is None:
            raise Refused(Refusal.BAD, str(problem)) from problem
        return _investigate(ctx, phase, masks)
    except (DecryptionError, InvalidScalarError, InvalidShareError):
        return _investigate(ctx, phase, masks)
    return _give(ctx, group, one_time, total, message.sums)


def _investigate(
    ctx: Context, phase: AwaitingMasked, masks: tuple[ReceivedMask, ...]
) -> Step[Phase]:
    waiting = AwaitingCommitments(phase.group, phase.one_time, masks)
    return Step(waiting, (_IDLE, Send(ctx.coordinator, AddInvestigate())))


def _give(
    ctx: Context,
    group: Group,
    one_time: OneTimeKey,
    total: MaybeSecret,
    sums: tuple[Point, ...],
) -> Step[Phase]:
    """Answer with the blinded share, once: the session is over for this node."""
    assert ctx.key.share is not None, "checked when the session was joined"
    me, session = ctx.me.point, group.session_hash
    bound_to = blinded_hash(session, me, sums)
    ciphertext = seal_blinded(
        ctx.key.share.value,
        total,
        bound_to=bound_to,
        donor=me,
        late=group.late,
        one_time=one_time,
        session=session,
    )
    signed = share_digest(session, me, group.late.node, bound_to, ciphertext)
    answer = AddBlinded(SealedShare(ciphertext), ctx.signer.sign(Hash32(signed)))
    return Step(Completed(None), (Send(ctx.coordinator, answer),))


def _on_commitments(
    ctx: Context, phase: AwaitingCommitments, message: AddCommitments
) -> Step[Phase]:
    """Lay open the first value that its own dealer's commitments convict; never a right one."""
    group = phase.group
    if tuple(entry.dealer for entry in message.dealt) != group.terms.donors:
        raise Refused(Refusal.BAD, "the commitments are not those of the donors")
    try:
        found = first_wrong_mask(
            phase.masks,
            [entry.commitments for entry in message.dealt],
            receiver=group.members[ctx.me],
            one_time=phase.one_time,
            session=group.session_hash,
            rng=ctx.random,
        )
    except InvalidDealError as problem:
        raise Refused(Refusal.BAD, f"commitments: {problem}") from problem
    if found is None:
        raise Refused(Refusal.BAD, "every mask is right, but the sums are not")
    complaint = AddComplaint(NodeId.of(found.dealer), found.common, Proof(found.proof))
    complained = UnavailableError("a donor has dealt a wrong mask")
    return Step(Failed(complained), (Send(ctx.coordinator, complaint),))
