"""C1 to C5: documents are published and consumed, with the headers of each client program."""

import asyncio
import hashlib
import hmac
import json
import re
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from eth_utils.address import to_checksum_address

from keyserver.crypto import ecies
from keyserver.crypto.curve import Point
from tests.e2e.clients.conftest import PAGE
from tests.support.raw_http import ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    ALREADY_GENERATED,
    AXIOS,
    BOB,
    CHARLIE,
    IN_PROGRESS,
    JSON_TYPE,
    NODE_FETCH,
    POST_HEADERS,
    REQUEST_JS,
    REQUESTS,
    VECTORS,
    Client,
    Person,
    Servers,
    error,
    fresh_id,
    shown_by_axios,
    when_finished,
)

HEADERS = {"C1": REQUESTS, "C2": REQUESTS, "C3": AXIOS, "C4": REQUEST_JS, "C5": NODE_FETCH}
MESSAGE_BYTES = 113
"""What the encryption adds to its plaintext."""


def hex_length(plaintext_bytes: int) -> int:
    """Characters of an encrypted message, with 0x."""
    return 2 + 2 * (MESSAGE_BYTES + plaintext_bytes)


@pytest.mark.parametrize("name", POST_HEADERS)
async def test_h_every_known_set_of_headers(three: Servers, rpc: Rpc, name: str) -> None:
    """Tests H and R."""
    key_id = fresh_id()
    signature = await Client(rpc, three.addresses, []).sign(ALICE, key_id)
    path = f"/shadow/{key_id}/{signature}/1"
    answer = await ask(three.addresses[0], "POST", path, POST_HEADERS[name])
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.header("content-type") == JSON_TYPE
    assert re.fullmatch(rb'"0x[0-9a-f]{128}"', answer.body)
    assert answer.header("content-length") == "132"


