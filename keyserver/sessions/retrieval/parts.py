"""What coordinator and members of a retrieval check and compute alike."""

from collections.abc import Sequence

from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import (
    combine_partials,
    shadow_commitments,
    shadow_factors,
)
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.proofs import Statement
from keyserver.model.identifiers import Hash32, NodeId, SessionId
from keyserver.model.requests import BoundCredential, LegacyCredential, OnChainPublic, Request
from keyserver.sessions.conviction import reports_of
from keyserver.sessions.core import Context, Refusal, Refused
from keyserver.sessions.identity import check_signature, digest, node_bytes
from keyserver.sessions.retrieval.evidence import WrongPartial
from keyserver.sessions.retrieval.messages import (
    Mode,
    Partial,
    Select,
    SelectedPartial,
    Shadow,
)
from keyserver.sessions.retrieval.phases import Subject
from keyserver.sessions.retrieval.proofs import Decryption
from keyserver.sessions.retrieval.proofs import select_hash as select_hash

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


def decryption_of(ctx: Context, subject: Subject) -> Decryption:
    """What the signatures under the parts of a session cover."""
    return Decryption(ctx.sid, subject.record, subject.mode, subject.document.common)


def partial_statement(
    ctx: Context, subject: Subject, node: NodeId, mask: Point | None, point: Point
) -> Statement:
    """What the proof of a part states."""
    return decryption_of(ctx, subject).part_statement(node, mask, point)


def partial_digest(
    ctx: Context, subject: Subject, node: NodeId, entry: Partial | SelectedPartial
) -> Hash32:
    """What the maker of a part signs."""
    return decryption_of(ctx, subject).part_digest(node, entry)


def check_partial(
    ctx: Context, subject: Subject, node: NodeId, entry: Partial | SelectedPartial
) -> None:
    """Check signature and proof of a part; raises `Refused`.

    A wrong proof under a right signature convicts the part's maker.
    """
    decryption = decryption_of(ctx, subject)
    check_signature(decryption.part_digest(node, entry), entry.signature, node)
    try:
        decryption.check_proof(node, entry)
    except CryptoError as problem:
        reports = reports_of(WrongPartial(decryption, selected(node, entry)))
        why = f"partial decryption of {node.short}: {problem}"
        raise Refused(Refusal.BAD, why, reports=reports) from problem


def selected(node: NodeId, entry: Partial | SelectedPartial) -> SelectedPartial:
    """A part as a selection lists it."""
    return SelectedPartial(node, entry.point, entry.mask, entry.proof, entry.signature)


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
