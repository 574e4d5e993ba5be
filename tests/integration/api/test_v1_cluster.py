"""`/v1` on the nodes of a cluster, over sockets: whole round trips, and what does not work."""

import ast
import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from keyserver.api import bodies
from keyserver.api.v1_page import SNIPPET
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.ecies import decrypt
from keyserver.crypto.elgamal import encrypt_document_key, recover_document_key
from keyserver.crypto.errors import DecryptionError
from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, KeyId, Nonce32
from keyserver.sessions.core import Policy, Verdict
from keyserver.simulation.clock import VirtualClock
from tests.support.bound_requests import Signed
from tests.support.client_node import ClientNetwork, client_network, sign_id
from tests.support.raw_http import Answer, Connection, ask
from tests.support.signature_checks import is_ecdsa, is_schnorr

RANDOM = SystemRandom()
ALICE, BOB = SecretScalar.from_int(11), SecretScalar.from_int(12)
DOMAIN = SigningDomain(1337, Address(b"\xd0" * 20))


def policy(**changes: Any) -> Policy:
    return Policy(chain_id=DOMAIN.chain_id, verifying_contract=DOMAIN.verifying_contract, **changes)


@pytest.fixture(scope="module")
async def four() -> AsyncIterator[ClientNetwork]:
    async with client_network(4, seed=31, policy=policy()) as network:
        yield network


def request(
    method: str,
    key_id: KeyId,
    number: int,
    rest: str = "",
    payload: bytes = b"",
    body: object = None,
    *,
    by: SecretScalar = ALICE,
) -> Signed:
    text = b"" if body is None else json.dumps(body).encode()
    path = f"/v1/server-keys/{key_id.hex()}{rest}"
    return Signed(
        *(method, path, text, number, key_id, payload, by, DOMAIN),
        not_after=VirtualClock().unix() + 60,
        nonce=Nonce32(secrets.token_bytes(32)),
    )


def fresh() -> KeyId:
    return KeyId(secrets.token_bytes(32))


def generate(key_id: KeyId, threshold: int, *, by: SecretScalar = ALICE) -> Signed:
    payload = threshold.to_bytes(2, "big")
    return request("POST", key_id, 1, "", payload, {"threshold": threshold}, by=by)


def shadow(key_id: KeyId, *, by: SecretScalar = ALICE, exclude: list[str] | None = None) -> Signed:
    body = None if exclude is None else {"exclude": exclude}
    return request("POST", key_id, 6, "/document-key/shadow", body=body, by=by)


def store(key_id: KeyId, common: Point, encrypted: Point, *, by: SecretScalar = ALICE) -> Signed:
    body = {"common_point": hexed(common.raw64), "encrypted_point": hexed(encrypted.raw64)}
    payload = common.raw64 + encrypted.raw64
    return request("POST", key_id, 2, "/document-key", payload, body, by=by)


def hexed(value: bytes) -> str:
    return f"0x{value.hex()}"


def point(text: str) -> Point:
    return Point.from_raw64(bytes.fromhex(text[2:]))


async def send(network: ClientNetwork, index: int, signed: Signed) -> Answer:
    address = network[index].address
    return await ask(address, signed.method, signed.path, signed.headers, signed.body)


async def result(network: ClientNetwork, index: int, signed: Signed) -> dict[str, Any]:
    answer = await send(network, index, signed)
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.text)
    return found


def error(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.text)["error"]["code"]


async def publish(network: ClientNetwork, threshold: int) -> tuple[KeyId, Point]:
    """A server key with a document key of the client's own."""
    key_id = fresh()
    made = await result(network, 0, generate(key_id, threshold))
    document_key = SecretScalar.random(RANDOM).public()
    sealed = encrypt_document_key(point(made["public"]), document_key, RANDOM)
    assert await result(network, 1, store(key_id, sealed.common, sealed.encrypted)) == {}
    return key_id, document_key


def opened(told: dict[str, Any], by: SecretScalar) -> Point:
    """The document key, each part of the answer checked against its commitment."""
    parts = [
        SecretScalar(decrypt(by, bytes.fromhex(sealed[2:]))) for sealed in told["decrypt_shadows"]
    ]
    assert [part.public() for part in parts] == [
        point(commitment) for commitment in told["shadow_commitments"]
    ]
    secret, common = point(told["decrypted_secret"]), point(told["common_point"])
    return recover_document_key(secret, common, parts)


async def test_the_node_names_the_domain(four: ClientNetwork) -> None:
    for index in range(4):
        answer = await ask(four[index].address, "GET", "/v1/node")
        told = json.loads(answer.text)
        assert told["node_id"] == hexed(four[index].node.id)
        assert told["chain_id"] == DOMAIN.chain_id
        assert told["verifying_contract"] == hexed(DOMAIN.verifying_contract)


