"""The coordinator's part of a signing session: gather commitments, have t + 1 sign, add up."""

from dataclasses import dataclass, replace

from keyserver.crypto.curve import Scalar
from keyserver.crypto.errors import CryptoError, InvalidPartsError
from keyserver.crypto.schnorr import SchnorrSignature, aggregate
from keyserver.model.identifiers import NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.conviction import reports_of
from keyserver.sessions.core import (
    Completed,
    Context,
    Effect,
    Event,
    Failed,
    PeerLost,
    Received,
    Refusal,
    Send,
    SetTimer,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.frost_signing.evidence import WrongSignatureShare
from keyserver.sessions.frost_signing.messages import (
    ChosenSigner,
    NonceCommitments,
    Package,
    SignatureShare,
    Signed,
    SignedSigner,
    SignRequest,
    Unneeded,
)
from keyserver.sessions.frost_signing.participant import signing_of
from keyserver.sessions.frost_signing.phases import (
    AwaitingNonces,
    AwaitingSignatureShares,
    CoordinatorPhase,
    Phase,
)
from keyserver.sessions.frost_signing.terms import Signing
from keyserver.sessions.gathering import ASK_MORE_S, CHAIN_WAIT_S, ROUND_S, Gathering
from keyserver.sessions.identity import check_signature
from keyserver.sessions.messages import Refuse
from keyserver.sessions.outcomes import SignatureResult
from keyserver.sessions.rounds import Round


@dataclass(frozen=True, slots=True)
class Target:
    """Which key signs, and who is known to hold shares."""

    record: CertifiedRecord
    holders: tuple[NodeId, ...]
    """In the order in which they are to be asked."""
    excluded: frozenset[NodeId] = frozenset()
    """Holders that are not asked: they failed in an attempt before."""


def start(ctx: Context, target: Target) -> Step[Phase]:
    """Ask t + 1 + f of the connected holders for commitments."""
    authentic = authenticate(ctx)
    record = target.record.record
    signing = signing_of(ctx, authentic, record)
    gathering: Gathering[NonceCommitments] = Gathering.of(
        ctx, record, target.holders, target.excluded
    )
    wait = ROUND_S + (CHAIN_WAIT_S if authentic.chain_check else 0)
    timers = (SetTimer("more", ASK_MORE_S), SetTimer("round", wait))
    phase = AwaitingNonces(signing, authentic.recipient, gathering)
    return Step(phase, (*timers, *_asking(ctx, signing, gathering.asked)))


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case AwaitingNonces(), Received(sender, NonceCommitments() as made):
            return _on_commitments(ctx, phase, sender, made)
        case AwaitingNonces(), Received(sender, Refuse() as refuse):
            return _on_refuse(ctx, phase, sender, refuse.refusal)
        case AwaitingNonces(), PeerLost(peer):
            return _without(ctx, phase, peer)
        case AwaitingNonces(), TimerFired("more"):
            return _ask_more(ctx, phase)
        case AwaitingNonces(), TimerFired("round"):
            return Step(Failed(phase.gathering.failure()))
        case AwaitingSignatureShares(), Received(sender, SignatureShare() as share):
            return _on_share(ctx, phase, sender, share)
        case AwaitingSignatureShares(), Received(sender, Refuse()) | PeerLost(sender):
            return _failing(phase, frozenset({sender}))
        case AwaitingSignatureShares(), TimerFired("shares"):
            return _failing(phase, phase.round.waiting)
        case _:
            return Step(phase)


def _asking(ctx: Context, signing: Signing, nodes: tuple[NodeId, ...]) -> tuple[Effect, ...]:
    message = SignRequest(ctx.counter, ctx.request, signing.record.hash, ctx.permission_block)
    return tuple(Send(node, message) for node in nodes)


# --- commitments -----------------------------------------------------------------------------


def _on_commitments(
    ctx: Context, phase: AwaitingNonces, sender: NodeId, made: NonceCommitments
) -> Step[Phase]:
    if not phase.gathering.expects(sender):
        return Step(phase)
    if sender != ctx.me:  # what this process made needs no check
        signed = phase.signing.commitment_digest(_chosen(sender, made))
        check_signature(signed, made.signature, sender)
    return _gathered(phase, phase.gathering.add(sender, made))


def _chosen(node: NodeId, made: NonceCommitments) -> ChosenSigner:
    return ChosenSigner(node, made.hiding, made.binding)


def _on_refuse(
    ctx: Context, phase: AwaitingNonces, sender: NodeId, refusal: Refusal
) -> Step[Phase]:
    if not phase.gathering.expects(sender):
        return Step(phase)
    noted = replace(phase, gathering=phase.gathering.refused(sender, refusal))
    return _without(ctx, noted, sender)


def _without(ctx: Context, phase: AwaitingNonces, node: NodeId) -> Step[Phase]:
    """Go on without a node, asking one more in its place."""
    if not phase.gathering.expects(node):
        return Step(phase)
    gathering, asked = phase.gathering.without(node)
    done = _gathered(phase, gathering)
    return Step(done.phase, (*_asking(ctx, phase.signing, asked), *done.effects))


def _ask_more(ctx: Context, phase: AwaitingNonces) -> Step[Phase]:
    gathering, asked = phase.gathering.widened(len(phase.gathering.more))
    done = _gathered(phase, gathering)
    return Step(done.phase, (*_asking(ctx, phase.signing, asked), *done.effects))


def _gathered(phase: AwaitingNonces, gathering: Gathering[NonceCommitments]) -> Step[Phase]:
    if gathering.is_enough:
        return _choose(phase, gathering)
    if gathering.is_hopeless:
        return Step(Failed(gathering.failure()))
    return Step(replace(phase, gathering=gathering))


def _choose(phase: AwaitingNonces, gathering: Gathering[NonceCommitments]) -> Step[Phase]:
    """The first t + 1 to answer sign; nobody else is needed any more."""
    signing, answers = phase.signing, gathering.round.answers
    signers = signing.ordered([_chosen(node, made) for node, made in answers.items()])
    try:
        package = signing.package(signers)
    except CryptoError as problem:
        return Step(Failed(UnavailableError(str(problem))))
    message = Package(tuple(SignedSigner(one, answers[one.node].signature) for one in signers))
    chosen = [one.node for one in signers]
    waiting = AwaitingSignatureShares(
        signing,
        phase.recipient,
        signers,
        package,
        signing.package_hash(signers),
        Round.among(chosen),
    )
    spare = sorted(gathering.round.waiting)
    return Step(
        waiting,
        (
            SetTimer("shares", ROUND_S),
            *(Send(node, message) for node in chosen),
            *(Send(node, Unneeded()) for node in spare),
        ),
    )


# --- shares ----------------------------------------------------------------------------------


def _on_share(
    ctx: Context, phase: AwaitingSignatureShares, sender: NodeId, share: SignatureShare
) -> Step[Phase]:
    if not phase.round.expects(sender):
        return Step(phase)
    if sender != ctx.me:
        signed = phase.signing.share_digest(sender, phase.package_hash, share.value)
        check_signature(signed, share.signature, sender)
    phase = replace(phase, round=phase.round.add(sender, share))
    return _finish(phase) if phase.round.is_complete else Step(phase)


def _finish(phase: AwaitingSignatureShares) -> Step[Phase]:
    values = [phase.round.answers[one.node].value for one in phase.signers]
    try:
        signature = aggregate(phase.package, values, phase.signing.record.commitments)
    except InvalidPartsError as wrong:
        return _naming(phase, frozenset(wrong.places))
    result = SignatureResult(signature, phase.recipient)
    return Step(Completed(result), _telling(phase, signature))


def _telling(phase: AwaitingSignatureShares, signature: SchnorrSignature) -> tuple[Effect, ...]:
    """Only a signature that a contract asked for is for everybody."""
    if phase.recipient is not None:
        return ()
    return tuple(Send(one.node, Signed(signature.response)) for one in phase.signers)


def _naming(phase: AwaitingSignatureShares, places: frozenset[Scalar]) -> Step[Phase]:
    coordinates = phase.signing.record.coordinates
    wrong = [one.node for one in phase.signers if coordinates[one.node] in places]
    records = [
        WrongSignatureShare(
            phase.signing,
            phase.signers,
            node,
            phase.round.answers[node].value,
            phase.round.answers[node].signature,
        )
        for node in wrong
    ]
    reports = tuple(report for record in records for report in reports_of(record))
    failed = _failing(phase, frozenset(wrong))
    return Step(failed.phase, (*reports, *failed.effects))


def _failing(phase: AwaitingSignatureShares, nodes: frozenset[NodeId]) -> Step[Phase]:
    """Nonces serve once: without one of the signers all begin again, with fresh ones."""
    failed = nodes & phase.round.expected
    if not failed:
        return Step(phase)
    return Step(Failed(UnavailableError("signers have failed", failed=failed)))
