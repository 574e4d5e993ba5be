"""What the known client programs do, against running nodes, with the exact headers and bodies.

The names C1.1 and so on are those of the description of the client programs.
"""

import asyncio
import hashlib
import hmac
import json
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from keyserver.crypto import ecies
from keyserver.crypto.curve import Point
from keyserver.model.identifiers import Address
from keyserver.model.requests import Request
from keyserver.sessions.core import Policy, Verdict
from tests.integration.api.conftest import ALICE, BOB, CHARLIE, PEOPLE, VECTORS, Person, fresh_id
from tests.support.client_node import ClientNetwork, client_network
from tests.support.raw_http import Connection, ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    AXIOS,
    CURL,
    NODE_FETCH,
    POST_HEADERS,
    REQUEST_JS,
    REQUESTS,
    Client,
)

JSON_TYPE = "application/json; charset=utf-8"
TUTORIAL_ID = hashlib.sha256(b"mySecretDocument").hexdigest()

HEADERS = {
    "C1": REQUESTS,
    "C3": AXIOS,
    "C4": REQUEST_JS,
    "C5": NODE_FETCH,
}


def client(rpc: Rpc, network: ClientNetwork, headers: list[tuple[str, str]]) -> Client:
    return Client(rpc, [node.address for node in network.nodes], headers)


def error(text: str) -> bytes:
    return json.dumps(f'"{text}"').encode()


@pytest.mark.parametrize("name", POST_HEADERS)
async def test_h_every_known_set_of_headers(three: ClientNetwork, rpc: Rpc, name: str) -> None:
    """Tests H and R."""
    key_id = fresh_id()
    signature = await client(rpc, three, []).sign(ALICE, key_id)
    path = f"/shadow/{key_id}/{signature}/1"
    answer = await ask(three[0].address, "POST", path, POST_HEADERS[name])
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.header("content-type") == JSON_TYPE
    assert re.fullmatch(rb'"0x[0-9a-f]{128}"', answer.body)
    assert answer.header("content-length") == "132"


@pytest.mark.parametrize("threshold", [0, 1, 2])
@pytest.mark.parametrize("name", HEADERS)
async def test_publish_and_consume(
    three: ClientNetwork, rpc: Rpc, name: str, threshold: int
) -> None:
    """C1.1, C1.5, C2.1, C2.3, C3.1, C4.1, C5.1, C3.7: every step at another node."""
    acting = client(rpc, three, HEADERS[name])
    for text in ("grün und weiß ✓", ""):
        key_id = fresh_id()
        encrypted = await acting.publish(ALICE, key_id, text.encode(), threshold)
        shadow = json.loads((await acting.shadow(BOB, key_id)).text)
        assert list(shadow) == ["decrypted_secret", "common_point", "decrypt_shadows"]
        assert [len(each) for each in shadow["decrypt_shadows"]] == [292] * (threshold + 1)
        opened = await acting.open_shadow(BOB, shadow, encrypted)
        assert opened.decode() == text
        assert await acting.consume(CHARLIE, key_id, encrypted) == text.encode()


async def test_one_connection_kept_open(three: ClientNetwork, rpc: Rpc) -> None:
    key_id = fresh_id()
    signature = await client(rpc, three, []).sign(ALICE, key_id)
    async with await Connection.to(three[0].address) as connection:
        first = await connection.ask("POST", f"/shadow/{key_id}/{signature}/1", REQUESTS)
        again = await connection.ask("GET", f"/server/{key_id}/{signature}", REQUESTS)
        wrong = await connection.ask("GET", "/nothing", REQUESTS)
        third = await connection.ask("GET", f"/server/{key_id}/{signature}", REQUESTS)
    assert first.body == again.body == third.body
    assert (wrong.status, wrong.body) == (400, b"")


async def test_second_publishing(three: ClientNetwork, rpc: Rpc) -> None:
    """C1.2, C2.7, C3.3, C5.2: at every node, at once."""
    acting, key_id = client(rpc, three, REQUESTS), fresh_id()
    assert (await acting.generate(ALICE, key_id, 1)).status == 200
    for _ in three.nodes:
        again = await acting.generate(ALICE, key_id, 1)
        assert (again.status, again.reason) == (400, "Bad Request")
        assert again.body == error("Server key with this ID is already generated")
        assert again.header("content-type") == JSON_TYPE
        assert "error" not in json.loads(again.text)