@pytest.mark.parametrize("threshold", [0, 1, 2])
async def test_a_round_trip_in_shadow_form(four: ClientNetwork, threshold: int) -> None:
    key_id, document_key = await publish(four, threshold)
    told = await result(four, 2, shadow(key_id, by=BOB))
    assert len(told["decrypt_shadows"]) == len(told["shadow_nodes"]) == threshold + 1
    assert opened(told, BOB) == document_key
    nodes = {hexed(each.node.id) for each in four.nodes}
    assert set(told["shadow_nodes"]) <= nodes
    known = await result(four, 3, request("GET", key_id, 4))
    assert known["threshold"] == threshold
    assert known["author"] == hexed(address_of(ALICE.public().raw64))


async def test_nodes_are_left_out(four: ClientNetwork) -> None:
    key_id, document_key = await publish(four, 1)
    for left_out in (four[0].node.id, four[3].node.id):
        told = await result(four, 0, shadow(key_id, exclude=[hexed(left_out)]))
        assert hexed(left_out) not in told["shadow_nodes"]
        assert opened(told, ALICE) == document_key
    too_many = [hexed(each.node.id) for each in four.nodes[:3]]
    status, code = error(await send(four, 0, shadow(key_id, exclude=too_many)))
    assert (status, code) == (503, "CONSENSUS_UNREACHABLE")


async def test_the_modes_that_show_the_key_to_one_node(four: ClientNetwork) -> None:
    key_id = fresh()
    both = request(
        *("POST", key_id, 3, "/document-key/generate", b"\x00\x02", {"threshold": 2}), by=BOB
    )
    made = decrypt(BOB, bytes.fromhex((await result(four, 0, both))["encrypted_key"][2:]))
    plain = request("POST", key_id, 5, "/document-key/plain")
    told = decrypt(ALICE, bytes.fromhex((await result(four, 1, plain))["encrypted_key"][2:]))
    assert told == made
    assert opened(await result(four, 2, shadow(key_id)), ALICE).raw64 == made


async def test_both_doors_lead_to_the_same_keys(four: ClientNetwork) -> None:
    key_id, document_key = await publish(four, 1)
    signature = sign_id(BOB, key_id)
    verify = [("Secretstore-Verify", "1")]
    path = f"/shadow/{key_id.hex()}/{signature}"
    old = await ask(four[0].address, "GET", path, verify)
    assert opened(json.loads(old.text), BOB) == document_key
    excluding = [*verify, ("Secretstore-Exclude", four[1].node.id.hex())]
    without = await ask(four[0].address, "GET", path, excluding)
    assert hexed(four[1].node.id) not in json.loads(without.text)["shadow_nodes"]
    assert opened(json.loads(without.text), BOB) == document_key
    other = fresh()
    old = await ask(four[1].address, "POST", f"/shadow/{other.hex()}/{sign_id(ALICE, other)}/1")
    new = await result(four, 2, request("GET", other, 4))
    assert json.loads(old.text) == new["public"]


async def test_what_the_cluster_refuses(four: ClientNetwork) -> None:
    key_id, _ = await publish(four, 1)
    empty, unknown = fresh(), fresh()
    await result(four, 0, generate(empty, 1))
    pair = point_pair()
    refused = [
        (generate(key_id, 1), 400, "SERVER_KEY_ALREADY_GENERATED"),
        (generate(fresh(), 4), 400, "NOT_ENOUGH_NODES_FOR_THRESHOLD"),
        (store(key_id, *pair), 400, "DOCUMENT_KEY_ALREADY_STORED"),
        (store(empty, *pair, by=BOB), 403, "ACCESS_DENIED"),
        (store(unknown, *pair), 404, "SERVER_KEY_IS_NOT_FOUND"),
        (request("GET", key_id, 4, by=BOB), 403, "ACCESS_DENIED"),
        (request("GET", unknown, 4), 404, "SERVER_KEY_IS_NOT_FOUND"),
        (shadow(unknown), 404, "SERVER_KEY_IS_NOT_FOUND"),
        (shadow(empty), 404, "DOCUMENT_KEY_IS_NOT_FOUND"),
    ]
    for signed, status, code in refused:
        assert error(await send(four, 1, signed)) == (status, code)


def point_pair() -> tuple[Point, Point]:
    return SecretScalar.from_int(3).public(), SecretScalar.from_int(4).public()


