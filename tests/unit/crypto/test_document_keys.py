"""ElGamal, ECIES and documents, apart from their vectors."""

import pytest

from keyserver.crypto import documents, ecies
from keyserver.crypto.curve import (
    GENERATOR,
    ORDER,
    Scalar,
    SecretScalar,
    mul_base,
    mul_secret,
    negate,
)
from keyserver.crypto.elgamal import (
    combine_partials,
    encrypt_document_key,
    plain_partial,
    plain_statement,
    recover_document_key,
    shadow_commitments,
    shadow_factors,
    shadow_partial,
    shadow_statement,
)
from keyserver.crypto.errors import (
    DecryptionError,
    InvalidPointError,
    InvalidProofError,
    InvalidScalarError,
)
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.vss import deal

_RNG = SeededRandom("document keys")
_XS = [Scalar(1), Scalar(2), Scalar(3)]
_COMMITMENTS, _SHARES = deal(1, _XS, _RNG)
_DOCUMENT_KEY = mul_base(Scalar(4242))
_STORED = encrypt_document_key(_COMMITMENTS[0], _DOCUMENT_KEY, _RNG)
_CONTEXT = bytes(32)


class _Fixed:
    def __init__(self, *values: SecretScalar) -> None:
        self._values = [value.expose() for value in values]

    def bytes(self, n: int) -> bytes:
        assert n == 32
        return self._values.pop(0)


def test_plain_decryption_with_proofs() -> None:
    partials = [plain_partial(share, _STORED.common) for share in _SHARES]
    for share, partial in zip(_SHARES, partials, strict=True):
        statement = plain_statement(_CONTEXT, share.public(), _STORED.common, partial)
        verify(statement, prove(statement, [share], _RNG))
        wrong = plain_statement(_CONTEXT, share.public(), _STORED.common, negate(partial))
        with pytest.raises(InvalidProofError):
            verify(wrong, prove(wrong, [share], _RNG))
    assert combine_partials(_STORED.encrypted, _XS[1:], partials[1:]) == _DOCUMENT_KEY


def test_encryption_avoids_infinity() -> None:
    unlucky, lucky = SecretScalar.from_int(5), SecretScalar.from_int(6)
    canceled = negate(mul_secret(_COMMITMENTS[0], unlucky))
    stored = encrypt_document_key(_COMMITMENTS[0], canceled, _Fixed(unlucky, lucky))
    assert stored.common == mul_base(lucky)


def test_a_key_stored_as_infinity_is_refused() -> None:
    partials = [plain_partial(share, GENERATOR) for share in _SHARES[:2]]
    with pytest.raises(InvalidPointError, match="infinity"):
        combine_partials(_COMMITMENTS[0], _XS[:2], partials)


def test_a_mask_that_cancels_the_share_is_drawn_again() -> None:
    share, mask = _SHARES[0], SecretScalar.from_int(5)
    made = shadow_partial(share, _STORED.common, _Fixed(share.negate(), mask))
    assert made.mask == mask
    assert made.partial == mul_secret(_STORED.common, share.add(mask))


def test_a_mask_that_cancels_the_verification_share_proves_nothing() -> None:
    share = _SHARES[0]
    statement = shadow_statement(
        _CONTEXT, share.public(), negate(share.public()), _STORED.common, GENERATOR
    )
    with pytest.raises(InvalidProofError, match="infinity"):
        verify(statement, bytes(64))


def test_masks_must_not_cancel_out() -> None:
    factors = shadow_factors(_XS[:2])
    assert factors == [-Scalar(2), Scalar(1)]
    with pytest.raises(InvalidPointError, match="add up to zero"):
        shadow_commitments(factors, [GENERATOR, mul_base(Scalar(2))])
    with pytest.raises(InvalidScalarError, match="factor is zero"):
        shadow_commitments([Scalar(0)], [GENERATOR])


def test_recovery_at_the_edges() -> None:
    three = SecretScalar.from_int(3)
    assert recover_document_key(GENERATOR, GENERATOR, [three]) == mul_base(Scalar(4))
    assert recover_document_key(GENERATOR, GENERATOR, [three, three.negate()]) == GENERATOR
    with pytest.raises(InvalidPointError, match="infinity"):
        recover_document_key(mul_base(Scalar(ORDER - 3)), GENERATOR, [three])


def test_partials_do_not_print_their_secrets() -> None:
    made = shadow_partial(_SHARES[0], _STORED.common, _RNG)
    assert made.mask.expose().hex() not in repr(made)
    assert made.witness.expose().hex() not in repr(made)


@pytest.mark.parametrize("length", [0, 1, 32, 100])
def test_messages_round_trip(length: int) -> None:
    secret = SecretScalar.random(_RNG)
    plaintext = _RNG.bytes(length)
    message = ecies.encrypt(secret.public(), plaintext, _RNG)
    assert len(message) == length + ecies.OVERHEAD
    assert ecies.decrypt(secret, message) == plaintext


def test_messages_are_checked() -> None:
    secret = SecretScalar.random(_RNG)
    message = ecies.encrypt(secret.public(), b"some text", _RNG)
    for version in (2, 3):
        assert ecies.decrypt(secret, bytes([version]) + message[1:]) == b"some text"
    for wrong, why in (
        (message[:112], "at least 113"),
        (b"\1" + message[1:], "unknown version 1"),
        (b"\5" + message[1:], "unknown version 5"),
        (message[:10] + b"\xff" * 20 + message[30:], "not on the curve"),
        (message[:70] + b"\xff" + message[71:], "altered"),
        (message[:82] + bytes([message[82] ^ 1]) + message[83:], "altered"),
        (message[:-1] + bytes([message[-1] ^ 1]), "altered"),
        (message[:-1], "altered"),
        (message + b"\0", "altered"),
    ):
        with pytest.raises(DecryptionError, match=why):
            ecies.decrypt(secret, wrong)
    with pytest.raises(DecryptionError, match="another key"):
        ecies.decrypt(SecretScalar.random(_RNG), message)


@pytest.mark.parametrize("length", [0, 1, 16, 1000])
def test_documents_round_trip(length: int) -> None:
    document = _RNG.bytes(length)
    encrypted = documents.encrypt_document(_DOCUMENT_KEY, document, _RNG)
    assert len(encrypted) == length + documents.IV_SIZE
    assert documents.decrypt_document(_DOCUMENT_KEY, encrypted) == document


def test_documents_need_an_iv() -> None:
    with pytest.raises(DecryptionError, match="at least 16"):
        documents.decrypt_document(_DOCUMENT_KEY, bytes(15))
