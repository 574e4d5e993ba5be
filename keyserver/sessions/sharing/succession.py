"""How a redistribution begins at a participant (engine design, section 13).

A member of the old committee that accepts gives a promise, which is on disk before it leaves: until
the version is decided it accepts no other parameters for it and votes for no document key. So a
quorum of promises says what document key there is, and that no other can come.
"""

from keyserver.crypto.dealkey import OneTimeKey
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId
from keyserver.model.keys import LAST_VERSION, KeyRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import Reshare
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.certificates import (
    check_decision,
    check_document,
    check_holding,
    check_skipped,
    record_subject,
)
from keyserver.sessions.core import (
    Context,
    Effect,
    Persist,
    Refusal,
    Refused,
    Send,
    SetTimer,
    Step,
)
from keyserver.sessions.identity import is_canonical
from keyserver.sessions.sharing.dealing import deal_for
from keyserver.sessions.sharing.messages import (
    Accept,
    Accepted,
    Handover,
    Inheritance,
    Redistribute,
)
from keyserver.sessions.sharing.phases import (
    AwaitingCertified,
    AwaitingHandover,
    AwaitingShares,
    Phase,
    Terms,
)
from keyserver.sessions.sharing.terms import (
    IDLE_TIMEOUT_S,
    accept_with,
    check_accepted,
    check_listed_keys,
    group_of,
    holder_quorum,
    redistribution_params,
    terms_of,
    voter_quorum,
)
from keyserver.sessions.writes import (
    PutActive,
    PutDocument,
    PutNothing,
    PutPromise,
    Write,
)

_IDLE = SetTimer("idle", IDLE_TIMEOUT_S)


def join(ctx: Context, sender: NodeId, message: Redistribute) -> Step[Phase]:
    """A redistribution is proposed: check it against this node's own view, and accept it."""
    operation, target = authenticate(ctx).operation, ctx.target
    if not isinstance(operation, Reshare):
        raise Refused(Refusal.BAD, "the request is not one to redistribute a key")
    if target is None or message.params.set_id != target.id:
        # One of the two may be behind in its view of the changes.
        raise Refused(Refusal.TEMPORARY, "this node has not accepted such a change")
    before, inheritance = _before(ctx, message)
    terms = _checked_terms(ctx, message, before, target, operation.document)
    if ctx.me not in terms.voters and ctx.me not in target:
        raise Refused(Refusal.BAD, "this node is in neither committee")
    if ctx.me in terms.params.dealers and ctx.key.share is None:
        raise Refused(Refusal.TEMPORARY, "this node has no share to deal")
    _check_document(ctx, operation.document, inheritance)
    one_time = OneTimeKey.random(ctx.random)
    own = accept_with(ctx, terms.params_hash, one_time)
    accept = Accept(own.one_time, own.proof, own.signature)
    effects: list[Effect] = [_IDLE]
    if ctx.me in terms.voters:
        effects.append(_promise(ctx, terms))
    effects.append(Send(ctx.coordinator, accept))
    return Step(AwaitingHandover(terms, one_time, accept, inheritance), tuple(effects))


def _before(ctx: Context, message: Redistribute) -> tuple[KeyRecord, Inheritance | None]:
    """The record in force, and what the proposal brings that is not known here.

    A node outside its committee may know the record and not the document key: that was stored
    later, without it.
    """
    wanted, active, brought = message.params.previous, ctx.key.active, message.inheritance
    if active is not None and active.record.hash == wanted:
        if ctx.me in active.record.coordinates or ctx.key.document is not None:
            return active.record, None
        brings_it = (
            brought is not None
            and brought.document is not None
            and brought.record.record.hash == wanted
        )
        return active.record, brought if brings_it else None
    if active is not None and active.record.version >= message.params.version:
        raise Refused(Refusal.STALE, "a later version of the key is in force here")
    if brought is None or brought.record.record.hash != wanted:
        raise Refused(Refusal.TEMPORARY, "the record in force is not known here")
    record = brought.record.record
    if record.key_id != message.params.key_id or ctx.me in record.coordinates:
        raise Refused(Refusal.TEMPORARY, "a member of the old committee does not know its record")
    return record, brought


def _checked_terms(
    ctx: Context, message: Redistribute, before: KeyRecord, target: NodeSet, document: Hash32
) -> Terms:
    dealers, skipped = message.params.dealers, message.skipped
    if message.params.threshold >= len(target):
        raise Refused(Refusal.BAD, "the threshold is not below the number of nodes")
    if not is_canonical(dealers) or not set(dealers) <= before.coordinates.keys():
        raise Refused(Refusal.BAD, "the dealers are not members of the old committee")
    if len(dealers) != before.required_nodes:
        raise Refused(Refusal.BAD, "the number of dealers is not the one that is needed")
    expected = redistribution_params(ctx, before, target, dealers, skipped)
    if message.params != expected or message.kind != ctx.kind:
        raise Refused(Refusal.BAD, "the parameters are not those of the record and the change")
    if expected.version > LAST_VERSION:
        raise Refused(Refusal.BAD, "the key has had as many versions as it can have")
    if expected.version < ctx.key.next_version:
        raise Refused(Refusal.STALE, "the version was decided already")
    quorums = ctx.quorums(len(before.committee))
    check_skipped(before.key_id, before.version + 1, skipped, before.nodes, quorums)
    prepared = ctx.key.prepared
    if prepared is not None and prepared.record.version >= expected.version:
        raise Refused(Refusal.TEMPORARY, "an earlier attempt of this version is not decided")
    return terms_of(expected, skipped, before, document)


