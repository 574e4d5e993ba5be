"""What a group operation costs: the curve library called directly, and through `crypto.curve`.

Run `python -m benchmarks.primitives` in the checkout (`--json` for a machine). Microseconds,
minimum of several runs; the last column is what the wrapper adds. `measure_raw` is also the price
list against which whole protocols are held.
"""

import json
import sys
import timeit
from collections.abc import Callable
from typing import Any

from coincurve import GLOBAL_CONTEXT
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]

from keyserver.crypto.curve import (
    Point,
    Scalar,
    SecretScalar,
    ecdh_sha256,
    lincomb,
    mul_base,
    mul_public,
    mul_secret,
    negate,
    sign_digest,
    sum_points,
    verify_digest,
)
from keyserver.crypto.hashing import sha256
from keyserver.crypto.randomness import SeededRandom

_CTX = GLOBAL_CONTEXT.ctx
_RNG = SeededRandom("benchmark")
_KEY = SecretScalar.random(_RNG)
_SCALAR_BYTES = _RNG.bytes(32)
_SCALAR = Scalar.from_bytes(_SCALAR_BYTES)
_SMALL = Scalar(200)
_POINT = SecretScalar.random(_RNG).public()
_OTHER = SecretScalar.random(_RNG).public()
_DIGEST = sha256(b"benchmark")
_SIGNATURE = sign_digest(_KEY, _DIGEST)
_KEY_POINT = _KEY.public()

Operation = Callable[[], object]


def microseconds(operation: Operation, runs: int = 7) -> float:
    """Return the shortest mean time of one call."""
    timer = timeit.Timer(operation)
    number = max(1, int(0.01 / max(timer.timeit(10) / 10, 1e-7)))
    return min(timer.repeat(runs, number)) / number * 1e6


def _raw_operations() -> dict[str, Operation]:
    """Each operation as the bare library calls, results left in the library's own form."""
    point, other, key_point = _handle(_POINT), _handle(_OTHER), _handle(_KEY_POINT)
    key, compressed, raw65 = _KEY.expose(), _POINT.compressed, b"\4" + _POINT.raw64
    small = _SMALL.to_bytes()
    output = ffi.new("unsigned char[65]")
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    pair = ffi.new("secp256k1_pubkey *[]", (point, other))
    many = ffi.new("secp256k1_pubkey *[]", [point] * 64)
    hashed = lib.secp256k1_ecdh_hash_function_sha256

    def new() -> Any:
        return ffi.new("secp256k1_pubkey *")

    def product(factor: bytes) -> None:
        lib.secp256k1_ec_pubkey_tweak_mul(_CTX, ffi.new("secp256k1_pubkey *", point[0]), factor)

    def combination() -> None:
        handle = ffi.new("secp256k1_pubkey *", point[0])
        lib.secp256k1_ec_pubkey_tweak_mul(_CTX, handle, _SCALAR_BYTES)
        base = new()
        lib.secp256k1_ec_pubkey_create(_CTX, base, _SCALAR_BYTES)
        both = ffi.new("secp256k1_pubkey *[]", (handle, base))
        lib.secp256k1_ec_pubkey_combine(_CTX, new(), both, 2)

    def verification() -> None:
        parsed = ffi.new("secp256k1_ecdsa_recoverable_signature *")
        lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
            _CTX, parsed, _SIGNATURE[:64], _SIGNATURE[64]
        )
        recovered = new()
        lib.secp256k1_ecdsa_recover(_CTX, recovered, parsed, _DIGEST)
        lib.secp256k1_ec_pubkey_cmp(_CTX, recovered, key_point)

    return {
        "k*G": lambda: lib.secp256k1_ec_pubkey_create(_CTX, new(), key),
        "k*P, secret k": lambda: lib.secp256k1_ecdh(_CTX, output, point, key, hashed, ffi.NULL),
        "k*P, public k": lambda: product(_SCALAR_BYTES),
        "k*P, small public k": lambda: product(small),
        "a*G + b*P": combination,
        "P + Q": lambda: lib.secp256k1_ec_pubkey_combine(_CTX, new(), pair, 2),
        "sum of 64": lambda: lib.secp256k1_ec_pubkey_combine(_CTX, new(), many, 64),
        "-P": lambda: lib.secp256k1_ec_pubkey_negate(_CTX, ffi.new("secp256k1_pubkey *", point[0])),
        "parse 33": lambda: lib.secp256k1_ec_pubkey_parse(_CTX, new(), compressed, 33),
        "parse 64": lambda: lib.secp256k1_ec_pubkey_parse(_CTX, new(), raw65, 65),
        "serialise 33": lambda: lib.secp256k1_ec_pubkey_serialize(
            _CTX, output, ffi.new("size_t *", 33), point, 258
        ),
        "ECDH, hashed": lambda: lib.secp256k1_ecdh(_CTX, output, point, key, hashed, ffi.NULL),
        "sign": lambda: lib.secp256k1_ecdsa_sign_recoverable(
            _CTX, signature, _DIGEST, key, ffi.NULL, ffi.NULL
        ),
        "verify by recovery": verification,
        "secret + secret": lambda: lib.secp256k1_ec_seckey_tweak_add(
            _CTX, ffi.new("unsigned char[32]", key), _SCALAR_BYTES
        ),
    }


def _wrapped_operations() -> dict[str, Operation]:
    """The same operations through the wrapper, results being `Point` and bytes."""
    compressed, raw64 = _POINT.compressed, _POINT.raw64
    many, other = [_POINT] * 64, SecretScalar(_SCALAR_BYTES)
    return {
        "k*G": lambda: mul_base(_KEY),
        "k*P, secret k": lambda: mul_secret(_POINT, _KEY),
        "k*P, public k": lambda: mul_public(_POINT, _SCALAR),
        "k*P, small public k": lambda: mul_public(_POINT, _SMALL),
        "a*G + b*P": lambda: lincomb(_SCALAR, _SCALAR, _POINT),
        "P + Q": lambda: sum_points((_POINT, _OTHER)),
        "sum of 64": lambda: sum_points(many),
        "-P": lambda: negate(_POINT),
        "parse 33": lambda: Point.parse(compressed),
        "parse 64": lambda: Point.from_raw64(raw64),
        "serialise 33": lambda: Point(_POINT._handle).compressed,
        "ECDH, hashed": lambda: ecdh_sha256(_KEY, _POINT),
        "sign": lambda: sign_digest(_KEY, _DIGEST),
        "verify by recovery": lambda: verify_digest(_DIGEST, _SIGNATURE, _KEY_POINT),
        "secret + secret": lambda: _KEY.add(other),
    }


def measure_raw() -> dict[str, float]:
    """Return the raw cost of each operation in microseconds."""
    return {name: microseconds(operation) for name, operation in _raw_operations().items()}


def measure_wrapped() -> dict[str, float]:
    """Return the cost of each operation through the wrapper in microseconds."""
    return {name: microseconds(operation) for name, operation in _wrapped_operations().items()}


def main() -> None:
    """Print both as a table, or as JSON with `--json`."""
    raw, wrapped = measure_raw(), measure_wrapped()
    if "--json" in sys.argv[1:]:
        print(json.dumps({"raw": raw, "wrapped": wrapped}))
        return
    print(f"{'operation':22}{'raw us':>9}{'ours us':>9}{'ratio':>8}{'adds us':>9}")
    for name, cost in raw.items():
        ours = wrapped[name]
        print(f"{name:22}{cost:9.2f}{ours:9.2f}{ours / cost:8.2f}{ours - cost:9.2f}")


def _handle(point: Point) -> Any:
    return point._handle


if __name__ == "__main__":
    main()
