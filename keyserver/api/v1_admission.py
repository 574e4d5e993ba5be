"""What a request of `/v1` passes between its form and the engine.

The order, where several things are wrong: origin and head (`guard`), body and client address
(`v1`), form, sealed, credential, nonce, requester, what the operator has switched off; then the
engine's own. The nonce comes before the requester is counted: who repeats somebody's credential
uses up nothing of theirs.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import Request

from keyserver.api.errors import TOO_MANY_REQUESTS, Refusal
from keyserver.api.policy import refused_by_policy
from keyserver.api.ports import ClientOperations, NodeState, SetChangeService
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.service_keys_admission import ServiceKeyNeeds
from keyserver.api.serving import CLOSED, run_on_nodes
from keyserver.api.v1_credentials import (
    HEADER,
    BoundCredentialSource,
    BoundRequest,
    check_expiry,
    open_bound_credential,
    read_header,
)
from keyserver.api.v1_errors import NO_NODE_SET, NONCE_USED, ProblemError, problem_of_refusal
from keyserver.api.v1_nonces import NonceMemoryFullError, UsedNonces
from keyserver.crypto.randomness import RandomSource
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import NodeId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What a node says of itself."""

    node_id: NodeId
    version: str


@dataclass(frozen=True, slots=True)
class V1Dependencies:
    """What the routes of `/v1` need."""

    node: NodeState
    identity: NodeIdentity
    random: RandomSource
    limiter: RateLimiter
    """Per client address and per requester; the same as for the original's paths."""
    unix: Callable[[], int]
    """The time, in seconds."""
    nonces: UsedNonces = field(default_factory=UsedNonces)
    set_changes: SetChangeService | None = None
    """`None`: this node takes no orders of an administrator, and has no route for them."""
    service_keys: ServiceKeyNeeds | None = None
    """`None`: this node serves no service keys, and has no route for them."""


class ClientRequest:
    """One request on its way in."""

    def __init__(self, needs: V1Dependencies, request: Request) -> None:
        self._needs = needs
        self._request = request

    @property
    def operations(self) -> ClientOperations:
        """The engine."""
        return self._needs.node.operations

    def signing_domain(self) -> SigningDomain:
        """What the node has requests signed for, if it serves; raises `ProblemError`."""
        _refuse_if(CLOSED.get(self._needs.node.availability))
        domain = self._needs.node.signing_domain
        if domain is None:
            raise ProblemError(NO_NODE_SET)
        return domain

    @asynccontextmanager
    async def admitted(self, wanted: BoundRequest) -> AsyncIterator[BoundCredentialSource]:
        """Let the request in, for as long as it runs; raises `ProblemError`.

        Its nonce is used up by success, or once another node has been shown the credential; what
        fails before that may be repeated with the same credential.
        """
        self._note(operation=wanted.number.name.lower(), key_id=wanted.key_id)
        domain = self.signing_domain()
        header = read_header(self._request.headers.getlist(HEADER))
        now = self._needs.unix()
        check_expiry(header.not_after, now)
        credential = open_bound_credential(header, wanted, domain, self._needs.random)
        self._note(requester=credential.address)
        self._take_nonce(credential, now)
        succeeded, policy = False, self._needs.node.policy
        try:
            _refuse_if(self._too_many(credential))
            _refuse_if(refused_by_policy(wanted.number, credential.address, policy, is_bound=True))
            yield credential
            succeeded = True
        finally:
            if not (succeeded or credential.was_shown):
                self._give_nonce_back(credential)

    async def run(self, wanted: BoundRequest, work: Awaitable[T]) -> T:
        """The result of the nodes' work, in bounded time."""
        return await run_on_nodes(self._needs.node, wanted.number, work)

    def _too_many(self, credential: BoundCredentialSource) -> Refusal | None:
        admits = self._needs.limiter.admits(credential.address)
        return None if admits else TOO_MANY_REQUESTS

    def _take_nonce(self, credential: BoundCredentialSource, now: int) -> None:
        address, nonce, not_after = credential.address, credential.nonce, credential.not_after
        try:
            is_new = self._needs.nonces.take(address, nonce, not_after=not_after, now=now)
        except NonceMemoryFullError as full:
            raise ProblemError(problem_of_refusal(TOO_MANY_REQUESTS)) from full
        if not is_new:
            raise ProblemError(NONCE_USED)

    def _give_nonce_back(self, credential: BoundCredentialSource) -> None:
        address, nonce, not_after = credential.address, credential.nonce, credential.not_after
        self._needs.nonces.give_back(address, nonce, not_after=not_after)

    def _note(self, **what: object) -> None:
        self._request.state.access.update(what)


def _refuse_if(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise ProblemError(problem_of_refusal(refusal))
