"""The original's interface where two failures coincide, and what must make no difference."""

import pytest

from keyserver.api import bodies, serving
from keyserver.api.ports import Availability
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.serving import MAX_BODY
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.requests import Operation
from keyserver.sessions.core import Policy
from tests.support.asgi import call
from tests.support.client_node import sign_id
from tests.support.fake_cluster import point_of
from tests.support.raw_http import Answer
from tests.support.scripted_node import ScriptedNode, app_of

KEY_ID = KeyId(b"\x4b" * 32)
ID, SIG = KEY_ID.hex(), sign_id(SecretScalar.from_int(2), KEY_ID)
BAD_SIG = SIG[:128] + "1b"
POINT = point_of(3).raw64.hex()
GENERATE = ("POST", f"/shadow/{ID}/{SIG}/1")
PLAIN = ("GET", f"/{ID}/{SIG}")
SHADOWED = ("GET", f"/shadow/{ID}/{SIG}")
STORE_OFF_THE_CURVE = ("POST", f"/shadow/{ID}/{SIG}/{POINT}/{'22' * 64}")
UNSIGNED = ("GET", f"/{ID}/{BAD_SIG}")
GARBAGE = ("GET", "/nothing")
EVIL = [("Origin", "http://evil.example")]
TOO_LARGE = [("Content-Length", str(MAX_BODY + 1))]


@pytest.mark.parametrize("request_", [PLAIN, GARBAGE, UNSIGNED, ("OPTIONS", "/x")])
@pytest.mark.parametrize("availability", list(Availability))
async def test_the_origin_comes_first(
    request_: tuple[str, str], availability: Availability
) -> None:
    node = ScriptedNode(availability=availability)
    answer = await call(app_of(node), *request_, headers=[*EVIL, *TOO_LARGE])
    assert (answer.status, answer.body) == (404, b"")
    assert answer.header("content-type") is None
    assert node.operations.calls == []


@pytest.mark.parametrize("request_", [PLAIN, GARBAGE, UNSIGNED, STORE_OFF_THE_CURVE])
async def test_the_size_comes_before_the_form(request_: tuple[str, str]) -> None:
    node = ScriptedNode(availability=Availability.SEALED)
    answer = await call(app_of(node), *request_, headers=TOO_LARGE)
    assert (answer.status, answer.body) == (413, b"")
    assert node.operations.calls == []


async def test_what_is_switched_off_comes_before_the_points() -> None:
    node = ScriptedNode(policy=Policy(strict_credentials=frozenset(Operation)))
    answer = await call(app_of(node), *STORE_OFF_THE_CURVE)
    assert answer.status == 403
    assert answer.text.startswith('"\\"Operation is disabled: store_document_key (')
    assert node.operations.calls == []


async def test_the_signature_comes_before_the_points() -> None:
    method, path = STORE_OFF_THE_CURVE
    answer = await call(app_of(ScriptedNode()), method, path.replace(SIG, BAD_SIG))
    assert answer.status == 400
    assert "bad signature" in answer.text


async def test_who_may_not_generate_is_denied_whatever_else_is_off() -> None:
    policy = Policy(
        generators=frozenset({NodeId.of(point_of(9)).address}),
        forbid_plain_modes=True,
        strict_credentials=frozenset(Operation),
    )
    for path in (f"/shadow/{ID}/{SIG}/1", f"/{ID}/{SIG}/1"):
        node = ScriptedNode(policy=policy)
        answer = await call(app_of(node), "POST", path)
        assert (answer.status, answer.text) == (403, '"\\"Access denied\\""')
        assert node.operations.calls == []


async def test_no_permit_is_left_for_garbage_either() -> None:
    limited = app_of(ScriptedNode(), limiter=RateLimiter(1, lambda: 0.0))
    answers = [await call(limited, *GARBAGE) for _ in range(11)]
    assert [answer.status for answer in answers] == [400] * 10 + [429]
    assert answers[0].body == b""


