"""The JSON-RPC listener: envelopes, batches and HTTP (section 1 of the module's description).

Failed calls are answered with status 200, too: clients take any other status for a failure of the
transport. Parameters never reach the log.
"""

import ipaddress
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from keyserver.api.bodies import BodyError, read_body
from keyserver.api.cors import Allowed, OriginPolicy
from keyserver.api.errors import JSON_TYPE
from keyserver.api.guard import head_fault, origin_form
from keyserver.api.json_rpc_errors import (
    RpcError,
    batch_too_large,
    internal_error,
    invalid_request,
    method_not_found,
    parse_error,
)
from keyserver.api.json_rpc_methods import Method
from keyserver.api.json_text import JsonError, read_json

log = structlog.get_logger()

MOST_IN_BATCH: Final = 100
"""Calls in one batch: each may take a key derivation, one after the other."""

_SILENCE: Final = object()
"""The answer to a notification."""


@dataclass(frozen=True, slots=True)
class RpcDependencies:
    """What the JSON-RPC listener needs."""

    methods: Mapping[str, Method]
    origins: OriginPolicy
    hosts: "HostPolicy"
    max_payload: int
    """Bytes of a request body."""


class HostPolicy:
    """The option `hosts`: which `Host` headers are served, against DNS rebinding."""

    def __init__(self, entries: Sequence[str], interface: str) -> None:
        """`"none"`: this listener's address and localhost; all where that is every address."""
        named = {entry.lower() for entry in entries}
        self._own = ipaddress.ip_address(interface)
        self._all = "all" in named or (named <= {"none"} and self._own.is_unspecified)
        self._named = named - {"none", "all"}

    def allows(self, host: str | None) -> bool:
        """Whether a request with this header is served; one without it is."""
        if host is None or self._all:
            return True
        text = host.lower()
        name = text.rpartition(":")[0] if text.rpartition(":")[2].isdigit() else text
        if name == "localhost" or {text, name} & self._named:
            return True
        try:
            literal = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return literal.is_loopback or literal == self._own


def json_rpc_app(needs: RpcDependencies) -> ASGIApp:
    """The application of the JSON-RPC listener; the path does not matter."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fault = head_fault(scope)
        scope = origin_form(scope)
        headers = Headers(scope=scope)
        allowed = needs.origins.judge(headers.get("origin"), headers.get("host"))
        response = _turned_away(scope, headers, allowed, needs.hosts)
        if fault is not None:
            response = Response(status_code=fault)
        if response is None:
            response = await _respond(needs, headers, receive)
        response.headers["Cache-Control"] = "no-store"
        if allowed is not None and allowed.header is not None:
            response.headers["Access-Control-Allow-Origin"] = allowed.header
        await response(scope, receive, send)

    return app


def _turned_away(
    scope: Scope, headers: Headers, allowed: Allowed | None, hosts: HostPolicy
) -> Response | None:
    if allowed is None or not hosts.allows(headers.get("host")):
        return Response(status_code=403)
    match scope["method"]:
        case "POST":
            return None
        case "OPTIONS":
            return Response(headers=_preflight(headers))
    return Response(status_code=405, headers={"Allow": "POST, OPTIONS"})


def _preflight(headers: Headers) -> dict[str, str]:
    wanted = headers.get("access-control-request-headers", "content-type")
    return {
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": wanted,
    }


async def _respond(needs: RpcDependencies, headers: Headers, receive: Receive) -> Response:
    declared = headers.get("content-length")
    try:
        body = await read_body(receive, needs.max_payload, declared=declared)
    except BodyError as fault:
        return Response(status_code=fault.status)
    answer = await answer_text(needs.methods, body)
    return Response(answer, headers={"Content-Type": JSON_TYPE} if answer else None)


async def answer_text(methods: Mapping[str, Method], body: bytes) -> bytes:
    """The body of the answer to a request or a batch; empty for notifications only."""
    try:
        request = read_json(body)
    except JsonError:
        return _encoded(_failure(parse_error(), None))
    if not isinstance(request, list):
        answer = await _answer(methods, request)
        return b"" if answer is _SILENCE else _encoded(answer)
    if not request:
        return _encoded(_failure(invalid_request(), None))
    if len(request) > MOST_IN_BATCH:
        return _encoded(_failure(batch_too_large(MOST_IN_BATCH), None))
    answers = [await _answer(methods, each) for each in request]
    spoken = [answer for answer in answers if answer is not _SILENCE]
    return _encoded(spoken) if spoken else b""


# Any: JSON, here and below.
def _encoded(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


async def _answer(methods: Mapping[str, Method], request: Any) -> Any:
    """The envelope that answers one request."""
    if not isinstance(request, dict):
        return _failure(invalid_request(), None)
    id_ = request.get("id")
    name, version = request.get("method"), request.get("jsonrpc", "2.0")
    if not _is_id(id_) or not isinstance(name, str) or version != "2.0":
        return _failure(invalid_request(), id_ if _is_id(id_) else None)
    try:
        result = await _called(methods, name, request.get("params", []))
    except RpcError as error:
        answer = _failure(error, id_)
    else:
        answer = {"jsonrpc": "2.0", "result": result, "id": id_}
    return answer if "id" in request else _SILENCE


def _is_id(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


async def _called(methods: Mapping[str, Method], name: str, params: Any) -> Any:
    method = methods.get(name)
    if method is None:
        raise method_not_found()
    try:
        result = await method(params)
    except RpcError as error:
        log.info("rpc_call", method=name, code=error.code, message=error.message)
        raise
    except Exception:
        log.exception("rpc_call_failed", method=name)
        raise internal_error() from None
    log.info("rpc_call", method=name, code=0)
    return result


def _failure(error: RpcError, id_: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        described["data"] = error.data
    return {"jsonrpc": "2.0", "error": described, "id": id_}