async def test_who_has_no_permission_is_refused(four: ClientNetwork) -> None:
    key_id, document_key = await publish(four, 1)
    bob = address_of(BOB.public().raw64)
    verdicts = [each.node.access.verdict for each in four.nodes]
    for each in four.nodes:
        each.node.access.verdict = lambda _, who: Verdict.DENIED if who == bob else Verdict.ALLOWED
    try:
        answer = await send(four, 0, shadow(key_id, by=BOB))
        assert error(answer) == (403, "CONSENSUS_UNREACHABLE")
        assert opened(await result(four, 0, shadow(key_id)), ALICE) == document_key
    finally:
        for each, verdict in zip(four.nodes, verdicts, strict=True):
            each.node.access.verdict = verdict


SCHEMES = {"schnorr": 7, "frost": 8, "ecdsa": 9}
MESSAGE = b"\x4d" * 32
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def sign(
    key_id: KeyId, scheme: str, *, by: SecretScalar = ALICE, message: bytes = MESSAGE
) -> Signed:
    body = {"scheme": scheme, "message_hash": hexed(message)}
    return request("POST", key_id, SCHEMES[scheme], "/signature", message, body, by=by)


def check_signature(told: dict[str, Any], scheme: str, public: str, by: SecretScalar) -> None:
    """The signature, which only this account can read, is the key's."""
    assert list(told) == ["encrypted_signature"]
    signature, key = decrypt(by, bytes.fromhex(told["encrypted_signature"][2:])), public[2:]
    match scheme:
        case "schnorr":
            assert is_schnorr(bytes.fromhex(key), MESSAGE, signature)
        case "ecdsa":
            assert is_ecdsa(bytes.fromhex(key), MESSAGE, signature)
        case "frost":
            verify(Form.RFC9591, point(public), MESSAGE, signature)


@schemes
@pytest.mark.parametrize("threshold", [0, 1])
async def test_signatures(four: ClientNetwork, scheme: str, threshold: int) -> None:
    key_id = fresh()
    public = (await result(four, 0, generate(key_id, threshold)))["public"]
    for number in range(4):
        told = await result(four, number, sign(key_id, scheme, by=BOB))
        check_signature(told, scheme, public, BOB)
    answers = await asyncio.gather(*(result(four, n, sign(key_id, scheme)) for n in range(8)))
    for told in answers:
        check_signature(told, scheme, public, ALICE)


@schemes
async def test_who_has_no_permission_gets_no_signature(four: ClientNetwork, scheme: str) -> None:
    key_id, bob = fresh(), address_of(BOB.public().raw64)
    public = (await result(four, 0, generate(key_id, 1)))["public"]
    verdicts = [each.node.access.verdict for each in four.nodes]
    for each in four.nodes:
        each.node.access.verdict = lambda _, who: Verdict.DENIED if who == bob else Verdict.ALLOWED
    try:
        answer = await send(four, 0, sign(key_id, scheme, by=BOB))
        assert error(answer) == (403, "CONSENSUS_UNREACHABLE")
        check_signature(await result(four, 0, sign(key_id, scheme)), scheme, public, ALICE)
    finally:
        for each, verdict in zip(four.nodes, verdicts, strict=True):
            each.node.access.verdict = verdict


@schemes
async def test_a_captured_credential_signs_nothing(four: ClientNetwork, scheme: str) -> None:
    key_id = fresh()
    await result(four, 0, generate(key_id, 1))
    signed = sign(key_id, scheme)
    await result(four, 0, signed)
    assert error(await send(four, 0, signed)) == (401, "NONCE_USED")
    other = {"scheme": scheme, "message_hash": hexed(b"\x4e" * 32)}
    stolen = replace(signed, body=json.dumps(other).encode())
    headers = [(name, value) for name, value in signed.headers if name != "Content-Length"]
    headers.append(("Content-Length", str(len(stolen.body))))
    answer = await ask(four[1].address, "POST", signed.path, headers, stolen.body)
    told = json.loads(answer.text)["encrypted_signature"]
    with pytest.raises(DecryptionError):  # it names an account that nobody has
        decrypt(ALICE, bytes.fromhex(told[2:]))


async def test_signatures_that_are_not_to_be_had(four: ClientNetwork) -> None:
    key_id = fresh()
    await result(four, 0, generate(key_id, 2))
    for scheme in SCHEMES:
        answer = await send(four, 1, sign(fresh(), scheme))
        assert error(answer) == (404, "SERVER_KEY_IS_NOT_FOUND")
    answer = await send(four, 1, sign(key_id, "ecdsa"))
    assert error(answer) == (403, "CONSENSUS_UNREACHABLE"), "five would be needed"


