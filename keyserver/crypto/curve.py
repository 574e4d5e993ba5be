"""secp256k1: scalars, points, the group operations, ECDH and plain ECDSA.

The only module that sees the curve library (libsecp256k1 through coincurve). It calls the library's
functions directly: the package's own classes copy, hash and check more than is needed here.

Constant time: everything that takes a `SecretScalar` (`mul_base`, `mul_secret`, the ECDH functions,
`sign_digest`, the methods of `SecretScalar`). Everything that takes a public `Scalar` runs in
variable time and is faster for small numbers. Engine design, sections 2 and 18.

The point at infinity is `None` (`MaybePoint`); a `Point` is never infinity.
"""

import hmac
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from coincurve import GLOBAL_CONTEXT
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]

from keyserver.crypto.errors import (
    CryptoError,
    InvalidPointError,
    InvalidScalarError,
    InvalidSignatureError,
)

if TYPE_CHECKING:
    from keyserver.crypto.randomness import RandomSource

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The number of points of the group, `q`; a prime."""

_HALF_ORDER: Final = ORDER // 2
_CTX: Final = GLOBAL_CONTEXT.ctx
_HANDLE: Final = ffi.typeof("secp256k1_pubkey *")
_HANDLES: Final = ffi.typeof("secp256k1_pubkey *[]")
_BYTES32: Final = ffi.typeof("unsigned char[32]")
_BYTES33: Final = ffi.typeof("unsigned char[33]")
_BYTES64: Final = ffi.typeof("unsigned char[64]")
_BYTES65: Final = ffi.typeof("unsigned char[65]")
_SIZE: Final = ffi.typeof("size_t *")
_INT: Final = ffi.typeof("int *")
_SIGNATURE: Final = ffi.typeof("secp256k1_ecdsa_recoverable_signature *")
_COMPRESSED: Final = 258
_UNCOMPRESSED: Final = 2
_ZEROS: Final = bytes(32)

_new = ffi.new
_buffer = ffi.buffer


class Scalar:
    """A public number modulo the group order `q`; immutable.

    Operations take variable time: never put a secret in here.
    """

    __slots__ = ("_value",)

    def __init__(self, value: int) -> None:
        if not 0 <= value < ORDER:
            raise InvalidScalarError("scalar: need 0 <= value < q")
        self._value = value

    @classmethod
    def from_bytes(cls, data: bytes) -> "Scalar":
        """Read 32 big-endian bytes; raises InvalidScalarError unless canonical (below `q`)."""
        if len(data) != 32:
            raise InvalidScalarError(f"scalar: need 32 bytes, got {len(data)}")
        return cls(int.from_bytes(data, "big"))

    def to_bytes(self) -> bytes:
        """Return the 32 big-endian bytes."""
        return self._value.to_bytes(32, "big")

    @property
    def is_zero(self) -> bool:
        """Whether this is 0."""
        return self._value == 0

    def inverse(self) -> "Scalar":
        """Return the multiplicative inverse; raises InvalidScalarError for 0."""
        if self._value == 0:
            raise InvalidScalarError("scalar: 0 has no inverse")
        return Scalar(pow(self._value, -1, ORDER))

    def __int__(self) -> int:
        return self._value

    def __add__(self, other: "Scalar") -> "Scalar":
        return Scalar((self._value + other._value) % ORDER)

    def __sub__(self, other: "Scalar") -> "Scalar":
        return Scalar((self._value - other._value) % ORDER)

    def __mul__(self, other: "Scalar") -> "Scalar":
        return Scalar(self._value * other._value % ORDER)

    def __neg__(self) -> "Scalar":
        return Scalar(-self._value % ORDER)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Scalar, self._value))

    def __repr__(self) -> str:
        return f"Scalar({self._value:#x})"


class SecretScalar:
    """A secret number in 1..q-1.

    It does not print, sort, hash, pickle or copy, compares in constant time, and is overwritten in
    memory when released (of copies made by `expose` the interpreter keeps no track).
    """

    __slots__ = ("_key",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, secret: bytes) -> None:
        """Take 32 big-endian bytes; raises InvalidScalarError for 0, for `q` and above."""
        self._key = _new(_BYTES32)
        if len(secret) != 32:
            raise InvalidScalarError(f"secret scalar: need 32 bytes, got {len(secret)}")
        ffi.memmove(self._key, secret, 32)
        if not lib.secp256k1_ec_seckey_verify(_CTX, self._key):
            raise InvalidScalarError("secret scalar: need 1 <= value < q")

    @classmethod
    def from_int(cls, value: int) -> "SecretScalar":
        """Take a number; raises InvalidScalarError unless 1 <= value < q."""
        if not 0 < value < ORDER:
            raise InvalidScalarError("secret scalar: need 1 <= value < q")
        return cls(value.to_bytes(32, "big"))

    @classmethod
    def random(cls, rng: "RandomSource") -> "SecretScalar":
        """Draw a uniformly random value in 1..q-1."""
        while True:
            drawn = rng.bytes(32)
            if lib.secp256k1_ec_seckey_verify(_CTX, drawn):
                return cls(drawn)

    def expose(self) -> bytes:
        """Return the 32 secret bytes: the one way to them."""
        return bytes(_buffer(self._key))

    def public(self) -> "Point":
        """Return this times the generator."""
        return mul_base(self)

    def add(self, other: "SecretScalar | Scalar") -> "SecretScalar":
        """Return the sum modulo `q`; raises InvalidScalarError if it is zero."""
        result = _copy_secret(self)
        if not lib.secp256k1_ec_seckey_tweak_add(_CTX, result._key, _operand(other)):
            raise InvalidScalarError("secret scalar: sum is zero")
        return result

    def multiply(self, factor: "SecretScalar | Scalar") -> "SecretScalar":
        """Return the product modulo `q`; raises InvalidScalarError if the factor is zero."""
        result = _copy_secret(self)
        if not lib.secp256k1_ec_seckey_tweak_mul(_CTX, result._key, _operand(factor)):
            raise InvalidScalarError("secret scalar: factor is zero")
        return result

    def negate(self) -> "SecretScalar":
        """Return `q` minus this."""
        result = _copy_secret(self)
        lib.secp256k1_ec_seckey_negate(_CTX, result._key)
        return result

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretScalar):
            return NotImplemented
        return hmac.compare_digest(_buffer(self._key), _buffer(other._key))

    def __repr__(self) -> str:
        return "SecretScalar(<redacted>)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecretScalar is neither pickled nor copied")

    def __del__(self) -> None:
        self._key[0:32] = _ZEROS


MaybeSecret = SecretScalar | None
"""A secret number, or zero (`None`)."""


def read_secret(data: bytes) -> MaybeSecret:
    """Read 32 secret bytes, zero included.

    Raises InvalidScalarError unless canonical. A malicious dealer can bring about a zero.
    """
    if hmac.compare_digest(data, _ZEROS):
        return None
    return SecretScalar(data)


def sum_secrets(secrets: Iterable[MaybeSecret]) -> MaybeSecret:
    """Return the sum of secrets, in constant time as long as no partial sum is zero."""
    total: MaybeSecret = None
    for secret in secrets:
        if secret is None:
            continue
        if total is None:
            total = _copy_secret(secret)
        elif not lib.secp256k1_ec_seckey_tweak_add(_CTX, total._key, secret._key):
            total = None
    return total


def _copy_secret(secret: SecretScalar) -> SecretScalar:
    """A new object with the same value, for the library to change in place."""
    result = SecretScalar.__new__(SecretScalar)
    result._key = _new(_BYTES32, secret._key)
    return result


def _operand(value: SecretScalar | Scalar) -> Any:
    """What the library takes as 32 bytes: the secret's own buffer, or the public bytes."""
    return value._key if isinstance(value, SecretScalar) else value.to_bytes()


