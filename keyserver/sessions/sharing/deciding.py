"""How a sharing ends at a participant: certificate, votes, decision (engine design, 7.5 and 13).

The holders of a first record, and of a refreshed one, decide themselves, by `Cert`. In any other
redistribution the old committee decides, by `Certified` and `Prepared`; who is in both does both.
"""

from keyserver.model.codec import encode
from keyserver.model.keys import (
    Certificate,
    CertifiedRecord,
    HoldingCertificate,
    KeyRecord,
    NodeSignature,
    PreparedCertificate,
)
from keyserver.sessions.certificates import (
    check_decision,
    check_holding,
    check_prepared,
    record_subject,
    vote_digest,
)
from keyserver.sessions.core import (
    Completed,
    Context,
    Effect,
    Persist,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
)
from keyserver.sessions.sharing.messages import (
    Cert,
    Certified,
    Commit,
    Installed,
    Prepare,
    Prepared,
)
from keyserver.sessions.sharing.phases import (
    AwaitingCert,
    AwaitingCertified,
    AwaitingHandover,
    AwaitingInstalled,
    AwaitingPrepared,
    Phase,
    Terms,
)
from keyserver.sessions.sharing.succession import given_up
from keyserver.sessions.sharing.terms import IDLE_TIMEOUT_S, record_of
from keyserver.sessions.writes import (
    CastVote,
    PutActive,
    PutHolding,
    VoteKind,
    Write,
)

_IDLE = SetTimer("idle", IDLE_TIMEOUT_S)


def on_cert(ctx: Context, phase: AwaitingCert, cert: Cert) -> Step[Phase]:
    """The READY of enough holders are their votes: commit."""
    if not phase.terms.holders_decide:
        raise Refused(Refusal.BAD, "another committee decides about the record")
    record = phase.record
    holding = HoldingCertificate(phase.transcript, cert.signatures)
    check_holding(record, holding, ctx.quorums(len(record.committee)), own=phase.ready)
    writes: tuple[Write, ...] = (PutHolding(record, holding),)
    return _commit(ctx, phase.terms, record, holding, holding.prepares(record), writes)


def on_certified(
    ctx: Context, phase: AwaitingHandover | AwaitingCertified | AwaitingCert, certified: Certified
) -> Step[Phase]:
    """Enough of the new committee hold the record: who is of the old one prepares it."""
    terms, record = phase.terms, certified.record
    if terms.holders_decide or record != _expected(terms, record):
        raise Refused(Refusal.BAD, "the record is not one of this session")
    own = None
    if isinstance(phase, AwaitingCert):
        own = phase.ready
        if record != phase.record or certified.transcript != phase.transcript:
            raise Refused(Refusal.BAD, "the record is not the one this node holds")
    holding = HoldingCertificate(certified.transcript, certified.signatures)
    check_holding(record, holding, ctx.quorums(len(record.committee)), own=own)
    kept = PutHolding(record, holding)
    if ctx.me not in terms.voters:
        waiting = AwaitingInstalled(terms, record, holding, None)
        return Step(waiting, (_IDLE, Persist((kept,))))
    subject = record_subject(record.key_id, record.version)
    vote = CastVote(subject, 0, VoteKind.PREPARE, record.hash)
    signed = vote_digest(VoteKind.PREPARE, subject, 0, record.hash, ctx.me)
    effects: tuple[Effect, ...] = (
        _IDLE,
        Persist((*given_up(ctx, terms), kept, vote)),
        Send(ctx.coordinator, Prepare(ctx.signer.sign(signed))),
    )
    return Step(AwaitingPrepared(terms, record, holding), effects)


def _expected(terms: Terms, record: KeyRecord) -> KeyRecord | None:
    """The one record of these terms with these commitments; none if they make another key."""
    if terms.before is None or record.public != terms.before.public:
        return None
    if len(record.commitments) != terms.params.threshold + 1:
        return None
    return record_of(terms.params, record.commitments, terms.document)


def on_prepared(ctx: Context, phase: AwaitingPrepared, prepared: Prepared) -> Step[Phase]:
    """A quorum of the old committee has prepared the record: commit."""
    terms, record = phase.terms, phase.record
    subject = record_subject(record.key_id, record.version)
    certificate = PreparedCertificate(0, record.hash, None, prepared.signatures)
    check_prepared(subject, certificate, terms.voters, ctx.quorums(len(terms.voters)))
    return _commit(ctx, terms, record, phase.holding, certificate, ())


def _commit(
    ctx: Context,
    terms: Terms,
    record: KeyRecord,
    holding: HoldingCertificate,
    certificate: PreparedCertificate,
    writes: tuple[Write, ...],
) -> Step[Phase]:
    subject = record_subject(record.key_id, record.version)
    vote = CastVote(subject, 0, VoteKind.COMMIT, record.hash, encode(certificate))
    signed = vote_digest(VoteKind.COMMIT, subject, 0, record.hash, ctx.me)
    commit = Commit(ctx.signer.sign(signed))
    own = NodeSignature(ctx.me, commit.signature)
    waiting = AwaitingInstalled(terms, record, holding, own)
    return Step(waiting, (_IDLE, Persist((*writes, vote)), Send(ctx.coordinator, commit)))


def on_installed(
    ctx: Context, phase: AwaitingInstalled | AwaitingPrepared, installed: Installed
) -> Step[Phase]:
    """The record is decided: it is in force from now on, and an earlier share is erased."""
    terms, record, decision = phase.terms, phase.record, installed.decision
    subject = record_subject(record.key_id, record.version)
    if decision.value != record.hash:
        raise Refused(Refusal.BAD, "the decision is for another record")
    own = phase.commit if isinstance(phase, AwaitingInstalled) else None
    check_decision(subject, decision, terms.voters, ctx.quorums(len(terms.voters)), own=own)
    certified = CertifiedRecord(record, Certificate(phase.holding, decision), terms.skipped)
    return Step(Completed(certified), (Persist((PutActive(certified),)),))