async def test_signatures_while_nodes_are_away() -> None:
    async with client_network(3, seed=34, policy=policy()) as network:
        key_id = fresh()
        public = (await result(network, 0, generate(key_id, 1)))["public"]
        await network.stop(2)
        for scheme in ("schnorr", "frost"):
            told = await result(network, 0, sign(key_id, scheme))
            check_signature(told, scheme, public, ALICE)
        answer = await send(network, 0, sign(key_id, "ecdsa"))
        assert error(answer) == (503, "CONSENSUS_TEMPORARY_UNREACHABLE")
        assert answer.header("retry-after") is not None
        await network.stop(1)
        answer = await send(network, 0, sign(key_id, "frost"))
        assert error(answer) == (503, "CONSENSUS_UNREACHABLE")
        await network.start(1, 2)
        told = await result(network, 2, sign(key_id, "ecdsa"))
        check_signature(told, "ecdsa", public, ALICE)


async def test_a_captured_credential(four: ClientNetwork) -> None:
    """At the same node it is used; at another one the nodes that saw it refuse it."""
    key_id, _ = await publish(four, 3)
    signed = shadow(key_id)
    await result(four, 0, signed)
    assert error(await send(four, 0, signed)) == (401, "NONCE_USED")
    assert error(await send(four, 1, signed)) == (401, "NONCE_USED"), "all four have seen it"
    assert error(await send(four, 1, request("GET", key_id, 4, by=BOB))) == (403, "ACCESS_DENIED")
    header = signed.headers
    stolen = await ask(four[2].address, "GET", f"/v1/server-keys/{key_id.hex()}", header)
    assert error(stolen) == (403, "ACCESS_DENIED"), "for another operation it is somebody else's"


async def test_a_repeat_with_another_nonce_is_another_request(four: ClientNetwork) -> None:
    key_id, document_key = await publish(four, 1)
    told = await asyncio.gather(*(result(four, n, shadow(key_id)) for n in range(4)))
    assert {opened(each, ALICE).raw64 for each in told} == {document_key.raw64}


async def test_generators_may_be_listed() -> None:
    allowed = policy(generators=frozenset({Address(address_of(ALICE.public().raw64))}))
    async with client_network(3, seed=32, policy=allowed) as network:
        await result(network, 0, generate(fresh(), 1))
        refused = await send(network, 0, generate(fresh(), 1, by=BOB))
        assert error(refused) == (403, "ACCESS_DENIED")


async def test_a_node_is_away() -> None:
    async with client_network(3, seed=33, policy=policy()) as network:
        key_id, document_key = await publish(network, 1)
        await network.stop(2)
        assert opened(await result(network, 0, shadow(key_id)), ALICE) == document_key
        answer = await send(network, 0, generate(fresh(), 1))
        assert error(answer) == (503, "NODE_DISCONNECTED")
        assert answer.header("retry-after") is not None


async def test_a_slow_body(four: ClientNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.05)
    signed = generate(fresh(), 1)
    async with await Connection.to(four[0].address) as connection:
        head = f"POST {signed.path} HTTP/1.1\r\nHost: node\r\nContent-Length: 20\r\n\r\n"
        await connection.send(head.encode() + b'{"thr')
        assert error(await connection.answer()) == (408, "REQUEST_TIMEOUT")


async def test_a_chunked_body(four: ClientNetwork) -> None:
    signed = generate(fresh(), 1)
    lines = [f"POST {signed.path} HTTP/1.1", "Host: node", f"Secretstore-Auth: {signed.header}"]
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, bytes([byte])) for byte in signed.body)
    async with await Connection.to(four[0].address) as connection:
        await connection.send(head + chunks + b"0\r\n\r\n")
        assert (await connection.answer()).status == 200


async def test_a_body_that_is_too_large(four: ClientNetwork) -> None:
    signed = generate(fresh(), 1)
    headers = [("Secretstore-Auth", signed.header), ("Content-Length", "70000")]
    answer = await ask(four[0].address, "POST", signed.path, headers, b" " * 70_000)
    assert error(answer) == (413, "BODY_TOO_LARGE")


async def test_head_has_no_body(four: ClientNetwork) -> None:
    async with await Connection.to(four[0].address) as connection:
        await connection.send(b"HEAD /v1/node HTTP/1.1\r\nHost: node\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await connection.reader_line()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await connection.ask("GET", "/v1/node")).status == 200


async def test_the_program_of_the_documentation(
    four: ClientNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands there, but for where the node is and what time it is there."""
    program = SNIPPET.replace("127.0.0.1:8082", str(four[0].address))
    program = program.replace("time.time()", str(VirtualClock().unix()))
    assert program.count("import") == SNIPPET.count("import")
    key = f"0x{11:064x}"
    await asyncio.to_thread(exec, program, {"private_key": key})
    printed = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert printed["author"] == hexed(address_of(ALICE.public().raw64))
    assert printed["threshold"] == 1
