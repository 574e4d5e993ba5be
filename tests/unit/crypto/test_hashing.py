import hashlib

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyserver.crypto import hashing
from keyserver.crypto.errors import InvalidPointError, InvalidScalarError


def test_sha256_and_keccak256_are_different_functions() -> None:
    assert hashing.sha256(b"abc") == hashlib.sha256(b"abc").digest()
    assert hashing.keccak256(b"abc") != hashlib.sha3_256(b"abc").digest()


def test_tags_separate() -> None:
    assert hashing.tagged_hash("tks/1/a", b"") != hashing.tagged_hash("tks/1/b", b"")
    assert hashing.tagged_hash("tks/1/a", b"x") == hashing.tagged_hash("tks/1/a", b"x")


def test_hash_to_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "tagged_hash", lambda tag, message: bytes(32))
    with pytest.raises(InvalidScalarError, match="tks/1/never"):
        hashing.hash_to_scalar("tks/1/never", b"")


def test_hkdf_agrees_with_the_library() -> None:
    salt, key, info = b"s" * 32, b"k" * 32, b"some purpose"
    expected = HKDF(SHA256(), 32, salt, info).derive(key)
    assert hashing.hkdf_sha256(salt=salt, key=key, info=info) == expected


@pytest.mark.parametrize("length", [0, 33, 63, 65])
def test_address_needs_64_bytes(length: int) -> None:
    with pytest.raises(InvalidPointError, match="64 bytes"):
        hashing.address_of(bytes(length))
