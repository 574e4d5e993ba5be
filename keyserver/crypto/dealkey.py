"""Values sealed from one participant of a session to another (engine design, section 2.2).

Every participant has a one-time key pair, announced at the start and erased at the end. Two of them
share one point; from it comes one encryption key per direction and message.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from keyserver.crypto.curve import Point, SecretScalar, ecdh_sha256, mul_base, mul_secret
from keyserver.crypto.errors import DecryptionError
from keyserver.crypto.hashing import hkdf_sha256, sha256
from keyserver.crypto.randomness import RandomSource

_NONCE = bytes(12)


class OneTimeKey:
    """A participant's key pair for one session; redacted when printed.

    Remembers the hash of the point shared with each other participant: the same one serves both
    directions, and computing it is the dearest part of sealing.
    """

    __slots__ = ("_shared", "public", "secret")

    def __init__(self, secret: SecretScalar) -> None:
        self.secret = secret
        self.public = mul_base(secret)
        self._shared: dict[Point, bytes] = {}

    @classmethod
    def random(cls, rng: RandomSource) -> "OneTimeKey":
        """Draw a key pair."""
        return cls(SecretScalar.random(rng))

    def shared_with(self, other: Point) -> bytes:
        """Return SHA-256 of the compressed common point with another one-time public key."""
        shared = self._shared.get(other)
        if shared is None:
            shared = self._shared[other] = ecdh_sha256(self.secret, other)
        return shared

    def reveal(self, other: Point) -> Point:
        """Return the common point itself, which opens both messages between the two."""
        return mul_secret(other, self.secret)

    def __repr__(self) -> str:
        return f"OneTimeKey({self.public!r}, <redacted>)"


def shared_from_point(common: Point) -> bytes:
    """Return what `OneTimeKey.shared_with` gives, from a revealed common point."""
    return sha256(common.compressed)


def seal_value(
    plaintext: bytes,
    *,
    session_hash: bytes,
    shared: bytes,
    sender: Point,
    receiver: Point,
    bound_to: bytes,
    number: int = 1,
) -> bytes:
    """Seal one message from `sender` to `receiver` (node keys); 16 bytes longer than the plaintext.

    `bound_to` is authenticated with it: the deal hash. `number` tells several messages of one
    session between the same two nodes apart: a pair (direction, number) is used once.
    """
    key = _key(session_hash, shared, sender, receiver, number)
    return ChaCha20Poly1305(key).encrypt(_NONCE, plaintext, bound_to)


def open_value(
    ciphertext: bytes,
    *,
    session_hash: bytes,
    shared: bytes,
    sender: Point,
    receiver: Point,
    bound_to: bytes,
    number: int = 1,
) -> bytes:
    """Open what `seal_value` made with the same arguments; raises DecryptionError otherwise."""
    key = _key(session_hash, shared, sender, receiver, number)
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, ciphertext, bound_to)
    except InvalidTag as error:
        raise DecryptionError("sealed value: does not open") from error


def _key(session_hash: bytes, shared: bytes, sender: Point, receiver: Point, number: int) -> bytes:
    """The key of one message; the first one's number is left out of the hash."""
    suffix = b"" if number == 1 else bytes([number])
    info = b"tks/1/dealkey" + sender.compressed + receiver.compressed + suffix
    return hkdf_sha256(salt=session_hash, key=shared, info=info)
