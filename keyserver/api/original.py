"""The original's HTTP interface: its paths, its answers, byte for byte (HTTP interface, 2 to 9).

The order of what is refused is part of the interface: origin, limits, grammar, sealed, signature,
what the operator has switched off, and then the engine's own order.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from keyserver.api.bodies import BodyError, read_body
from keyserver.api.cors import OriginPolicy
from keyserver.api.credentials import PathCredential, open_path_credential, proves_something
from keyserver.api.errors import (
    ACCESS_DENIED,
    BAD_SIGNATURE,
    JSON_TYPE,
    TOO_MANY_REQUESTS,
    UNEXPECTED,
    UNSIGNABLE_ID,
    Refusal,
    refusal_of,
)
from keyserver.api.guard import Guard
from keyserver.api.node_ids import parse_new_set
from keyserver.api.original_headers import (
    ShadowHeaderError,
    ShadowWishes,
    read_shadow_headers,
)
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
from keyserver.api.ports import NodeState, SetChangeService
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.serving import CLOSED, MAX_BODY, client_address, log_access, run_on_nodes
from keyserver.api.set_change import carry_out, legacy_order
from keyserver.crypto.curve import Point
from keyserver.crypto.errors import InvalidPointError, InvalidSignatureError
from keyserver.crypto.randomness import RandomSource
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import SigningScheme, SignMessage
from keyserver.sessions.outcomes import ShadowResult

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ClientDependencies:
    """What the client listener needs."""

    node: NodeState
    random: RandomSource
    origins: OriginPolicy
    limiter: RateLimiter
    """Per client address and per requester."""
    set_changes: SetChangeService | None = None
    """`None`: this node takes no orders of an administrator."""


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
        access = _what_is_asked(call)
        response = await self._answer(call, scope, receive, access)
        seconds = time.monotonic() - started
        log_access(scope["method"], status=response.status_code, seconds=seconds, **access)
        await response(scope, receive, send)

    async def _answer(
        self, call: Call | None, scope: Scope, receive: Receive, access: dict[str, Any]
    ) -> Response:
        headers = Headers(scope=scope)
        try:
            # Under /admin it is looked at; elsewhere it is read and thrown away.
            body = await read_body(receive, MAX_BODY, declared=headers.get("content-length"))
            client, limiter = client_address(scope), self._needs.limiter
            with limiter.working(client) as has_room:
                if not (has_room and limiter.admits(client)):
                    return error_response(TOO_MANY_REQUESTS)
                return await self._serve(call, headers, body, access)
        except BodyError as fault:
            return Response(status_code=fault.status)
        except KeyServerError as error:
            log.info("request_refused", code=error.code, reason=str(error))
            return error_response(refusal_of(error))
        except Exception:
            log.exception("request_failed_unexpectedly")
            return error_response(UNEXPECTED)

    async def _serve(
        self, call: Call | None, headers: Headers, body: bytes, access: dict[str, Any]
    ) -> Response:
        wishes = _wishes(call, headers)
        if call is None or wishes is None:
            return Response(status_code=400)
        new_set = parse_new_set(body) if isinstance(call, ChangeNodeSet) else frozenset()
        if new_set is None:
            return Response(status_code=400)
        closed = CLOSED.get(self._needs.node.availability)
        if closed is not None:
            return error_response(closed)
        if isinstance(call, ChangeNodeSet):
            return await self._change(call, new_set)
        try:
            credential = open_path_credential(call.key_id, call.signature, self._needs.random)
        except InvalidSignatureError:
            return error_response(BAD_SIGNATURE)
        access["requester"] = credential.address
        refusal = self._refused(call, credential)
        if refusal is not None:
            return error_response(refusal)
        work = self._run(call, credential, wishes)
        return await run_on_nodes(self._needs.node, call.operation, work)

    async def _change(self, call: ChangeNodeSet, new_set: frozenset[NodeId]) -> Response:
        """An empty answer when the change is done, however long that takes (section 9)."""
        if self._needs.set_changes is None:
            return error_response(ACCESS_DENIED)
        order = legacy_order(new_set, call.old_signature, call.new_signature)
        await carry_out(self._needs.set_changes, order)
        return Response()

    def _refused(self, call: KeyCall, credential: PathCredential) -> Refusal | None:
        """What is refused to this requester before the engine is asked."""
        if not self._needs.limiter.admits(credential.address):
            return TOO_MANY_REQUESTS
        if not proves_something(call.key_id):
            return UNSIGNABLE_ID
        return refused_by_policy(call.operation, credential.address, self._needs.node.policy)

    async def _run(
        self, call: KeyCall, credential: PathCredential, wishes: ShadowWishes
    ) -> Response:
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
            case RetrieveDocument(key_id, shadow=True):
                shadow = await operations.retrieve_shadow(key_id, credential, wishes.exclude)
                return json_response(shadow_body(shadow, checkable=wishes.verify))
            case RetrieveDocument(key_id):
                return hex_response(await operations.retrieve_plain(key_id, credential))
            case Sign(key_id, _, message_hash):
                wanted = SignMessage(key_id, message_hash, SigningScheme(call.operation))
                return hex_response(await operations.sign_sealed(wanted, credential))

    async def _store(self, call: Store, credential: PathCredential) -> Response:
        operations = self._needs.node.operations
        try:
            points = Point.from_raw64(call.common), Point.from_raw64(call.encrypted)
        except InvalidPointError:
            await operations.check_storing(call.key_id, credential.address)
            return Response(status_code=400)
        await operations.store_document_key(call.key_id, DocumentKey(*points), credential)
        return Response()


def _wishes(call: Call | None, headers: Headers) -> ShadowWishes | None:
    """What headers ask beyond the path; `None` if they cannot be read."""
    if not (isinstance(call, RetrieveDocument) and call.shadow):
        return ShadowWishes()
    try:
        return read_shadow_headers(headers)
    except ShadowHeaderError:
        return None


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


def shadow_body(shadow: ShadowResult, *, checkable: bool = False) -> bytes:
    """The three fields of section 5.2, in their order, without white space.

    `checkable` adds what a client compares the shadows with (engine design, section 10).
    """
    fields: dict[str, str | list[str]] = {
        "decrypted_secret": f"0x{shadow.decrypted_secret.raw64.hex()}",
        "common_point": f"0x{shadow.common_point.raw64.hex()}",
        "decrypt_shadows": [f"0x{sealed.hex()}" for sealed in shadow.shadows],
    }
    if checkable:
        commitments = shadow.shadow_commitments
        fields["shadow_commitments"] = [f"0x{point.raw64.hex()}" for point in commitments]
        fields["shadow_nodes"] = [f"0x{node.hex()}" for node in shadow.nodes]
    return json.dumps(fields, separators=(",", ":")).encode()


# --- the log ---------------------------------------------------------------------------------


# Any: the values of a log entry.
def _what_is_asked(call: Call | None) -> dict[str, Any]:
    """What the log tells of a request, never more than the beginning of its signature."""
    match call:
        case None:
            return {"operation": "invalid"}
        case ChangeNodeSet():
            return {"operation": "change_node_set"}
    signature = f"{call.signature[:4].hex()}.."
    name = call.operation.name.lower()
    return {"operation": name, "key_id": call.key_id, "signature": signature}
