"""Who may order something on the operator listener (sealing, C16 and C18).

Where accounts are configured as administrators, each order carries a signature or a token. Before
that, who can reach a listener of this machine alone may order everything, but for web pages: a
browser on this machine sends what any page tells it to. A listener that others reach takes a token
with the scope all the same.
"""

import ipaddress
from typing import Final

from starlette.requests import Request

from keyserver.api.refusals import Refusals
from keyserver.api.serving import client_address
from keyserver.sealing.errors import CallerError, ForbiddenError
from keyserver.sealing.ports import (
    Actor,
    ActorKind,
    Caller,
    Callers,
    Scope,
    SignedRequest,
)
from keyserver.sealing.signed_requests import SCHEME

HEADER: Final = "Authorization"

LOCAL: Final = Caller(Actor(ActorKind.LOCAL), "local", frozenset(Scope))
"""Who reaches this machine's own listener while there are no administrators."""

UNKNOWN: Final = Actor(ActorKind.SYSTEM)
"""Stands in the audit log for a caller that could not prove who it is."""


class Administrators:
    """Admits requests of administrators, and writes down whom it turned away."""

    def __init__(self, callers: Callers, is_local: bool, denied: Refusals) -> None:
        """`is_local`: whether the listener is a loopback address or a Unix socket."""
        self._callers = callers
        self._is_local = is_local
        self._denied = denied

    async def admit(
        self, request: Request, body: bytes, scope: Scope, *, may_repeat: bool = False
    ) -> Caller:
        """Who sent the request, if it has the scope; `body` exactly as it came.

        `may_repeat`: giving the order twice does no harm, so a store that hangs does not stop it.
        Raises `CallerError` (unauthenticated, expired, nonce used, forbidden) and `StorageError`;
        `AuditUnavailableError` where a refusal cannot be written down.
        """
        actor = UNKNOWN
        try:
            caller = await self._identify(request, body, may_repeat)
            actor = caller.actor
            if scope not in caller.scopes:
                raise ForbiddenError(f"{caller.principal} has not the scope {scope.value}")
        except CallerError as error:
            await self._denied.note(client_address(request.scope), error.code, actor)
            raise
        return caller

    async def admit_unread(self, request: Request, scope: Scope) -> None:
        """Turn away, before a body is read, who can be judged without it; raises as `admit`.

        Only a signature is over the body.
        """
        scheme = request.headers.get(HEADER, "").partition(" ")[0]
        if scheme.lower() != SCHEME.lower():
            await self.admit(request, b"", scope)

    async def knows(self, request: Request) -> bool:
        """Whether an open question comes from an administrator, who is told more.

        Raises as `admit` if there is a credential that proves nothing.
        """
        if HEADER not in request.headers and not self._takes_anybody:
            return False
        await self.admit(request, b"", Scope.SEAL_ADMIN)
        return True

    @property
    def _takes_anybody(self) -> bool:
        """Whether who reaches the listener is an administrator."""
        return self._is_local and not self._callers.has_administrators

    async def _identify(self, request: Request, body: bytes, may_repeat: bool) -> Caller:
        if self._takes_anybody:
            _refuse_web_pages(request)
            return LOCAL
        if HEADER not in request.headers and not self._callers.has_administrators:
            raise ForbiddenError(
                "this node has no administrators: name their addresses in [keyserver.seal] "
                "admins, show a token, or use its loopback address or Unix socket"
            )
        return await self._callers.authenticate(
            _signed(request, body), admins_only=True, may_repeat=may_repeat
        )


def _signed(request: Request, body: bytes) -> SignedRequest:
    query: bytes = request.scope["query_string"]
    target: bytes = request.scope["raw_path"] + (b"?" + query if query else b"")
    return SignedRequest(
        request.method, target.decode("latin-1"), body, request.headers.get(HEADER)
    )


def _refuse_web_pages(request: Request) -> None:
    """Raise `ForbiddenError` for what a browser sends for a page.

    Browsers name the page's origin in every request that changes something; a page that is read
    under a name of its own, which resolves to this machine, shows in `Host`.
    """
    if "origin" in request.headers or not _is_own_name(request.headers.get("host")):
        raise ForbiddenError("web pages may not order anything here")


def _is_own_name(host: str | None) -> bool:
    """Whether a `Host` header names this machine by address, or not at all."""
    if not host:
        return True
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
