"""What a request for service keys passes before it is carried out (sealing, C16).

The order, where several things are wrong: form, sealed, credential, how often this caller asks, for
which owner, then scope, service and the rest. Service keys have credentials of their own, bound to
this node and this request; a replica on standby hands them out as well.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.requests import Request

from keyserver.api.errors import TOO_MANY_REQUESTS
from keyserver.api.operator_answers import RETRY_S, STATUSES
from keyserver.api.path_names import decode_name, target_of
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.refusals import Refusals
from keyserver.api.serving import client_address
from keyserver.api.v1_errors import Problem, ProblemError, problem_of, problem_of_refusal
from keyserver.engine.ports import Clock
from keyserver.errors import KeyServerError, StorageError
from keyserver.sealing.callers import CHALLENGE
from keyserver.sealing.errors import (
    AuditUnavailableError,
    CallerError,
    UnauthenticatedError,
)
from keyserver.sealing.ports import SYSTEM, Actor, Callers, SignedRequest
from keyserver.sealing.service_keys.keys import ServiceKeys
from keyserver.sealing.service_keys.rights import Asker, GrantStore, asker_for

AUTHORIZATION: Final = "Authorization"
OWNER_HEADER: Final = "Keyserver-Owner"
"""Names the owner a caller acts for, percent-encoded; without it, the caller itself."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceKeyNeeds:
    """What the routes of service keys need."""

    keys: ServiceKeys
    callers: Callers
    grants: GrantStore
    denied: Refusals
    """Writes down who was turned away."""
    clock: Clock


class ServiceKeyRequest:
    """One request for service keys on its way in."""

    def __init__(self, needs: ServiceKeyNeeds, limiter: RateLimiter, request: Request) -> None:
        """`limiter`: the one of the whole client listener."""
        self._needs = needs
        self._limiter = limiter
        self._request = request
        self._actor: Actor = SYSTEM

    @property
    def keys(self) -> ServiceKeys:
        """What is asked for."""
        return self._needs.keys

    @asynccontextmanager
    async def admitted(self, operation: str) -> AsyncIterator[Asker]:
        """Let the request in; every error under way becomes a `ProblemError`."""
        self._request.state.access.update(operation=operation)
        try:
            self._needs.keys.check_open()
            yield await self._asker()
        except KeyServerError as error:
            told = await self._written_down(error)
            _log_refusal(told)
            raise ProblemError(service_keys_problem(told)) from error

    async def _written_down(self, error: KeyServerError) -> KeyServerError:
        """The error, once it is in the audit log where it must be; else why it is not."""
        if not isinstance(error, CallerError):
            return error
        address = client_address(self._request.scope)
        try:
            await self._needs.denied.note(address, error.code, self._actor)
        except AuditUnavailableError as unavailable:
            return unavailable
        return error

    async def _asker(self) -> Asker:
        request = self._request
        signed = SignedRequest(
            request.method,
            target_of(request.scope),
            await request.body(),
            _single(request, AUTHORIZATION),
        )
        caller = await self._needs.callers.authenticate(signed)
        self._actor = caller.actor
        if not self._limiter.admits(caller.principal):
            raise ProblemError(problem_of_refusal(TOO_MANY_REQUESTS))
        named = _single(request, OWNER_HEADER)
        owner = None if named is None else decode_name(OWNER_HEADER, named)
        now_ms = self._needs.clock.unix() * 1000
        return await asker_for(caller, owner, self._needs.grants, now_ms)


def service_keys_problem(error: KeyServerError) -> Problem:
    """What a client is told of an error; what is wrong in the database stays in the log."""
    status = STATUSES.get(error.code)
    if isinstance(error, StorageError) and status is None:
        text = "stored data cannot be read or written now; repeat later"
        return Problem(503, "STORAGE_UNAVAILABLE", text, RETRY_S)
    if status is None:
        return problem_of(error)
    text = str(error)
    if isinstance(error, StorageError):
        text = "a stored key does not open; see the log of this node"
    retry_after_s = RETRY_S if status == 503 else None
    return Problem(status, error.code, text, retry_after_s, challenge=CHALLENGE)


def _single(request: Request, name: str) -> str | None:
    """A header that may stand there once; raises `UnauthenticatedError`."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise UnauthenticatedError(f"{name}: stands there {len(values)} times")
    return values[0] if values else None


def _log_refusal(error: KeyServerError) -> None:
    if isinstance(error, StorageError):
        log.error("service_keys_failed", code=error.code, reason=str(error))
    else:
        log.info("request_refused", code=error.code, reason=str(error))
