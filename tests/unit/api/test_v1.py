"""`/v1` over a scripted engine: what is asked, answered, refused, and in which order."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from starlette.types import ASGIApp
from structlog.testing import LogCapture

from keyserver.api import serving
from keyserver.api.ports import Availability
from keyserver.api.rate_limit import MOST_AT_ONCE, RateLimiter
from keyserver.api.v1_nonces import UsedNonces
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import address_of
from keyserver.engine.credentials import CredentialSource, Opening
from keyserver.errors import ChainError, KeyServerError, StorageError
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, Hash32, KeyId, Nonce32
from keyserver.model.keys import CertifiedRecord
from keyserver.model.requests import Credential, GenerateServerKey, Operation, SigningScheme
from keyserver.sessions.core import DeniedError, UnavailableError
from tests.support.asgi import call
from tests.support.bound_requests import (
    ALICE,
    DOMAIN,
    KEY,
    KEY_ID,
    NOW,
    POLICY,
    Signed,
    signed,
    v1_app_of,
)
from tests.support.client_node import sign_id
from tests.support.fake_cluster import point_of
from tests.support.raw_http import Answer
from tests.support.scripted_node import AUTHOR, NODES, SHADOW, ScriptedNode, ScriptedOperations

WHO = Address(address_of(ALICE.public().raw64))
COMMON, ENCRYPTED = point_of(3), point_of(4)
HASH = b"\x55" * 32
OFF_CURVE = "0x" + "55" * 64
PAIR = {
    "common_point": f"0x{COMMON.raw64.hex()}",
    "encrypted_point": f"0x{ENCRYPTED.raw64.hex()}",
}

GENERATE = signed("POST", KEY, 1, b"\x00\x01", {"threshold": 1})
STORE = signed("POST", f"{KEY}/document-key", 2, COMMON.raw64 + ENCRYPTED.raw64, PAIR)
BOTH = signed("POST", f"{KEY}/document-key/generate", 3, b"\x00\x01", {"threshold": 1})
SERVER = signed("GET", KEY, 4)
PLAIN = signed("POST", f"{KEY}/document-key/plain", 5)
SHADOWED = signed("POST", f"{KEY}/document-key/shadow", 6)
SIGN = [
    signed(
        "POST", f"{KEY}/signature", op, HASH, {"scheme": name, "message_hash": f"0x{HASH.hex()}"}
    )
    for op, name in ((7, "schnorr"), (8, "frost"), (9, "ecdsa"))
]
ALL = [GENERATE, STORE, BOTH, SERVER, PLAIN, SHADOWED, *SIGN]


def open_node(**changes: Any) -> ScriptedNode:
    return ScriptedNode(**{"policy": POLICY, **changes})


async def send(app: ASGIApp, request: Signed, *more: tuple[str, str], **changes: Any) -> Answer:
    headers = [*changes.pop("headers", request.headers), *more]
    body = changes.pop("body", request.body)
    return await call(app, request.method, request.path, headers, body, **changes)


async def ask(
    node: ScriptedNode, request: Signed, *more: tuple[str, str], **changes: Any
) -> Answer:
    return await send(v1_app_of(node), request, *more, **changes)


def error(answer: Answer) -> tuple[int, str]:
    body = json.loads(answer.text)
    assert list(body) == ["error"]
    told = body["error"]
    assert list(told) == ["code", "message", "retriable"]
    assert answer.header("content-type") == "application/json; charset=utf-8"
    assert told["retriable"] == (answer.header("retry-after") is not None)
    assert (answer.header("www-authenticate") is not None) == (answer.status == 401)
    return answer.status, told["code"]


def message(answer: Answer) -> str:
    return str(json.loads(answer.text)["error"]["message"])


# --- what is asked and answered ---------------------------------------------------------------


async def test_the_node_is_open_to_everybody() -> None:
    answer = await call(v1_app_of(open_node()), "GET", "/v1/node")
    assert answer.status == 200
    assert json.loads(answer.text) == {
        "node_id": f"0x{NODES[0].hex()}",
        "address": f"0x{NODES[0].address.hex()}",
        "chain_id": 100,
        "verifying_contract": "0x" + "c0" * 20,
        "version": "1.2.3",
    }


async def test_what_is_asked_of_the_engine() -> None:
    node = open_node()
    for request in ALL:
        answer = await ask(node, request)
        assert answer.status == 200, answer.text
    calls = node.operations.calls
    assert calls[0] == ("generate_server_key", KEY_ID, 1)
    assert calls[1][:2] == ("store_document_key", KEY_ID)
    assert calls[2] == ("generate_both", KEY_ID, 1, ALICE.public())
    assert calls[3] == ("retrieve_server_key", KEY_ID, WHO)
    assert calls[4] == ("retrieve_plain", KEY_ID)
    assert calls[5] == ("retrieve_shadow", KEY_ID, frozenset())


async def test_answers() -> None:
    node = open_node()
    key = json.loads((await ask(node, GENERATE)).text)
    assert list(key) == ["public", "threshold", "author"]
    assert (key["threshold"], key["author"]) == (1, f"0x{AUTHOR.hex()}")
    assert len(key["public"]) == 130
    assert json.loads((await ask(node, SERVER)).text) == key
    assert json.loads((await ask(node, STORE)).text) == {}
    for request in (BOTH, PLAIN):
        told = json.loads((await ask(node, request)).text)
        assert told == {"encrypted_key": "0x" + "04" * 177}
    shadow = json.loads((await ask(node, SHADOWED)).text)
    assert shadow == {
        "decrypted_secret": f"0x{SHADOW.decrypted_secret.raw64.hex()}",
        "common_point": f"0x{SHADOW.common_point.raw64.hex()}",
        "decrypt_shadows": ["0x" + "01" * 145, "0x" + "02" * 145],
        "shadow_commitments": [f"0x{point.raw64.hex()}" for point in SHADOW.shadow_commitments],
        "shadow_nodes": [f"0x{node_id.hex()}" for node_id in SHADOW.nodes],
    }


async def test_nodes_are_left_out() -> None:
    node = open_node()
    body = json.dumps({"exclude": [f"0x{NODES[1].hex().upper()}"]}).encode()
    assert (await ask(node, SHADOWED, body=body)).status == 200, "and no part of the signature"
    assert node.operations.calls == [("retrieve_shadow", KEY_ID, frozenset(NODES[1:2]))]


@pytest.mark.parametrize("body", [b"", b"{}", b" {\n}\t"])
async def test_bodies_that_may_be_absent(body: bytes) -> None:
    for request in (SERVER, PLAIN, SHADOWED):
        assert (await ask(open_node(), request.again, body=body)).status == 200


@pytest.mark.parametrize("threshold", [b"1", b"1.0", b"1e0", b"10e-1"])
async def test_one_is_one(threshold: bytes) -> None:
    body = b'{"threshold":' + threshold + b"}"
    node = open_node()
    assert (await ask(node, GENERATE, body=body)).status == 200
    assert node.operations.calls == [("generate_server_key", KEY_ID, 1)]


@pytest.mark.parametrize("form", ["0x{}", "{}"])
async def test_ids_with_and_without_prefix(form: str) -> None:
    node = open_node()
    path = f"/v1/server-keys/{form.format(KEY_ID.hex().upper())}"
    assert (await ask(node, replace(SERVER, path=path))).status == 200
    assert node.operations.calls == [("retrieve_server_key", KEY_ID, WHO)]


@pytest.mark.parametrize("id_", [bytes(32), b"\xff" * 32])
async def test_every_id_can_be_bound(id_: bytes) -> None:
    """Unlike with a signature of the bare id, where these prove nothing."""
    request = replace(SERVER, key_id=KeyId(id_), path=f"/v1/server-keys/{id_.hex()}")
    assert (await ask(open_node(), request)).status == 200


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "text/plain", "application/x-www-form-urlencoded", ";"],
)
async def test_the_content_type_does_not_matter(content_type: str | None) -> None:
    more = [] if content_type is None else [("Content-Type", content_type)]
    assert (await ask(open_node(), GENERATE.again, *more)).status == 200


@pytest.mark.parametrize(("request_", "scheme"), [*zip(SIGN, SigningScheme, strict=True)])
async def test_signing(request_: Signed, scheme: SigningScheme) -> None:
    node = open_node()
    app = v1_app_of(node)
    answer = await send(app, request_.again)
    size = 177 if scheme is SigningScheme.SCHNORR else 178
    assert json.loads(answer.body) == {"encrypted_signature": f"0x{'04' * size}"}
    assert node.operations.calls == [("sign", KEY_ID, Hash32(HASH), scheme, WHO)]
    assert error(await send(app, request_.again, headers=[])) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("captured", SIGN)
async def test_a_credential_is_for_one_message(captured: Signed) -> None:
    """With another one it names an account that nobody has."""
    body = {**json.loads(captured.body), "message_hash": f"0x{'56' * 32}"}
    node = open_node()
    assert (await ask(node, captured, body=json.dumps(body).encode())).status == 200
    assert [call[2] for call in node.operations.calls] == [Hash32(b"\x56" * 32)]
    assert all(WHO not in call for call in node.operations.calls)


# --- bodies and paths that are refused --------------------------------------------------------

MALFORMED = [
    (GENERATE, b"", "body"),
    (GENERATE, b"[]", "body"),
    (GENERATE, b"null", "body"),
    (GENERATE, b"1", "body"),
    (GENERATE, b"{", "body"),
    (GENERATE, b"{}{}", "body"),
    (GENERATE, b'\xff{"threshold":1}', "body"),
    (GENERATE, b'\xef\xbb\xbf{"threshold":1}', "body"),
    (GENERATE, '{"threshold":1}'.encode("utf-16"), "body"),
    (GENERATE, b'{"threshold":"\xff"}', "body"),
    (GENERATE, b'{"threshold":' + b"[" * 50_000 + b"}", "body"),
    (GENERATE, b'{"a":' * 10_000, "body"),
    (GENERATE, b'{"threshold":NaN}', "body"),
    (GENERATE, b'{"threshold":Infinity}', "body"),
    (GENERATE, b'{"threshold":1e999}', "threshold"),
    (GENERATE, b'{"threshold":' + b"9" * 4000 + b"}", "threshold"),
    (GENERATE, b'{"threshold":' + b"9" * 60_000 + b"}", "body"),
    (GENERATE, b'{"threshold":1,"threshold":1}', "body"),
    (GENERATE, b"{}", "threshold"),
    (GENERATE, b'{"threshold":-1}', "threshold"),
    (GENERATE, b'{"threshold":65536}', "threshold"),
    (GENERATE, b'{"threshold":1.5}', "threshold"),
    (GENERATE, b'{"threshold":1e300}', "threshold"),
    (GENERATE, b'{"threshold":true}', "threshold"),
    (GENERATE, b'{"threshold":"1"}', "threshold"),
    (GENERATE, b'{"threshold":null}', "threshold"),
    (GENERATE, b'{"threshold":1,"x":1}', '"x"'),
    (GENERATE, b'{"threshold":1,"' + b"y" * 1000 + b'":1}', '"yyyy'),
    (BOTH, b'{"Threshold":1}', "threshold"),
    (PLAIN, b'{"exclude":[]}', '"exclude"'),
    (SHADOWED, b'{"exclude":null}', "exclude"),
    (SHADOWED, b'{"exclude":"0x00"}', "exclude"),
    (SHADOWED, b'{"exclude":[1]}', "exclude.0"),
    (SHADOWED, json.dumps({"exclude": [f"0x{NODES[0].hex()}", OFF_CURVE]}).encode(), "exclude.1"),
    (SHADOWED, json.dumps({"exclude": [f"0x{NODES[0].hex()}"] * 257}).encode(), "exclude"),
    (STORE, b"{}", "common_point"),
    (STORE, json.dumps({**PAIR, "encrypted_point": OFF_CURVE}).encode(), "encrypted_point"),
    (STORE, json.dumps({**PAIR, "common_point": "0x" + "00" * 64}).encode(), "common_point"),
    (STORE, json.dumps({**PAIR, "common_point": COMMON.raw64.hex()}).encode(), "common_point"),
    (STORE, json.dumps({**PAIR, "common_point": "0x12"}).encode(), "common_point"),
    (SIGN[0], json.dumps({"scheme": "rsa", "message_hash": f"0x{HASH.hex()}"}).encode(), "scheme"),
    (SIGN[0], json.dumps({"scheme": "ecdsa", "message_hash": "0x12"}).encode(), "message_hash"),
]


@pytest.mark.parametrize(("request_", "body", "field"), MALFORMED)
async def test_malformed_bodies(request_: Signed, body: bytes, field: str) -> None:
    node = open_node()
    answer = await ask(node, request_, body=body)
    assert error(answer) == (400, "BAD_REQUEST")
    assert message(answer).startswith(field)
    assert len(answer.body) < 400, "what is wrong is not repeated at length"
    assert node.operations.calls == []


@pytest.mark.parametrize(
    "id_", ["", "00", "0x", "zz" * 32, "ab" * 33, "0X" + "ab" * 32, "%20" + "ab" * 31, "٠" * 64]
)
async def test_malformed_ids(id_: str) -> None:
    path = f"/v1/server-keys/{id_}".encode().decode("latin-1")
    answer = await call(v1_app_of(open_node()), "GET", path)
    assert error(answer) == ((404, "NOT_FOUND") if not id_ else (400, "BAD_REQUEST"))


async def test_a_body_that_is_too_large() -> None:
    large = b'{"threshold":1' + b" " * 65_536 + b"}"
    assert error(await ask(open_node(), GENERATE, body=large)) == (413, "BODY_TOO_LARGE")
    for path in ("/v1/node", "/v1/nothing"):
        answer = await call(v1_app_of(open_node()), "GET", path, body=large)
        assert error(answer) == (413, "BODY_TOO_LARGE")


# --- paths and methods ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nodes",
        "/v1/node/",
        "/v1//node",
        "/v1/server-keys",
        f"{KEY}/",
        "/v1/\n",
        "/v1/a\nb",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "BREW"])
async def test_paths_that_are_not_there(path: str, method: str) -> None:
    assert error(await call(v1_app_of(open_node()), method, path)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/node", "GET, HEAD"),
        ("/v1/docs", "GET, HEAD"),
        ("/v1/openapi.json", "GET, HEAD"),
        (KEY, "GET, POST"),
        (f"{KEY}/document-key", "POST"),
        (f"{KEY}/signature", "POST"),
    ],
)
async def test_methods(path: str, allowed: str) -> None:
    app = v1_app_of(open_node())
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "get", "TRACE"} - set(
        allowed.split(", ")
    ):
        answer = await call(app, method, path)
        assert error(answer) == (405, "METHOD_NOT_ALLOWED")
        assert answer.header("allow") == allowed
    options = await call(app, "OPTIONS", path)
    assert (options.status, options.header("allow"), options.body) == (204, allowed, b"")


@pytest.mark.parametrize("path", ["/v1/node", "/v1/docs", "/v1/openapi.json"])
async def test_head_is_get_without_a_body(path: str) -> None:
    app = v1_app_of(open_node())
    assert (await call(app, "HEAD", path)).status == (await call(app, "GET", path)).status == 200


async def test_the_original_door_is_as_it_was() -> None:
    app = v1_app_of(open_node())
    for path in ("/V1/node", "//v1/node", "/v2/node", "/", "/v1node"):
        answer = await call(app, "GET", path)
        assert (answer.status, answer.body) == (400, b"")


# --- who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", ALL)
async def test_without_or_with_a_wrong_credential(request_: Signed) -> None:
    app = v1_app_of(open_node())
    value = request_.header
    cases: list[tuple[list[tuple[str, str]], str]] = [
        ([], "UNAUTHENTICATED"),
        ([("Secretstore-Auth", "")], "UNAUTHENTICATED"),
        ([("Secretstore-Auth", value), ("Secretstore-Auth", value)], "UNAUTHENTICATED"),
        ([("Secretstore-Auth", value[:-2] + "1b")], "UNAUTHENTICATED"),
        ([("Authorization", value)], "UNAUTHENTICATED"),
        (replace(request_, not_after=NOW - 1).headers, "SIGNATURE_EXPIRED"),
        (replace(request_, not_after=NOW + 601).headers, "UNAUTHENTICATED"),
    ]
    for headers, code in cases:
        assert error(await send(app, request_, headers=headers)) == (401, code)


@pytest.mark.parametrize("request_", ALL)
async def test_a_captured_header_is_worth_nothing_elsewhere(request_: Signed) -> None:
    """With another id, body, operation or domain it names somebody else."""
    node = open_node()
    other_id = f"/v1/server-keys/{'4c' * 32}"
    elsewhere = replace(request_, path=request_.path.replace(KEY, other_id))
    others = [other for other in ALL if other is not request_]
    for target in (elsewhere, *others):
        answer = await ask(node, target, headers=request_.headers)
        assert answer.status == 200, "to whomever that signature belongs"
    foreign = SigningDomain(101, DOMAIN.verifying_contract)
    assert (await ask(node, replace(request_, domain=foreign))).status == 200
    assert all(WHO not in asked for asked in node.operations.calls)
    assert all(ALICE.public() not in asked for asked in node.operations.calls)


async def test_a_credential_counts_once() -> None:
    app = v1_app_of(open_node())
    assert (await send(app, SERVER)).status == 200
    assert error(await send(app, SERVER)) == (401, "NONCE_USED")
    assert (await send(app, SERVER.again)).status == 200
    mallory = replace(SERVER, key=SecretScalar.from_int(6))
    assert (await send(app, mallory)).status == 200, "another's nonce does not count"
    extended = replace(SERVER, not_after=NOW + 61)
    assert error(await send(app, extended)) == (401, "NONCE_USED")


async def test_a_nonce_counts_while_its_request_runs() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Waiting(ScriptedOperations):
        async def retrieve_server_key(self, key_id: KeyId, requester: Address) -> CertifiedRecord:
            asked.set()
            await go_on.wait()
            return await super().retrieve_server_key(key_id, requester)

    app = v1_app_of(open_node(operations=Waiting()))
    first = asyncio.ensure_future(send(app, SERVER))
    await asked.wait()
    assert error(await send(app, SERVER)) == (401, "NONCE_USED")
    go_on.set()
    assert (await first).status == 200


BEFORE_A_SESSION = [
    (UnavailableError("x", "NodeDisconnected"), 503),
    (DeniedError("x", "ServerKeyIsNotFound"), 404),
    (StorageError("x"), 500),
    (ZeroDivisionError("x"), 500),
]


@pytest.mark.parametrize(("failure", "status"), BEFORE_A_SESSION)
async def test_what_fails_before_a_session_may_be_repeated(failure: Exception, status: int) -> None:
    node = open_node(operations=ScriptedOperations(failure=failure))
    app = v1_app_of(node)
    for request in ALL:
        assert (await send(app, request)).status == status
    node.operations.failure = None
    for request in ALL:
        assert (await send(app, request)).status == 200
        assert error(await send(app, request)) == (401, "NONCE_USED")


class ShowsFirst(ScriptedOperations):
    """Engines that fail when other nodes have been asked."""

    async def generate_server_key(
        self, key_id: KeyId, threshold: int, credential: Credential | CredentialSource
    ) -> CertifiedRecord:
        assert callable(credential)
        operation = GenerateServerKey(key_id, threshold)
        credential(Opening(NODES[0], Nonce32(bytes(32)), 1, operation))
        return await super().generate_server_key(key_id, threshold, credential)


async def test_what_fails_in_a_session_may_not() -> None:
    failing = ShowsFirst(failure=UnavailableError("x", "NodeDisconnected"))
    app = v1_app_of(open_node(operations=failing))
    assert error(await send(app, GENERATE)) == (503, "NODE_DISCONNECTED")
    assert error(await send(app, GENERATE)) == (401, "NONCE_USED")


async def test_refusals_before_the_engine_cost_no_nonce() -> None:
    nonces = UsedNonces()
    forbidding = replace(POLICY, forbid_plain_modes=True)
    node = open_node(policy=forbidding)
    app = v1_app_of(node, nonces=nonces, limiter=RateLimiter(1, lambda: 0.0))
    assert error(await send(app, PLAIN)) == (403, "OPERATION_DISABLED")
    assert error(await send(app, GENERATE, body=b"{}")) == (400, "BAD_REQUEST")
    node.availability = Availability.STANDBY
    assert error(await send(app, SERVER)) == (503, "STANDBY")
    node.availability = Availability.OPEN
    while (await send(app, SERVER.again)).status != 429:
        assert len(nonces) < 20
    used = len(nonces)
    await send(app, SHADOWED)
    assert len(nonces) == used


async def test_too_many_nonces_at_once() -> None:
    app = v1_app_of(open_node(), nonces=UsedNonces(limit=1))
    assert (await send(app, SERVER)).status == 200
    assert error(await send(app, SHADOWED)) == (429, "RATE_LIMITED")


@pytest.mark.parametrize("availability", [Availability.SEALED, Availability.STANDBY])
async def test_sealed_and_standby(availability: Availability) -> None:
    app = v1_app_of(open_node(availability=availability))
    node = await call(app, "GET", "/v1/node")
    assert error(node) == (503, availability.name)
    for request in ALL:
        for headers in (request.headers, []):
            answer = await send(app, request, headers=headers)
            assert error(answer) == (503, availability.name)
            assert answer.header("retry-after") == "5"
    assert error(await send(app, GENERATE, body=b"[]")) == (400, "BAD_REQUEST")
    for path in ("/v1/docs", "/v1/openapi.json"):
        assert (await call(app, "GET", path)).status == 200


async def test_a_node_that_does_not_know_its_network_yet() -> None:
    """It could only name a wrong domain, and take a right signature for a stranger's."""
    app = v1_app_of(open_node(node_set_is_known=False))
    assert error(await call(app, "GET", "/v1/node")) == (503, "NODE_DISCONNECTED")
    for request in ALL:
        assert error(await send(app, request)) == (503, "NODE_DISCONNECTED")


