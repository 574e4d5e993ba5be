"""The participant's part of a sharing (engine design, sections 7.1 to 7.5).

How a generation begins, and what it has in common with a redistribution; how that one begins is
`succession`, how both end `deciding`.
"""

from keyserver.crypto.complaints import investigate
from keyserver.crypto.curve import Point
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Holding, Member, ReceivedDeal, receive_deals
from keyserver.crypto.errors import (
    CryptoError,
    DecryptionError,
    InvalidDealError,
    InvalidScalarError,
    InvalidShareError,
)
from keyserver.crypto.resharing import receive_redistribution
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import (
    KeyShare,
    NodeSignature,
)
from keyserver.model.requests import GenerateServerKey, Proof
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.certificates import (
    check_skipped,
    ready_digest,
    record_subject,
)
from keyserver.sessions.conviction import reports_of
from keyserver.sessions.core import (
    Authorised,
    Context,
    Event,
    Persist,
    Received,
    Refusal,
    Refused,
    Report,
    Send,
    SessionKind,
    SetTimer,
    Step,
    Verdict,
)
from keyserver.sessions.identity import is_canonical
from keyserver.sessions.sharing import deciding, succession
from keyserver.sessions.sharing.dealing import deal_for
from keyserver.sessions.sharing.evidence import (
    Sitting,
    WrongConstant,
    WrongPossession,
    complaint_hash,
)
from keyserver.sessions.sharing.messages import (
    Accept,
    AllCommitments,
    Cert,
    Certified,
    Complaint,
    Finalize,
    Handover,
    Installed,
    Investigate,
    Ok,
    Prepared,
    Propose,
    Ready,
    SealedShare,
    Shares,
    Start,
)
from keyserver.sessions.sharing.phases import (
    AwaitingCert,
    AwaitingCertified,
    AwaitingCommitments,
    AwaitingFewerShares,
    AwaitingFinalize,
    AwaitingHandover,
    AwaitingInstalled,
    AwaitingPrepared,
    AwaitingShares,
    AwaitingStart,
    AwaitingVerdict,
    Group,
    ParticipantPhase,
    Phase,
    Terms,
)
from keyserver.sessions.sharing.terms import (
    CHAIN_WAIT_S,
    IDLE_TIMEOUT_S,
    accept_with,
    check_listed_keys,
    generation_params,
    group_of,
    holder_quorum,
    record_of,
    terms_of,
)
from keyserver.sessions.waiting import verdict_refusal
from keyserver.sessions.writes import (
    CastVote,
    PutPrepared,
    VoteKind,
)

_IDLE = SetTimer("idle", IDLE_TIMEOUT_S)


def join(ctx: Context, sender: NodeId, message: Propose) -> Step[Phase]:
    """A proposal has arrived: check everything that needs no chain."""
    authentic = authenticate(ctx)
    operation = authentic.operation
    if ctx.kind is not SessionKind.GENERATION or not isinstance(operation, GenerateServerKey):
        raise Refused(Refusal.BAD, "the request is not one for a generation")
    if ctx.me not in ctx.node_set or message.params.set_id != ctx.node_set.id:
        # One of the two may be behind in its view of the node set.
        raise Refused(Refusal.TEMPORARY, "the node set is another one here")
    if ctx.key.active is not None:
        raise Refused(Refusal.EXISTS, "the key exists")
    expected = generation_params(ctx, authentic.requester, operation.threshold, message.skipped)
    if message.params != expected or message.kind != ctx.kind:
        raise Refused(Refusal.BAD, "the parameters are not those of the request and the set")
    if operation.threshold >= len(ctx.node_set):
        raise Refused(Refusal.BAD, "the threshold is not below the number of nodes")
    _check_version(ctx, message)
    terms = terms_of(message.params, message.skipped)
    if authentic.chain_check is None:
        return _accept(ctx, terms)
    waiting = SetTimer("idle", IDLE_TIMEOUT_S + CHAIN_WAIT_S)
    return Step(AwaitingVerdict(terms), (waiting, authentic.chain_check))


def step(ctx: Context, phase: ParticipantPhase, event: Event) -> Step[Phase]:
    """What follows from an event; a message out of turn changes nothing."""
    match phase, event:
        case AwaitingVerdict(), Authorised(verdict):
            return _on_verdict(ctx, phase, verdict)
        case AwaitingStart(), Received(_, Start() as start):
            return _on_start(ctx, phase, start)
        case AwaitingShares(), Received(_, Shares() as shares):
            return _on_shares(ctx, phase.group, phase.one_time, shares)
        case AwaitingCommitments(), Received(_, AllCommitments() as lists):
            return _on_commitments(ctx, phase, lists)
        case (
            AwaitingCommitments() | AwaitingFewerShares() | AwaitingFinalize(),
            Received(_, Shares() as shares),
        ):
            return _on_fewer_shares(ctx, phase, shares)
        case AwaitingFinalize(), Received(_, Finalize() as finalize):
            return _on_finalize(ctx, phase, finalize)
        case AwaitingHandover(), Received(_, Handover() as handover):
            return succession.on_handover(ctx, phase, handover)
        case AwaitingCert(), Received(_, Cert() as cert):
            return deciding.on_cert(ctx, phase, cert)
        case (
            AwaitingHandover() | AwaitingCertified() | AwaitingCert(),
            Received(_, Certified() as certified),
        ):
            return deciding.on_certified(ctx, phase, certified)
        case AwaitingPrepared(), Received(_, Prepared() as prepared):
            return deciding.on_prepared(ctx, phase, prepared)
        case AwaitingPrepared() | AwaitingInstalled(), Received(_, Installed() as installed):
            return deciding.on_installed(ctx, phase, installed)
        case _:
            return Step(phase)


