"""What every request to the client listener has in common, whichever door it came through.

The size of a body, the time the nodes may work, what a silent chain means, the line in the log.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Mapping
from typing import Final, TypeVar

import structlog
from starlette.requests import Request
from starlette.types import Scope

from keyserver.api.errors import SEALED, STANDBY, Refusal
from keyserver.api.ports import Availability, NodeState
from keyserver.errors import ChainError
from keyserver.model.requests import Operation
from keyserver.sessions.core import UnavailableError

MAX_BODY: Final = 64 * 1024
"""Bytes of a request body."""

REQUEST_S: Final = 60.0
"""How long the nodes may work on one request (engine design, section 16)."""

CLOSED: Final[Mapping[Availability, Refusal]] = {
    Availability.SEALED: SEALED,
    Availability.STANDBY: STANDBY,
}
"""The refusal of every request while the node does not serve."""

_WRITES: Final = frozenset(
    {Operation.GENERATE_SERVER_KEY, Operation.GENERATE_BOTH, Operation.STORE_DOCUMENT_KEY}
)
_ASKS_PERMISSION: Final = frozenset(
    {
        Operation.RETRIEVE_PLAIN,
        Operation.RETRIEVE_SHADOW,
        Operation.SIGN_SCHNORR,
        Operation.SIGN_FROST,
        Operation.SIGN_ECDSA,
    }
)

T = TypeVar("T")

log = structlog.get_logger()


async def run_on_nodes(node: NodeState, operation: Operation, work: Awaitable[T]) -> T:
    """The result of what the engine does for one request.

    Raises what the engine raises; `UnavailableError` when time runs out; `ChainError` when nobody
    could be asked for the permission because this node's view of the chain is gone or stale.
    """
    try:
        async with asyncio.timeout(REQUEST_S):
            return await work
    except TimeoutError:
        code = "NodeDisconnected" if operation in _WRITES else "ConsensusTemporaryUnreachable"
        raise UnavailableError("the nodes did not finish in time", code) from None
    except UnavailableError as error:
        about_consent = error.code.startswith("Consensus") and operation in _ASKS_PERMISSION
        if about_consent and node.chain_is_silent:
            raise ChainError(f"the chain cannot be asked now: {error}") from error
        raise


def client_address(scope: Scope) -> str:
    """Whom to count a request for; behind a trusted proxy, whom the proxy names."""
    client = Request(scope).client
    return "" if client is None else counted_address(client.host)


def counted_address(host: str) -> str:
    """The address that stands for `host` wherever something is counted by address.

    Of IPv6 only the network counts, the first 64 bits: who has one has all addresses in it.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def log_access(method: str, operation: str, status: int, seconds: float, **what: object) -> None:
    """One line a request: never its path, which may hold a token for ever."""
    milliseconds = round(seconds * 1000, 1)
    log.info(
        "http_request", method=method, operation=operation, status=status, ms=milliseconds, **what
    )
