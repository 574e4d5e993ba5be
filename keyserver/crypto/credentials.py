"""Proving that a client signed a request, without showing the signature.

Only the node the client contacted sees the signature `(r, s, v)`. To the others it shows the
client's key `X`, the signature's point `R` and a proof that it knows `s` with
`s*R = z*G + r*X`: valid for one session, operation and payload. Engine design, section 6.1.
"""

from dataclasses import dataclass

from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar, lincomb, recover
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.hashing import tagged_hash
from keyserver.crypto.proofs import Equation, Statement


@dataclass(frozen=True, slots=True)
class OpenedSignature:
    """A client's signature, taken apart by the node that received it."""

    requester: Point
    """`X`, the client's key."""
    nonce_point: Point
    """`R`, the signature's point."""
    response: SecretScalar
    """`s`, the witness of the proof: shown to nobody."""


def open_signature(digest: bytes, signature: bytes) -> OpenedSignature:
    """Take a signature `r || s || v` of a 32-byte digest apart; s may be high.

    Raises InvalidSignatureError if it belongs to no key.
    """
    requester = recover(digest, signature)
    parity, above_order = signature[64] & 1, signature[64] >> 1
    x = int.from_bytes(signature[:32], "big") + above_order * ORDER
    nonce_point = Point.parse(bytes([2 + parity]) + x.to_bytes(32, "big"))
    return OpenedSignature(requester, nonce_point, SecretScalar(signature[32:64]))


def credential_statement(
    context: bytes, digest: bytes, requester: Point, nonce_point: Point
) -> Statement:
    """State knowledge of the `s` that completes `R` to a signature of `digest` by `X`.

    Raises InvalidSignatureError if no signature has this `R`; a statement with infinity does not
    verify.
    """
    r = Scalar(int.from_bytes(nonce_point.raw64[:32], "big") % ORDER)
    if r.is_zero:
        raise InvalidSignatureError("credential: r is zero")
    z = Scalar(int.from_bytes(digest, "big") % ORDER)
    return Statement(context, (Equation(lincomb(z, r, requester), ((0, nonce_point),)),))


def legacy_context(
    *,
    coordinator: Point,
    boot_nonce: bytes,
    counter: int,
    operation: int,
    key_id: bytes,
    payload: bytes,
) -> bytes:
    """Return the proof's context for a signature over the bare key id (credential kind 1)."""
    session = coordinator.compressed + boot_nonce + counter.to_bytes(8, "big")
    return tagged_hash("tks/1/ctx/credential", session + _request(operation, key_id, payload))


def bound_context(
    *,
    coordinator: Point,
    boot_nonce: bytes,
    counter: int,
    operation: int,
    key_id: bytes,
    payload: bytes,
    digest: bytes,
) -> bytes:
    """Return the proof's context for a signature over the typed request (credential kind 2)."""
    session = coordinator.compressed + boot_nonce + counter.to_bytes(8, "big")
    request = _request(operation, key_id, payload)
    return tagged_hash("tks/1/ctx/bound", session + request + digest)


def _request(operation: int, key_id: bytes, payload: bytes) -> bytes:
    return bytes([operation]) + key_id + len(payload).to_bytes(4, "big") + payload