def _check_version(ctx: Context, message: Propose) -> None:
    """The version must be the first undecided one, and this node must not have voted in it."""
    own = ctx.key
    if len(message.skipped) < len(own.skipped):
        raise Refused(Refusal.STALE, "the version was decided already")
    quorums = ctx.quorums(len(ctx.node_set))
    check_skipped(message.params.key_id, 1, message.skipped, ctx.node_set.nodes, quorums)
    prepared = own.prepared
    if prepared is not None and prepared.record.version >= message.params.version:
        raise Refused(Refusal.TEMPORARY, "an earlier attempt of this version is not decided")


def _on_verdict(ctx: Context, phase: AwaitingVerdict, verdict: Verdict) -> Step[Phase]:
    refusal = verdict_refusal(verdict)
    if refusal is not None:
        raise refusal
    return _accept(ctx, phase.terms)


def _accept(ctx: Context, terms: Terms) -> Step[Phase]:
    one_time = OneTimeKey.random(ctx.random)
    own = accept_with(ctx, terms.params_hash, one_time)
    accept = Accept(own.one_time, own.proof, own.signature)
    return Step(AwaitingStart(terms, one_time, accept), (_IDLE, Send(ctx.coordinator, accept)))


def _on_start(ctx: Context, phase: AwaitingStart, start: Start) -> Step[Phase]:
    terms, accepted = phase.terms, start.accepted
    nodes = [entry.node for entry in accepted]
    if not is_canonical(nodes) or not set(nodes) <= set(ctx.node_set.nodes):
        raise Refused(Refusal.BAD, "START does not list members of the set in canonical order")
    if len(nodes) < ctx.quorums(len(ctx.node_set)).holders(terms.params.threshold):
        raise Refused(Refusal.BAD, "START lists too few nodes")
    check_listed_keys(ctx, terms.params_hash, accepted, phase.accept)
    if ctx.me not in nodes:
        raise Refused(Refusal.BAD, "START does not list this node")
    group = group_of(terms, accepted)
    deal = deal_for(ctx, group, phase.one_time)
    return Step(AwaitingShares(group, phase.one_time), (_IDLE, Send(ctx.coordinator, deal)))


def _on_fewer_shares(
    ctx: Context,
    phase: AwaitingCommitments | AwaitingFewerShares | AwaitingFinalize,
    shares: Shares,
) -> Step[Phase]:
    """Take shares again only without a dealer of before: so they come so often and no more."""
    if not {entry.dealer for entry in shares.deals} < phase.dealers:
        return Step(phase)
    return _on_shares(ctx, phase.group, phase.one_time, shares)


def _on_shares(ctx: Context, group: Group, one_time: OneTimeKey, shares: Shares) -> Step[Phase]:
    dealers = [entry.dealer for entry in shares.deals]
    params = group.terms.params
    if not is_canonical(dealers) or not set(dealers) <= group.members.keys():
        raise Refused(Refusal.BAD, "SHARES does not list participants in canonical order")
    if not _are_enough(ctx, group, dealers):
        raise Refused(Refusal.BAD, "SHARES is made of too few deals")
    if len(shares.commitments) != params.threshold + 1:
        raise Refused(Refusal.BAD, "SHARES has the wrong number of commitments")
    deals = tuple(
        ReceivedDeal(
            group.members[entry.dealer],
            entry.constant,
            entry.possession,
            entry.tail_hash,
            entry.ciphertext,
            entry.signature,
        )
        for entry in shares.deals
    )
    try:
        holding = _receive(ctx, group, one_time, deals, shares.commitments)
    except (DecryptionError, InvalidScalarError, InvalidShareError):
        asking = AwaitingCommitments(group, one_time, frozenset(dealers), deals)
        return Step(asking, (_IDLE, Send(ctx.coordinator, Investigate())))
    except InvalidDealError as problem:
        if problem.dealer is None:
            reports = _reports_about_constants(ctx, group, shares)
            raise Refused(Refusal.BAD, f"SHARES: {problem}", reports=reports) from problem
        without = AwaitingFewerShares(group, one_time, frozenset(dealers))
        reports = _reports_about(ctx, group, NodeId.of(problem.dealer), shares)
        return Step(without, (_IDLE, *reports, Send(ctx.coordinator, Investigate())))
    ok = Ok(Hash32(holding.transcript_hash))
    return Step(
        AwaitingFinalize(group, one_time, frozenset(dealers), shares.commitments, holding),
        (_IDLE, Send(ctx.coordinator, ok)),
    )