async def test_unknown_id(three: ClientNetwork, rpc: Rpc) -> None:
    """C1.3, C3.4, C5.2, C7.1."""
    acting, key_id = client(rpc, three, REQUESTS), fresh_id()
    signature = await acting.sign(BOB, key_id)
    for path in (f"/shadow/{key_id}/{signature}", f"/{key_id}/{signature}"):
        answer = await acting.http("GET", path)
        assert (answer.status, answer.reason) == (404, "Not Found")
        assert answer.body == error("Server key with this ID is not found")
    made = VECTORS["worked_example"]
    stored = await acting.store(ALICE, key_id, made)
    assert (stored.status, stored.body) == (404, error("Server key with this ID is not found"))


async def test_permission_denied(rpc: Rpc) -> None:
    """C1.3, C4.4, C6.4, C7.4."""
    allowed = {Address(bytes.fromhex(who.address[2:])) for who in (ALICE, BOB)}

    def verdict(_: Request, who: Address) -> Verdict:
        return Verdict.ALLOWED if who in allowed else Verdict.DENIED

    async with client_network(3, seed=5) as network:
        for node in network.nodes:
            node.node.access.verdict = verdict
        acting, key_id = client(rpc, network, REQUESTS), fresh_id()
        encrypted = await acting.publish(ALICE, key_id, b"mySecretDocument", 1)
        assert await acting.consume(BOB, key_id, encrypted) == b"mySecretDocument"
        signature = await acting.sign(CHARLIE, key_id)
        for path in (f"/shadow/{key_id}/{signature}", f"/{key_id}/{signature}"):
            answer = await acting.http("GET", path)
            assert (answer.status, answer.reason) == (403, "Forbidden")
            assert answer.body == error("Consensus unreachable")
            assert answer.header("content-type") == JSON_TYPE


async def test_wrong_password(rpc: Rpc) -> None:
    """C1.4, C5.3: status 200, and message and data are there."""
    answer = await rpc.call("secretstore_signRawHash", ALICE.address, "wrong", f"0x{'11' * 32}")
    assert answer["error"]["code"] == -32023
    assert answer["error"]["message"] == "Could not sign raw hash."
    assert isinstance(answer["error"]["data"], str)


async def test_cluster_of_one(rpc: Rpc) -> None:
    """C1.6."""
    async with client_network(1, seed=6) as network:
        acting, key_id = client(rpc, network, REQUESTS), fresh_id()
        encrypted = await acting.publish(ALICE, key_id, b"alone", 0)
        assert await acting.consume(BOB, key_id, encrypted) == b"alone"


async def test_plain_retrieval(three: ClientNetwork, rpc: Rpc) -> None:
    """C2.2 and C4.5: opened by the module, and by another implementation of the scheme."""
    acting, key_id = client(rpc, three, REQUESTS), fresh_id()
    encrypted = await acting.publish(ALICE, key_id, b"text", 1)
    answer = await acting.http("GET", f"/{key_id}/{await acting.sign(BOB, key_id)}")
    message = json.loads(answer.text)
    assert (answer.status, len(message)) == (200, 2 + 2 * 177)
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


async def test_generation_of_both(three: ClientNetwork, rpc: Rpc) -> None:
    """C2.5, and C7.1 to C7.2: the same document key everywhere, at once."""
    acting, key_id = client(rpc, three, REQUESTS), fresh_id()
    signature = await acting.sign(ALICE, key_id)
    assert (await acting.http("GET", f"/{key_id}/{signature}")).status == 404
    made = await acting.http("POST", f"/{key_id}/{signature}/1")
    assert (made.status, len(made.body)) == (200, 4 + 2 * 177)
    document_key = decrypted_elsewhere(ALICE, bytes.fromhex(json.loads(made.text)[2:]))
    for who in (ALICE, BOB, CHARLIE):
        answer = await acting.http("GET", f"/{key_id}/{await acting.sign(who, key_id)}")
        sealed = bytes.fromhex(json.loads(answer.text)[2:])
        assert decrypted_elsewhere(who, sealed) == document_key
    account = (ALICE.address, ALICE.password)
    message = json.loads(made.text)
    encrypted = await rpc.result("secretstore_encrypt", *account, message, "0xabcd")
    assert await acting.consume(BOB, key_id, encrypted) == b"\xab\xcd"
    again = await acting.http("POST", f"/{key_id}/{signature}/1")
    assert (again.status, again.body) == (
        400,
        error("Server key with this ID is already generated"),
    )


