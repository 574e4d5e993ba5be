"""What `curve` assumes of the library's private functions; read this first after an upgrade."""

import importlib.metadata
import inspect
import re
from typing import Any

import pytest
from coincurve import GLOBAL_CONTEXT, PrivateKey, PublicKey
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]

from keyserver.crypto import curve

_CTX = GLOBAL_CONTEXT.ctx
_K = b"\x05" * 32
_ZERO = bytes(32)
_ORDER = curve.ORDER.to_bytes(32, "big")

_USED = {
    "secp256k1_ec_pubkey_cmp",
    "secp256k1_ec_pubkey_combine",
    "secp256k1_ec_pubkey_create",
    "secp256k1_ec_pubkey_negate",
    "secp256k1_ec_pubkey_parse",
    "secp256k1_ec_pubkey_serialize",
    "secp256k1_ec_pubkey_tweak_mul",
    "secp256k1_ec_seckey_negate",
    "secp256k1_ec_seckey_tweak_add",
    "secp256k1_ec_seckey_tweak_mul",
    "secp256k1_ec_seckey_verify",
    "secp256k1_ecdh",
    "secp256k1_ecdh_hash_function_sha256",
    "secp256k1_ecdsa_recover",
    "secp256k1_ecdsa_recoverable_signature_parse_compact",
    "secp256k1_ecdsa_recoverable_signature_serialize_compact",
    "secp256k1_ecdsa_sign_recoverable",
}


def _handle(secret: bytes = _K) -> Any:
    handle = ffi.new("secp256k1_pubkey *")
    assert lib.secp256k1_ec_pubkey_create(_CTX, handle, secret) == 1
    return handle


def _serialised(handle: Any) -> bytes:
    output, length = ffi.new("unsigned char[33]"), ffi.new("size_t *", 33)
    assert lib.secp256k1_ec_pubkey_serialize(_CTX, output, length, handle, 258) == 1
    assert length[0] == 33
    return bytes(output)


def test_version_and_functions_are_the_pinned_ones() -> None:
    assert importlib.metadata.version("coincurve") == "21.0.0"
    called = set(re.findall(r"lib\.(secp256k1_\w+)", inspect.getsource(curve)))
    assert called == _USED
    assert all(hasattr(lib, name) for name in _USED)


def test_create_refuses_out_of_range() -> None:
    assert _serialised(_handle()) == PrivateKey(_K).public_key.format()
    handle = ffi.new("secp256k1_pubkey *")
    assert lib.secp256k1_ec_pubkey_create(_CTX, handle, _ZERO) == 0
    assert lib.secp256k1_ec_pubkey_create(_CTX, handle, _ORDER) == 0


@pytest.mark.parametrize("length", [33, 65])
def test_parse_and_serialise(length: int) -> None:
    data = PrivateKey(_K).public_key.format(compressed=length == 33)
    handle = ffi.new("secp256k1_pubkey *")
    assert lib.secp256k1_ec_pubkey_parse(_CTX, handle, data, length) == 1
    assert lib.secp256k1_ec_pubkey_cmp(_CTX, handle, _handle()) == 0
    assert lib.secp256k1_ec_pubkey_cmp(_CTX, handle, _handle(b"\x06" * 32)) != 0
    output, size = ffi.new("unsigned char[65]"), ffi.new("size_t *", 65)
    assert lib.secp256k1_ec_pubkey_serialize(_CTX, output, size, handle, 2) == 1
    assert bytes(output) == PrivateKey(_K).public_key.format(compressed=False)
    off_curve = data[:1] + b"\xff" * (length - 1)
    assert lib.secp256k1_ec_pubkey_parse(_CTX, handle, off_curve, length) == 0


def test_a_new_handle_can_copy_an_old_one() -> None:
    original = _handle()
    copied = ffi.new("secp256k1_pubkey *", original[0])
    assert lib.secp256k1_ec_pubkey_negate(_CTX, copied) == 1
    assert _serialised(copied) != _serialised(original)
    assert _serialised(original) == PrivateKey(_K).public_key.format()


