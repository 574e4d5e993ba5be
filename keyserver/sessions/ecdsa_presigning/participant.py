"""A signer's part of a presigning (engine design, section 12.2)."""

from dataclasses import replace

from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.errors import (
    CryptoError,
    DecryptionError,
    InvalidDealError,
    InvalidScalarError,
    InvalidShareError,
)
from keyserver.crypto.one_time import OneTime
from keyserver.crypto.presignatures import DealtNumbers, Presigning, finish, product_share
from keyserver.crypto.presigning import (
    FirstPolynomials,
    SealedDeal,
    SecondPolynomials,
    Signer,
    make_deal,
    receive_deals,
)
from keyserver.crypto.presigning_complaints import first_wrong_deal
from keyserver.crypto.transcripts import share_digest
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.requests import Presign, Proof
from keyserver.sessions.authentication import authenticate
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
from keyserver.sessions.ecdsa_presigning.messages import (
    AllAgreed,
    PresignAccept,
    PresignAgreed,
    PresignatureKept,
    PresignComplaint,
    PresignDeal,
    PresignDeals,
    Presigned,
    PresignInvestigate,
    PresignLists,
    PresignPropose,
    PresignStart,
    ProductPart,
    ProductProof,
    SealedNumbers,
)
from keyserver.sessions.ecdsa_presigning.phases import (
    AwaitingAllAgreed,
    AwaitingDealt,
    AwaitingLists,
    AwaitingPresigned,
    AwaitingStart,
    ParticipantPhase,
    Phase,
    Progress,
)
from keyserver.sessions.ecdsa_presigning.terms import (
    FIRST,
    SECOND,
    Agreement,
    Group,
    commitments_of,
    lists_of,
    nonce_of,
    presigning_of,
    product_digest,
    terms_of,
)
from keyserver.sessions.identity import check_signature
from keyserver.sessions.key_in_force import check_share, record_in_force
from keyserver.sessions.presignature_pool import Owner
from keyserver.sessions.sharing.terms import IDLE_TIMEOUT_S, accept_with, check_listed_keys

_IDLE = SetTimer("idle", IDLE_TIMEOUT_S)


def check_request(ctx: Context) -> None:
    """Check that nobody but the coordinator asks; raises `Refused`."""
    if not isinstance(authenticate(ctx).operation, Presign):
        raise Refused(Refusal.BAD, "the request is not one for a presignature")


def join(ctx: Context, sender: NodeId, message: PresignPropose) -> Step[Phase]:
    """Any member of the current set may make presignatures with holders of a key."""
    check_request(ctx)
    if sender not in ctx.node_set:
        raise Refused(Refusal.TEMPORARY, "the node is not in the current set, as far as known here")
    terms = terms_of(ctx.sid, record_in_force(ctx, message.record_hash), message.signers)
    if ctx.me not in terms.signers:
        raise Refused(Refusal.BAD, "this node is not among the signers")
    check_share(ctx)
    if not ctx.presignatures.has_room(sender, ctx.now):
        raise Refused(Refusal.BUSY, "too many presignatures of this node are kept")
    one_time = OneTimeKey.random(ctx.random)
    own = accept_with(ctx, terms.params_hash, one_time)
    accept = PresignAccept(own.one_time, own.proof, own.signature)
    return Step(AwaitingStart(terms, one_time, own), (_IDLE, Send(ctx.coordinator, accept)))


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case AwaitingStart(), Received(_, PresignStart() as start):
            return _on_start(ctx, phase, start)
        case AwaitingDealt(), Received(_, PresignDeals() as deals):
            if deals.number == phase.progress.number:
                return _on_deals(ctx, phase.progress, deals)
            return Step(phase)
        case AwaitingAllAgreed(), Received(_, AllAgreed() as agreed):
            if agreed.number == len(phase.progress.agreed):
                return _on_all_agreed(ctx, phase.progress, agreed)
            return Step(phase)
        case AwaitingLists(), Received(_, PresignLists() as lists):
            return _on_lists(ctx, phase, lists)
        case AwaitingPresigned(), Received(_, Presigned() as presigned):
            return _on_presigned(ctx, phase, presigned)
        case _:
            return Step(phase)


# --- dealing ---------------------------------------------------------------------------------


def _on_start(ctx: Context, phase: AwaitingStart, start: PresignStart) -> Step[Phase]:
    terms = phase.terms
    if tuple(entry.node for entry in start.accepted) != terms.signers:
        raise Refused(Refusal.BAD, "START does not list the signers")
    check_listed_keys(ctx, terms.params_hash, start.accepted, phase.accepted)
    group = Group.of(terms, [entry.one_time for entry in start.accepted])
    return _deal(ctx, Progress(group, phase.one_time))


def _deal(ctx: Context, progress: Progress) -> Step[Phase]:
    """Deal this node's part of the next round."""
    group, one_time = progress.group, progress.one_time
    t, rng = group.threshold, ctx.random
    base = nonce_of(progress.agreed, group.terms.record)
    polynomials = (
        FirstPolynomials.random(t, rng)
        if progress.number == FIRST
        else SecondPolynomials.random(t, base, rng)
    )
    made = make_deal(
        polynomials,
        group.members,
        dealer=ctx.me.point,
        one_time=one_time,
        session=group.session_hash,
    )
    values = []
    for member, ciphertext in zip(group.members, made.ciphertexts, strict=True):
        signed = share_digest(
            group.session_hash, ctx.me.point, member.node, made.deal_hash, ciphertext
        )
        values.append(SealedNumbers(ciphertext, ctx.signer.sign(Hash32(signed))))
    deal = PresignDeal(progress.number, lists_of(made.commitments), tuple(values))
    return Step(AwaitingDealt(progress), (_IDLE, Send(ctx.coordinator, deal)))


