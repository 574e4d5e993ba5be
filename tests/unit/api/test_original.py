"""The original's interface over a scripted engine: order of refusals, answers, the log."""

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from structlog.testing import LogCapture

from keyserver.api import serving
from keyserver.api.cors import OriginPolicy
from keyserver.api.credentials import open_path_credential
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.original_paths import parse
from keyserver.api.ports import Availability
from keyserver.api.rate_limit import RateLimiter
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import ChainError, StorageError
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.requests import Operation, SigningScheme
from keyserver.sessions.core import DeniedError, Policy, UnavailableError
from tests.support.asgi import call
from tests.support.client_node import sign_id
from tests.support.fake_cluster import point_of
from tests.support.raw_http import Answer
from tests.support.scripted_node import SHADOW, ScriptedNode, ScriptedOperations, app_of

WHO = SecretScalar.from_int(2)
KEY_ID = KeyId(b"\x4b" * 32)
ID, SIG = KEY_ID.hex(), sign_id(WHO, KEY_ID)
HASH = "55" * 32
COMMON, ENCRYPTED = point_of(3).raw64.hex(), point_of(4).raw64.hex()
NODE_IDS = f'["0x{COMMON}"]'.encode()
BAD_SIG = SIG[:128] + "1b"

GENERATE = ("POST", f"/shadow/{ID}/{SIG}/1")
BOTH = ("POST", f"/{ID}/{SIG}/1")
STORE = ("POST", f"/shadow/{ID}/{SIG}/{COMMON}/{ENCRYPTED}")
SERVER = ("GET", f"/server/{ID}/{SIG}")
PLAIN = ("GET", f"/{ID}/{SIG}")
SHADOWED = ("GET", f"/shadow/{ID}/{SIG}")
SCHNORR = ("GET", f"/schnorr/{ID}/{SIG}/{HASH}")
ECDSA = ("GET", f"/ecdsa/{ID}/{SIG}/{HASH}")
ADMIN = ("POST", f"/admin/servers_set_change/{SIG}/{SIG}")
ROWS = [GENERATE, STORE, BOTH, SERVER, PLAIN, SHADOWED, SCHNORR, ECDSA]


async def ask(node: ScriptedNode, request: tuple[str, str], body: bytes = b"") -> Answer:
    return await call(app_of(node), *request, body=body)


def error(answer: Answer) -> tuple[int, str]:
    assert answer.text.startswith('"\\"')
    assert answer.text.endswith('\\""')
    assert answer.header("content-type") == "application/json; charset=utf-8"
    return answer.status, answer.text[3:-3]


async def test_what_is_asked_of_the_engine() -> None:
    node = ScriptedNode()
    for request in ROWS:
        assert (await ask(node, request)).status == 200
    asked = [(name, *rest[:2]) for name, *rest in node.operations.calls]
    address = open_path_credential(KEY_ID, bytes.fromhex(SIG), SeededRandom(0)).address
    assert asked[0] == ("generate_server_key", KEY_ID, 1)
    assert asked[1][:2] == ("store_document_key", KEY_ID)
    assert asked[2] == ("generate_both", KEY_ID, 1)
    assert asked[3] == ("retrieve_server_key", KEY_ID, address)
    assert asked[4:6] == [("retrieve_plain", KEY_ID), ("retrieve_shadow", KEY_ID, frozenset())]
    message = Hash32(bytes.fromhex(HASH))
    assert node.operations.calls[6:] == [
        ("sign", KEY_ID, message, SigningScheme.SCHNORR, address),
        ("sign", KEY_ID, message, SigningScheme.ECDSA, address),
    ]