async def test_an_account_is_counted_before_what_is_switched_off() -> None:
    node = ScriptedNode(policy=Policy(strict_credentials=frozenset(Operation)))
    limited = app_of(node, limiter=RateLimiter(1, lambda: 0.0))
    answers = [await call(limited, *PLAIN, client=(f"10.0.0.{host}", 1)) for host in range(11)]
    assert [answer.status for answer in answers] == [403] * 10 + [429]
    unsigned = await call(limited, *UNSIGNED, client=("10.0.1.1", 1))
    assert unsigned.status == 400


HEADERS_OF_NO_CONSEQUENCE: list[list[tuple[str, str]]] = [
    [],
    [("Accept", "text/html")],
    [("Accept", "application/json;q=0")],
    [("Accept-Encoding", "gzip, deflate, br")],
    [("Content-Type", "application/json")],
    [("Content-Type", "application/x-www-form-urlencoded")],
    [("Content-Type", "multipart/form-data")],
    [("Content-Type", "no type at all")],
    [("Secretstore-Auth", "v1 nonsense")],
    [("Authorization", "Bearer x")],
    [("If-None-Match", "*"), ("If-Modified-Since", "Sat, 21 Nov 2099 00:00:00 GMT")],
    [("Range", "bytes=0-1")],
    [("X-HTTP-Method-Override", "DELETE")],
]


def known(answer: Answer) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
    return answer.status, answer.body, answer.headers


@pytest.mark.parametrize("headers", HEADERS_OF_NO_CONSEQUENCE, ids=lambda each: str(each[:1]))
@pytest.mark.parametrize("request_", [GENERATE, SHADOWED])
async def test_headers_make_no_difference(
    request_: tuple[str, str], headers: list[tuple[str, str]]
) -> None:
    """Nothing is negotiated, compressed or answered in parts; `/v1`'s credential is not read."""
    plain = await call(app_of(ScriptedNode()), *request_)
    assert plain.status == 200
    assert known(await call(app_of(ScriptedNode()), *request_, headers=headers)) == known(plain)


@pytest.mark.parametrize("query", ["", "x", "a=b&c", "%ff%zz", f"/{ID}", "?", "/../.."])
@pytest.mark.parametrize("request_", [GENERATE, SHADOWED, GARBAGE])
async def test_a_query_makes_no_difference(request_: tuple[str, str], query: str) -> None:
    method, path = request_
    plain = await call(app_of(ScriptedNode()), method, path)
    assert known(await call(app_of(ScriptedNode()), method, f"{path}?{query}")) == known(plain)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"\xff", b"x" * 1000])
@pytest.mark.parametrize("request_", [GENERATE, SHADOWED, GARBAGE])
async def test_a_body_makes_no_difference(request_: tuple[str, str], body: bytes) -> None:
    plain = await call(app_of(ScriptedNode()), *request_)
    sent = [("Content-Length", str(len(body)))]
    assert known(await call(app_of(ScriptedNode()), *request_, sent, body)) == known(plain)


async def test_a_page_of_the_node_itself_gets_no_preflight() -> None:
    """It needs none; so its `OPTIONS` is as invalid as everybody's."""
    own = [("Host", "node:1"), ("Origin", "http://node:1")]
    answer = await call(app_of(ScriptedNode()), "OPTIONS", GENERATE[1], own)
    assert (answer.status, answer.body) == (400, b"")


async def test_the_null_origin_where_any_is_allowed() -> None:
    app = app_of(ScriptedNode(), cors=("any",))
    nobody = await call(app, *GENERATE, headers=[("Origin", "null")])
    assert (nobody.status, nobody.header("access-control-allow-origin")) == (200, None)
    somebody = await call(app, *GENERATE, headers=[("Origin", "HTTP://A.example:80")])
    assert somebody.header("access-control-allow-origin") == "http://a.example:80"


def test_an_answer_comes_within_75_seconds() -> None:
    assert bodies.BODY_S + serving.REQUEST_S <= 75
