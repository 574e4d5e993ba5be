"""Signatures of server keys: nobody gets one that does not hold."""

import pytest
from eth_account import Account

from keyserver.client.signatures import check_signature
from keyserver.crypto.curve import ORDER, SecretScalar
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.model.identifiers import Hash32
from keyserver.model.requests import SigningScheme
from tests.support.server_signatures import RNG, sign_with

KEY, OTHER = (SecretScalar.random(RNG) for _ in range(2))
MESSAGE = Hash32(b"\x4d" * 32)


@pytest.mark.parametrize("scheme", list(SigningScheme))
def test_a_signature_is_returned_as_it_is(scheme: SigningScheme) -> None:
    encoded = sign_with(scheme, KEY, MESSAGE)
    checked = check_signature(scheme, KEY.public(), MESSAGE, encoded)
    assert (checked.scheme, checked.public, checked.message) == (scheme, KEY.public(), MESSAGE)
    assert checked.encoded == encoded


@pytest.mark.parametrize("scheme", list(SigningScheme))
def test_what_does_not_hold_is_refused(scheme: SigningScheme) -> None:
    encoded, public = sign_with(scheme, KEY, MESSAGE), KEY.public()
    for place in (0, 31, 32, 63):
        altered = bytearray(encoded)
        altered[place] ^= 1
        with pytest.raises(InvalidSignatureError):
            check_signature(scheme, public, MESSAGE, bytes(altered))
    for wrong in (b"", encoded[:-1], encoded + b"\0", bytes(len(encoded)), b"\xff" * len(encoded)):
        with pytest.raises(InvalidSignatureError):
            check_signature(scheme, public, MESSAGE, wrong)
    with pytest.raises(InvalidSignatureError):
        check_signature(scheme, OTHER.public(), MESSAGE, encoded)
    with pytest.raises(InvalidSignatureError):
        check_signature(scheme, public, Hash32(b"\x4e" * 32), encoded)
    for other in set(SigningScheme) - {scheme}:
        with pytest.raises(InvalidSignatureError):
            check_signature(other, public, MESSAGE, encoded)


def test_the_higher_s_is_refused() -> None:
    encoded = sign_with(SigningScheme.ECDSA, KEY, MESSAGE)
    s = ORDER - int.from_bytes(encoded[32:64], "big")
    high = encoded[:32] + s.to_bytes(32, "big") + bytes([encoded[64] ^ 1])
    with pytest.raises(InvalidSignatureError, match="lower half"):
        check_signature(SigningScheme.ECDSA, KEY.public(), MESSAGE, high)


def test_contracts_and_wallets_take_the_form_for_ethereum() -> None:
    encoded = sign_with(SigningScheme.ECDSA, KEY, MESSAGE)
    checked = check_signature(SigningScheme.ECDSA, KEY.public(), MESSAGE, encoded)
    recovered = Account._recover_hash(MESSAGE, signature=checked.for_ethereum)
    assert bytes.fromhex(recovered[2:]) == checked.signer
    again = check_signature(SigningScheme.ECDSA, KEY.public(), MESSAGE, checked.for_ethereum)
    assert again == checked
    frost = sign_with(SigningScheme.FROST, KEY, MESSAGE)
    with pytest.raises(ValueError, match="only ECDSA"):
        _ = check_signature(SigningScheme.FROST, KEY.public(), MESSAGE, frost).for_ethereum
