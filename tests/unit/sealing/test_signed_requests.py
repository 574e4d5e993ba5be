"""Forms of signed requests that are refused, and what a signature is bound to."""

import pytest

from keyserver.crypto.curve import ORDER, SecretScalar
from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Address, NodeId
from keyserver.sealing.errors import UnauthenticatedError
from keyserver.sealing.ports import SignedRequest
from keyserver.sealing.signed_requests import (
    SCHEME,
    RequestSignature,
    read_signature,
    sign_request,
    signer_of,
)

KEY = SecretScalar.from_int(5)
ADDRESS = Address(address_of(KEY.public().raw64))
NODE, OTHER = (NodeId.of(SecretScalar.from_int(number).public()) for number in (6, 7))
REQUEST = SignedRequest("POST", "/v1/keys/mail/current?x=%2F", b"{}", None)


def header(node: NodeId = NODE) -> str:
    signed = sign_request(
        KEY, node, REQUEST.method, REQUEST.target, REQUEST.body, now=100, random=SeededRandom(1)
    )
    return signed.removeprefix(f"{SCHEME} ")


def test_who_signed_is_told() -> None:
    assert signer_of(NODE, REQUEST, read_signature(header())) == ADDRESS


def test_a_signature_is_bound_to_everything() -> None:
    signed = read_signature(header())
    others = [
        (OTHER, REQUEST, signed),
        (NODE, SignedRequest("GET", REQUEST.target, REQUEST.body, None), signed),
        (NODE, SignedRequest("POST", "/v1/keys/mail/current?x=/", b"{}", None), signed),
        (NODE, SignedRequest("POST", REQUEST.target, b"{} ", None), signed),
        (NODE, REQUEST, RequestSignature(101, signed.nonce, signed.signature)),
        (NODE, REQUEST, RequestSignature(100, bytes(16), signed.signature)),
    ]
    for node, request, changed in others:
        assert signer_of(node, request, changed) != ADDRESS


def test_the_recovery_id_has_two_forms() -> None:
    signed = read_signature(header())
    assert signed.signature[64] in (27, 28)
    bare = RequestSignature(
        signed.timestamp,
        signed.nonce,
        signed.signature[:64] + bytes([signed.signature[64] - 27]),
    )
    assert signer_of(NODE, REQUEST, bare) == ADDRESS


@pytest.mark.parametrize("v", [2, 3, 26, 29, 30, 255])
def test_other_recovery_ids_are_refused(v: int) -> None:
    signed = read_signature(header())
    wrong = RequestSignature(100, signed.nonce, signed.signature[:64] + bytes([v]))
    with pytest.raises(UnauthenticatedError, match="v must be"):
        signer_of(NODE, REQUEST, wrong)


def test_the_other_signature_of_the_same_key_is_refused() -> None:
    signed = read_signature(header())
    s = ORDER - int.from_bytes(signed.signature[32:64], "big")
    v = 55 - signed.signature[64]
    high = signed.signature[:32] + s.to_bytes(32, "big") + bytes([v])
    with pytest.raises(UnauthenticatedError, match="lower"):
        signer_of(NODE, REQUEST, RequestSignature(100, signed.nonce, high))


@pytest.mark.parametrize("signature", [bytes(65), b"\xff" * 32 + bytes(32) + b"\x1b", b"\x01"])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(UnauthenticatedError, match="signature"):
        signer_of(NODE, REQUEST, RequestSignature(100, bytes(16), signature))


@pytest.mark.parametrize(
    "text",
    [
        "",
        header() + " ",
        header().replace("ts=100", "ts=0100"),
        header().replace("ts=100", "ts=+100"),
        header().replace("ts=100", "ts=1e2"),
        header().replace("ts=100", "ts=" + "9" * 13),
        header().replace("nonce=", "nonce=AB"),
        header().replace("sig=0x", "sig="),
        header()[:-1],
        header() + "0",
        header().replace(",", ", "),
        header() + ",more=1",
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(UnauthenticatedError, match="must have the form"):
        read_signature(text)


def test_signatures_are_not_shown() -> None:
    signed = read_signature(header())
    assert signed.signature.hex() not in repr(signed)
    assert "sig" not in repr(SignedRequest("POST", "/", b"", f"{SCHEME} {header()}"))
