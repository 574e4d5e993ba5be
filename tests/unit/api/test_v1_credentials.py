"""The header of `/v1`: form, expiry, signer, and the proof made of it."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from keyserver.api.v1_credentials import (
    AuthHeader,
    BoundCredentialSource,
    check_expiry,
    open_bound_credential,
    read_header,
)
from keyserver.api.v1_errors import ProblemError
from keyserver.api.v1_example import NOT_AFTER, SECRET_HEX, worked_example
from keyserver.crypto.credentials import bound_context, credential_statement
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.hashing import address_of
from keyserver.crypto.proofs import verify
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.credentials import Opening
from keyserver.model.bound_requests import bound_digest
from keyserver.model.identifiers import KeyId, Nonce32
from keyserver.model.requests import GenerateServerKey, RetrieveDocumentKey
from tests.support.bound_requests import DOMAIN, NOW
from tests.support.scripted_node import NODES
from tests.vectors.files import load, raw

WHO = SecretScalar.from_int(5)
KEY_ID = KeyId(b"\x4b" * 32)
WANTED = GenerateServerKey(KEY_ID, 1)
NONCE, SIG = "0e" * 32, "11" * 64 + "01"
RIGHT = f"v1 {NOW} {NONCE} {SIG}"

VECTORS: dict[str, Any] = load("request_auth")


def problem(*values: str) -> tuple[int, str]:
    with pytest.raises(ProblemError) as caught:
        read_header(values)
    return caught.value.problem.status, caught.value.problem.code


def opened(signed: GenerateServerKey = WANTED, sent: Any = WANTED) -> BoundCredentialSource:
    digest = bound_digest(DOMAIN, signed, NOW, Nonce32(b"\x0e" * 32))
    header = AuthHeader(NOW, Nonce32(b"\x0e" * 32), sign_digest(WHO, digest))
    return open_bound_credential(header, sent, DOMAIN, SeededRandom(b"x"))


def test_what_is_read() -> None:
    read = read_header([RIGHT])
    assert read == AuthHeader(NOW, Nonce32(b"\x0e" * 32), bytes.fromhex(SIG))
    assert read_header([f"v1 {NOW} 0x{NONCE.upper()} 0x{SIG}"]) == read
    assert read_header([f"v1 {2**64 - 1} {NONCE} {SIG}"]).not_after == 2**64 - 1
    assert SIG not in repr(read)
    assert repr(bytes.fromhex(SIG)) not in repr(read)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "v1",
        f"v2 {NOW} {NONCE} {SIG}",
        f"V1 {NOW} {NONCE} {SIG}",
        f"v1  {NOW} {NONCE} {SIG}",
        f"v1\t{NOW} {NONCE} {SIG}",
        f"v1 {NOW} {NONCE} {SIG} ",
        f"v1 {NOW} {NONCE} {SIG} x",
        f"v1 +{NOW} {NONCE} {SIG}",
        f"v1 -1 {NONCE} {SIG}",
        f"v1 0{NOW} {NONCE} {SIG}",
        f"v1 {NOW}.0 {NONCE} {SIG}",
        f"v1 0x10 {NONCE} {SIG}",
        f"v1 {2**64} {NONCE} {SIG}",
        f"v1 {'9' * 5000} {NONCE} {SIG}",
        f"v1 ١٢٣ {NONCE} {SIG}",
        f"v1 {NOW} {NONCE[1:]} {SIG}",
        f"v1 {NOW} {NONCE}00 {SIG}",
        f"v1 {NOW} 0X{NONCE} {SIG}",
        f"v1 {NOW} {'g' * 64} {SIG}",
        f"v1 {NOW} {NONCE} {SIG[:-2]}",
        f"v1 {NOW} {NONCE} {SIG}0",
        f"v1,{NOW},{NONCE},{SIG}",
        f"v1 {NOW} {NONCE}",
    ],
)
def test_malformed(value: str) -> None:
    assert problem(value) == (401, "UNAUTHENTICATED")


def test_missing_or_twice() -> None:
    assert problem() == (401, "UNAUTHENTICATED")
    assert problem(RIGHT, RIGHT) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("recovery_id", ["04", "1b", "1c", "ff"])
def test_the_recovery_id_is_no_wallets_v(recovery_id: str) -> None:
    with pytest.raises(ProblemError, match=r"0 to 3 .* subtract 27"):
        read_header([RIGHT[:-2] + recovery_id])


@pytest.mark.parametrize(
    ("not_after", "code"),
    [
        (NOW - 1, "SIGNATURE_EXPIRED"),
        (0, "SIGNATURE_EXPIRED"),
        (NOW + 601, "UNAUTHENTICATED"),
        (2**64 - 1, "UNAUTHENTICATED"),
    ],
)
def test_expiry(not_after: int, code: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_expiry(not_after, NOW)
    assert (caught.value.problem.status, caught.value.problem.code) == (401, code)
    assert str(NOW) in caught.value.problem.message, "a client with a wrong clock can see it"


@pytest.mark.parametrize("not_after", [NOW, NOW + 1, NOW + 600])
def test_expiry_in_time(not_after: int) -> None:
    check_expiry(not_after, NOW)


def test_who_signed() -> None:
    credential = opened()
    assert credential.public == WHO.public()
    assert credential.address == address_of(WHO.public().raw64)
    assert (credential.not_after, credential.nonce) == (NOW, b"\x0e" * 32)
    assert "response" not in repr(credential)


@pytest.mark.parametrize(
    "sent",
    [
        GenerateServerKey(KEY_ID, 2),
        GenerateServerKey(KEY_ID, 1, with_document_key=True),
        GenerateServerKey(KeyId(b"\x4c" * 32), 1),
        RetrieveDocumentKey(KEY_ID),
    ],
)
def test_a_signature_over_another_request_is_somebody_elses(sent: Any) -> None:
    assert opened(sent=sent).public != WHO.public()


def test_a_signature_that_belongs_to_nobody() -> None:
    header = AuthHeader(NOW, Nonce32(bytes(32)), b"\xff" * 64 + b"\x00")
    with pytest.raises(ProblemError, match="belongs to no account"):
        open_bound_credential(header, WANTED, DOMAIN, SeededRandom(b"x"))


def test_each_session_gets_a_proof_of_its_own() -> None:
    credential = opened()
    assert not credential.was_shown
    digest = bound_digest(DOMAIN, WANTED, NOW, Nonce32(b"\x0e" * 32))
    proofs = set()
    for counter in (1, 2):
        opening = Opening(NODES[0], Nonce32(b"\x07" * 32), counter, WANTED)
        made = credential(opening)
        context = bound_context(
            coordinator=NODES[0].point,
            boot_nonce=b"\x07" * 32,
            counter=counter,
            operation=1,
            key_id=KEY_ID,
            payload=b"\x00\x01",
            digest=digest,
        )
        statement = credential_statement(context, digest, made.requester, made.nonce_point)
        verify(statement, made.proof)
        proofs.add(made.proof)
        assert (made.not_after, made.nonce) == (NOW, b"\x0e" * 32)
    assert len(proofs) == 2
    assert credential.was_shown


@pytest.mark.parametrize("vector", VECTORS["requests"], ids=lambda each: each["name"])
def test_the_vectors_requests(vector: dict[str, Any]) -> None:
    """The signatures of the vectors, as a client would send them."""

    class Wanted:
        number = vector["operation"]
        key_id = KeyId(raw(vector["key_id"]))

        def payload(self) -> bytes:
            return raw(vector["payload"])

    values = f"v1 {vector['not_after']} {vector['nonce']} {vector['signature']}"
    domain = type(DOMAIN)(
        VECTORS["domain"]["chainId"],
        type(DOMAIN.verifying_contract)(bytes.fromhex(VECTORS["domain"]["verifyingContract"][2:])),
    )
    found = open_bound_credential(read_header([values]), Wanted(), domain, SeededRandom(b"x"))
    assert found.public.raw64 == raw(VECTORS["requester_public_raw64"])


def test_the_worked_example_is_what_a_wallet_makes() -> None:
    example = worked_example()
    account = Account.from_key(SECRET_HEX)
    assert account.address.lower() == f"0x{example.account.hex()}"
    signable = encode_typed_data(full_message=example.typed_data)
    signed = account.sign_message(signable)
    assert signed.message_hash == example.digest
    assert signed.signature[:64] + bytes([signed.v - 27]) == example.signature
    name, _, value = example.header.partition(": ")
    assert name == "Secretstore-Auth"
    read = read_header([value])
    assert (read.not_after, read.signature) == (NOT_AFTER, example.signature)