class Point:
    """A point of the curve, never infinity; immutable.

    Holds the library's parsed form; its two serialised forms are made once, when first asked for.
    Made by `parse` or `from_raw64`, which check it, or by the group operations.
    """

    __slots__ = ("_compressed", "_handle", "_raw64")

    def __init__(
        self, handle: Any, compressed: bytes | None = None, raw64: bytes | None = None
    ) -> None:
        """Wrap a handle of the library; only for this module."""
        self._handle = handle
        self._compressed = compressed
        self._raw64 = raw64

    @classmethod
    def parse(cls, data: bytes) -> "Point":
        """Read 33 bytes of compressed SEC1; raises InvalidPointError if that is no point."""
        if len(data) != 33:
            raise InvalidPointError(f"point: need 33 bytes, got {len(data)}")
        data = bytes(data)
        handle = _new(_HANDLE)
        if not lib.secp256k1_ec_pubkey_parse(_CTX, handle, data, 33):
            raise InvalidPointError("point: not a compressed point of the curve")
        return cls(handle, compressed=data)

    @classmethod
    def from_raw64(cls, data: bytes) -> "Point":
        """Read `x || y`, 64 bytes; raises InvalidPointError if that is no point."""
        if len(data) != 64:
            raise InvalidPointError(f"point: need 64 bytes x || y, got {len(data)}")
        data = bytes(data)
        handle = _new(_HANDLE)
        if not lib.secp256k1_ec_pubkey_parse(_CTX, handle, b"\x04" + data, 65):
            raise InvalidPointError("point: x || y is not on the curve")
        return cls(handle, raw64=data)

    @property
    def compressed(self) -> bytes:
        """The 33 bytes of compressed SEC1."""
        if self._compressed is None:
            output = _new(_BYTES33)
            lib.secp256k1_ec_pubkey_serialize(
                _CTX, output, _new(_SIZE, 33), self._handle, _COMPRESSED
            )
            self._compressed = bytes(_buffer(output))
        return self._compressed

    @property
    def raw64(self) -> bytes:
        """The 64 bytes `x || y`."""
        if self._raw64 is None:
            output = _new(_BYTES65)
            lib.secp256k1_ec_pubkey_serialize(
                _CTX, output, _new(_SIZE, 65), self._handle, _UNCOMPRESSED
            )
            self._raw64 = bytes(_buffer(output)[1:65])
        return self._raw64

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Point)
            and lib.secp256k1_ec_pubkey_cmp(_CTX, self._handle, other._handle) == 0
        )

    def __hash__(self) -> int:
        return hash(self.compressed)

    def __repr__(self) -> str:
        return f"Point({self.compressed[:5].hex()}..)"

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return Point.parse, (self.compressed,)


