from typing import Any

import pytest

from keyserver.crypto import ecies
from keyserver.crypto.curve import ecdh_x
from keyserver.crypto.hashing import address_of
from tests.vectors.files import load, point64, raw, secret

_FILE: dict[str, Any] = load("ecies")


def test_published_agreement() -> None:
    case = _FILE["published_ecdh"]
    shared = ecdh_x(secret(case["secret"]), point64(case["public_raw64"]))
    assert shared == raw(case["shared_x"])


@pytest.mark.parametrize("case", _FILE["published"], ids=lambda case: case["recipient_address"])
def test_published_messages(case: dict[str, str]) -> None:
    recipient = secret(case["recipient_secret"])
    assert address_of(recipient.public().raw64) == raw(case["recipient_address"])
    assert ecies.decrypt(recipient, raw(case["ciphertext"])) == raw(case["plaintext"])


@pytest.mark.parametrize("case", _FILE["vectors"], ids=lambda case: case["iv"][:8])
def test_own_messages(case: dict[str, str]) -> None:
    recipient, ephemeral = secret(case["recipient_secret"]), secret(case["ephemeral_secret"])
    public = point64(case["recipient_public_raw64"])
    assert recipient.public() == public
    assert ecdh_x(ephemeral, public) == raw(case["shared_x"])
    message = ecies.encrypt_with(public, raw(case["plaintext"]), ephemeral, raw(case["iv"]))
    assert message == raw(case["ciphertext"])
    assert ecies.decrypt(recipient, message) == raw(case["plaintext"])
