"""What every request to the client listener passes before it is parsed.

Limits of the request's head (HTTP interface, section 2.1), the origin of web pages (section 8), and
the headers that every response carries (sections 11 and 12).
"""

import re
from typing import Final
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyserver.api.cors import Allowed, OriginPolicy

MAX_REQUEST_LINE: Final = 8 * 1024
"""Bytes of the request line."""

MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 32 * 1024

_ABSOLUTE: Final = re.compile(rb"https?://([^/]*)(.*)", re.IGNORECASE | re.DOTALL)

_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_VERSIONS: Final = frozenset({"1.0", "1.1"})

ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of every answer."""


class Guard:
    """Wraps the application of the client listener."""

    def __init__(self, app: ASGIApp, origins: OriginPolicy) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may not pass; hand on the rest."""
        fault = head_fault(scope)
        scope = origin_form(scope)
        headers = Headers(scope=scope)
        allowed = self._origins.judge(headers.get("origin"), headers.get("host"))
        early = _early_answer(scope, headers, allowed)
        if fault is not None:
            early = Response(status_code=fault)
        await (early or self._app)(scope, receive, _sending(send, allowed))


def _early_answer(scope: Scope, headers: Headers, allowed: Allowed | None) -> Response | None:
    if allowed is None:
        return Response(status_code=404)
    if scope["method"] == "OPTIONS" and allowed.header is not None:
        return _preflight(headers)
    return None


def head_fault(scope: Scope) -> int | None:
    """The status for a head that is too large, or that only a lenient reader takes; else `None`."""
    target = len(scope["raw_path"]) + len(scope["query_string"]) + bool(scope["query_string"])
    if len(scope["method"]) + target + len("  HTTP/1.1") > MAX_REQUEST_LINE:
        return 414
    headers = scope["headers"]
    size = sum(len(name) + len(value) + len(": \r\n") for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        return 431
    has_controls = any(_CONTROLS.search(value) for _, value in headers)
    return 400 if has_controls or scope["http_version"] not in _VERSIONS else None


def origin_form(scope: Scope) -> Scope:
    """The same request with a bare path, where its target was a whole URL (RFC 9112, 3.2.2).

    The host of such a URL counts, whatever the header `Host` says.
    """
    target = _ABSOLUTE.fullmatch(scope["raw_path"])
    if target is None:
        return scope
    host, path = target[1], target[2] or b"/"
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    changed = {"raw_path": path, "path": unquote(path), "headers": [*others, (b"host", host)]}
    return {**scope, **changed}


def _preflight(headers: Headers) -> Response:
    answer = {"Access-Control-Allow-Methods": "GET, POST"}
    wanted = headers.get("access-control-request-headers")
    if wanted is not None:
        answer["Access-Control-Allow-Headers"] = wanted
    return Response(status_code=204, headers=answer)


def _sending(send: Send, allowed: Allowed | None) -> Send:
    """Let every response carry what all have in common."""
    more = list(ALWAYS)
    if allowed is not None and allowed.header is not None:
        more.append((b"access-control-allow-origin", allowed.header.encode("latin-1")))

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *more]
        await send(message)

    return sending
