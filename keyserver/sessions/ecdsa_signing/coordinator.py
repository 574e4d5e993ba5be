"""The coordinator's part of an ECDSA signature: ask all signers of a presignature, add up.

Every signer is needed, and a presignature serves one request, whatever comes of it: the caller
tries again with another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.ecdsa import EcdsaShare, bind, combine
from keyserver.crypto.errors import CryptoError, InvalidPartsError
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.authentication import Authentic, authenticate
from keyserver.sessions.conviction import reports_of
from keyserver.sessions.core import (
    Completed,
    Context,
    DeniedError,
    Effect,
    Event,
    Failed,
    PeerLost,
    Received,
    Refusal,
    Send,
    SetTimer,
    StaleError,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.ecdsa_presigning import OwnPresignature
from keyserver.sessions.ecdsa_signing.evidence import WrongEcdsaShare
from keyserver.sessions.ecdsa_signing.messages import (
    EcdsaPart,
    EcdsaRequest,
    EcdsaSigned,
    EcdsaWhole,
)
from keyserver.sessions.ecdsa_signing.phases import (
    AwaitingParts,
    AwaitingWhole,
    CoordinatorPhase,
    Phase,
)
from keyserver.sessions.ecdsa_signing.terms import (
    Signing,
    check_whole,
    share_digest,
    signing_of,
)
from keyserver.sessions.gathering import CHAIN_WAIT_S, ROUND_S
from keyserver.sessions.identity import check_signature
from keyserver.sessions.messages import Refuse
from keyserver.sessions.outcomes import EcdsaResult
from keyserver.sessions.refusals import consensus_refused, refusing_for_good
from keyserver.sessions.rounds import Round


@dataclass(frozen=True, slots=True)
class Target:
    """Which key signs with which presignature, which nobody else uses."""

    record: CertifiedRecord
    presignature: OwnPresignature
    holders: int
    """How many are known to have shares, connected or not."""


@dataclass(frozen=True, slots=True)
class AloneTarget:
    """Which key of threshold 0 signs, and by which of its holders."""

    record: CertifiedRecord
    holder: NodeId
    holders: int


def start(ctx: Context, target: Target | AloneTarget) -> Step[Phase]:
    """Ask those who sign."""
    authentic = authenticate(ctx)
    signing = signing_of(ctx.sid, authentic, target.record.record)
    match target:
        case Target():
            return _start_together(ctx, target, authentic, signing)
        case AloneTarget():
            return _start_alone(ctx, target, authentic, signing)
    assert_never(target)


def _start_together(
    ctx: Context, target: Target, authentic: Authentic, signing: Signing
) -> Step[Phase]:
    presignature = target.presignature
    try:
        bound = bind(presignature.public, signing.message)
    except CryptoError as problem:
        raise UnavailableError(str(problem)) from problem
    phase = AwaitingParts(
        signing,
        authentic.recipient,
        presignature,
        bound,
        target.holders,
        MappingProxyType({}),
        Round.among(presignature.signers),
    )
    asking = _asking(ctx, signing, presignature.presig_id, presignature.signers)
    return Step(phase, (_timer(authentic), *asking))


def _start_alone(
    ctx: Context, target: AloneTarget, authentic: Authentic, signing: Signing
) -> Step[Phase]:
    if signing.record.threshold:
        raise UnavailableError("a key of a threshold above 0 needs a presignature")
    phase = AwaitingWhole(
        signing,
        authentic.recipient,
        target.holders,
        MappingProxyType({}),
        Round.among((target.holder,)),
    )
    return Step(phase, (_timer(authentic), *_asking(ctx, signing, ZERO_HASH, (target.holder,))))


def _timer(authentic: Authentic) -> SetTimer:
    return SetTimer("round", ROUND_S + (CHAIN_WAIT_S if authentic.chain_check else 0))


def _asking(
    ctx: Context, signing: Signing, presig_id: Hash32, nodes: tuple[NodeId, ...]
) -> tuple[Effect, ...]:
    message = EcdsaRequest(
        ctx.counter, ctx.request, signing.record.hash, presig_id, ctx.permission_block
    )
    return tuple(Send(node, message) for node in nodes)


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case _, TimerFired("round"):
            return Step(Failed(_unavailable(ctx, phase)))
        case _, Received(sender, _) | PeerLost(sender) if not phase.round.expects(sender):
            return Step(phase)
        case _, Received(sender, Refuse() as refuse):
            return _without(ctx, phase, sender, {sender: refuse.refusal})
        case _, PeerLost(peer):
            return _without(ctx, phase, peer, {})
        case AwaitingParts(), Received(sender, EcdsaPart() as part):
            return _on_part(ctx, phase, sender, part)
        case AwaitingWhole(), Received(sender, EcdsaWhole() as whole):
            return _on_whole(phase, sender, whole)
        case _:
            return Step(phase)


def _on_part(ctx: Context, phase: AwaitingParts, sender: NodeId, part: EcdsaPart) -> Step[Phase]:
    presig_id = phase.presignature.presig_id
    signed = share_digest(phase.signing, presig_id, sender, part.value, part.proof)
    check_signature(signed, part.signature, sender)
    return _answered(ctx, replace(phase, round=phase.round.add(sender, part)))


def _on_whole(phase: AwaitingWhole, sender: NodeId, whole: EcdsaWhole) -> Step[Phase]:
    check_whole(phase.signing, whole.signature)
    return _finished(phase.recipient, whole.signature, (sender,))


def _without(
    ctx: Context, phase: CoordinatorPhase, node: NodeId, said: Mapping[NodeId, Refusal]
) -> Step[Phase]:
    """The signature will not come about; the others may say that it never will."""
    refusals, gone = MappingProxyType({**phase.refusals, **said}), frozenset({node})
    if isinstance(phase, AwaitingWhole):
        alone = replace(phase, refusals=refusals, round=phase.round.drop(gone))
        return Step(Failed(_unavailable(ctx, alone)))
    return _answered(ctx, replace(phase, refusals=refusals, round=phase.round.drop(gone)))


def _answered(ctx: Context, phase: AwaitingParts) -> Step[Phase]:
    if not phase.round.is_complete:
        return Step(phase)
    if phase.round.gone:
        return Step(Failed(_unavailable(ctx, phase)))
    return _add_up(phase)


def _unavailable(ctx: Context, phase: CoordinatorPhase) -> DeniedError | UnavailableError:
    """Final only if too many refuse for good, an honest one among them (section 17)."""
    record = phase.signing.record
    refused = consensus_refused(
        phase.refusals,
        nodes=phase.holders,
        needed=2 * record.threshold + 1,
        faulty=ctx.quorums(len(record.committee)).faulty,
    )
    if refused is not None:
        return refused
    stale = {node for node, refusal in phase.refusals.items() if refusal is Refusal.STALE}
    if stale:
        return StaleError("signers have another version", failed=frozenset(stale))
    failed = phase.round.gone | phase.round.waiting
    refusing = frozenset(refusing_for_good(phase.refusals))
    return UnavailableError("signers have not signed", failed=failed, refusing=refusing)


# --- the signature ---------------------------------------------------------------------------


def _add_up(phase: AwaitingParts) -> Step[Phase]:
    nodes = phase.presignature.signers
    parts = [phase.round.answers[node] for node in nodes]
    shares = [EcdsaShare(part.value, bytes(part.proof)) for part in parts]
    try:
        signature = combine(phase.bound, shares, phase.signing.record.commitments)
    except InvalidPartsError as wrong:
        return _naming(phase, wrong.places)
    return _finished(phase.recipient, Signature(signature), nodes)


def _finished(
    recipient: Point | None, signature: Signature, nodes: tuple[NodeId, ...]
) -> Step[Phase]:
    """Only a signature that a contract asked for is for everybody."""
    told = () if recipient is not None else nodes
    sends = tuple(Send(node, EcdsaSigned(signature)) for node in told)
    return Step(Completed(EcdsaResult(signature, recipient)), sends)


def _naming(phase: AwaitingParts, places: tuple[Scalar, ...]) -> Step[Phase]:
    presignature, signing = phase.presignature, phase.signing
    coordinates = signing.record.coordinates
    wrong = [node for node in presignature.signers if coordinates[node] in places]
    records = [
        WrongEcdsaShare(
            presignature.assembly,
            presignature.agreed,
            presignature.public.product,
            signing.sid,
            signing.message,
            node,
            phase.round.answers[node].value,
            phase.round.answers[node].proof,
            phase.round.answers[node].signature,
        )
        for node in wrong
    ]
    reports = tuple(report for record in records for report in reports_of(record))
    error = UnavailableError("signers have given wrong parts", failed=frozenset(wrong))
    return Step(Failed(error), reports)
