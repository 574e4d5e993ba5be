"""What administrators do with service keys on the operator listener (sealing, C15.4 and C18).

Owners with their export, deletion and restoration; tokens and grants. All of it needs the scope
`keys:admin`, and a node that is open.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keyserver.api.administrators import Administrators
from keyserver.api.numbers import read_number
from keyserver.api.operator_answers import (
    MAX_BODY,
    NO_STORE,
    BadRequestError,
    JsonBody,
    answering,
    parse_json_body,
    read_raw_body,
)
from keyserver.api.path_names import decode_name, encoded_path
from keyserver.api.rendering import Json, to_json
from keyserver.sealing.errors import BadNameError
from keyserver.sealing.ports import Caller, Scope
from keyserver.sealing.service_keys.credentials import Credentials
from keyserver.sealing.service_keys.model import OwnerLine
from keyserver.sealing.service_keys.names import check_key_id
from keyserver.sealing.service_keys.owners import Owners
from keyserver.sealing.service_keys.rights import Grant
from keyserver.sealing.tokens import LONGEST_LIFE_DAYS, StoredToken

OWNERS: Final = "/v1/admin/owners"
TOKENS: Final = "/v1/admin/tokens"
GRANTS: Final = "/v1/admin/grants"

MAX_DOCUMENT: Final = 16 * 1024 * 1024
"""Bytes of an export that is restored: some 60,000 keys."""

MAX_RECIPIENTS: Final = 8 * 1024
"""Bytes of a body that names to whom an export is encrypted."""

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000

_HASH: Final = re.compile(r"[0-9a-f]{64}")

Order = Callable[[Request, JsonBody, Caller], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class OwnerRoutes:
    """What the routes need."""

    owners: Owners
    credentials: Credentials
    administrators: Administrators


def owner_routes(needs: OwnerRoutes) -> list[Route]:
    """All routes under `/v1/admin` that are about service keys."""
    return [*_owner_routes(needs), *_token_routes(needs), *_grant_routes(needs)]


def _route(
    needs: OwnerRoutes, method: str, path: str, order: Order, limit: int = MAX_BODY
) -> Route:
    """A route for administrators, while the node is open.

    A body is parsed only if it is one of theirs.
    """

    async def endpoint(request: Request) -> Response:
        needs.owners.check_open()
        raw = await read_raw_body(request, limit)  # first: a signature is over it
        caller = await needs.administrators.admit(request, raw, Scope.KEYS_ADMIN)
        return await order(request, parse_json_body(raw), caller)

    one_at_a_time = asyncio.Lock()

    async def large(request: Request) -> Response:
        needs.owners.check_open()
        await needs.administrators.admit_unread(request, Scope.KEYS_ADMIN)
        async with one_at_a_time:
            return await endpoint(request)

    handler = endpoint if limit <= MAX_RECIPIENTS else large
    return Route(path, answering(handler), methods=[method])


# --- owners -----------------------------------------------------------------------------------


def _owner_routes(needs: OwnerRoutes) -> list[Route]:
    owners = needs.owners

    async def page(request: Request, _: JsonBody, __: Caller) -> Response:
        limit = _limit(request)
        lines = await owners.page(request.query_params.get("after", ""), limit)
        more = lines[-1].owner if len(lines) == limit else None
        return _answer({"owners": [_owner_line(line) for line in lines], "next_after": more})

    async def export(request: Request, body: JsonBody, caller: Caller) -> Response:
        recipients = body.only("recipients").texts("recipients")
        made = await owners.export(caller, _owner(request), recipients)
        return _answer(
            {
                "export": made.export.export_id,
                "sha256": made.export.sha256.hex(),
                "keys": made.keys,
                "document": base64.b64encode(made.document).decode(),
            }
        )

    async def delete(request: Request, body: JsonBody, caller: Caller) -> Response:
        body.only()
        digest = request.query_params.get("sha256", "")
        if not _HASH.fullmatch(digest):
            raise BadRequestError("sha256: must be 64 hexadecimal digits, of the exported document")
        export_id = _export_id(request.query_params.get("export", ""))
        count = await owners.delete(caller, _owner(request), export_id, bytes.fromhex(digest))
        return _answer({"deleted": count})

    async def restore(request: Request, body: JsonBody, caller: Caller) -> Response:
        done = await owners.restore(caller, _owner(request), body.values)
        return _answer({"restored": done.restored, "present": done.present})

    # The name may contain encoded slashes: the routes match them, `_owner` reads the name itself.
    owner = f"{OWNERS}/{{owner:path}}"
    return [
        _route(needs, "GET", OWNERS, page),
        _route(needs, "POST", f"{owner}/export", export, MAX_RECIPIENTS),
        _route(needs, "POST", f"{owner}/restore", restore, MAX_DOCUMENT),
        _route(needs, "DELETE", owner, delete),
    ]


def _owner(request: Request) -> str:
    """The owner in a path: one segment as it was sent; raises `BadRequestError`."""
    encoded, *rest = encoded_path(request.scope).removeprefix(f"{OWNERS}/").split("/")
    if len(rest) > (request.method == "POST"):
        raise BadRequestError("owner: must be percent-encoded, / as %2F")
    return decode_name("owner", encoded)


def _export_id(text: str) -> str:
    try:
        return check_key_id(text)
    except BadNameError:
        raise BadRequestError("export: must be the id that the export came with") from None


def _owner_line(line: OwnerLine) -> Json:
    return {
        "owner": line.owner,
        "services": line.services,
        "keys": line.keys,
        "deleted_at": line.deleted_at,
    }


# --- tokens -----------------------------------------------------------------------------------


def _token_routes(needs: OwnerRoutes) -> list[Route]:
    credentials = needs.credentials

    async def page(request: Request, _: JsonBody, __: Caller) -> Response:
        limit = _limit(request)
        tokens = await credentials.tokens(request.query_params.get("after", ""), limit)
        more = tokens[-1].token_id if len(tokens) == limit else None
        return _answer({"tokens": [_token_line(token) for token in tokens], "next_after": more})

    async def make(_: Request, body: JsonBody, caller: Caller) -> Response:
        body.only("principal", "scopes", "services", "days")
        made = await credentials.make_token(
            caller,
            body.text("principal"),
            _scopes(body.texts("scopes")),
            body.texts("services"),
            body.integer("days", 1, LONGEST_LIFE_DAYS),
        )
        return _answer({"token": made.token.text(), **_token_line(made.stored)}, 201)

    async def revoke(request: Request, _: JsonBody, caller: Caller) -> Response:
        found = await credentials.revoke_token(caller, request.path_params["token_id"])
        return _answer({"revoked": found})

    return [
        _route(needs, "GET", TOKENS, page),
        _route(needs, "POST", TOKENS, make),
        _route(needs, "DELETE", f"{TOKENS}/{{token_id}}", revoke),
    ]


def _scopes(texts: tuple[str, ...]) -> frozenset[Scope]:
    try:
        return frozenset(Scope(text) for text in texts)
    except ValueError:
        known = ", ".join(scope.value for scope in Scope)
        raise BadRequestError(f"scopes: must be of {known}") from None


def _token_line(token: StoredToken) -> dict[str, Json]:
    return {
        "token_id": token.token_id,
        "principal": token.principal,
        "scopes": to_json(sorted(scope.value for scope in token.scopes)),
        "services": to_json(token.services),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }


# --- grants -----------------------------------------------------------------------------------


def _grant_routes(needs: OwnerRoutes) -> list[Route]:
    credentials = needs.credentials

    async def page(request: Request, _: JsonBody, __: Caller) -> Response:
        limit = _limit(request)
        grants = await credentials.grants(request.query_params.get("after", ""), limit)
        more = grants[-1].grant_id if len(grants) == limit else None
        return _answer({"grants": [_grant_line(grant) for grant in grants], "next_after": more})

    async def make(_: Request, body: JsonBody, caller: Caller) -> Response:
        body.only("principal", "owner", "service", "days")
        grant = await credentials.make_grant(
            caller,
            body.text("principal"),
            body.text("owner"),
            body.text("service"),
            body.integer("days", 1, LONGEST_LIFE_DAYS),
        )
        return _answer(_grant_line(grant), 201)

    async def revoke(request: Request, _: JsonBody, caller: Caller) -> Response:
        found = await credentials.revoke_grant(caller, request.path_params["grant_id"])
        return _answer({"revoked": found})

    return [
        _route(needs, "GET", GRANTS, page),
        _route(needs, "POST", GRANTS, make),
        _route(needs, "DELETE", f"{GRANTS}/{{grant_id}}", revoke),
    ]


def _grant_line(grant: Grant) -> Json:
    return {
        "grant": grant.grant_id,
        "principal": grant.principal,
        "owner": grant.owner_pattern,
        "service": grant.service_pattern,
        "granted_by": grant.granted_by,
        "created_at": grant.created_at,
        "expires_at": grant.expires_at,
    }


# --- queries and answers ----------------------------------------------------------------------


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_PAGE))
    limit = read_number(text, 1, LARGEST_PAGE)
    if limit is None:
        raise BadRequestError(f"limit: must be a number from 1 to {LARGEST_PAGE}")
    return limit


def _answer(body: Json, status: int = 200) -> Response:
    return JSONResponse(body, status, NO_STORE)