MaybePoint = Point | None
"""A point, or infinity (`None`)."""


GENERATOR: Final = Point.parse(
    bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
)
"""The generator `G` of the group."""

SECOND_GENERATOR: Final = Point.parse(
    bytes.fromhex("023feceaa280e5132c079d18af662052801bb716d2e97df74c76dc972f67260da6")
)
"""`HG`, the base of masks: nobody knows its logarithm (derivation: engine design, section 2)."""


def mul_base(k: Scalar | SecretScalar) -> Point:
    """Return `k*G`, in constant time; raises InvalidScalarError for a public 0."""
    handle = _new(_HANDLE)
    if not lib.secp256k1_ec_pubkey_create(_CTX, handle, _operand(k)):
        raise InvalidScalarError("scalar: 0 times the generator is no point")
    return Point(handle)


def mul_secret(p: Point, k: SecretScalar) -> Point:
    """Return `k*P` for a secret `k`, in constant time."""
    handle = _new(_HANDLE)
    lib.secp256k1_ec_pubkey_parse(_CTX, handle, _secret_product(k, p), 65)
    return Point(handle)


def mul_public(p: Point, k: Scalar) -> MaybePoint:
    """Return `k*P` for a public `k`, in variable time: a 16-bit `k` costs a fifth of a full one."""
    handle = _new(_HANDLE, p._handle[0])
    if not lib.secp256k1_ec_pubkey_tweak_mul(_CTX, handle, k.to_bytes()):
        return None
    return Point(handle)


def sum_points(points: Sequence[Point]) -> MaybePoint:
    """Return the sum of any number of points; infinity for none."""
    if not points:
        return None
    handle = _new(_HANDLE)
    handles = _new(_HANDLES, [point._handle for point in points])
    if not lib.secp256k1_ec_pubkey_combine(_CTX, handle, handles, len(points)):
        return None
    return Point(handle)


def add(*points: MaybePoint) -> MaybePoint:
    """Return the sum of points any of which may be infinity."""
    return sum_points([point for point in points if point is not None])


def horner(points: Sequence[Point], x: Scalar) -> MaybePoint:
    """Return `sum x^k * P_k` for a public `x`, in variable time; at least one point is needed.

    One product by `x` and one sum per point, so a small `x` makes it three to four times cheaper
    than full products (engine costs, section 2).
    """
    if x.is_zero:
        return points[0]
    factor = x.to_bytes()
    total, spare = _new(_HANDLE, points[-1]._handle[0]), _new(_HANDLE)
    infinite = False
    for point in reversed(points[:-1]):
        if infinite:
            total[0] = point._handle[0]
            infinite = False
            continue
        lib.secp256k1_ec_pubkey_tweak_mul(_CTX, total, factor)
        pair = _new(_HANDLES, (total, point._handle))
        infinite = not lib.secp256k1_ec_pubkey_combine(_CTX, spare, pair, 2)
        total, spare = spare, total
    return None if infinite else Point(total)


def negate(p: Point) -> Point:
    """Return `-P`."""
    handle = _new(_HANDLE, p._handle[0])
    lib.secp256k1_ec_pubkey_negate(_CTX, handle)
    return Point(handle)


