"""The form of what operators are answered, and how bodies are read."""

import json

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from keyserver.api.operator_answers import (
    MAX_BODY,
    STATUSES,
    JsonBody,
    RateLimitedError,
    answering,
    error_response,
    read_json_body,
)
from keyserver.errors import ConfigError, KeyServerError, StorageError
from keyserver.sealing import errors
from keyserver.sealing.errors import (
    AuditUnavailableError,
    SealedError,
    ShareMalformedError,
    ShareWrongSetError,
    UnauthenticatedError,
    WrongKeyError,
)
from tests.support.asgi import call


def told(error: KeyServerError) -> tuple[int, dict[str, object]]:
    answer = error_response(error)
    assert answer.headers["cache-control"] == "no-store"
    body = json.loads(bytes(answer.body))
    return answer.status_code, body["error"]


def test_every_error_of_sealing_has_a_status() -> None:
    classes = [
        found
        for found in vars(errors).values()
        if isinstance(found, type)
        and issubclass(found, KeyServerError)
        and not issubclass(found, ConfigError | StorageError)
        and found.code != KeyServerError.code
    ]
    assert len(classes) > 20
    assert [found.code for found in classes if found.code not in STATUSES] == []


def test_an_error_has_code_message_and_whether_to_try_again() -> None:
    assert told(SealedError("the node is sealed")) == (
        503,
        {"code": "SEALED", "message": "the node is sealed", "retriable": True},
    )
    assert error_response(SealedError("x")).headers["retry-after"] == "5"


def test_errors_of_shares_name_the_place() -> None:
    status, error = told(ShareMalformedError("word 7", word=7))
    assert (status, error["word"], "words" in error) == (400, 7, False)
    assert told(ShareMalformedError("32 words", words=32))[1]["words"] == 32
    assert told(ShareWrongSetError("old", 3))[1]["epoch"] == 3
    assert "epoch" not in told(ShareWrongSetError("foreign"))[1]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StorageError("gone"), 503, "STORAGE_UNAVAILABLE"),
        (WrongKeyError("altered"), 500, "SEAL_RECORD_DAMAGED"),
        (AuditUnavailableError("full"), 503, "AUDIT_UNAVAILABLE"),
        (KeyServerError("odd"), 500, "INTERNAL"),
    ],
)
def test_errors_beneath(error: KeyServerError, status: int, code: str) -> None:
    found = told(error)
    assert (found[0], found[1]["code"]) == (status, code)


def test_headers_say_what_to_do() -> None:
    assert error_response(RateLimitedError("slowly", 42)).headers["retry-after"] == "42"
    challenge = error_response(UnauthenticatedError("who?")).headers["www-authenticate"]
    assert "Keyserver-Eth" in challenge


# --- bodies -----------------------------------------------------------------------------------


async def echo(request: Request) -> Response:
    body = (await read_json_body(request)).only("text", "number", "switch", "texts")
    return JSONResponse(
        [
            body.text("text"),
            body.integer("number", 1, 5),
            body.switch("switch", default=True),
            list(body.texts("texts")),
        ]
    )


APP = Router([Route("/", answering(echo), methods=["POST"])])


async def post(body: bytes, declared: int | None = None) -> tuple[int, object]:
    headers = [] if declared is None else [("content-length", str(declared))]
    answer = await call(APP, "POST", "/", headers, body)
    return answer.status, json.loads(answer.body)


async def test_a_body_is_read() -> None:
    body = {"text": "x", "number": 5, "switch": False, "texts": ["a"]}
    assert await post(json.dumps(body).encode()) == (200, ["x", 5, False, ["a"]])
    assert await post(b'{"text": "", "number": 1}') == (200, ["", 1, True, []])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"\xff", "JSON"),
        (b'{"text": NaN}', "JSON"),
        (b"[" * 4000, "JSON"),
        (b'{"other": 1}', "unknown field"),
        (b"", "text:"),
        (b'{"text": 1}', "text:"),
        (b'{"text": "x"}', "number:"),
        (b'{"text": "x", "number": true}', "number:"),
        (b'{"text": "x", "number": 6}', "number:"),
        (b'{"text": "x", "number": 1.0}', "number:"),
        (b'{"text": "x", "number": 1, "switch": 1}', "switch:"),
        (b'{"text": "x", "number": 1, "texts": "a"}', "texts:"),
        (b'{"text": "x", "number": 1, "texts": [1]}', "texts:"),
    ],
)
async def test_bodies_that_are_none(body: bytes, field: str) -> None:
    status, answer = await post(body)
    assert status == 400
    assert isinstance(answer, dict)
    assert answer["error"]["code"] == "BAD_REQUEST"
    assert field in answer["error"]["message"]


async def test_an_unknown_field_is_not_repeated() -> None:
    """It may be a secret in the wrong place."""
    _, answer = await post(b'{"hunter2": 1}')
    assert "hunter2" not in json.dumps(answer)


async def test_bodies_have_a_limit() -> None:
    assert (await post(b" " * (MAX_BODY + 1)))[0] == 413
    assert (await post(b"{}", declared=MAX_BODY + 1))[0] == 413
    status, answer = await post(b'{"text": "x", "number": 1}'.ljust(MAX_BODY))
    assert status == 200, answer


def test_a_body_shows_nothing_of_itself() -> None:
    assert "hunter2" not in repr(JsonBody(b"hunter2", {"share": "hunter2"}))
