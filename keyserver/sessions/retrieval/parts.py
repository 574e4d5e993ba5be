"""What coordinator and members of a retrieval check and compute alike."""

from collections.abc import Sequence

from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import (
    combine_partials,
    plain_statement,
    shadow_commitments,
    shadow_factors,
    shadow_statement,
)
from keyserver.crypto.errors import CryptoError, InvalidPointError
from keyserver.crypto.proofs import Statement, verify
from keyserver.model.codec import encode
from keyserver.model.identifiers import Hash32, NodeId, SessionId
from keyserver.model.requests import BoundCredential, LegacyCredential, OnChainPublic, Request
from keyserver.sessions.core import Context, Misbehaviour, Refusal, Refused
from keyserver.sessions.identity import check_signature, digest, node_bytes
from keyserver.sessions.retrieval.messages import (
    NO_MASK,
    Mode,
    Partial,
    Select,
    SelectedPartial,
    Shadow,
)
from keyserver.sessions.retrieval.phases import Subject

MAX_SELECTS = 3
"""A member answers at most so many SELECTs of a session."""


def mode_of(request: Request) -> Mode:
    """The only mode in which a request may be served; raises `Refused`."""
    shadow = request.operation_number == 6
    match request.credential():
        case LegacyCredential() | BoundCredential():
            return Mode.SHADOW if shadow else Mode.PLAIN
        case OnChainPublic() if shadow:
            return Mode.SHADOW_ON_CHAIN
    raise Refused(Refusal.BAD, "the credential does not fit a retrieval")


def partial_statement(
    ctx: Context, subject: Subject, node: NodeId, mask: Point | None, point: Point
) -> Statement:
    """What the proof of a part states."""
    context = digest("tks/1/ctx/partial", ctx.sid, subject.record.hash, node_bytes(node))
    share = subject.record.verification_share(node)
    if share is None:
        raise InvalidPointError("verification share: infinity")
    if mask is None:
        return plain_statement(context, share, subject.document.common, point)
    return shadow_statement(context, share, mask, subject.document.common, point)


def partial_digest(
    ctx: Context, subject: Subject, node: NodeId, entry: Partial | SelectedPartial
) -> Hash32:
    """What the maker of a part signs."""
    return digest(
        "tks/1/partial",
        ctx.sid,
        subject.record.hash,
        bytes([subject.mode]),
        node_bytes(node),
        subject.document.common.compressed,
        entry.point.compressed,
        entry.mask,
        entry.proof,
    )


def check_partial(
    ctx: Context, subject: Subject, node: NodeId, entry: Partial | SelectedPartial
) -> None:
    """Check signature and proof of a part.

    A wrong signature raises `Refused`; a wrong proof under a right one `Misbehaviour`.
    """
    check_signature(partial_digest(ctx, subject, node, entry), entry.signature, node)
    try:
        plain = subject.mode is Mode.PLAIN
        mask = None if plain else Point.parse(entry.mask)
        if plain and entry.mask != NO_MASK:
            raise InvalidPointError("mask: none belongs in the plain mode")
        verify(partial_statement(ctx, subject, node, mask, entry.point), entry.proof)
    except CryptoError as problem:
        raise Misbehaviour(
            f"partial decryption of {node.short}: {problem}", frozenset({node}), encode(entry)
        ) from problem


def select_hash(sid: SessionId, partials: Sequence[SelectedPartial]) -> Hash32:
    """The name of a selection; the coordinator signs it."""
    listed = len(partials).to_bytes(4, "big") + b"".join(encode(entry) for entry in partials)
    return digest("tks/1/select", sid, listed)


def shadow_digest(sid: SessionId, node: NodeId, shadow: Shadow) -> Hash32:
    """What a member signs with its shadow."""
    return digest("tks/1/shadow", sid, shadow.select_hash, node_bytes(node), shadow.sealed)


def pick_order(sid: SessionId, node: NodeId) -> bytes:
    """Ranks valid answers: nobody chooses who is selected."""
    return digest("tks/1/pick", sid, node_bytes(node))


def decrypted_secret(subject: Subject, partials: Sequence[SelectedPartial]) -> Point:
    """`E - sum lambda_i * P_i`; raises `InvalidPointError` at infinity."""
    xs = [subject.record.coordinates[entry.node] for entry in partials]
    points = [entry.point for entry in partials]
    return combine_partials(subject.document.encrypted, xs, points)


def commitments_of(subject: Subject, select: Select) -> tuple[Point, ...]:
    """Every member's shadow times the generator; raises `CryptoError` if the masks cancel."""
    xs = [subject.record.coordinates[entry.node] for entry in select.partials]
    masks = [Point.parse(entry.mask) for entry in select.partials]
    return tuple(shadow_commitments(shadow_factors(xs), masks))