async def test_server_key_without_document_key(three: ClientNetwork, rpc: Rpc) -> None:
    """C7.1: 404 at every node."""
    acting, key_id = client(rpc, three, REQUESTS), fresh_id()
    assert (await acting.generate(ALICE, key_id, 1)).status == 200
    signature = await acting.sign(ALICE, key_id)
    for _ in three.nodes:
        answer = await acting.http("GET", f"/{key_id}/{signature}")
        assert answer.body == error("Document key with this ID is not found")
        assert (answer.status, answer.reason) == (404, "Not Found")


async def test_server_key_retrieval(three: ClientNetwork, rpc: Rpc) -> None:
    """C3.1, C3.2."""
    acting, key_id = client(rpc, three, AXIOS), fresh_id()
    generated = await acting.generate(ALICE, key_id, 2)
    for _ in three.nodes:
        own = await acting.http("GET", f"/server/{key_id}/{await acting.sign(ALICE, key_id)}")
        assert (own.status, own.body) == (200, generated.body)
    other = await acting.http("GET", f"/server/{key_id}/{await acting.sign(BOB, key_id)}")
    assert (other.status, other.body) == (403, error("Access denied"))


async def test_set_hash(rpc: Rpc) -> None:
    """C2.6, C3.6: the administrator's half that needs no nodes."""
    for case in VECTORS["servers_set_change"]:
        for which in ("old", "new"):
            hashed = await rpc.result("secretstore_serversSetHash", case[f"{which}_set"])
            assert hashed == case[f"{which}_set_hash"]


async def test_admin_request_without_administrator(three: ClientNetwork) -> None:
    """C2.8, C3.6 and C6.5 as far as the node has no administrator: both content types."""
    (case,) = (c for c in VECTORS["servers_set_change"] if c["name"] == "mission-document-example")
    body = case["request"]["body"].encode()
    assert b", " in body
    for content_type in ("application/json", "application/x-www-form-urlencoded", None):
        headers = [("Content-Length", str(len(body)))]
        headers += [("Content-Type", content_type)] if content_type else []
        answer = await ask(three[0].address, "POST", case["request"]["path"], headers, body)
        assert (answer.status, answer.body) == (403, error("Access denied"))


async def test_path_that_does_not_parse(three: ClientNetwork) -> None:
    """C3.5."""
    answer = await ask(three[0].address, "GET", "/shadow/zz/yy", AXIOS)
    assert (answer.status, answer.reason, answer.body) == (400, "Bad Request", b"")
    assert answer.header("content-type") is None


async def test_tutorial_program(three: ClientNetwork, rpc: Rpc) -> None:
    """C4.2, C4.3: a second run, and two runs at the same moment at one node."""
    acting, key_id = client(rpc, three, REQUEST_JS), fresh_id()
    signature = await acting.sign(ALICE, key_id)
    path, node = f"/shadow/{key_id}/{signature}/1", three[0].address
    texts = {
        b'"\\"Server key with this ID is already generated\\""',
        b'"\\"session with the same id is already registered\\""',
    }
    answers = await asyncio.gather(*(ask(node, "POST", path) for _ in range(2)))
    assert sorted(answer.status for answer in answers) == [200, 500]
    assert {answer.body for answer in answers if answer.status != 200} <= texts
    second_run = await ask(node, "POST", path)
    assert second_run.body in texts
    known = await acting.http("GET", f"/server/{key_id}/{signature}")
    made = await rpc.result(
        "secretstore_generateDocumentKey", ALICE.address, ALICE.password, json.loads(known.text)
    )
    assert (await acting.store(ALICE, key_id, made)).status == 200
    encrypted = await rpc.result(
        "secretstore_encrypt", ALICE.address, ALICE.password, made["encrypted_key"], "0x74657874"
    )
    written = json.loads(json.dumps({"docID": key_id, "encryptedDocument": encrypted}))
    assert await acting.consume(BOB, written["docID"], written["encryptedDocument"]) == b"text"


async def test_other_signature_of_the_same_author(three: ClientNetwork, rpc: Rpc) -> None:
    """C5.4: the high-s twin names the same requester."""
    acting, key_id = client(rpc, three, NODE_FETCH), fresh_id()
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


