"""What both sides of a sharing compute alike: parameters, group, record."""

from collections.abc import Sequence
from types import MappingProxyType

from keyserver.crypto.curve import Point
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Member
from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.transcripts import accept_digest, one_time_statement, session_hash
from keyserver.model.codec import encode
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, NodeId
from keyserver.model.keys import RECORD_FORMAT, Decision, KeyRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import Proof
from keyserver.sessions.core import Context, Refusal, Refused, SetTimer
from keyserver.sessions.identity import check_signature, digest
from keyserver.sessions.sharing.messages import Accept, Accepted, ShareParams
from keyserver.sessions.sharing.phases import NO_PLACE, Group, Terms


def accept_timeout_s(nodes: int) -> float:
    """`T_accept`: how long nodes have to accept (engine design, section 16)."""
    return 3 + 0.01 * nodes


def round_timeout_s(nodes: int) -> float:
    """`T_deal`, `T_shares`, `T_ready`, `T_commit`."""
    return 10 + 0.04 * nodes


ROUND = "round"
"""The coordinator's one timer."""


def round_timer(group: Group) -> SetTimer:
    """How long the members of a group have for what they were just sent."""
    return SetTimer(ROUND, round_timeout_s(len(group.members)))


IDLE_TIMEOUT_S = 60.0
"""A session without progress ends after this time."""

CHAIN_WAIT_S = 25.0
"""Added to the first timer when participants may have to wait for their own view of the chain."""


def generation_params(
    ctx: Context, author: Address, threshold: int, skipped: tuple[Decision, ...]
) -> ShareParams:
    """The only parameters a generation of the current set can have."""
    return ShareParams(
        kind=ctx.kind,
        sid=ctx.sid,
        key_id=ctx.request.key_id,
        author=author,
        threshold=threshold,
        version=len(skipped) + 1,
        previous=ZERO_HASH,
        set_id=ctx.node_set.id,
        committee=ctx.node_set.committee,
        dealers=(),
        request_hash=ctx.request.hash,
    )


def redistribution_params(
    ctx: Context,
    before: KeyRecord,
    target: NodeSet,
    dealers: tuple[NodeId, ...],
    skipped: tuple[Decision, ...],
) -> ShareParams:
    """The only parameters a redistribution of a record to a set by these dealers can have.

    Here it is said that the threshold stays. Everything else goes by the one that the parameters
    name: another rule here, and in `engine.acceptance`, would make another one.
    """
    return ShareParams(
        kind=ctx.kind,
        sid=ctx.sid,
        key_id=before.key_id,
        author=before.author,
        threshold=before.threshold,
        version=before.version + len(skipped) + 1,
        previous=before.hash,
        set_id=target.id,
        committee=target.committee,
        dealers=dealers,
        request_hash=ctx.request.hash,
    )


def terms_of(
    params: ShareParams,
    skipped: tuple[Decision, ...],
    before: KeyRecord | None = None,
    document: Hash32 = ZERO_HASH,
) -> Terms:
    """The terms with their hash; `before` and `document` where a key is redistributed."""
    return Terms(params, digest("tks/1/params", encode(params)), skipped, before, document)


def accept_with(ctx: Context, params_hash: Hash32, one_time: OneTimeKey) -> Accepted:
    """This node's own one-time key, signed, with the proof that it knows it."""
    node, public = ctx.me.point, one_time.public
    statement = one_time_statement(params_hash, node, public)
    proof = Proof(prove(statement, [one_time.secret], ctx.random))
    signed = Hash32(accept_digest(params_hash, node, public))
    return Accepted(ctx.me, public, proof, ctx.signer.sign(signed))


def check_accepted(terms: Terms, accepted: Accepted) -> None:
    """Check that a node accepted with a one-time key it knows; raises `Refused`."""
    check_one_time_key(terms.params_hash, accepted)


def check_one_time_key(params_hash: Hash32, accepted: Accepted) -> None:
    """The same for any session whose parameters have this hash; raises `Refused`."""
    node = accepted.node.point
    signed = Hash32(accept_digest(params_hash, node, accepted.one_time))
    check_signature(signed, accepted.signature, accepted.node)
    try:
        verify(one_time_statement(params_hash, node, accepted.one_time), accepted.proof)
    except InvalidProofError as problem:
        raise Refused(Refusal.BAD, f"one-time key of {accepted.node.short}: {problem}") from problem


def check_listed_keys(
    ctx: Context, params_hash: Hash32, listed: Sequence[Accepted], own: Accept | Accepted
) -> None:
    """Check every one-time key that a coordinator lists; raises `Refused`.

    This node's must be the one it has accepted with, `own`; a list without this node passes.
    """
    for entry in listed:
        if entry.node != ctx.me:
            check_one_time_key(params_hash, entry)
        elif (entry.one_time, entry.signature) != (own.one_time, own.signature):
            raise Refused(Refusal.BAD, "another key than this node's own is listed for it")


def group_of(terms: Terms, accepted: Sequence[Accepted]) -> Group:
    """The group that START lists, in canonical order; its entries were checked before."""
    x_of = {member.node: member.x for member in terms.params.committee}
    members = {
        entry.node: Member(entry.node.point, entry.one_time, x_of.get(entry.node, NO_PLACE))
        for entry in accepted
    }
    pairs = [(member.node, member.one_time) for member in members.values()]
    return Group(terms, Hash32(session_hash(terms.params_hash, pairs)), MappingProxyType(members))


def holder_quorum(ctx: Context, terms: Terms) -> int:
    """`g`: how many members of the committee must hold the key."""
    quorums = ctx.quorums(len(terms.params.committee))
    return quorums.holders(terms.params.threshold)


def voter_quorum(ctx: Context, terms: Terms) -> int:
    """`q_n` of the deciding committee."""
    return ctx.quorums(len(terms.voters)).agreement


def record_of(
    params: ShareParams, commitments: tuple[Point, ...], document: Hash32 = ZERO_HASH
) -> KeyRecord:
    """The record that everybody can build once the commitments are known.

    `document` is the hash of the document key stored before this version, zeros without one.
    """
    return KeyRecord(
        RECORD_FORMAT,
        params.key_id,
        params.author,
        params.threshold,
        commitments[0],
        params.version,
        params.previous,
        params.set_id,
        document,
        params.committee,
        commitments,
    )