def test_products_at_zero() -> None:
    handle = _handle()
    assert lib.secp256k1_ec_pubkey_tweak_mul(_CTX, handle, bytes(31) + b"\3") == 1
    expected = PrivateKey(_K).public_key.multiply(bytes(31) + b"\3").format()
    assert _serialised(handle) == expected
    assert lib.secp256k1_ec_pubkey_tweak_mul(_CTX, _handle(), _ZERO) == 0


def test_sums_at_infinity() -> None:
    one, other = _handle(), _handle()
    assert lib.secp256k1_ec_pubkey_negate(_CTX, other) == 1
    output = ffi.new("secp256k1_pubkey *")
    both = ffi.new("secp256k1_pubkey *[]", (one, other))
    assert lib.secp256k1_ec_pubkey_combine(_CTX, output, both, 2) == 0
    twice = ffi.new("secp256k1_pubkey *[]", (one, one))
    assert lib.secp256k1_ec_pubkey_combine(_CTX, output, twice, 2) == 1
    expected = PublicKey.combine_keys([PublicKey.from_secret(_K)] * 2).format()
    assert _serialised(output) == expected


def test_scalar_functions_work_in_place() -> None:
    buffer = ffi.new("unsigned char[32]", _K)
    assert lib.secp256k1_ec_seckey_verify(_CTX, buffer) == 1
    assert lib.secp256k1_ec_seckey_tweak_add(_CTX, buffer, bytes(31) + b"\1") == 1
    assert bytes(buffer) == _K[:31] + b"\6"
    assert lib.secp256k1_ec_seckey_tweak_add(_CTX, buffer, _ZERO) == 1
    assert lib.secp256k1_ec_seckey_tweak_mul(_CTX, buffer, bytes(31) + b"\2") == 1
    assert bytes(buffer) == b"\x0a" * 31 + b"\x0c"
    negative = ffi.new("unsigned char[32]", bytes(buffer))
    assert lib.secp256k1_ec_seckey_negate(_CTX, negative) == 1
    assert lib.secp256k1_ec_seckey_tweak_add(_CTX, negative, buffer) == 0
    assert lib.secp256k1_ec_seckey_tweak_mul(_CTX, buffer, _ZERO) == 0
    for outside in (_ZERO, _ORDER):
        assert lib.secp256k1_ec_seckey_verify(_CTX, outside) == 0


def test_ecdh_with_the_standard_hash_and_with_the_bare_point() -> None:
    output = ffi.new("unsigned char[32]")
    standard = lib.secp256k1_ecdh_hash_function_sha256
    assert lib.secp256k1_ecdh(_CTX, output, _handle(), b"\x09" * 32, standard, ffi.NULL) == 1
    assert bytes(output) == PrivateKey(b"\x09" * 32).ecdh(PublicKey.from_secret(_K).format())
    point = ffi.new("unsigned char[65]")
    bare = curve._copy_uncompressed
    assert lib.secp256k1_ecdh(_CTX, point, _handle(), b"\x09" * 32, bare, ffi.NULL) == 1
    expected = PublicKey.from_secret(_K).multiply(b"\x09" * 32).format(compressed=False)
    assert bytes(point) == expected


def test_recoverable_signatures() -> None:
    digest = b"\x0b" * 32
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    signed = lib.secp256k1_ecdsa_sign_recoverable(_CTX, signature, digest, _K, ffi.NULL, ffi.NULL)
    assert signed == 1
    compact, recovery_id = ffi.new("unsigned char[64]"), ffi.new("int *")
    lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(
        _CTX, compact, recovery_id, signature
    )
    expected = PrivateKey(_K).sign_recoverable(digest, hasher=None)
    assert bytes(compact) + bytes([recovery_id[0]]) == expected
    parsed = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    parse = lib.secp256k1_ecdsa_recoverable_signature_parse_compact
    assert parse(_CTX, parsed, bytes(compact), recovery_id[0]) == 1
    handle = ffi.new("secp256k1_pubkey *")
    assert lib.secp256k1_ecdsa_recover(_CTX, handle, parsed, digest) == 1
    assert lib.secp256k1_ec_pubkey_cmp(_CTX, handle, _handle()) == 0
    assert parse(_CTX, parsed, b"\xff" * 64, 0) == 0