def lincomb(a: Scalar, b: Scalar, p: Point) -> MaybePoint:
    """Return `a*G + b*P` for public `a` and `b`, in variable time.

    Uses ECDSA public key recovery as one interleaved double product: for the signature
    `(r, s)` over `m` it yields `r^-1 * (s*P - m*G)` where `P` has the x-coordinate `r`; so
    `s = b*r` and `m = -a*r` give the sum wanted (engine costs, section 4.3).
    """
    x = int.from_bytes(p.raw64[:32], "big")
    if b.is_zero or x >= ORDER:
        return lincomb_by_parts(a, b, p)
    compact = x.to_bytes(32, "big") + (int(b) * x % ORDER).to_bytes(32, "big")
    signature = _new(_SIGNATURE)
    lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
        _CTX, signature, compact, p.raw64[63] & 1
    )
    handle = _new(_HANDLE)
    digest = (-int(a) * x % ORDER).to_bytes(32, "big")
    if not lib.secp256k1_ecdsa_recover(_CTX, handle, signature, digest):
        return None
    return Point(handle)


def lincomb_by_parts(a: Scalar, b: Scalar, p: Point) -> MaybePoint:
    """Return `a*G + b*P` as two products and a sum: the plain form of `lincomb`."""
    return add(None if a.is_zero else mul_base(a), mul_public(p, b))


def ecdh_sha256(k: SecretScalar, p: Point) -> bytes:
    """Return SHA-256 of the compressed `k*P`, 32 bytes, in constant time (BOLT #8)."""
    output = _new(_BYTES32)
    lib.secp256k1_ecdh(
        _CTX, output, p._handle, k._key, lib.secp256k1_ecdh_hash_function_sha256, ffi.NULL
    )
    return bytes(_buffer(output))


def ecdh_x(k: SecretScalar, p: Point) -> bytes:
    """Return the x-coordinate of `k*P`, 32 bytes, in constant time (ECIES)."""
    return bytes(_buffer(_secret_product(k, p))[1:33])


def _secret_product(k: SecretScalar, p: Point) -> Any:
    """`k*P` as 65 bytes in the library's memory, in constant time.

    Fails only if Python interrupts the callback, say for a signal: then nothing was written.
    """
    output = _new(_BYTES65)
    if not lib.secp256k1_ecdh(_CTX, output, p._handle, k._key, _copy_uncompressed, ffi.NULL):
        raise CryptoError("product by a secret: interrupted")
    return output


@ffi.callback("int(unsigned char *, const unsigned char *, const unsigned char *, void *)")  # type: ignore[untyped-decorator,unused-ignore]
def _copy_uncompressed(output: Any, x: Any, y: Any, _: Any) -> int:
    """The "hash" given to the library's ECDH: the point itself, as 04 || x || y."""
    output[0] = 4
    ffi.memmove(output + 1, x, 32)
    ffi.memmove(output + 33, y, 32)
    return 1


def sign_digest(key: SecretScalar, digest: bytes) -> bytes:
    """Return the ECDSA signature `r || s || v` (65 bytes) of a 32-byte digest.

    Low s, v in 0..3, nonce by RFC 6979 with SHA-256. Raises InvalidSignatureError for a digest of
    another length.
    """
    _check_digest(digest)
    signature = _new(_SIGNATURE)
    lib.secp256k1_ecdsa_sign_recoverable(_CTX, signature, digest, key._key, ffi.NULL, ffi.NULL)
    output = _new(_BYTES64)
    recovery_id = _new(_INT)
    lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(
        _CTX, output, recovery_id, signature
    )
    return bytes(_buffer(output)) + bytes([recovery_id[0]])


def recover(digest: bytes, signature: bytes) -> Point:
    """Return the key that made the signature `r || s || v` of a 32-byte digest; s may be high.

    Raises InvalidSignatureError if the signature is malformed or belongs to no key.
    """
    _check_digest(digest)
    if len(signature) != 65:
        raise InvalidSignatureError(f"signature: need 65 bytes, got {len(signature)}")
    if signature[64] > 3:
        raise InvalidSignatureError(f"signature: v must be 0..3, got {signature[64]}")
    parsed = _new(_SIGNATURE)
    handle = _new(_HANDLE)
    if not lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
        _CTX, parsed, signature[:64], signature[64]
    ) or not lib.secp256k1_ecdsa_recover(_CTX, handle, parsed, digest):
        raise InvalidSignatureError("signature: belongs to no key")
    return Point(handle)


def verify_digest(digest: bytes, signature: bytes, expected: Point) -> None:
    """Check that `expected` made the signature of a 32-byte digest, with low s.

    Raises InvalidSignatureError otherwise.
    """
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise InvalidSignatureError("signature: s must be in the lower half")
    if recover(digest, signature) != expected:
        raise InvalidSignatureError("signature: made by another key")


def _check_digest(digest: bytes) -> None:
    if len(digest) != 32:
        raise InvalidSignatureError(f"digest: need 32 bytes, got {len(digest)}")
