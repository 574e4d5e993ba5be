import pytest

from keyserver.crypto.curve import (
    GENERATOR,
    ORDER,
    SecretScalar,
    recover,
    sign_digest,
    verify_digest,
)
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.hashing import sha256

_KEY = SecretScalar(b"\x07" * 32)
_DIGEST = sha256(b"something")
_SIGNATURE = sign_digest(_KEY, _DIGEST)


def _high(signature: bytes) -> bytes:
    """The other signature with the same r: s in the upper half, v flipped."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1])


def test_signing() -> None:
    assert len(_SIGNATURE) == 65
    assert sign_digest(_KEY, _DIGEST) == _SIGNATURE
    assert int.from_bytes(_SIGNATURE[32:64], "big") <= ORDER // 2
    verify_digest(_DIGEST, _SIGNATURE, _KEY.public())


def test_recovery_takes_a_high_s_and_verification_does_not() -> None:
    assert recover(_DIGEST, _SIGNATURE) == recover(_DIGEST, _high(_SIGNATURE)) == _KEY.public()
    with pytest.raises(InvalidSignatureError, match="lower half"):
        verify_digest(_DIGEST, _high(_SIGNATURE), _KEY.public())


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33)])
def test_digests_have_32_bytes(digest: bytes) -> None:
    with pytest.raises(InvalidSignatureError, match="need 32 bytes"):
        sign_digest(_KEY, digest)
    with pytest.raises(InvalidSignatureError, match="need 32 bytes"):
        recover(digest, _SIGNATURE)


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (b"", "65 bytes"),
        (_SIGNATURE[:64], "65 bytes"),
        (_SIGNATURE + b"\0", "65 bytes"),
        (_SIGNATURE[:64] + b"\4", "0..3"),
        (_SIGNATURE[:64] + b"\x1b", "0..3"),
        (bytes(32) + _SIGNATURE[32:], "no key"),
        (_SIGNATURE[:32] + bytes(32) + b"\0", "no key"),
        (b"\xff" * 32 + _SIGNATURE[32:], "no key"),
        (_SIGNATURE[:32] + b"\xff" * 32 + b"\0", "no key"),
        (_SIGNATURE[:64] + b"\2", "no key"),
    ],
)
def test_malformed_signatures(signature: bytes, why: str) -> None:
    with pytest.raises(InvalidSignatureError, match=why):
        recover(_DIGEST, signature)
    with pytest.raises(InvalidSignatureError):
        verify_digest(_DIGEST, signature, _KEY.public())


def test_another_key_or_digest() -> None:
    with pytest.raises(InvalidSignatureError, match="another key"):
        verify_digest(_DIGEST, _SIGNATURE, GENERATOR)
    with pytest.raises(InvalidSignatureError, match="another key"):
        verify_digest(sha256(b"else"), _SIGNATURE, _KEY.public())
    with pytest.raises(InvalidSignatureError):
        verify_digest(_DIGEST, _SIGNATURE[:64] + bytes([_SIGNATURE[64] ^ 1]), _KEY.public())
