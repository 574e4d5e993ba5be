"""The original's HTTP interface: its paths, its answers, byte for byte (HTTP interface, 2 to 9).

The order of what is refused is part of the interface: origin, limits, grammar, sealed, signature,
what the operator has switched off, and then the engine's own order.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from keyserver.api.bodies import BodyError, read_body
from keyserver.api.cors import OriginPolicy
from keyserver.api.credentials import PathCredential, open_path_credential, proves_something
from keyserver.api.errors import (
    ACCESS_DENIED,
    BAD_SIGNATURE,
    CHAIN_TROUBLE,
    JSON_TYPE,
    NOT_AVAILABLE,
    SEALED,
    STANDBY,
    TOO_MANY_REQUESTS,
    UNEXPECTED,
    UNSIGNABLE_ID,
    Refusal,
    by_code,
    refusal_of,
)
from keyserver.api.guard import Guard
from keyserver.api.node_ids import parse_new_set
from keyserver.api.original_paths import (
    Call,
    ChangeNodeSet,
    Generate,
    KeyCall,
    RetrieveDocument,
    RetrieveKey,
    Sign,
    Store,
    parse,
)
from keyserver.api.policy import refused_by_policy
from keyserver.api.ports import Availability, NodeState
from keyserver.api.rate_limit import RateLimiter
from keyserver.crypto.curve import Point
from keyserver.crypto.errors import InvalidPointError, InvalidSignatureError
from keyserver.crypto.randomness import RandomSource
from keyserver.errors import KeyServerError
from keyserver.model.keys import DocumentKey
from keyserver.sessions.core import UnavailableError
from keyserver.sessions.outcomes import ShadowResult

MAX_BODY: Final = 64 * 1024
"""Bytes of a request body: read under `/admin`, read and thrown away elsewhere."""

REQUEST_S: Final = 60.0
"""How long the nodes may work on one request (engine design, section 16)."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ClientDependencies:
    """What the client listener needs."""

    node: NodeState
    random: RandomSource
    origins: OriginPolicy
    limiter: RateLimiter
    """Per client address and per requester."""


def client_app(needs: ClientDependencies, routes: tuple[BaseRoute, ...] = ()) -> ASGIApp:
    """The application of the client listener.

    `routes` come first; everything they do not know is a request in the original's form, also what
    a framework would answer with 404, 405 or a redirect.
    """
    app = Starlette(routes=list(routes))
    app.router.redirect_slashes = False
    app.router.default = OriginalPaths(needs)
    return Guard(app, needs.origins)