async def test_answers() -> None:
    node = ScriptedNode()
    public = (await ask(node, GENERATE)).text
    assert public.startswith('"0x')
    assert len(public) == 132
    assert (await ask(node, PLAIN)).text == f'"0x{"04" * 177}"'
    assert (await ask(node, SCHNORR)).text == f'"0x{"04" * 177}"'
    assert (await ask(node, ECDSA)).text == f'"0x{"04" * 178}"'
    stored = await ask(node, STORE)
    assert (stored.body, stored.header("content-type")) == (b"", None)
    assert stored.header("content-length") == "0"
    shadow = await ask(node, SHADOWED)
    assert shadow.text == (
        f'{{"decrypted_secret":"0x{SHADOW.decrypted_secret.raw64.hex()}",'
        f'"common_point":"0x{SHADOW.common_point.raw64.hex()}",'
        f'"decrypt_shadows":["0x{"01" * 145}","0x{"02" * 145}"]}}'
    )


@pytest.mark.parametrize("request_", ROWS)
async def test_a_signature_that_recovers_to_nobody(request_: tuple[str, str]) -> None:
    node = ScriptedNode(policy=Policy(strict_credentials=frozenset(Operation)))
    answer = await ask(node, (request_[0], request_[1].replace(SIG, BAD_SIG)))
    bad = "Insufficient requester data: bad signature: invalid EC signature"
    assert error(answer) == (400, bad)
    assert node.operations.calls == []


@pytest.mark.parametrize("request_", ROWS)
async def test_sealed_and_standby_come_before_the_signature(request_: tuple[str, str]) -> None:
    for availability, text in (
        (Availability.SEALED, "Node is sealed"),
        (Availability.STANDBY, "Node is on standby"),
    ):
        node = ScriptedNode(availability=availability)
        for path in (request_[1], request_[1].replace(SIG, BAD_SIG)):
            answer = await ask(node, (request_[0], path))
            assert error(answer) == (503, text)
            assert answer.header("retry-after") == "5"
        assert (await ask(node, ("GET", "/nothing"))).status == 400


@pytest.mark.parametrize("request_", ROWS)
async def test_what_is_switched_off(request_: tuple[str, str]) -> None:
    node = ScriptedNode(policy=Policy(strict_credentials=frozenset(Operation)))
    status, text = error(await ask(node, request_))
    assert status == 403
    assert text.startswith("Operation is disabled: ")
    assert node.operations.calls == []


@pytest.mark.parametrize("request_", [SCHNORR, ECDSA])
@pytest.mark.parametrize(
    ("code", "kind", "status", "text"),
    [
        ("ConsensusUnreachable", DeniedError, 403, "Consensus unreachable"),
        ("ConsensusUnreachable", UnavailableError, 403, "Consensus unreachable"),
        ("ConsensusTemporaryUnreachable", UnavailableError, 403, "Consensus temporary unreachable"),
        ("ServerKeyIsNotFound", DeniedError, 404, "Server key with this ID is not found"),
        (
            "NodeDisconnected",
            UnavailableError,
            500,
            "node required for this operation is currently disconnected",
        ),
        ("ExclusiveSessionActive", UnavailableError, 500, "Exclusive session active"),
    ],
)
async def test_signatures_that_are_refused(
    request_: tuple[str, str],
    code: str,
    kind: type[DeniedError | UnavailableError],
    status: int,
    text: str,
) -> None:
    node = ScriptedNode(operations=ScriptedOperations(failure=kind("x", code)))
    assert error(await ask(node, request_)) == (status, text)


@pytest.mark.parametrize("request_", [SCHNORR, ECDSA])
@pytest.mark.parametrize("digits", ["0x" + "22" * 31, "0x" + "22" * 32, "22" * 31, "zz" * 32])
async def test_a_message_that_is_not_32_bytes_in_hexadecimal(
    request_: tuple[str, str], digits: str
) -> None:
    node = ScriptedNode()
    method, path = request_
    answer = await ask(node, (method, path.replace(HASH, digits)))
    assert (answer.status, answer.body) == (400, b"")
    assert node.operations.calls == []


