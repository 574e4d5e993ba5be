"""What every request passes before it is parsed."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from keyserver.api.cors import OriginPolicy
from keyserver.api.guard import Guard, head_fault, origin_form
from tests.support.asgi import call


async def shown(scope: Scope, receive: Receive, send: Send) -> None:
    """What the application behind the guard sees of a request."""
    request = Request(scope)
    text = f"{scope['path']} {scope['raw_path'].decode()} {request.headers.get('host')}"
    await PlainTextResponse(text)(scope, receive, send)


APP = Guard(shown, OriginPolicy(["http://app.example"]))


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/a%2fb", "/a%2fb /a%2fb node"),
        ("http://other:80/a%2fb?q", "/a/b /a%2fb other:80"),
        ("HTTPS://Other/", "/ / Other"),
        ("http://other", "/ / other"),
        ("http:///a", "/a /a "),
        ("ftp://other/a", "ftp://other/a ftp://other/a node"),
        ("http:/a", "http:/a http:/a node"),
        ("//http://other/a", "//http://other/a //http://other/a node"),
        ("*", "* * node"),
    ],
)
async def test_targets(target: str, seen: str) -> None:
    answer = await call(APP, "GET", target, [("Host", "node")])
    assert answer.text == seen


async def test_the_host_of_the_target_decides_whose_page_it_is() -> None:
    own = [("Host", "node"), ("Origin", "http://other")]
    assert (await call(APP, "GET", "http://other/a", own)).status == 200
    assert (await call(APP, "GET", "http://node/a", own)).status == 404


def scope_of(**changed: Any) -> Scope:
    scope = {
        "http_version": "1.1",
        "method": "GET",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"node")],
    }
    return {**scope, **changed}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"http_version": "1.0"}, None),
        ({"http_version": "2.0"}, 400),
        ({"headers": [(b"x", b"a\tb")]}, None),
        ({"headers": [(b"x", b"\xc3\xa4")]}, None),
        ({"headers": [(b"x", b"a\x00")]}, 400),
        ({"headers": [(b"x", b"a\x7f")]}, 400),
        ({"headers": [(b"x", b"a\x1b[m")]}, 400),
        ({"headers": [(b"x", b"")] * 64}, None),
        ({"headers": [(b"x", b"")] * 65}, 431),
        ({"headers": [(b"x", b"y" * 32_768)]}, 431),
        ({"raw_path": b"/" * 8_192}, 414),
        ({"query_string": b"x" * 8_192}, 414),
        ({"raw_path": b"/" * 8_192, "headers": [(b"x", b"\0")] * 65}, 414),
    ],
)
def test_faults_of_heads(changed: dict[str, Any], fault: int | None) -> None:
    assert head_fault(scope_of(**changed)) == fault


def test_a_request_in_the_usual_form_is_left_alone() -> None:
    scope = scope_of()
    assert origin_form(scope) is scope


async def test_an_answer_of_the_guard_has_the_headers_of_all() -> None:
    answer = await call(APP, "GET", "/" * 9_000, [("Host", "n"), ("Origin", "http://app.example")])
    assert (answer.status, answer.body) == (414, b"")
    assert answer.header("cache-control") == "no-store"
    assert answer.header("access-control-allow-origin") == "http://app.example"
    foreign = await call(APP, "GET", "/" * 9_000, [("Origin", "http://evil.example")])
    assert (foreign.status, foreign.header("access-control-allow-origin")) == (414, None)