async def test_too_many_requests_of_an_address_or_of_a_requester() -> None:
    app = v1_app_of(open_node(), limiter=RateLimiter(1, lambda: 0.0))
    first, second, third = ("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1)
    answers = [await send(app, SERVER.again, client=first) for _ in range(12)]
    assert [answer.status for answer in answers] == [200] * 10 + [429] * 2
    assert error(answers[-1]) == (429, "RATE_LIMITED")
    assert answers[-1].header("retry-after") == "1"
    assert error(await send(app, SERVER.again, client=second)) == (429, "RATE_LIMITED")
    unsigned = [await call(app, "GET", "/v1/docs", client=third) for _ in range(11)]
    assert [answer.status for answer in unsigned] == [200] * 10 + [429]


async def test_who_repeats_a_credential_uses_up_nothing_of_its_owner() -> None:
    app = v1_app_of(open_node(), limiter=RateLimiter(1, lambda: 0.0))
    assert (await send(app, SERVER, client=("10.0.0.1", 1))).status == 200
    for number in range(20):
        repeated = await send(app, SERVER, client=(f"10.0.1.{number}", 1))
        assert error(repeated) == (401, "NONCE_USED")
    assert (await send(app, SERVER.again, client=("10.0.0.1", 1))).status == 200


async def test_what_is_too_much_costs_no_nonce_and_is_not_read() -> None:
    now = [0.0]
    app = v1_app_of(open_node(), limiter=RateLimiter(1, lambda: now[0]))
    for number in range(10):
        assert (await send(app, SERVER.again, client=(f"10.0.0.{number}", 1))).status == 200
    refused, later = SERVER.again, ("10.0.1.1", 1)
    assert error(await send(app, refused, client=later)) == (429, "RATE_LIMITED")
    now[0] += 1
    assert (await send(app, refused, client=later)).status == 200
    garbage = [await call(app, "POST", KEY, [], b"{", client=("10.0.2.1", 1)) for _ in range(11)]
    assert [answer.status for answer in garbage] == [400] * 10 + [429]


async def test_one_client_does_not_keep_the_node_from_others() -> None:
    go_on, mallory, bob = asyncio.Event(), ("10.0.0.1", 1), ("10.0.0.2", 1)

    class Slow(ScriptedOperations):
        async def retrieve_server_key(self, key_id: KeyId, requester: Address) -> CertifiedRecord:
            await go_on.wait()
            return await super().retrieve_server_key(key_id, requester)

    node = open_node(operations=Slow())
    app = v1_app_of(node, limiter=RateLimiter(1000, lambda: 0.0))
    many = [asyncio.ensure_future(send(app, SERVER.again, client=mallory)) for _ in range(200)]
    refused, _ = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    assert {error(each.result()) for each in refused} == {(429, "RATE_LIMITED")}
    original = ("GET", f"/shadow/{KEY_ID.hex()}/{sign_id(ALICE, KEY_ID)}")
    assert (await call(app, *original, client=mallory)).status == 429, "through either door"
    assert (await call(app, *original, client=bob)).status == 200
    go_on.set()
    statuses = [answer.status for answer in await asyncio.gather(*many)]
    assert statuses.count(200) == MOST_AT_ONCE
    assert (await call(app, *original, client=mallory)).status == 200


async def test_what_the_operator_has_switched_off() -> None:
    strict = replace(POLICY, strict_credentials=frozenset(Operation), generators=frozenset({WHO}))
    for request in ALL:
        assert (await ask(open_node(policy=strict), request)).status == 200
    others_only = replace(POLICY, generators=frozenset({AUTHOR}))
    for request in (GENERATE, BOTH):
        node = open_node(policy=others_only)
        assert error(await ask(node, request)) == (403, "ACCESS_DENIED")
        assert node.operations.calls == []
    no_plain = replace(POLICY, forbid_plain_modes=True)
    for request in (BOTH, PLAIN):
        answer = await ask(open_node(policy=no_plain), request)
        assert error(answer) == (403, "OPERATION_DISABLED")
        assert "[keyserver] forbid_plain_modes" in message(answer)
        assert "/v1/server-keys/{id}/document-key" in message(answer)


# --- failures of the engine -------------------------------------------------------------------

FAILURES: list[tuple[KeyServerError, int, str]] = [
    (DeniedError("x", "AccessDenied"), 403, "ACCESS_DENIED"),
    (DeniedError("x", "ConsensusUnreachable"), 403, "CONSENSUS_UNREACHABLE"),
    (UnavailableError("x", "ConsensusUnreachable"), 503, "CONSENSUS_UNREACHABLE"),
    (UnavailableError("x"), 503, "CONSENSUS_TEMPORARY_UNREACHABLE"),
    (DeniedError("x", "ServerKeyIsNotFound"), 404, "SERVER_KEY_IS_NOT_FOUND"),
    (DeniedError("x", "DocumentKeyIsNotFound"), 404, "DOCUMENT_KEY_IS_NOT_FOUND"),
    (DeniedError("x", "ServerKeyAlreadyGenerated"), 400, "SERVER_KEY_ALREADY_GENERATED"),
    (UnavailableError("x", "ServerKeyAlreadyGenerated"), 503, "SERVER_KEY_ALREADY_GENERATED"),
    (DeniedError("x", "DocumentKeyAlreadyStored"), 400, "DOCUMENT_KEY_ALREADY_STORED"),
    (DeniedError("x", "NotEnoughNodesForThreshold"), 400, "NOT_ENOUGH_NODES_FOR_THRESHOLD"),
    (UnavailableError("x", "NodeDisconnected"), 503, "NODE_DISCONNECTED"),
    (UnavailableError("x", "DuplicateSessionId"), 503, "DUPLICATE_SESSION_ID"),
    (UnavailableError("x", "ExclusiveSessionActive"), 503, "EXCLUSIVE_SESSION_ACTIVE"),
    (UnavailableError("x", "HasActiveSessions"), 503, "HAS_ACTIVE_SESSIONS"),
    (DeniedError("x", "ReplayProtection"), 401, "NONCE_USED"),
    (DeniedError("x", "SignatureExpired"), 401, "SIGNATURE_EXPIRED"),
    (DeniedError("x", "InvalidMessage"), 500, "INVALID_MESSAGE"),
    (DeniedError("x", "Unheard"), 500, "INTERNAL"),
    (ChainError("http://10.0.0.1"), 503, "INTERNAL"),
    (StorageError("disk /dev/sda"), 500, "DATABASE"),
]


@pytest.mark.parametrize(("failure", "status", "code"), FAILURES)
async def test_failures_of_the_engine(failure: KeyServerError, status: int, code: str) -> None:
    for request in ALL:
        node = open_node(operations=ScriptedOperations(failure=failure))
        answer = await ask(node, request)
        assert error(answer) == (status, code)
        assert "10.0.0.1" not in answer.text
        assert "/dev" not in answer.text


async def test_an_error_nobody_foresaw(logged: LogCapture) -> None:
    node = open_node(operations=ScriptedOperations(failure=ZeroDivisionError("secret")))
    for request in ALL:
        answer = await ask(node, request)
        assert error(answer) == (500, "INTERNAL")
        assert "see the log" in message(answer)
    failed = [entry for entry in logged.entries if entry["event"] == "request_failed_unexpectedly"]
    assert len(failed) == len(ALL)
    assert all(entry["exc_info"] for entry in failed), "with the trace"


async def test_an_error_before_the_routes(logged: LogCapture) -> None:
    """Of the parts that every request passes first, not only of the operations."""

    class Broken(RateLimiter):
        def admits(self, client: object) -> bool:
            raise ZeroDivisionError("broken")

    app = v1_app_of(open_node(), limiter=Broken(1, lambda: 0.0))
    assert error(await send(app, SERVER)) == (500, "INTERNAL")
    assert [entry["event"] for entry in logged.entries] == [
        "request_failed_unexpectedly",
        "http_request",
    ]


@pytest.mark.parametrize("request_", [PLAIN, SHADOWED])
async def test_a_chain_that_does_not_answer(request_: Signed) -> None:
    temporary = UnavailableError("x", "ConsensusTemporaryUnreachable")
    node = open_node(operations=ScriptedOperations(failure=temporary), chain_is_silent=True)
    answer = await ask(node, request_)
    assert error(answer) == (503, "INTERNAL")
    assert "Ethereum" in message(answer)


@pytest.mark.parametrize("request_", ALL)
async def test_a_request_ends_in_time(request_: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    node = open_node()
    for name in dir(node.operations):
        if not name.startswith("_") and callable(getattr(node.operations, name)):
            monkeypatch.setattr(node.operations, name, stuck)
    monkeypatch.setattr(serving, "REQUEST_S", 0.01)
    writes = request_ in (GENERATE, STORE, BOTH)
    code = "NODE_DISCONNECTED" if writes else "CONSENSUS_TEMPORARY_UNREACHABLE"
    assert error(await ask(node, request_)) == (503, code)


# --- the log ----------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    capture = LogCapture()
    everything = structlog.make_filtering_bound_logger(0)
    structlog.configure(processors=[capture], wrapper_class=everything)
    yield capture
    structlog.reset_defaults()


async def test_the_log_has_a_line_a_request_and_no_secret(logged: LogCapture) -> None:
    app = v1_app_of(open_node())
    for request in ALL:
        await send(app, request)
        await send(app, request, body=b"\xff")
    await call(app, "GET", f"/v1/{GENERATE.header[-130:]}")
    lines = [entry for entry in logged.entries if entry["event"] == "http_request"]
    assert len(lines) == 2 * len(ALL) + 1
    assert {line["operation"] for line in lines} == {"none"} | {
        operation.name.lower() for operation in Operation if operation < 16
    }
    assert lines[0]["requester"] == WHO
    assert lines[0]["key_id"] == KEY_ID
    assert lines[0]["status"] == 200
    text = repr(logged.entries)
    for request in ALL:
        assert request.header[-130:][:10] not in text
        assert request.header[-60:] not in text