@pytest.mark.parametrize("request_", [SCHNORR, ECDSA])
async def test_a_chain_that_nobody_can_ask_for_the_signers_permission(
    request_: tuple[str, str],
) -> None:
    failure = UnavailableError("no permission", "ConsensusTemporaryUnreachable")
    node = ScriptedNode(operations=ScriptedOperations(failure=failure), chain_is_silent=True)
    status, text = error(await ask(node, request_))
    assert status == 500
    assert text.startswith("Internal error: the Ethereum node")


async def test_the_administrator() -> None:
    node = ScriptedNode()
    assert error(await ask(node, ADMIN, NODE_IDS)) == (403, "Access denied")
    for body in (b"", b"[]", b"{}", b"[1]", b'["0x00"]', b"\xff", b"[" * 50_000):
        answer = await ask(node, ADMIN, body)
        assert (answer.status, answer.body) == (400, b"")
    node.availability = Availability.SEALED
    assert error(await ask(node, ADMIN, NODE_IDS)) == (503, "Node is sealed")


@pytest.mark.parametrize("id_", ["00" * 32, "ff" * 32])
async def test_ids_whose_signature_proves_nothing(id_: str) -> None:
    node = ScriptedNode()
    signature = sign_id(WHO, bytes.fromhex(id_))
    status, text = error(await ask(node, ("GET", f"/shadow/{id_}/{signature}")))
    assert status == 400
    assert text.startswith("Insufficient requester data: ")
    assert node.operations.calls == []


async def test_points_off_the_curve() -> None:
    node = ScriptedNode()
    for points in (f"{COMMON}/{HASH}{HASH}", f"{HASH}{HASH}/{ENCRYPTED}"):
        answer = await ask(node, ("POST", f"/shadow/{ID}/{SIG}/{points}"))
        assert (answer.status, answer.body) == (400, b"")
        assert answer.header("content-type") is None
    assert [name for name, *_ in node.operations.calls] == ["check_storing"] * 2
    node.operations.failure = DeniedError("not the author", "AccessDenied")
    answer = await ask(node, ("POST", f"/shadow/{ID}/{SIG}/{HASH}{HASH}/{ENCRYPTED}"))
    assert error(answer) == (403, "Access denied")


@pytest.mark.parametrize("request_", ROWS)
async def test_failures_of_the_engine(request_: tuple[str, str]) -> None:
    cases: list[tuple[Exception, int, str]] = [
        (DeniedError("x", "ServerKeyIsNotFound"), 404, "Server key with this ID is not found"),
        (UnavailableError("x", "NodeDisconnected"), 500, "node required for this operation"),
        (StorageError("disk /dev/sda"), 500, "Database error: stored data cannot be"),
        (ChainError("http://10.0.0.1"), 500, "Internal error: the Ethereum node"),
        (ZeroDivisionError("secret"), 500, "Internal error: unexpected, see the log"),
    ]
    for failure, status, text in cases:
        node = ScriptedNode(operations=ScriptedOperations(failure=failure))
        answered, said = error(await ask(node, request_))
        assert answered == status
        assert said.startswith(text)


@pytest.mark.parametrize("request_", [PLAIN, SHADOWED])
async def test_a_chain_that_does_not_answer(request_: tuple[str, str]) -> None:
    temporary = UnavailableError("x", "ConsensusTemporaryUnreachable")
    node = ScriptedNode(operations=ScriptedOperations(failure=temporary), chain_is_silent=True)
    status, text = error(await ask(node, request_))
    assert status == 500
    assert text.startswith("Internal error: ")
    node.chain_is_silent = False
    assert error(await ask(node, request_)) == (403, "Consensus temporary unreachable")
    node.chain_is_silent = True
    node.operations.failure = DeniedError("x", "ConsensusUnreachable")
    assert error(await ask(node, request_)) == (403, "Consensus unreachable")