@pytest.mark.parametrize("keeps_open", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("threshold", [0, 1, 2])
@pytest.mark.parametrize("name", HEADERS)
async def test_publish_and_consume(
    three: Servers, rpc: Rpc, name: str, threshold: int, keeps_open: bool
) -> None:
    """C1.1, C1.5, C2.1, C2.3, C3.1, C3.7, C4.1, C5.1 and M1: every step at another node."""
    text = "" if (threshold, keeps_open) == (1, True) else "grün und weiß ✓"
    author = replace(ALICE, address=to_checksum_address(ALICE.address)) if name == "C2" else ALICE
    key_id = fresh_id()
    async with Client(rpc, three.addresses, HEADERS[name], keeps_open=keeps_open) as acting:
        encrypted = await acting.publish(author, key_id, text.encode(), threshold)
        shadow = json.loads((await acting.shadow(BOB, key_id)).text)
        assert list(shadow) == ["decrypted_secret", "common_point", "decrypt_shadows"]
        assert [len(each) for each in shadow["decrypt_shadows"]] == [hex_length(32)] * (
            threshold + 1
        )
        opened = await acting.open_shadow(BOB, shadow, encrypted)
        assert opened.decode() == text
        assert await acting.consume(CHARLIE, key_id, encrypted) == text.encode()


async def test_one_connection_for_good_and_bad_requests(three: Servers, rpc: Rpc) -> None:
    key_id = fresh_id()
    async with Client(rpc, three.addresses[:1], REQUESTS, keeps_open=True) as acting:
        signature = await acting.sign(ALICE, key_id)
        first = await acting.http("POST", f"/shadow/{key_id}/{signature}/1")
        again = await acting.http("GET", f"/server/{key_id}/{signature}")
        wrong = await acting.http("GET", "/nothing")
        third = await acting.http("GET", f"//server/{key_id}/{signature}")
    assert first.body == again.body == third.body
    assert (wrong.status, wrong.body) == (400, b"")


@pytest.mark.parametrize("name", HEADERS)
async def test_cluster_of_one(lone: Servers, rpc: Rpc, name: str) -> None:
    """C1.6: with the threshold that client takes when it is told none."""
    acting, key_id = Client(rpc, lone.addresses, HEADERS[name]), fresh_id()
    encrypted = await acting.publish(ALICE, key_id, b"alone", 0)
    assert await acting.consume(BOB, key_id, encrypted) == b"alone"


async def test_plain_retrieval(three: Servers, rpc: Rpc) -> None:
    """C2.2 and C4.5: opened by the module, and by another implementation of the scheme."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    encrypted = await acting.publish(ALICE, key_id, b"text", 1)
    answer = await acting.http("GET", f"/{key_id}/{await acting.sign(BOB, key_id)}")
    message = json.loads(answer.text)
    assert (answer.status, len(message)) == (200, hex_length(64))
    account = (BOB.address, BOB.password)
    assert await rpc.result("secretstore_decrypt", *account, message, encrypted) == "0x74657874"
    again = await rpc.result("secretstore_encrypt", *account, message, "0x00ff")
    assert await rpc.result("secretstore_decrypt", *account, message, again) == "0x00ff"
    document_key = decrypted_elsewhere(BOB, bytes.fromhex(message[2:]))
    assert document_key == ecies.decrypt(BOB.key, bytes.fromhex(message[2:]))
    assert Point.from_raw64(document_key).raw64 == document_key


def decrypted_elsewhere(who: Person, message: bytes) -> bytes:
    """The scheme once more, by the curve of another library."""
    curve = ec.SECP256K1()
    own = ec.derive_private_key(int.from_bytes(who.key.expose(), "big"), curve)
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + message[1:65])
    derived = hashlib.sha256(b"\0\0\0\1" + own.exchange(ec.ECDH(), ephemeral)).digest()
    mac_key = hashlib.sha256(derived[16:]).digest()
    expected = hmac.new(mac_key, message[65:-32] + b"\0\0", hashlib.sha256).digest()
    assert expected == message[-32:]
    decryptor = Cipher(algorithms.AES(derived[:16]), modes.CTR(message[65:81])).decryptor()
    return decryptor.update(message[81:-32]) + decryptor.finalize()


async def test_generation_of_both(three: Servers, rpc: Rpc) -> None:
    """C2.5: then C2.2 and C2.3 with the same id."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    signature = await acting.sign(ALICE, key_id)
    made = await acting.http("POST", f"/{key_id}/{signature}/1")
    assert (made.status, len(json.loads(made.text))) == (200, hex_length(64))
    document_key = decrypted_elsewhere(ALICE, bytes.fromhex(json.loads(made.text)[2:]))
    plain = await acting.http("GET", f"/{key_id}/{await acting.sign(BOB, key_id)}")
    sealed = bytes.fromhex(json.loads(plain.text)[2:])
    assert decrypted_elsewhere(BOB, sealed) == document_key
    account = (ALICE.address, ALICE.password)
    message = json.loads(made.text)
    encrypted = await rpc.result("secretstore_encrypt", *account, message, "0xabcd")
    assert await acting.consume(BOB, key_id, encrypted) == b"\xab\xcd"
    again = await acting.http("POST", f"/{key_id}/{signature}/1")
    assert (again.status, again.body) == (400, ALREADY_GENERATED)


async def test_server_key_retrieval(three: Servers, rpc: Rpc) -> None:
    """C3.1, C3.2."""
    acting, key_id = Client(rpc, three.addresses, AXIOS), fresh_id()
    generated = await acting.generate(ALICE, key_id, 2)
    for _ in three.addresses:
        own = await acting.http("GET", f"/server/{key_id}/{await acting.sign(ALICE, key_id)}")
        assert (own.status, own.body) == (200, generated.body)
    other = await acting.http("GET", f"/server/{key_id}/{await acting.sign(BOB, key_id)}")
    assert (other.status, other.body) == (403, error("Access denied"))
    assert shown_by_axios(other) == "Forbidden (403): Access denied"


async def test_set_hash(rpc: Rpc) -> None:
    """C2.6: of two ids, and of more, in any order."""
    for case in VECTORS["servers_set_change"]:
        for which in ("old", "new"):
            nodes: list[str] = case[f"{which}_set"]
            for order in (nodes, nodes[::-1]):
                hashed = await rpc.result("secretstore_serversSetHash", order)
                assert hashed == case[f"{which}_set_hash"]


async def key_of_tutorial_program(acting: Client, key_id: str) -> str:
    """Makes a server key, or takes the one there is: knows two texts, and waits out a 404."""
    signature = await acting.sign(ALICE, key_id)
    answer = await acting.http("POST", f"/shadow/{key_id}/{signature}/1")
    if answer.body in {ALREADY_GENERATED, IN_PROGRESS}:
        answer = await acting.http("GET", f"/server/{key_id}/{signature}")
        while answer.status == 404:
            answer = await acting.http("GET", f"/server/{key_id}/{signature}")
    assert answer.status == 200, answer
    return str(json.loads(answer.text))


async def test_tutorial_program(three: Servers, rpc: Rpc) -> None:
    """C4.2, C4.3: two runs at the same moment, and one more."""
    acting, key_id = Client(rpc, three.addresses[:1], REQUEST_JS), fresh_id()
    keys = await asyncio.gather(*(key_of_tutorial_program(acting, key_id) for _ in range(2)))
    keys.append(await key_of_tutorial_program(acting, key_id))
    assert len(set(keys)) == 1
    account = (ALICE.address, ALICE.password)
    made = await rpc.result("secretstore_generateDocumentKey", *account, keys[0])
    assert (await acting.store(ALICE, key_id, made)).status == 200
    document = (made["encrypted_key"], "0x74657874")
    encrypted = await rpc.result("secretstore_encrypt", *account, *document)
    written = json.loads(json.dumps({"docID": key_id, "encryptedDocument": encrypted}))
    assert await acting.consume(BOB, written["docID"], written["encryptedDocument"]) == b"text"


async def test_other_signature_of_the_same_author(three: Servers, rpc: Rpc) -> None:
    """C5.4: the high-s twin names the same requester."""
    acting, key_id = Client(rpc, three.addresses, NODE_FETCH), fresh_id()
    assert (await acting.generate(ALICE, key_id, 1)).status == 200
    signature = bytes.fromhex(await acting.sign(ALICE, key_id))
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = order - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + high.to_bytes(32, "big") + bytes([signature[64] ^ 1])
    points = VECTORS["worked_example"]
    stored = await acting.http(
        "POST",
        f"/shadow/{key_id}/{twin.hex()}"
        f"/{points['common_point'][2:]}/{points['encrypted_point'][2:]}",
    )
    assert (stored.status, stored.body) == (200, b"")
    shadow = await acting.http("GET", f"/shadow/{key_id}/{twin.hex()}")
    assert shadow.status == 200


@pytest.mark.parametrize("threshold", [0, 1, 2])
async def test_json_documents(three: Servers, rpc: Rpc, threshold: int) -> None:
    """C5.1, in that client's own order: any JSON value, with two blanks of indentation."""
    values: list[Any] = [{"a": [1, 2]}, ["é", None], "öäü"]
    acting, value = Client(rpc, three.addresses, NODE_FETCH), values[threshold]
    key_id, account = fresh_id(), (ALICE.address, ALICE.password)
    generated = await acting.generate(ALICE, key_id, threshold)
    made = await rpc.result("secretstore_generateDocumentKey", *account, json.loads(generated.text))
    assert (await acting.store(ALICE, key_id, made)).status == 200
    document = f"0x{json.dumps(value, indent=2, ensure_ascii=False).encode().hex()}"
    encrypted = await rpc.result("secretstore_encrypt", *account, made["encrypted_key"], document)
    assert json.loads(await acting.consume(BOB, key_id, encrypted)) == value


async def test_browser_of_an_allowed_page(lone: Servers, rpc: Rpc) -> None:
    """C5.5, where the page is allowed."""
    page = [("Origin", PAGE)]
    key_id, node = fresh_id(), lone.addresses[0]
    signature = await Client(rpc, lone.addresses, []).sign(ALICE, key_id)
    path = f"/shadow/{key_id}/{signature}/0"
    preflight = [
        *page,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ]
    asked = await ask(node, "OPTIONS", path, preflight)
    assert (asked.status, asked.body) == (204, b"")
    assert asked.header("access-control-allow-origin") == PAGE
    assert asked.header("access-control-allow-methods") == "GET, POST"
    assert asked.header("access-control-allow-headers") == "content-type"
    foreign = await ask(node, "POST", path, [("Origin", "http://evil.example")])
    assert (foreign.status, foreign.body) == (404, b"")
    answer = await ask(node, "POST", path, [*page, *POST_HEADERS["node-fetch"]])
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == PAGE
    wrong = await ask(node, "POST", path, page)
    assert wrong.status == 400
    assert wrong.header("access-control-allow-origin") == PAGE


async def test_background_questions_of_ethers(rpc: Rpc) -> None:
    """C3: `eth_chainId`, then `net_version`; both may fail, quickly."""
    for method in ("eth_chainId", "net_version"):
        answer = await rpc.call(method, id_=42)
        assert answer["error"] == {"code": -32601, "message": "Method not found"}


async def test_exchanges_of_the_vectors(three: Servers) -> None:
    """Status, content type and, where nothing is random, the bytes of the body."""
    example: dict[str, Any] = VECTORS["worked_example"]
    for step, exchange in enumerate(example["exchanges"]):
        request, expected = exchange["request"], exchange["response"]
        node = three.addresses[step % 3]
        answer = await when_finished(partial(ask, node, request["method"], request["path"]))
        assert answer.status == expected["status"], exchange
        assert answer.header("content-type") == expected["content_type"]
        assert len(answer.body) == len(expected["body"])
        if expected["status"] != 200 or not expected["body"]:
            assert answer.text == expected["body"]
