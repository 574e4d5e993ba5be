"""A holder's part of a signing session (engine design, section 11)."""

from dataclasses import replace

from keyserver.crypto.errors import CryptoError, InvalidSignatureError
from keyserver.crypto.schnorr import SchnorrSignature, SigningPackage, commit, sign_part, verify
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.keys import KeyRecord
from keyserver.model.requests import OnChainAddress, SignMessage
from keyserver.sessions.authentication import Authentic, authenticate
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    Event,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    Verdict,
)
from keyserver.sessions.frost_signing.messages import (
    ChosenSigner,
    NonceCommitments,
    Package,
    SignatureShare,
    Signed,
    SignRequest,
    Unneeded,
)
from keyserver.sessions.frost_signing.phases import (
    AwaitingPackage,
    AwaitingSigned,
    AwaitingVerdict,
    ParticipantPhase,
    Phase,
)
from keyserver.sessions.frost_signing.terms import FORMS, Signing
from keyserver.sessions.identity import check_signature
from keyserver.sessions.key_in_force import check_share, record_in_force
from keyserver.sessions.outcomes import SignatureReady
from keyserver.sessions.waiting import verdict_refusal

_IDLE = SetTimer("idle", 60)
"""How long nonces live if nothing comes."""


def signing_of(ctx: Context, authentic: Authentic, record: KeyRecord) -> Signing:
    """What an authentic request asks to be signed; raises `Refused` if it is something else."""
    operation = authentic.operation
    if not isinstance(operation, SignMessage) or operation.number not in FORMS:
        raise Refused(Refusal.BAD, "the request is not one for a Schnorr signature")
    return Signing(ctx.sid, record, operation.number, operation.message)


def join(ctx: Context, sender: NodeId, message: SignRequest) -> Step[Phase]:
    """Check the request and the record it names."""
    authentic = authenticate(ctx)
    record = record_in_force(ctx, message.record_hash)
    signing = signing_of(ctx, authentic, record)
    check_share(ctx)
    assert authentic.chain_check is not None, "nobody has a signature without permission"
    asks = replace(authentic.chain_check, permission_block=message.permission_block)
    return Step(AwaitingVerdict(signing), (SetTimer("idle", 85), asks))


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case AwaitingVerdict(), Authorised(verdict):
            return _on_verdict(ctx, phase, verdict)
        case AwaitingPackage(), Received(_, Package() as package):
            return _on_package(ctx, phase, package)
        case AwaitingVerdict() | AwaitingPackage(), Received(_, Unneeded()):
            return Step(Completed(None))
        case AwaitingSigned(), Received(_, Signed() as signed):
            return _on_signed(ctx, phase, signed)
        case _:
            return Step(phase)


def _on_verdict(ctx: Context, phase: AwaitingVerdict, verdict: Verdict) -> Step[Phase]:
    refusal = verdict_refusal(verdict)
    if refusal is not None:
        raise refusal
    assert ctx.key.share is not None, "checked when the session was joined"
    signing = phase.signing
    x = signing.record.coordinates[ctx.me]
    nonces = commit(signing.form, x, ctx.key.share.value, ctx.random)
    made = ChosenSigner(ctx.me, nonces.commitment.hiding, nonces.commitment.binding)
    signature = Signature(ctx.signer.sign(signing.commitment_digest(made)))
    message = NonceCommitments(made.hiding, made.binding, signature)
    return Step(AwaitingPackage(signing, nonces), (_IDLE, Send(ctx.coordinator, message)))


def _on_package(ctx: Context, phase: AwaitingPackage, message: Package) -> Step[Phase]:
    """Sign, or refuse and end: in either case these nonces are used for nothing else."""
    signing, share = phase.signing, ctx.key.share
    assert share is not None, "checked when the session was joined"
    signers = [entry.signer for entry in message.signers]
    if not signing.is_complete(signers):
        raise Refused(Refusal.BAD, "Package: no t + 1 members of the committee in order")
    for entry in message.signers:
        if entry.signer.node != ctx.me:
            signed = signing.commitment_digest(entry.signer)
            check_signature(signed, entry.signature, entry.signer.node)
    try:
        package = signing.package(signers)
        value = sign_part(phase.nonces, share.value, package)
    except CryptoError as problem:
        raise Refused(Refusal.BAD, f"Package: {problem}") from problem
    named = signing.package_hash(signers)
    signature = Signature(ctx.signer.sign(signing.share_digest(ctx.me, named, value)))
    answer = Send(ctx.coordinator, SignatureShare(value, signature))
    if isinstance(ctx.request.credential(), OnChainAddress):
        return Step(AwaitingSigned(signing, package), (_IDLE, answer))
    return Step(Completed(None), (answer,))


def _on_signed(ctx: Context, phase: AwaitingSigned, signed: Signed) -> Step[Phase]:
    """On the contract path every signer publishes the signature itself, once it has checked it."""
    credential = ctx.request.credential()
    assert isinstance(credential, OnChainAddress), "the only way into this phase"
    signing, signature = phase.signing, _completed(phase.package, signed)
    try:
        verify(signing.form, signing.public, signing.message, signature.encode())
    except InvalidSignatureError as problem:
        raise Refused(Refusal.BAD, f"Signed: {problem}") from problem
    ready = SignatureReady(
        credential.contract,
        ctx.request.key_id,
        credential.requester,
        signing.message,
        signature,
    )
    return Step(Completed(ready))


def _completed(package: SigningPackage, signed: Signed) -> SchnorrSignature:
    return SchnorrSignature(package.form, package.nonce, package.challenge, signed.response)