class OriginalPaths:
    """An ASGI application: one request in the original's form after the other."""

    def __init__(self, needs: ClientDependencies) -> None:
        self._needs = needs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and take it down in the log without what must not be there."""
        if scope["type"] != "http":
            return
        started = time.monotonic()
        call = parse(scope["method"], scope["raw_path"])
        response = await self._answer(call, scope, receive)
        _log_access(scope["method"], call, response.status_code, time.monotonic() - started)
        await response(scope, receive, send)

    async def _answer(self, call: Call | None, scope: Scope, receive: Receive) -> Response:
        declared = Headers(scope=scope).get("content-length")
        try:
            body = await read_body(receive, MAX_BODY, declared=declared)
            if not self._needs.limiter.admits(_client_address(scope)):
                return error_response(TOO_MANY_REQUESTS)
            return await self._serve(call, body)
        except BodyError as fault:
            return Response(status_code=fault.status)
        except KeyServerError as error:
            log.info("request_refused", code=error.code, reason=str(error))
            return error_response(refusal_of(error))
        except Exception:
            log.exception("request_failed_unexpectedly")
            return error_response(UNEXPECTED)

    async def _serve(self, call: Call | None, body: bytes) -> Response:
        if call is None or (isinstance(call, ChangeNodeSet) and parse_new_set(body) is None):
            return Response(status_code=400)
        node = self._needs.node
        match node.availability:
            case Availability.SEALED:
                return error_response(SEALED)
            case Availability.STANDBY:
                return error_response(STANDBY)
        if isinstance(call, ChangeNodeSet):
            return error_response(ACCESS_DENIED)
        try:
            credential = open_path_credential(call.key_id, call.signature, self._needs.random)
        except InvalidSignatureError:
            return error_response(BAD_SIGNATURE)
        refusal = self._refused(call, credential)
        if refusal is not None:
            return error_response(refusal)
        try:
            async with asyncio.timeout(REQUEST_S):
                return await self._run(call, credential)
        except TimeoutError:
            return error_response(_out_of_time(call))

    def _refused(self, call: KeyCall, credential: PathCredential) -> Refusal | None:
        """What is refused to this requester before the engine is asked."""
        if not self._needs.limiter.admits(credential.address):
            return TOO_MANY_REQUESTS
        if not proves_something(call.key_id):
            return UNSIGNABLE_ID
        disabled = refused_by_policy(call.operation, credential.address, self._needs.node.policy)
        return disabled or (NOT_AVAILABLE if isinstance(call, Sign) else None)

    async def _run(self, call: KeyCall, credential: PathCredential) -> Response:
        operations = self._needs.node.operations
        match call:
            case Generate(key_id, _, threshold, with_document_key=True):
                public = credential.public
                sealed = await operations.generate_both(key_id, threshold, credential, public)
                return hex_response(sealed)
            case Generate(key_id, _, threshold):
                made = await operations.generate_server_key(key_id, threshold, credential)
                return hex_response(made.record.public.raw64)
            case Store():
                return await self._store(call, credential)
            case RetrieveKey(key_id):
                known = await operations.retrieve_server_key(key_id, credential.address)
                return hex_response(known.record.public.raw64)
            case RetrieveDocument():
                return await self._retrieve(call, credential)
            case Sign():
                return error_response(NOT_AVAILABLE)

    async def _store(self, call: Store, credential: PathCredential) -> Response:
        operations = self._needs.node.operations
        try:
            points = Point.from_raw64(call.common), Point.from_raw64(call.encrypted)
        except InvalidPointError:
            await operations.check_storing(call.key_id, credential.address)
            return Response(status_code=400)
        await operations.store_document_key(call.key_id, DocumentKey(*points), credential)
        return Response()

    async def _retrieve(self, call: RetrieveDocument, credential: PathCredential) -> Response:
        node = self._needs.node
        try:
            if call.shadow:
                shadow = await node.operations.retrieve_shadow(call.key_id, credential)
                return json_response(shadow_body(shadow))
            return hex_response(await node.operations.retrieve_plain(call.key_id, credential))
        except UnavailableError as error:
            if error.code.startswith("Consensus") and node.chain_is_silent:
                log.warning("permission_unknown", reason=str(error))
                return error_response(CHAIN_TROUBLE)
            raise


# --- answers ---------------------------------------------------------------------------------


def hex_response(value: bytes) -> Response:
    """Bytes as a JSON string, lower-case hexadecimal with 0x."""
    return json_response(f'"0x{value.hex()}"'.encode())


def json_response(body: bytes) -> Response:
    """A body that is JSON already."""
    return Response(body, headers={"Content-Type": JSON_TYPE})


def error_response(refusal: Refusal) -> Response:
    """An error with its text."""
    headers = {"Content-Type": JSON_TYPE}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return Response(refusal.body(), refusal.status, headers)


def shadow_body(shadow: ShadowResult) -> bytes:
    """The three fields of section 5.2, in their order, without white space."""
    fields = {
        "decrypted_secret": f"0x{shadow.decrypted_secret.raw64.hex()}",
        "common_point": f"0x{shadow.common_point.raw64.hex()}",
        "decrypt_shadows": [f"0x{sealed.hex()}" for sealed in shadow.shadows],
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def _out_of_time(call: KeyCall) -> Refusal:
    writes = isinstance(call, Generate | Store)
    return by_code("NodeDisconnected" if writes else "ConsensusTemporaryUnreachable")


# --- the log ---------------------------------------------------------------------------------


def _client_address(scope: Scope) -> str:
    client = Request(scope).client
    return client.host if client is not None else ""


def _log_access(method: str, call: Call | None, status: int, seconds: float) -> None:
    """One line a request: never the path, whose signature is a token for ever."""
    what: dict[str, object] = {}
    match call:
        case None:
            operation = "invalid"
        case ChangeNodeSet():
            operation = "change_node_set"
        case _:
            operation = call.operation.name.lower()
            what = {"key_id": call.key_id, "signature": f"{call.signature[:4].hex()}.."}
    milliseconds = round(seconds * 1000, 1)
    log.info(
        "http_request", method=method, operation=operation, status=status, ms=milliseconds, **what
    )
