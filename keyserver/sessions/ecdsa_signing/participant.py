"""A signer's part of an ECDSA signature (engine design, section 12.3)."""

from dataclasses import replace

from keyserver.crypto.ecdsa import sign_alone, sign_share
from keyserver.crypto.errors import CryptoError
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.requests import OnChainAddress
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    Event,
    Message,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    Verdict,
)
from keyserver.sessions.ecdsa_signing.messages import (
    EcdsaPart,
    EcdsaRequest,
    EcdsaSigned,
    EcdsaWhole,
    ShareProof,
)
from keyserver.sessions.ecdsa_signing.phases import (
    AwaitingSigned,
    AwaitingVerdict,
    AwaitingVerdictAlone,
    ParticipantPhase,
    Phase,
)
from keyserver.sessions.ecdsa_signing.terms import (
    Signing,
    check_whole,
    share_digest,
    signing_of,
)
from keyserver.sessions.key_in_force import check_share, record_in_force
from keyserver.sessions.outcomes import EcdsaReady
from keyserver.sessions.presignature_pool import Owner
from keyserver.sessions.waiting import verdict_refusal

_IDLE = SetTimer("idle", 60)


def join(ctx: Context, sender: NodeId, message: EcdsaRequest) -> Step[Phase]:
    """Take the presignature out, whatever comes of the request; then check the request."""
    owner = Owner(sender, ctx.boot_nonce)
    kept = ctx.presignatures.take(message.presig_id, owner, ctx.now)
    authentic = authenticate(ctx)
    record = record_in_force(ctx, message.record_hash)
    check_share(ctx)
    signing = signing_of(ctx.sid, authentic, record)
    assert authentic.chain_check is not None, "nobody has a signature without permission"
    asks = replace(authentic.chain_check, permission_block=message.permission_block)
    effects = (SetTimer("idle", 85), asks)
    if signing.record.threshold == 0:
        return Step(AwaitingVerdictAlone(signing), effects)
    if kept is None:
        raise Refused(Refusal.TEMPORARY, "no such presignature of this node is kept, any more")
    if kept.record_hash != message.record_hash:
        raise Refused(Refusal.BAD, "the presignature was made for another record")
    return Step(AwaitingVerdict(signing, kept.presignature), effects)


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case AwaitingVerdict(), Authorised(verdict):
            return _on_verdict(ctx, phase, verdict)
        case AwaitingVerdictAlone(), Authorised(verdict):
            return _on_verdict_alone(ctx, phase, verdict)
        case AwaitingSigned(), Received(_, EcdsaSigned() as signed):
            return _on_signed(ctx, phase, signed)
        case _:
            return Step(phase)


def _on_verdict(ctx: Context, phase: AwaitingVerdict, verdict: Verdict) -> Step[Phase]:
    _check_allowed(verdict)
    assert ctx.key.share is not None, "checked when the session was joined"
    signing, presignature = phase.signing, phase.presignature
    try:
        made = sign_share(
            presignature,
            ctx.key.share.value,
            record_hash=signing.record.hash,
            message=signing.message,
            rng=ctx.random,
        )
    except CryptoError as problem:
        raise Refused(Refusal.TEMPORARY, str(problem)) from problem
    proof, presig_id = ShareProof(made.proof), presignature.public.presigning.presig_id
    signed = share_digest(signing, presig_id, ctx.me, made.value, proof)
    return _answer(ctx, signing, EcdsaPart(made.value, proof, ctx.signer.sign(signed)))


def _on_verdict_alone(ctx: Context, phase: AwaitingVerdictAlone, verdict: Verdict) -> Step[Phase]:
    _check_allowed(verdict)
    assert ctx.key.share is not None, "checked when the session was joined"
    signature = Signature(sign_alone(ctx.key.share.value, phase.signing.message))
    return _answer(ctx, phase.signing, EcdsaWhole(signature))


def _check_allowed(verdict: Verdict) -> None:
    refusal = verdict_refusal(verdict)
    if refusal is not None:
        raise refusal


def _answer(ctx: Context, signing: Signing, message: Message) -> Step[Phase]:
    answer = Send(ctx.coordinator, message)
    if isinstance(ctx.request.credential(), OnChainAddress):
        return Step(AwaitingSigned(signing), (_IDLE, answer))
    return Step(Completed(None), (answer,))


def _on_signed(ctx: Context, phase: AwaitingSigned, signed: EcdsaSigned) -> Step[Phase]:
    """On the contract path every signer publishes the signature itself, once it has checked it."""
    credential = ctx.request.credential()
    assert isinstance(credential, OnChainAddress), "the only way into this phase"
    signing = phase.signing
    check_whole(signing, signed.signature)
    ready = EcdsaReady(
        credential.contract,
        ctx.request.key_id,
        credential.requester,
        signing.message,
        signed.signature,
    )
    return Step(Completed(ready))
