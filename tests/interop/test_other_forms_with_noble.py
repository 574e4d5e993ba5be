"""ECDSA, and the original's Schnorr form computed anew from its definition."""

import pytest

from keyserver.crypto.curve import ORDER, SecretScalar
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.requests import SigningScheme
from tests.e2e.published.driver import ClientRaisedError
from tests.interop.made import Committee
from tests.interop.noble import Noble, needs_noble

pytestmark = [pytest.mark.e2e, needs_noble]

RNG = SeededRandom(b"other forms")
DIGESTS = (
    RNG.bytes(32),
    bytes(32),
    b"\xff" * 32,
    ORDER.to_bytes(32, "big"),
    (ORDER - 1).to_bytes(32, "big"),
    (ORDER + 1).to_bytes(32, "big"),
)
"""Among them such as are reduced modulo the order."""


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_ecdsa_signatures_hold_and_name_the_key(threshold: int, noble: Noble) -> None:
    committee = Committee.of(threshold)
    for digest in DIGESTS:
        signature = committee.ecdsa(digest)
        assert noble.accepts_ecdsa(committee.public, digest, signature[:64])
        assert noble.recover(digest, signature) == committee.public
        assert not noble.accepts_ecdsa(committee.public, RNG.bytes(32), signature[:64])


def test_the_other_half_of_s_is_not_accepted(noble: Noble) -> None:
    committee, digest = Committee.of(1), RNG.bytes(32)
    signature = committee.ecdsa(digest)
    other = ORDER - int.from_bytes(signature[32:64], "big")
    turned = signature[:32] + other.to_bytes(32, "big")
    assert not noble.accepts_ecdsa(committee.public, digest, turned)


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_signatures_of_the_original_form_hold(threshold: int, noble: Noble) -> None:
    committee = Committee.of(threshold)
    for digest in DIGESTS:
        signature = committee.schnorr(digest, SigningScheme.SCHNORR).encode()
        assert noble.accepts_original(committee.public, digest, signature)
        assert not noble.accepts_original(committee.public, RNG.bytes(32), signature)
        for i in (0, 31, 32, 63):
            wrong = signature[:i] + bytes([signature[i] ^ 1]) + signature[i + 1 :]
            assert not accepted(noble, committee, digest, wrong)
            with pytest.raises(InvalidSignatureError):
                verify(Form.ORIGINAL, committee.public, digest, wrong)


def test_one_who_had_the_whole_key_would_sign_alike(noble: Noble) -> None:
    committee, digest = Committee.of(2), RNG.bytes(32)
    held = list(committee.shares.items())[:3]
    places, shares = [x for x, _ in held], [SecretScalar(share) for _, share in held]
    key = interpolate_secret(places, shares)
    assert key.public() == committee.public
    signature = noble.sign_original(key.expose(), digest)
    verify(Form.ORIGINAL, committee.public, digest, signature)
    with pytest.raises(InvalidSignatureError):
        verify(Form.ORIGINAL, committee.public, digest[::-1], signature)


def accepted(noble: Noble, committee: Committee, digest: bytes, signature: bytes) -> bool:
    try:
        return noble.accepts_original(committee.public, digest, signature)
    except ClientRaisedError:
        return False