def _are_enough(ctx: Context, group: Group, dealers: list[NodeId]) -> bool:
    """All dealers of a redistribution; of a generation as many as must hold the key."""
    if group.terms.before is not None:
        return tuple(dealers) == group.dealers
    return len(dealers) >= holder_quorum(ctx, group.terms)


def _receive(
    ctx: Context,
    group: Group,
    one_time: OneTimeKey,
    deals: tuple[ReceivedDeal, ...],
    commitments: tuple[Point, ...],
) -> Holding:
    receiver, before = group.members[ctx.me], group.terms.before
    if before is None:
        return receive_deals(
            deals,
            commitments,
            receiver=receiver,
            one_time=one_time,
            session=group.session_hash,
        )
    return receive_redistribution(
        deals,
        commitments,
        public=before.public,
        receiver=receiver,
        one_time=one_time,
        session=group.session_hash,
    )


def _reports_about(
    ctx: Context, group: Group, dealer: NodeId, shares: Shares
) -> tuple[Report, ...]:
    """A deal that is signed, but not proven, convicts its dealer; one not signed nobody."""
    (dealt,) = (entry for entry in shares.deals if entry.dealer == dealer)
    return reports_of(
        WrongPossession(
            Sitting.of(group),
            dealer,
            ctx.me,
            dealt.constant,
            dealt.possession,
            dealt.tail_hash,
            dealt.ciphertext,
            dealt.signature,
        )
    )


def _reports_about_constants(ctx: Context, group: Group, shares: Shares) -> tuple[Report, ...]:
    """Sums that make another key than the one redistributed convict who has not dealt its share."""
    before = group.terms.before
    if before is None:
        return ()
    sitting = Sitting.of(group)
    return reports_of(
        *(
            WrongConstant(
                sitting,
                before,
                entry.dealer,
                ctx.me,
                entry.constant,
                entry.possession,
                entry.tail_hash,
                entry.ciphertext,
                entry.signature,
            )
            for entry in shares.deals
        )
    )


def _on_commitments(ctx: Context, phase: AwaitingCommitments, lists: AllCommitments) -> Step[Phase]:
    if [entry.dealer.point for entry in lists.dealt] != [d.dealer.node for d in phase.deals]:
        raise Refused(Refusal.BAD, "the commitments are not those of the dealers")
    try:
        found = investigate(
            phase.deals,
            [entry.commitments for entry in lists.dealt],
            receiver=phase.group.members[ctx.me],
            one_time=phase.one_time,
            session=phase.group.session_hash,
            rng=ctx.random,
        )
    except CryptoError as problem:
        raise Refused(Refusal.BAD, f"commitments: {problem}") from problem
    if found is None:
        raise Refused(Refusal.BAD, "every deal is right, but the sums are not")
    if found.dealer == ctx.me.point:
        raise Refused(Refusal.BAD, "this node's own deal was altered on the way")
    signed = complaint_hash(phase.group.session_hash, ctx.me, found)
    complaint = Complaint(
        NodeId.of(found.dealer),
        found.commitments,
        found.pop,
        SealedShare(found.ciphertext),
        Signature(found.signature),
        found.common,
        Proof(found.proof),
        ctx.signer.sign(signed),
    )
    without = AwaitingFewerShares(phase.group, phase.one_time, phase.dealers)
    return Step(without, (_IDLE, Send(ctx.coordinator, complaint)))


def _on_finalize(ctx: Context, phase: AwaitingFinalize, finalize: Finalize) -> Step[Phase]:
    holding: Holding = phase.holding
    terms = phase.group.terms
    record = record_of(terms.params, phase.commitments, terms.document)
    transcript = Hash32(holding.transcript_hash)
    if finalize.record != record or finalize.transcript != transcript:
        raise Refused(Refusal.BAD, "the record is not the one this node would build")
    own: Member = phase.group.members[ctx.me]
    share = KeyShare(own.x, holding.share)
    subject = record_subject(record.key_id, record.version)
    prepared = Persist(
        (
            *succession.given_up(ctx, terms),
            CastVote(subject, 0, VoteKind.PREPARE, record.hash),
            PutPrepared(record, share, transcript),
        )
    )
    ready = Ready(ctx.signer.sign(ready_digest(record.hash, transcript, ctx.me)))
    own_ready = NodeSignature(ctx.me, ready.signature)
    waiting = AwaitingCert(terms, record, transcript, own_ready)
    return Step(waiting, (_IDLE, prepared, Send(ctx.coordinator, ready)))