async def test_json_documents(three: ClientNetwork, rpc: Rpc) -> None:
    """C5.1: any JSON value, with two blanks of indentation."""
    acting = client(rpc, three, NODE_FETCH)
    for value in ({"a": [1, 2]}, ["é", None], "öäü"):
        key_id, text = fresh_id(), json.dumps(value, indent=2, ensure_ascii=False)
        encrypted = await acting.publish(ALICE, key_id, text.encode(), 1)
        assert json.loads(await acting.consume(BOB, key_id, encrypted)) == value


async def test_browser(rpc: Rpc) -> None:
    """C5.5."""
    page = [("Origin", "http://app.example")]
    key_id = fresh_id()
    async with client_network(1, seed=7, cors=["http://app.example"]) as network:
        signature = await client(rpc, network, []).sign(ALICE, key_id)
        path, node = f"/shadow/{key_id}/{signature}/0", network[0].address
        preflight = [
            *page,
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ]
        asked = await ask(node, "OPTIONS", path, preflight)
        assert (asked.status, asked.body) == (204, b"")
        assert asked.header("access-control-allow-origin") == "http://app.example"
        assert asked.header("access-control-allow-methods") == "GET, POST"
        assert asked.header("access-control-allow-headers") == "content-type"
        foreign = await ask(node, "POST", path, [("Origin", "http://evil.example")])
        assert (foreign.status, foreign.body) == (404, b"")
        answer = await ask(node, "POST", path, [*page, *NODE_FETCH])
        assert answer.status == 200
        assert answer.header("access-control-allow-origin") == "http://app.example"
        wrong = await ask(node, "POST", path, page)
        assert wrong.status == 400
        assert wrong.header("access-control-allow-origin") == "http://app.example"
    async with client_network(1, seed=8) as network:
        node = network[0].address
        answer = await ask(node, "POST", path, page)
        assert (answer.status, answer.body, answer.header("content-type")) == (404, b"", None)
        assert network[0].node.recorder.sessions == []


async def test_shell_scripts(three: ClientNetwork, rpc: Rpc) -> None:
    """C6.1, C6.6: no Content-Length, and upper-case ids in all paths."""
    acting = Client(rpc, [node.address for node in three.nodes], CURL, sends_length=False)
    key_id = f"{0xABCDEF << 200 | int(fresh_id(), 16):064X}"
    encrypted = await acting.publish(ALICE, key_id, b"shell", 1)
    assert await acting.consume(BOB, key_id.lower(), encrypted) == b"shell"
    signature = (await acting.sign(BOB, key_id)).upper()
    assert (await acting.http("GET", f"/{key_id}/{signature}")).status == 200


async def test_the_worked_example_and_the_fault_part_of_the_tutorial(rpc: Rpc) -> None:
    """C6.2 and C6.3, and every exchange of the vectors that does not need a signing session."""
    async with client_network(3, seed=9) as network:
        acting = client(rpc, network, CURL)
        encrypted = await acting.publish(ALICE, TUTORIAL_ID, b"mySecretDocument", 1)
        assert await acting.consume(BOB, TUTORIAL_ID, encrypted) == b"mySecretDocument"
        await network[1].node.crash()
        first = Client(rpc, [network[0].address], CURL)
        assert await first.consume(BOB, TUTORIAL_ID, encrypted) == b"mySecretDocument"
        down = await first.generate(ALICE, fresh_id(), 1)
        disconnected = "node required for this operation is currently disconnected"
        assert (down.status, down.body) == (500, error(disconnected))
        await network[2].node.crash()
        answer = await first.shadow(BOB, TUTORIAL_ID)
        assert (answer.status, answer.body) == (403, error("Consensus unreachable"))
        assert answer.text == '"\\"Consensus unreachable\\""'
        signature = await first.sign(ALICE, TUTORIAL_ID)
        known = await first.http("GET", f"/server/{TUTORIAL_ID}/{signature}")
        assert (known.status, known.body) == (403, error("Consensus unreachable"))
        network[1].node.boot()
        assert await first.consume(BOB, TUTORIAL_ID, encrypted) == b"mySecretDocument"


async def test_exchanges_of_the_vectors(rpc: Rpc) -> None:
    """Status, content type and, where nothing is random, the bytes of the body."""
    example: dict[str, Any] = VECTORS["worked_example"]
    async with client_network(3, seed=10) as network:
        for step, exchange in enumerate(example["exchanges"]):
            request, expected = exchange["request"], exchange["response"]
            answer = await ask(network[step].address, request["method"], request["path"], CURL)
            if "schnorr" in request["path"] or "ecdsa" in request["path"]:
                assert (answer.status, answer.body) == (501, error("Operation is not available"))
                continue
            assert answer.status == expected["status"], exchange
            assert answer.header("content-type") == expected["content_type"]
            assert len(answer.body) == len(expected["body"])
            if expected["status"] != 200 or not expected["body"]:
                assert answer.text == expected["body"]