def _check_document(ctx: Context, wanted: Hash32, inheritance: Inheritance | None) -> None:
    """The request must name the document key that is stored, as far as this node can tell."""
    known = ctx.key.document
    if known is None and inheritance is not None:
        known = inheritance.document
    named = known.document.hash if known is not None else ZERO_HASH
    if named != wanted:
        raise Refused(Refusal.TEMPORARY, "another document key is stored here")
    if ctx.key.document_candidate is not None:
        raise Refused(Refusal.TEMPORARY, "a document key is being stored")


def _promise(ctx: Context, terms: Terms) -> Persist:
    """What an old member writes down before it accepts; raises `Refused` after another promise."""
    params, earlier = terms.params, ctx.key.promise
    if earlier is not None and earlier.version >= params.version:
        raise Refused(Refusal.EXCLUSIVE, "this version is promised to another session")
    promise = PutPromise(params.key_id, params.version, terms.params_hash, terms.document)
    return Persist((*given_up(ctx, terms), promise))


def given_up(ctx: Context, terms: Terms) -> tuple[Write, ...]:
    """The decisions of *nothing* that came with the proposal and are new here."""
    numbered = enumerate(terms.skipped, terms.first_skipped)
    return tuple(
        PutNothing(terms.params.key_id, version, decision)
        for version, decision in numbered
        if version >= ctx.key.next_version
    )


# --- who takes part --------------------------------------------------------------------------


def on_handover(ctx: Context, phase: AwaitingHandover, handover: Handover) -> Step[Phase]:
    """Enough have accepted: dealers deal, and newcomers take over what there is."""
    terms, accepted = phase.terms, handover.accepted
    _check_group(ctx, phase, accepted)
    _check_promised(ctx, terms, handover)
    effects: list[Effect] = [_IDLE]
    if phase.inheritance is not None:
        effects.append(_inherit(ctx, terms, phase.inheritance, handover))
    group = group_of(terms, accepted)
    if ctx.me in group.dealers:
        effects.append(Send(ctx.coordinator, deal_for(ctx, group, phase.one_time)))
    if ctx.me in terms.committee:
        return Step(AwaitingShares(group, phase.one_time), tuple(effects))
    return Step(AwaitingCertified(terms), tuple(effects))


def _check_group(ctx: Context, phase: AwaitingHandover, accepted: tuple[Accepted, ...]) -> None:
    """All dealers, enough receivers, this node among them with its own key, nobody else."""
    terms = phase.terms
    nodes = [entry.node for entry in accepted]
    dealers, committee = set(terms.params.dealers), set(terms.committee)
    if not is_canonical(nodes) or not dealers <= set(nodes) <= dealers | committee:
        raise Refused(Refusal.BAD, "HANDOVER does not list dealers and receivers")
    if len(committee & set(nodes)) < holder_quorum(ctx, terms):
        raise Refused(Refusal.BAD, "HANDOVER lists too few receivers")
    check_listed_keys(ctx, terms.params_hash, accepted, phase.accept)
    if ctx.me not in nodes:
        raise Refused(Refusal.BAD, "HANDOVER does not list this node")


def _check_promised(ctx: Context, terms: Terms, handover: Handover) -> None:
    """A quorum of the old committee has accepted these very terms."""
    taking_part = {entry.node for entry in handover.accepted}
    promised, voters = [entry.node for entry in handover.promised], set(terms.voters)
    if not is_canonical(promised) or not set(promised) <= voters - taking_part:
        raise Refused(Refusal.BAD, "HANDOVER does not list members of the old committee")
    if len(taking_part & voters) + len(promised) < voter_quorum(ctx, terms):
        raise Refused(Refusal.BAD, "HANDOVER lists too few promises")
    for entry in handover.promised:
        check_accepted(terms, entry)


def _inherit(ctx: Context, terms: Terms, inheritance: Inheritance, handover: Handover) -> Persist:
    """Take over record and document key of a committee that this node is not in.

    What a node signs when it accepts names the record: f + 1 members of the current set must have
    done so, which is why this node believes them that it is the one in force.
    """
    certified, record = inheritance.record, inheritance.record.record
    quorums = ctx.quorums(len(record.committee))
    named_by = {entry.node for entry in (*handover.accepted, *handover.promised)}
    vouching = named_by & set(record.nodes) & set(ctx.node_set.nodes)
    if len(vouching) <= ctx.quorums(len(ctx.node_set)).faulty:
        raise Refused(Refusal.TEMPORARY, "too few nodes of the current set know this record")
    check_holding(record, certified.certificate.holding, quorums)
    decision = certified.certificate.decision
    if decision.value != record.hash:
        raise Refused(Refusal.BAD, "the decision is for another record")
    if record.previous == ZERO_HASH:
        subject = record_subject(record.key_id, record.version)
        check_decision(subject, decision, record.nodes, quorums)
    is_known = ctx.key.active is not None and ctx.key.active.record.hash == record.hash
    writes: list[Write] = [] if is_known else [PutActive(certified)]
    document = inheritance.document
    if document is not None and ctx.key.document is None:
        check_document(record.key_id, document, record, quorums)
        writes.append(PutDocument(record.key_id, document))
    return Persist(tuple(writes))
