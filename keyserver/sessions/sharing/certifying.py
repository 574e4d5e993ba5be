"""How a sharing ends at its coordinator: record, certificate, decision (engine design, 7.5 and 13).

The holders of a first record, and of a refreshed one, decide themselves: a READY is their vote. In
any other redistribution the old committee decides, which prepares the record in a round of its own.
"""

from dataclasses import replace

from keyserver.model.identifiers import NodeId
from keyserver.model.keys import (
    Certificate,
    CertifiedRecord,
    Decision,
    HoldingCertificate,
    NodeSignature,
)
from keyserver.sessions.certificates import ready_digest, record_subject, vote_digest
from keyserver.sessions.core import (
    Completed,
    Context,
    Failed,
    Send,
    Step,
    UnavailableError,
)
from keyserver.sessions.identity import check_signature
from keyserver.sessions.rounds import Round
from keyserver.sessions.sharing.messages import (
    Cert,
    Certified,
    Commit,
    Finalize,
    Installed,
    Prepare,
    Prepared,
    Ready,
)
from keyserver.sessions.sharing.phases import (
    AwaitingCommits,
    AwaitingOks,
    AwaitingPrepares,
    AwaitingReadies,
    Phase,
    Sharing,
)
from keyserver.sessions.sharing.terms import (
    holder_quorum,
    record_of,
    round_timer,
    voter_quorum,
)
from keyserver.sessions.writes import (
    VoteKind,
)


def oks_done(ctx: Context, phase: AwaitingOks) -> Step[Phase]:
    """When nobody is waited for any more, ask for the record to be stored."""
    sharing = phase.sharing
    terms = sharing.group.terms
    if phase.round.possible < holder_quorum(ctx, terms):
        return Step(Failed(UnavailableError("too few shares are right", "NodeDisconnected")))
    if not phase.round.is_complete:
        return Step(phase)
    record = record_of(terms.params, sharing.commitments, terms.document)
    finalize = Finalize(record, sharing.transcript)
    receivers = [node for node, _ in phase.round.in_order()]
    effects = [Send(node, finalize) for node in receivers]
    waiting = AwaitingReadies(sharing, record, Round.among(receivers))
    return Step(waiting, (round_timer(sharing.group), *effects))


def on_ready(ctx: Context, phase: AwaitingReadies, sender: NodeId, ready: Ready) -> Step[Phase]:
    """A receiver has stored record and share."""
    if not phase.round.expects(sender):
        return Step(phase)
    if sender != ctx.me:
        signed = ready_digest(phase.record.hash, phase.sharing.transcript, sender)
        check_signature(signed, ready.signature, sender)
    return readies_done(ctx, replace(phase, round=phase.round.add(sender, ready.signature)))


def readies_done(ctx: Context, phase: AwaitingReadies) -> Step[Phase]:
    """When nobody is waited for any more, show the holding certificate to those who decide."""
    sharing = phase.sharing
    terms = sharing.group.terms
    if phase.round.possible < holder_quorum(ctx, terms):
        return Step(Failed(UnavailableError("too few nodes stored the key", "NodeDisconnected")))
    if not phase.round.is_complete:
        return Step(phase)
    signatures = tuple(NodeSignature(node, sig) for node, sig in phase.round.in_order())
    holding = HoldingCertificate(sharing.transcript, signatures)
    holders = [entry.node for entry in signatures]
    timer = round_timer(sharing.group)
    if terms.holders_decide:
        effects = [Send(node, Cert(signatures)) for node in holders]
        commits = AwaitingCommits(sharing, phase.record, holding, Round.among(holders))
        return Step(commits, (timer, *effects))
    certified = Certified(phase.record, sharing.transcript, signatures)
    effects = [Send(node, certified) for node in _concerned(sharing, holding)]
    voters = _voters(sharing)
    waiting = AwaitingPrepares(sharing, phase.record, holding, Round.among(voters))
    return Step(waiting, (timer, *effects))


def on_prepare(
    ctx: Context, phase: AwaitingPrepares, sender: NodeId, prepare: Prepare
) -> Step[Phase]:
    """A member of the old committee prepares the record."""
    if not phase.round.expects(sender):
        return Step(phase)
    record = phase.record
    if sender != ctx.me:
        subject = record_subject(record.key_id, record.version)
        signed = vote_digest(VoteKind.PREPARE, subject, 0, record.hash, sender)
        check_signature(signed, prepare.signature, sender)
    return prepares_done(ctx, replace(phase, round=phase.round.add(sender, prepare.signature)))


def prepares_done(ctx: Context, phase: AwaitingPrepares) -> Step[Phase]:
    """With a quorum, show the prepared certificate to all that decide."""
    sharing = phase.sharing
    needed = voter_quorum(ctx, sharing.group.terms)
    if phase.round.possible < needed:
        return Step(Failed(UnavailableError("too few nodes prepared", "NodeDisconnected")))
    if len(phase.round.answers) < needed:
        return Step(phase)
    signatures = tuple(NodeSignature(node, sig) for node, sig in phase.round.in_order())
    voters = sorted(phase.round.expected - phase.round.gone)
    effects = [Send(node, Prepared(signatures)) for node in voters]
    waiting = AwaitingCommits(sharing, phase.record, phase.holding, Round.among(voters))
    return Step(waiting, (round_timer(sharing.group), *effects))


def on_commit(ctx: Context, phase: AwaitingCommits, sender: NodeId, commit: Commit) -> Step[Phase]:
    """A node that decides commits to the record."""
    if not phase.round.expects(sender):
        return Step(phase)
    record = phase.record
    if sender != ctx.me:
        subject = record_subject(record.key_id, record.version)
        signed = vote_digest(VoteKind.COMMIT, subject, 0, record.hash, sender)
        check_signature(signed, commit.signature, sender)
    return commits_done(ctx, replace(phase, round=phase.round.add(sender, commit.signature)))


def commits_done(ctx: Context, phase: AwaitingCommits) -> Step[Phase]:
    """With a quorum the record is decided: everybody is told."""
    sharing = phase.sharing
    needed = voter_quorum(ctx, sharing.group.terms)
    if len(phase.round.answers) < needed:
        if phase.round.possible >= needed:
            return Step(phase)
        return Step(Failed(UnavailableError("too few nodes committed", "NodeDisconnected")))
    signatures = tuple(NodeSignature(node, sig) for node, sig in phase.round.in_order())
    decision = Decision(0, phase.record.hash, signatures)
    certificate = Certificate(phase.holding, decision)
    certified = CertifiedRecord(phase.record, certificate, sharing.group.terms.skipped)
    concerned = _concerned(sharing, phase.holding)
    effects = tuple(Send(node, Installed(decision)) for node in concerned)
    return Step(Completed(certified), effects)


def _voters(sharing: Sharing) -> list[NodeId]:
    """The nodes of the deciding committee that take part."""
    group = sharing.group
    return sorted((group.members.keys() & set(group.terms.voters)) | group.watching)


def _concerned(sharing: Sharing, holding: HoldingCertificate) -> list[NodeId]:
    """The holders, and in a redistribution who decides about it."""
    holders = {entry.node for entry in holding.signatures}
    if sharing.group.terms.holders_decide:
        return sorted(holders)
    return sorted(holders.union(_voters(sharing)))
