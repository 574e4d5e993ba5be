"""`/v1`: the modern door beside the original's (HTTP interface, section 13).

One application for everything whose path begins with `/v1`: JSON bodies, credentials that are bound
to one request, one form of errors, and a description of itself.
"""

import time
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from keyserver.api.bodies import BodyError, read_body
from keyserver.api.errors import TOO_MANY_REQUESTS, UNEXPECTED
from keyserver.api.json_text import JsonError
from keyserver.api.path_names import encoded_path
from keyserver.api.service_keys_routes import KEYS
from keyserver.api.service_keys_routes import router as service_keys_router
from keyserver.api.serving import MAX_BODY, client_address, log_access
from keyserver.api.v1_admission import V1Dependencies
from keyserver.api.v1_description import add_description
from keyserver.api.v1_errors import (
    BROKEN_BODY,
    LARGE_BODY,
    NOT_FOUND,
    SLOW_BODY,
    Problem,
    ProblemError,
    bad_request,
    method_not_allowed,
    problem_of,
    problem_of_refusal,
)
from keyserver.api.v1_json import read_object, shown
from keyserver.api.v1_routes import router
from keyserver.api.v1_set_change import set_change_router
from keyserver.errors import KeyServerError

PREFIX: Final = "/v1"

METHODS: Final = ("GET", "HEAD", "POST")
"""What some path of this interface takes."""

MAX_DATA_BODY: Final = 192 * 1024
"""Bytes of a body under `/v1/keys`: data to encrypt, with what is associated, in base64."""

LARGE_DATA: Final = Problem(413, "BODY_TOO_LARGE", "body: must be 192 KiB at most")

_BODY_PROBLEMS: Final = {408: SLOW_BODY, 413: LARGE_BODY}

log = structlog.get_logger()


def v1_routes(needs: V1Dependencies) -> tuple[BaseRoute, ...]:
    """The routes that give this interface its paths on the client listener."""
    return (_Prefix(Door(needs)),)


class _Prefix(BaseRoute):
    """Everything under `/v1`, whatever characters follow."""

    def __init__(self, door: "Door") -> None:
        self._door = door

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the first segment of the path is `v1`."""
        is_http = scope["type"] == "http"
        is_ours = is_http and (scope["path"] == PREFIX or scope["path"].startswith(f"{PREFIX}/"))
        return (Match.FULL if is_ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on as it is."""
        await self._door(scope, receive, send)


class Door:
    """The ASGI application under `/v1`: bounds every request, and leaves none unanswered."""

    def __init__(self, needs: V1Dependencies) -> None:
        self._limiter = needs.limiter
        self._app = v1_app(needs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and take it down in the log without what must not be there."""
        started, sending = time.monotonic(), _Watched(send)
        access: dict[str, Any] = {"operation": "none"}
        try:
            body = await _read(scope, receive)
            client = client_address(scope)
            with self._limiter.working(client) as has_room:
                if not (has_room and self._limiter.admits(client)):
                    raise ProblemError(problem_of_refusal(TOO_MANY_REQUESTS))
                _check_object(body)
                await self._app(_inner_scope(scope, access), _replaying(body), sending)
        except ProblemError as refused:
            await refused.problem.response()(scope, receive, sending)
        except Exception:
            # The application answers what it did not foresee, and raises it again.
            log.exception("request_failed_unexpectedly")
            if sending.status is None:
                await problem_of_refusal(UNEXPECTED).response()(scope, receive, sending)
        seconds = time.monotonic() - started
        log_access(scope["method"], status=sending.status or 500, seconds=seconds, **access)


def v1_app(needs: V1Dependencies) -> FastAPI:
    """The routes, with one form for every error; also what draws the description."""
    app = FastAPI(
        title="Key server",
        summary="Keys that a network of nodes holds together, and none of them alone",
        version=needs.identity.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            ProblemError: _answer_problem,
            RequestValidationError: _answer_form,
            HTTPException: _answer_routing,
            KeyServerError: _answer_error,
            Exception: _answer_unexpected,
        },
    )
    app.state.needs = needs
    # The routes themselves: included, each would be made anew, at the first request.
    app.router.routes += router.routes
    if needs.service_keys is not None:
        app.router.routes += service_keys_router.routes
    if needs.set_changes is not None:
        app.router.routes += set_change_router(needs.set_changes).routes
    add_description(app)
    return app


# --- the request ------------------------------------------------------------------------------


async def _read(scope: Scope, receive: Receive) -> bytes:
    """The body, whatever it is; raises `ProblemError`."""
    declared = Headers(scope=scope).get("content-length")
    has_data = _is_about_service_keys(scope)
    most = MAX_DATA_BODY if has_data else MAX_BODY
    try:
        return await read_body(receive, most, declared=declared)
    except BodyError as fault:
        too_large = fault.status == 413 and has_data
        problem = LARGE_DATA if too_large else _BODY_PROBLEMS.get(fault.status, BROKEN_BODY)
        raise ProblemError(problem) from fault


def _check_object(body: bytes) -> None:
    """Raise `ProblemError` unless a body is nothing, or an object in JSON."""
    try:
        if body:
            read_object(body)
    except JsonError as fault:
        raise ProblemError(bad_request("body", f"must be an object in JSON: {fault}")) from fault


def _inner_scope(scope: Scope, access: dict[str, Any]) -> Scope:
    """The scope for the routes: whatever a client calls its body, it is read as JSON."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    headers.append((b"content-type", b"application/json"))
    state = {**scope.get("state", {}), "access": access}
    inner = {**scope, "headers": headers, "state": state}
    if _is_about_service_keys(scope):
        # Names of services may contain anything: what the server has decoded is ambiguous.
        inner["path"] = encoded_path(scope)
    return inner


def _is_about_service_keys(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == KEYS or path.startswith(f"{KEYS}/")


def _replaying(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


class _Watched:
    """A `Send` that remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


# --- errors -----------------------------------------------------------------------------------


async def _answer_problem(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, ProblemError)
    return refused.problem.response()


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, KeyServerError)
    log.info("request_refused", code=error.code, reason=str(error))
    return problem_of(error).response()


async def _answer_unexpected(_: Request, __: Exception) -> Response:
    return problem_of_refusal(UNEXPECTED).response()


async def _answer_form(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _form_problem(error.errors()[0]).response()


def _form_problem(fault: dict[str, Any]) -> Problem:
    """The first thing that is wrong with path or body, by the name of its field."""
    path = [str(part) for part in fault["loc"][1:]]
    field = ".".join(path) or "body"
    match fault["type"]:
        case "missing":
            return bad_request(field, "is missing")
        case "extra_forbidden":
            return bad_request(shown(field), "is no field of this operation")
        case "value_error":
            return bad_request(field, str(fault["ctx"]["error"]))
    return bad_request(field, fault["msg"].replace("Input should", "must"))


async def _answer_routing(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    allowed = _allowed(request)
    if not allowed:
        return NOT_FOUND.response()
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allowed})
    response = method_not_allowed(allowed).response()
    response.headers["Allow"] = allowed
    return response


def _allowed(request: Request) -> str:
    """The methods that this path takes."""
    routes = request.app.routes

    def takes(method: str) -> bool:
        asked = {**request.scope, "method": method}
        return any(route.matches(asked)[0] is Match.FULL for route in routes)

    return ", ".join(method for method in METHODS if takes(method))