def _on_deals(ctx: Context, progress: Progress, message: PresignDeals) -> Step[Phase]:
    """Open and add up what all have dealt; look for the liar if it does not fit."""
    group, number = progress.group, progress.number
    if len(message.deals) != len(group.members):
        raise Refused(Refusal.BAD, "the deals are not one of every signer")
    deals = tuple(
        SealedDeal(member, entry.deal_hash, entry.value.ciphertext, entry.value.signature)
        for member, entry in zip(group.members, message.deals, strict=True)
    )
    base = nonce_of(progress.agreed, group.terms.record)
    try:
        numbers = receive_deals(
            deals,
            commitments_of(number, message.sums, base),
            signers=group.members,
            threshold=group.threshold,
            receiver=group.member(ctx.me),
            one_time=progress.one_time,
            session=group.session_hash,
        )
    except InvalidDealError as problem:
        if problem.dealer is None:
            raise Refused(Refusal.BAD, str(problem)) from problem
        return _investigate(ctx, progress, deals)
    except (DecryptionError, InvalidScalarError, InvalidShareError):
        return _investigate(ctx, progress, deals)
    agreement = Agreement(tuple(entry.deal_hash for entry in message.deals), message.sums)
    further = replace(
        progress,
        agreed=(*progress.agreed, agreement),
        numbers=(*progress.numbers, numbers),
    )
    signature = ctx.signer.sign(_transcript(further))
    answer = Send(ctx.coordinator, PresignAgreed(number, signature))
    return Step(AwaitingAllAgreed(further), (_IDLE, answer))


def _transcript(progress: Progress) -> Hash32:
    """What is signed about the last round."""
    base = nonce_of(progress.agreed, progress.group.terms.record)
    return progress.agreed[-1].transcript(progress.group, len(progress.agreed), base)


def _on_all_agreed(ctx: Context, progress: Progress, message: AllAgreed) -> Step[Phase]:
    """All have seen the same: otherwise the coordinator could mix what it has told them."""
    group, signed = progress.group, _transcript(progress)
    if len(message.signatures) != len(group.members):
        raise Refused(Refusal.BAD, "the signatures are not one of every signer")
    for node, signature in zip(group.terms.signers, message.signatures, strict=True):
        if node != ctx.me:
            check_signature(signed, signature, node)
    if len(progress.agreed) < SECOND:
        return _deal(ctx, progress)
    return _multiply(ctx, progress)


# --- when a deal is wrong --------------------------------------------------------------------


def _investigate(ctx: Context, progress: Progress, deals: tuple[SealedDeal, ...]) -> Step[Phase]:
    asks = Send(ctx.coordinator, PresignInvestigate(progress.number))
    return Step(AwaitingLists(progress, deals), (_IDLE, asks))


def _on_lists(ctx: Context, phase: AwaitingLists, message: PresignLists) -> Step[Phase]:
    """Lay open the first deal that its own dealer's commitments convict; never a right one."""
    progress = phase.progress
    group = progress.group
    if message.number != progress.number or len(message.lists) != len(group.members):
        raise Refused(Refusal.BAD, "the commitments are not those of the signers")
    base = nonce_of(progress.agreed, group.terms.record)
    try:
        found = first_wrong_deal(
            phase.deals,
            [commitments_of(progress.number, lists, base) for lists in message.lists],
            threshold=group.threshold,
            receiver=group.member(ctx.me),
            one_time=progress.one_time,
            session=group.session_hash,
            rng=ctx.random,
        )
    except InvalidDealError as problem:
        raise Refused(Refusal.BAD, f"commitments: {problem}") from problem
    if found is None:
        raise Refused(Refusal.BAD, "every deal is right, but the sums are not")
    dealer, proof = NodeId.of(found.deal.dealer.node), Proof(found.proof)
    complaint = PresignComplaint(progress.number, dealer, found.common, proof)
    complained = UnavailableError("a signer has dealt wrong numbers")
    return Step(Failed(complained), (Send(ctx.coordinator, complaint),))


# --- the product -----------------------------------------------------------------------------


def _multiply(ctx: Context, progress: Progress) -> Step[Phase]:
    """Show the part of the product; the one-time key is not needed any more."""
    group = progress.group
    presigning = presigning_of(group, progress.agreed)
    dealt = DealtNumbers.of(*progress.numbers)
    made = product_share(presigning, _own(ctx, presigning), dealt, ctx.random)
    proof = ProductProof(made.proof)
    signed = product_digest(presigning.presig_id, ctx.me, made.value, proof)
    part = ProductPart(made.value, proof, ctx.signer.sign(signed))
    waiting = AwaitingPresigned(group, presigning, OneTime(dealt))
    return Step(waiting, (_IDLE, Send(ctx.coordinator, part)))


def _own(ctx: Context, presigning: Presigning) -> Signer:
    return next(signer for signer in presigning.signers if signer[0] == ctx.me.point)


def _on_presigned(ctx: Context, phase: AwaitingPresigned, message: Presigned) -> Step[Phase]:
    """Keep the share if the product is right; everything else is forgotten with this phase."""
    own = _own(ctx, phase.presigning)
    try:
        made = finish(phase.presigning, own, phase.dealt.take(), message.product)
    except CryptoError as problem:
        raise Refused(Refusal.BAD, f"Presigned: {problem}") from problem
    owner, key_id = Owner(ctx.coordinator, ctx.boot_nonce), ctx.request.key_id
    if not ctx.presignatures.keep(made, owner, key_id, ctx.now):
        raise Refused(Refusal.BUSY, "too many presignatures of this node are kept")
    return Step(Completed(None), (Send(ctx.coordinator, PresignatureKept()),))