@pytest.mark.parametrize("request_", ROWS)
async def test_a_request_ends_in_time(
    request_: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    node = ScriptedNode()
    for name in dir(node.operations):
        if not name.startswith("_") and callable(getattr(node.operations, name)):
            monkeypatch.setattr(node.operations, name, stuck)
    monkeypatch.setattr(serving, "REQUEST_S", 0.01)
    status, text = error(await ask(node, request_))
    if request_ in (GENERATE, STORE, BOTH):
        assert (status, text[:28]) == (500, "node required for this opera")
    else:
        assert (status, text) == (403, "Consensus temporary unreachable")


async def test_too_many_requests_of_an_address_or_of_a_requester() -> None:
    limiter = RateLimiter(1, lambda: 0.0)
    app = app_of(ScriptedNode(), limiter=limiter)
    answers = [await call(app, *PLAIN, client=("10.0.0.1", 1)) for _ in range(12)]
    assert [answer.status for answer in answers] == [200] * 10 + [429] * 2
    assert error(answers[-1]) == (429, "Too many requests")
    assert answers[-1].header("retry-after") == "1"
    elsewhere = await call(app, *PLAIN, client=("10.0.0.2", 1))
    assert elsewhere.status == 429, "the same requester from another address"


async def test_foreign_pages_reach_nothing() -> None:
    node = ScriptedNode()
    app = app_of(node, cors=("http://app.example",))
    foreign = await call(app, *GENERATE, headers=[("Origin", "http://evil.example")])
    assert (foreign.status, foreign.body) == (404, b"")
    assert node.operations.calls == []
    for method, origin, status in (
        ("OPTIONS", "http://evil.example", 404),
        ("OPTIONS", "http://app.example", 204),
    ):
        answer = await call(app, method, "/x", [("Origin", origin)])
        assert (answer.status, answer.body) == (status, b"")
    assert (await call(app, "OPTIONS", GENERATE[1])).status == 400


async def test_routes_of_ones_own_come_first() -> None:
    async def hello(_: Request) -> Response:
        return PlainTextResponse("hello")

    needs = ClientDependencies(
        ScriptedNode(), SeededRandom(0), OriginPolicy(()), RateLimiter(0, lambda: 0.0)
    )
    app = client_app(needs, (Route("/v1/hello", hello),))
    assert (await call(app, "GET", "/v1/hello")).text == "hello"
    for path in ("/v1/hello/", "/v1/other", "/V1/hello", "/"):
        answer = await call(app, "GET", path)
        assert (answer.status, answer.body) == (400, b"")
    assert (await call(app, *PLAIN)).status == 200


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    capture = LogCapture()
    everything = structlog.make_filtering_bound_logger(0)
    structlog.configure(processors=[capture], wrapper_class=everything)
    yield capture
    structlog.reset_defaults()


async def test_no_signature_reaches_the_log(logged: LogCapture) -> None:
    for request in [*ROWS, ADMIN, ("GET", f"/nonsense/{SIG}")]:
        await ask(ScriptedNode(), request, NODE_IDS)
        await ask(ScriptedNode(operations=ScriptedOperations(failure=KeyError(1))), request)
    text = repr(logged.entries)
    assert len([e for e in logged.entries if e["event"] == "http_request"]) == 20
    assert SIG[:8] in text
    assert SIG[:10] not in text
    assert SIG[20:40] not in text
    assert repr(parse("GET", PLAIN[1].encode())).find(SIG[:8]) == -1


async def test_the_log_says_who_asked_for_what(logged: LogCapture) -> None:
    for request in ROWS:
        await ask(ScriptedNode(), request)
    told = [entry for entry in logged.entries if entry["event"] == "http_request"]
    assert len(told) == len(ROWS)
    assert {entry["requester"] for entry in told} == {NodeId.of(WHO.public()).address}
    assert {entry["key_id"] for entry in told} == {KEY_ID}
    await ask(ScriptedNode(), ("GET", f"/nonsense/{SIG}"))
    assert logged.entries[-1]["operation"] == "invalid"
    assert "requester" not in logged.entries[-1]
