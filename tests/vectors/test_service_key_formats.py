"""Signed requests, a delegation, a token and encrypted data of the project's own vectors."""

import base64
from typing import Any

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.errors import BoxTagError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.delegations import Delegation, owner_of
from keyserver.sealing.errors import BadNameError
from keyserver.sealing.ports import SignedRequest
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.service_keys.data import Ciphertext, data_key, decrypt, encrypt
from keyserver.sealing.service_keys.model import Pair
from keyserver.sealing.signed_requests import (
    SCHEME,
    read_signature,
    request_text,
    sign_request,
    signer_of,
)
from keyserver.sealing.tokens import Token
from tests.vectors.files import load

VECTORS = load("sealing")
REQUESTS = VECTORS["request_v1"]["requests"]
DELEGATION = VECTORS["request_v1"]["delegation"]
TOKEN = VECTORS["token_v1"]


class Fixed:
    """Hands out the given bytes, one after the other."""

    def __init__(self, *values: bytes) -> None:
        self._values = list(values)

    def bytes(self, n: int) -> bytes:
        value = self._values.pop(0)
        assert len(value) == n
        return value


def node_of(vector: dict[str, Any]) -> NodeId:
    return NodeId(bytes.fromhex(vector["audience"]))


@pytest.mark.parametrize("vector", REQUESTS)
def test_a_request_is_signed_as_published(vector: dict[str, Any]) -> None:
    header = sign_request(
        SecretScalar(bytes.fromhex(vector["private_key"])),
        node_of(vector),
        vector["method"],
        vector["path"],
        vector["body"].encode(),
        now=vector["timestamp"],
        random=Fixed(bytes.fromhex(vector["nonce"])),
    )
    assert header == vector["authorization"]


@pytest.mark.parametrize("vector", REQUESTS)
def test_the_signer_of_a_published_request(vector: dict[str, Any]) -> None:
    body = vector["body"].encode()
    header = vector["authorization"]
    signed = read_signature(header.removeprefix(f"{SCHEME} "))
    text = request_text(
        node_of(vector), vector["method"], vector["path"], body, signed.timestamp, signed.nonce
    )
    assert text == vector["text"]
    request = SignedRequest(vector["method"], vector["path"], body, header)
    assert signed.signature == bytes.fromhex(vector["signature"][2:])
    address = f"0x{signer_of(node_of(vector), request, signed).hex()}"
    assert (address, f"eth:{address}") == (vector["address"], vector["owner"])


def test_the_published_delegation() -> None:
    node_id, nonce = node_of(REQUESTS[0]), bytes.fromhex(DELEGATION["nonce"])
    delegation = Delegation(
        node_id,
        DELEGATION["delegate"],
        DELEGATION["service"],
        DELEGATION["not_before"],
        DELEGATION["not_after"],
        nonce,
    )
    assert delegation.text() == DELEGATION["text"]
    signature = bytes.fromhex(DELEGATION["signature"][2:])
    for now in (DELEGATION["not_before"], DELEGATION["not_after"]):
        assert owner_of(delegation, signature, now=now) == DELEGATION["owner"]


def test_the_published_token() -> None:
    token = Token.read(TOKEN["token"])
    assert token.token_id == TOKEN["token_id"]
    assert token.secret == bytes.fromhex(TOKEN["secret"])
    assert token.hash().hex() == TOKEN["stored"]
    made = Token.new(Fixed(base64.b32decode(TOKEN["token_id"].upper()), token.secret))
    assert made.text() == TOKEN["token"]


@pytest.mark.parametrize("vector", VECTORS["data_v1"])
def test_published_data(vector: dict[str, Any]) -> None:
    key = SecretKey(bytes.fromhex(vector["service_key"]))
    pair = Pair(vector["owner"], vector["service"])
    aad, plaintext = bytes.fromhex(vector["aad"]), bytes.fromhex(vector["plaintext"])
    assert data_key(key).hex() == vector["data_key"]
    ciphertext = Ciphertext.read(vector["ciphertext"])
    assert decrypt(key, pair, ciphertext, aad) == plaintext
    made = encrypt(key, pair, vector["key_id"], plaintext, aad, Fixed(ciphertext.box[6:30]))
    assert made.text() == vector["ciphertext"]
    for other in (Pair(pair.owner, "other"), Pair("other", pair.service)):
        with pytest.raises(BadNameError, match="does not open") as refused:
            decrypt(key, other, ciphertext, aad)
        assert not isinstance(refused.value.__cause__, BoxTagError)
    with pytest.raises(BadNameError, match="does not open"):
        decrypt(key, pair, ciphertext, aad + b"x")
