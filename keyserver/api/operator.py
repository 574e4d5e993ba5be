"""The operator listener: health, metrics, and what a node knows and does (configuration, 6.3).

Plain routes without a schema: the listener is for the operator's own tools, on this machine.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from keyserver.api.bodies import BodyError
from keyserver.api.facts import (
    FeeFacts,
    KeyFacts,
    KeyLine,
    OffenceFacts,
    StatusFacts,
    TaskFacts,
    Trouble,
)
from keyserver.api.numbers import read_number
from keyserver.api.operator_answers import (
    BODY_FAULTS,
    RETRY_S,
    BadRequestError,
    error_response,
)
from keyserver.api.operator_set_change import SetChangeFacts
from keyserver.api.rendering import to_json
from keyserver.errors import ChainError, KeyServerError, StorageError
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.sealing.errors import (
    AuditUnavailableError,
    CallerError,
    SealedError,
    StandbyError,
)

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000


class NodeView(Protocol):
    """What the listener asks of the node."""

    async def status(self) -> StatusFacts:
        """The node at a glance."""
        ...

    async def set_change(self) -> SetChangeFacts:
        """Changes of the node set: what goes on, what is refused, what was done."""
        ...

    async def keys(self, after: KeyId | None, limit: int) -> Sequence[KeyLine]:
        """Keys in ascending order, those after `after`."""
        ...

    async def key(self, key_id: KeyId) -> KeyFacts | None:
        """One key; `None` for one this node has no record of."""
        ...

    async def requests(self) -> Sequence[TaskFacts]:
        """Everything that is still owed."""
        ...

    async def offences(self) -> Sequence[OffenceFacts]:
        """What other nodes were convicted of, the newest first."""
        ...

    async def evidence(self, name: Hash32) -> bytes | None:
        """A record of evidence by its hash; `None` for one this node does not have."""
        ...

    async def fees(self) -> Sequence[FeeFacts]:
        """What can be collected; raises `ChainError`."""
        ...

    async def collect_fees(self) -> Sequence[FeeFacts]:
        """Have it collected; what there was. Raises `ChainError`."""
        ...


class ProcessView(Protocol):
    """What the listener asks of the process, whether or not it acts for the node."""

    @property
    def node(self) -> NodeView:
        """The running node; raises `SealedError` or `StandbyError` while this process is not it."""
        ...

    async def troubles(self) -> Sequence[Trouble]:
        """Why it cannot serve now; empty when it is ready."""
        ...

    async def metrics(self) -> bytes:
        """All metrics in the text form of Prometheus."""
        ...


Admit = Callable[[Request], Awaitable[None]]
"""Raises a `CallerError` unless an administrator sent a request."""


def operator_app(process: ProcessView, admit: Admit, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The application of the operator listener; `routes` are those of seals and service keys."""

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        troubles = await process.troubles()
        body = {"ready": not troubles, "reasons": to_json(list(troubles))}
        return JSONResponse(body, 503 if troubles else 200)

    async def metrics(_: Request) -> Response:
        return Response(await process.metrics(), media_type=METRICS_TYPE)

    async def status(_: Request) -> Response:
        return JSONResponse(to_json(await process.node.status()))

    async def set_change(_: Request) -> Response:
        return JSONResponse(to_json(await process.node.set_change()))

    async def keys(request: Request) -> Response:
        limit = _limit(request.query_params.get("limit"))
        after = request.query_params.get("after")
        lines = await process.node.keys(None if after is None else _key_id("after", after), limit)
        more = lines[-1].key_id if len(lines) == limit else None
        return JSONResponse({"keys": to_json(list(lines)), "next_after": to_json(more)})

    async def key(request: Request) -> Response:
        key_id = _key_id("key id", request.path_params["key_id"])
        facts = await process.node.key(key_id)
        if facts is None:
            text = f"this node has no record of 0x{key_id.hex()}"
            return _error("ServerKeyIsNotFound", text, 404)
        return JSONResponse(to_json(facts))

    async def requests(_: Request) -> Response:
        return JSONResponse({"requests": to_json(list(await process.node.requests()))})

    async def offences(_: Request) -> Response:
        return JSONResponse({"evidence": to_json(list(await process.node.offences()))})

    async def evidence(request: Request) -> Response:
        name = _hash32("evidence", request.path_params["name"])
        record = await process.node.evidence(name)
        if record is None:
            text = f"this node has no evidence of the name 0x{name.hex()}"
            return _error("EvidenceIsNotFound", text, 404)
        return JSONResponse({"evidence": to_json(name), "record": to_json(record)})

    async def fees(_: Request) -> Response:
        return JSONResponse({"fees": to_json(list(await process.node.fees()))})

    async def drain(request: Request) -> Response:
        await admit(request)
        collected = await process.node.collect_fees()
        return JSONResponse({"collecting": to_json(list(collected))}, 202)

    return Starlette(
        routes=[
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", metrics),
            Route("/v1/status", status),
            Route("/v1/set-change", set_change),
            Route("/v1/keys", keys),
            Route("/v1/keys/{key_id}", key),
            Route("/v1/requests", requests),
            Route("/v1/evidence", offences),
            Route("/v1/evidence/{name}", evidence),
            Route("/v1/drain", fees, methods=["GET"]),
            Route("/v1/drain", drain, methods=["POST"]),
            *routes,
        ],
        exception_handlers=_HANDLERS,
    )


# --- queries ----------------------------------------------------------------------------------


def _key_id(name: str, text: str) -> KeyId:
    try:
        return KeyId(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        raise BadRequestError(f"{name}: must be 64 hexadecimal digits") from None


def _hash32(name: str, text: str) -> Hash32:
    try:
        return Hash32(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        raise BadRequestError(f"{name}: must be 64 hexadecimal digits") from None


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    limit = read_number(text, 1, LARGEST_PAGE)
    if limit is None:
        raise BadRequestError(f"limit: must be a number from 1 to {LARGEST_PAGE}")
    return limit


# --- errors -----------------------------------------------------------------------------------


def _error(code: str, text: str, status: int) -> JSONResponse:
    told = {"code": code, "message": text, "retriable": status == 503}
    headers = {"Retry-After": str(RETRY_S)} if status == 503 else None
    return JSONResponse({"error": told}, status, headers)


def _answers_with(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_: Request, error: Exception) -> Response:
        code = error.code if isinstance(error, KeyServerError) else "Internal"
        return _error(code, str(error), status)

    return handle


async def _as_told_elsewhere(_: Request, error: Exception) -> Response:
    """As the routes of the seal and of service keys answer it."""
    assert isinstance(error, KeyServerError)
    return error_response(error)


async def _no_body(_: Request, error: Exception) -> Response:
    assert isinstance(error, BodyError)
    return _error(BadRequestError.code, BODY_FAULTS[error.status], error.status)


_HANDLERS: Final = {
    BodyError: _no_body,
    BadRequestError: _as_told_elsewhere,
    CallerError: _as_told_elsewhere,
    AuditUnavailableError: _as_told_elsewhere,
    SealedError: _as_told_elsewhere,
    StandbyError: _as_told_elsewhere,
    ChainError: _answers_with(503),
    StorageError: _as_told_elsewhere,
}
