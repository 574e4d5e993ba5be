"""A holder's part of a retrieval (engine design, sections 9 and 10)."""

from dataclasses import replace

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.ecies import encrypt
from keyserver.crypto.elgamal import (
    plain_partial,
    shadow_factors,
    shadow_partial,
    shadow_scalar,
)
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.proofs import prove
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.keys import CertifiedDocumentKey
from keyserver.model.requests import OnChainPublic, Proof, RetrieveDocumentKey
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.certificates import check_document
from keyserver.sessions.conviction import reports_of
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    Effect,
    Event,
    Persist,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
    Verdict,
)
from keyserver.sessions.identity import check_signature, is_canonical
from keyserver.sessions.key_in_force import check_share, record_in_force
from keyserver.sessions.outcomes import ShadowReady
from keyserver.sessions.retrieval.evidence import WrongSelection
from keyserver.sessions.retrieval.messages import (
    NO_MASK,
    DecRequest,
    Done,
    MaskPoint,
    Mode,
    Partial,
    SealedShadow,
    Select,
    Shadow,
)
from keyserver.sessions.retrieval.parts import (
    MAX_SELECTS,
    check_partial,
    commitments_of,
    decrypted_secret,
    decryption_of,
    mode_of,
    partial_digest,
    partial_statement,
    shadow_digest,
)
from keyserver.sessions.retrieval.phases import (
    AwaitingDone,
    AwaitingSelect,
    AwaitingVerdict,
    ParticipantPhase,
    Phase,
    Subject,
)
from keyserver.sessions.retrieval.proofs import select_hash
from keyserver.sessions.waiting import verdict_refusal
from keyserver.sessions.writes import PutDocument

_IDLE = SetTimer("idle", 60)
"""Set with the own part and never again: the mask lives no longer, however often it is used."""


def join(ctx: Context, sender: NodeId, message: DecRequest) -> Step[Phase]:
    """Check the request, the record it names and the document key it is about."""
    authentic = authenticate(ctx)
    if not isinstance(authentic.operation, RetrieveDocumentKey) or authentic.recipient is None:
        raise Refused(Refusal.BAD, "the request is not one for a document key")
    if message.mode != mode_of(ctx.request):
        raise Refused(Refusal.BAD, "the mode does not fit the request")
    record = record_in_force(ctx, message.record_hash)
    check_share(ctx)
    document, effects = _document(ctx, message)
    subject = Subject(Mode(message.mode), record, document.document, authentic.recipient)
    assert authentic.chain_check is not None, "nobody has a document key without permission"
    asks = replace(authentic.chain_check, permission_block=message.permission_block)
    return Step(AwaitingVerdict(subject), (SetTimer("idle", 85), *effects, asks))


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case AwaitingVerdict(), Authorised(verdict):
            return _on_verdict(ctx, phase, verdict)
        case AwaitingSelect(), Received(_, Select() as select):
            return _on_select(ctx, phase, select)
        case AwaitingDone(before=before), Received(_, Select() as select):
            return _on_select(ctx, before, select)
        case AwaitingVerdict() | AwaitingSelect(), Received(_, Done()):
            return Step(Completed(None))
        case AwaitingDone(), Received(_, Done(named)) if named == phase.select_hash:
            return Step(Completed(_result(ctx, phase)))
        case _:
            return Step(phase)


def _document(ctx: Context, message: DecRequest) -> tuple[CertifiedDocumentKey, tuple[Effect, ...]]:
    """The document key: this node's own, else the certified one that came along."""
    if ctx.key.document is not None:
        return ctx.key.document, ()
    attached, active = message.document, ctx.key.active
    if attached is None or active is None:
        raise Refused(Refusal.NO_DOCUMENT, "no document key is stored under this key")
    record = active.record
    check_document(record.key_id, attached, record, ctx.quorums(len(record.committee)))
    return attached, (Persist((PutDocument(record.key_id, attached),)),)