async def test_old_documents_stay_readable(rpc: Rpc) -> None:
    """C6.7: by the built-in account of the development chain."""
    cases = {case["id"]: case for case in load_rpc_cases()}
    for name in ("decrypt-doc", "decrypt-sstore-9", "shadow-decrypt-sstore-9"):
        request = cases[name]["request"]
        answer = await rpc.result(request["method"], *request["params"])
        assert answer == cases[name]["result"]


def load_rpc_cases() -> list[dict[str, Any]]:
    from tests.vectors.files import load

    cases: list[dict[str, Any]] = load("json-rpc")["cases"]
    return cases


async def test_contracts_padded_address_as_id(three: ClientNetwork, rpc: Rpc) -> None:
    """C7: the id is an address of 20 bytes, padded on the left."""
    acting = client(rpc, three, REQUESTS)
    key_id = PEOPLE["rpc1"].address[2:].rjust(64, "0")
    signature = await acting.sign(ALICE, key_id)
    assert (await acting.http("POST", f"/{key_id}/{signature}/2")).status == 200
    assert (await acting.http("GET", f"/{key_id}/{signature}")).status == 200


async def test_background_questions_of_ethers(rpc: Rpc) -> None:
    """C3: `eth_chainId`, then `net_version`; both may fail, quickly."""
    for method in ("eth_chainId", "net_version"):
        answer = await rpc.call(method, id_=42)
        assert answer["error"] == {"code": -32601, "message": "Method not found"}


async def test_points_off_the_curve(three: ClientNetwork, rpc: Rpc) -> None:
    """400 with an empty body, but only after what comes before it in the order of checks."""
    acting, key_id = client(rpc, three, REQUESTS), fresh_id()
    off = {"common_point": f"0x{'11' * 64}", "encrypted_point": f"0x{'22' * 64}"}
    assert (await acting.store(ALICE, key_id, off)).status == 404
    assert (await acting.generate(ALICE, key_id, 1)).status == 200
    by_bob = await acting.store(BOB, key_id, off)
    assert (by_bob.status, by_bob.body) == (403, error("Access denied"))
    by_alice = await acting.store(ALICE, key_id, off)
    assert (by_alice.status, by_alice.body) == (400, b"")
    assert by_alice.header("content-type") is None
    assert (await acting.store(ALICE, key_id, VECTORS["worked_example"])).status == 200
    again = await acting.store(BOB, key_id, off)
    assert (again.status, again.body) == (
        400,
        error("Document key with this ID is already stored"),
    )


async def test_threshold_and_number_of_nodes(three: ClientNetwork, rpc: Rpc) -> None:
    acting = client(rpc, three, REQUESTS)
    for threshold in (3, 70_000, 2**64 - 1):
        answer = await acting.generate(ALICE, fresh_id(), threshold)
        too_few = error("not enough nodes for passed threshold")
        assert (answer.status, answer.body) == (500, too_few)
    known = fresh_id()
    assert (await acting.generate(ALICE, known, 2)).status == 200
    assert (await acting.generate(ALICE, known, 3)).status == 400


async def test_strict_nodes(rpc: Rpc) -> None:
    """What one's own node refuses says so; what only others refuse is unreachable."""
    strict = Policy(forbid_plain_modes=True)
    async with client_network(3, seed=11, policy=Policy()) as network:
        acting, key_id = client(rpc, network, REQUESTS), fresh_id()
        await acting.publish(ALICE, key_id, b"x", 1)
        network[0].node.policy = network[1].node.policy = strict
        signature = await acting.sign(ALICE, key_id)
        own = await ask(network[0].address, "GET", f"/{key_id}/{signature}")
        assert own.status == 403
        assert own.text.startswith('"\\"Operation is disabled: retrieve_plain ([keyserver] forbid')
        others = await ask(network[2].address, "GET", f"/{key_id}/{signature}")
        assert (others.status, others.body) == (403, error("Consensus unreachable"))
        fresh = fresh_id()
        path = f"/{fresh}/{await acting.sign(ALICE, fresh)}/1"
        others = await ask(network[2].address, "POST", path)
        assert (others.status, others.body) == (403, error("Consensus unreachable"))
