"""What is hashed, proven and signed in a sharing session (engine design, sections 7.1 to 7.5).

Nodes are points here: the encodings need nothing but points, 32-byte hashes and counts.
"""

from collections.abc import Sequence

from keyserver.crypto.curve import GENERATOR, MaybePoint, Point
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.proofs import Statement, equal_logarithms, possession


def one_time_statement(params_hash: bytes, node: Point, one_time: Point) -> Statement:
    """State that `node` knows the secret of the one-time key it announces."""
    context = tagged_hash("tks/1/ctx/onetime", params_hash + node.compressed)
    return possession(context, one_time)


def accept_digest(params_hash: bytes, node: Point, one_time: Point) -> bytes:
    """Return what a node signs to accept a session with its one-time key."""
    return tagged_hash("tks/1/accept", params_hash + node.compressed + one_time.compressed)


def session_hash(params_hash: bytes, accepted: Sequence[tuple[Point, Point]]) -> bytes:
    """Return `h1`, over the (node, one-time key) pairs in canonical order of the nodes."""
    pairs = b"".join(node.compressed + one_time.compressed for node, one_time in accepted)
    return tagged_hash("tks/1/accepts", params_hash + _count(accepted) + pairs)


def constant_statement(session: bytes, dealer: Point, constant: MaybePoint) -> Statement:
    """State that `dealer` knows the secret constant of its deal."""
    return possession(tagged_hash("tks/1/ctx/pop", session + dealer.compressed), constant)


def tail_hash(commitments: Sequence[Point]) -> bytes:
    """Return the hash of all commitments of a deal but the constant's (the first, skipped here)."""
    points = b"".join(point.compressed for point in commitments[1:])
    return tagged_hash("tks/1/dealtail", _count(commitments[1:]) + points)


def deal_hash(session: bytes, dealer: Point, constant: Point, pop: bytes, tail: bytes) -> bytes:
    """Return the hash that names a deal: of its constant, its proof `pop` and its tail hash."""
    fields = session + dealer.compressed + constant.compressed + _count(pop) + pop + tail
    return tagged_hash("tks/1/deal", fields)


def share_digest(
    session: bytes, dealer: Point, receiver: Point, deal: bytes, ciphertext: bytes
) -> bytes:
    """Return what a dealer signs for each receiver: deal hash and sealed share."""
    fields = session + dealer.compressed + receiver.compressed + deal + ciphertext
    return tagged_hash("tks/1/dealsig", fields)


def transcript_hash(session: bytes, deals: Sequence[tuple[Point, bytes]]) -> bytes:
    """Return `T`, over the (dealer, deal hash) pairs that the result was made of."""
    pairs = b"".join(dealer.compressed + deal for dealer, deal in deals)
    return tagged_hash("tks/1/transcript", session + _count(deals) + pairs)


def ready_digest(record_hash: bytes, transcript: bytes, node: Point) -> bytes:
    """Return what a holder signs: that it stored its share of this record."""
    return tagged_hash("tks/1/ready", record_hash + transcript + node.compressed)


def complaint_statement(
    session: bytes,
    *,
    dealer: Point,
    dealer_one_time: Point,
    accuser: Point,
    accuser_one_time: Point,
    common: MaybePoint,
) -> Statement:
    """State that `common` is the point that dealer and accuser share."""
    context = tagged_hash("tks/1/ctx/complaint", session + dealer.compressed + accuser.compressed)
    return equal_logarithms(context, GENERATOR, accuser_one_time, dealer_one_time, common)


def complaint_digest(
    session: bytes,
    *,
    dealer: Point,
    accuser: Point,
    deal: bytes,
    ciphertext: bytes,
    signature: bytes,
    common: Point,
    proof: bytes,
) -> bytes:
    """Return what an accuser signs: the deal's hash, the dealer's signature, what was opened."""
    fields = session + dealer.compressed + accuser.compressed + deal + ciphertext
    return tagged_hash("tks/1/complaint", fields + signature + common.compressed + proof)


def _count(items: Sequence[object]) -> bytes:
    return len(items).to_bytes(4, "big")