def _on_verdict(ctx: Context, phase: AwaitingVerdict, verdict: Verdict) -> Step[Phase]:
    refusal = verdict_refusal(verdict)
    if refusal is not None:
        raise refusal
    assert ctx.key.share is not None, "checked when the session was joined"
    subject, share = phase.subject, ctx.key.share.value
    common = subject.document.common
    if subject.mode is Mode.PLAIN:
        point = plain_partial(share, common)
        statement = partial_statement(ctx, subject, ctx.me, None, point)
        proof = Proof(prove(statement, [share], ctx.random))
        unsigned = Partial(point, NO_MASK, proof, _UNSIGNED)
        return Step(Completed(None), (Send(ctx.coordinator, _signed(ctx, subject, unsigned)),))
    made = shadow_partial(share, common, ctx.random)
    statement = partial_statement(ctx, subject, ctx.me, made.mask_point, made.partial)
    proof = Proof(prove(statement, [made.witness], ctx.random))
    unsigned = Partial(made.partial, MaskPoint(made.mask_point.compressed), proof, _UNSIGNED)
    partial = _signed(ctx, subject, unsigned)
    waiting = AwaitingSelect(subject, made.mask, partial, selects=0)
    return Step(waiting, (_IDLE, Send(ctx.coordinator, partial)))


_UNSIGNED = Signature(bytes(65))


def _signed(ctx: Context, subject: Subject, partial: Partial) -> Partial:
    signature = ctx.signer.sign(partial_digest(ctx, subject, ctx.me, partial))
    return Partial(partial.point, partial.mask, partial.proof, signature)


def _on_select(ctx: Context, phase: AwaitingSelect, select: Select) -> Step[Phase]:
    if phase.selects >= MAX_SELECTS:
        raise Refused(Refusal.BAD, "too many selections in one session")
    subject = phase.subject
    try:
        _check_select(ctx, phase, select)
    except Refused as wrong:
        raise _blaming_coordinator(ctx, subject, select, wrong) from wrong
    named = select_hash(ctx.sid, select.partials)
    place = [entry.node for entry in select.partials].index(ctx.me)
    xs = [subject.record.coordinates[entry.node] for entry in select.partials]
    try:
        commitments_of(subject, select)
        secret = decrypted_secret(subject, select.partials)
    except CryptoError as problem:
        raise Refused(Refusal.BAD, f"SELECT: {problem}") from problem
    shadow: SecretScalar = shadow_scalar(phase.mask, shadow_factors(xs)[place])
    sealed = SealedShadow(encrypt(subject.recipient, shadow.expose(), ctx.random))
    unsigned = Shadow(named, sealed, _UNSIGNED)
    signature = ctx.signer.sign(shadow_digest(ctx.sid, ctx.me, unsigned))
    counted = AwaitingSelect(subject, phase.mask, phase.partial, phase.selects + 1)
    nodes = tuple(entry.node for entry in select.partials)
    waiting = AwaitingDone(counted, named, nodes, secret, sealed)
    return Step(waiting, (Send(ctx.coordinator, Shadow(named, sealed, signature)),))


def _blaming_coordinator(ctx: Context, subject: Subject, select: Select, wrong: Refused) -> Refused:
    """The same refusal; a selection that is signed, but wrong, convicts who made it."""
    record = WrongSelection(
        decryption_of(ctx, subject), ctx.coordinator, select.partials, select.signature
    )
    reports = (*wrong.reports, *reports_of(record))
    return Refused(wrong.code, f"SELECT: {wrong.why}", reports=reports)


def _check_select(ctx: Context, phase: AwaitingSelect, select: Select) -> None:
    subject = phase.subject
    nodes = [entry.node for entry in select.partials]
    if not is_canonical(nodes) or len(nodes) != subject.record.required_nodes:
        raise Refused(Refusal.BAD, "it does not list t + 1 nodes in canonical order")
    if not set(nodes) <= subject.record.coordinates.keys():
        raise Refused(Refusal.BAD, "it lists a node outside the committee")
    named = select_hash(ctx.sid, select.partials)
    check_signature(named, select.signature, ctx.coordinator)
    for entry in select.partials:
        if entry.node == ctx.me:
            own = phase.partial
            if (entry.point, entry.mask, entry.proof) != (own.point, own.mask, own.proof):
                raise Refused(Refusal.BAD, "it alters this node's own part")
            continue
        check_partial(ctx, subject, entry.node, entry)
    if ctx.me not in nodes:
        raise Refused(Refusal.BAD, "it does not list this node")


def _result(ctx: Context, phase: AwaitingDone) -> ShadowReady | None:
    """On the contract path every member publishes its part itself."""
    credential = ctx.request.credential()
    if not isinstance(credential, OnChainPublic):
        return None
    return ShadowReady(
        credential.contract,
        ctx.request.key_id,
        credential.requester,
        phase.participants,
        phase.decrypted_secret,
        phase.shadow,
    )
