"""What all routes of operators have in common: reading bodies, and the form of errors.

Errors look as sealing, C18, says: `{"error":{"code","message","retriable",…}}`. A route that is
wrapped in `answering` may raise any `KeyServerError`; it needs no exception handler around it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from keyserver.api.bodies import BodyError, read_body
from keyserver.api.json_text import JsonError, read_json
from keyserver.errors import KeyServerError, StorageError
from keyserver.sealing.callers import CHALLENGE
from keyserver.sealing.errors import SealRecordDamagedError, ShareMalformedError, ShareWrongSetError

MAX_BODY: Final = 4 * 1024
"""Bytes of a request body, where a route allows no more."""

NO_STORE: Final = {"Cache-Control": "no-store"}

Endpoint = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger(__name__)


class BadRequestError(KeyServerError):
    """A body or path that cannot be read; names field and rule."""

    code = "BAD_REQUEST"


class RateLimitedError(KeyServerError):
    """Too many requests of one address were refused."""

    code = "RATE_LIMITED"
    retriable = True

    def __init__(self, message: str, retry_after_s: int) -> None:
        """`retry_after_s`: when the next one is worth a try, in seconds."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


STATUSES: Final[Mapping[str, int]] = {
    "BAD_REQUEST": 400,
    "SHARE_MALFORMED": 400,
    "SHARE_WRONG_SET": 400,
    "SHARE_UNKNOWN": 400,
    "UNAUTHENTICATED": 401,
    "SIGNATURE_EXPIRED": 401,
    "NONCE_USED": 401,
    "FORBIDDEN": 403,
    "OWNER_NOT_PROVEN": 403,
    "KEY_NOT_FOUND": 404,
    "REKEY_NOT_FOUND": 404,
    "ALREADY_INITIALISED": 409,
    "REKEY_IN_PROGRESS": 409,
    "TERM_IN_USE": 409,
    "EXPORT_STALE": 409,
    "SLOT_UNAVAILABLE": 409,
    "CONFLICT": 409,
    "OWNER_DELETED": 410,
    "RATE_LIMITED": 429,
    "SEAL_RECORD_DAMAGED": 500,
    "STORAGE_CORRUPT": 500,
    "NOT_INITIALISED": 501,
    "SEALED": 503,
    "STANDBY": 503,
    "STORAGE_UNAVAILABLE": 503,
    "AUDIT_UNAVAILABLE": 503,
}
"""The status of each code (sealing, C18)."""

RETRY_S: Final = 5
"""When a node that is sealed, on standby or without its database is worth another try."""

BODY_FAULTS: Final = {
    400: "the body did not come",
    408: "the body did not come in time",
    413: "the body is too large",
}


def answering(endpoint: Endpoint) -> Endpoint:
    """The same route, with errors as answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BodyError as error:
            text = BODY_FAULTS[error.status]
            return _response(error.status, {"code": "BAD_REQUEST", "message": text})
        except KeyServerError as error:
            return error_response(error)

    return answer


def error_response(error: KeyServerError) -> Response:
    """The answer to a request that failed."""
    code = _code_of(error)
    status = STATUSES.get(code, 500)
    if status >= 500 and code != "SEALED":
        log.warning("operator_request_failed", code=code, problem=str(error))
    told: dict[str, object] = {
        "code": code,
        "message": str(error),
        "retriable": error.retriable,
        **_details_of(error),
    }
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    elif isinstance(error, RateLimitedError):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status == 503:
        headers["Retry-After"] = str(RETRY_S)
    return _response(status, told, headers)


def _code_of(error: KeyServerError) -> str:
    if error.code in STATUSES:
        return error.code
    if isinstance(error, StorageError):
        return "STORAGE_UNAVAILABLE" if error.retriable else SealRecordDamagedError.code
    return "INTERNAL"


def _details_of(error: KeyServerError) -> dict[str, object]:
    """What some errors know beside their text."""
    match error:
        case ShareMalformedError():
            found = {"word": error.word, "words": error.words}
        case ShareWrongSetError():
            found = {"epoch": error.epoch}
        case _:
            return {}
    return {name: value for name, value in found.items() if value is not None}


def _response(
    status: int, error: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse({"error": error}, status, {**NO_STORE, **(headers or {})})


# --- bodies -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JsonBody:
    """The fields of a request's body; each reader raises `BadRequestError` naming its field."""

    raw: bytes = field(repr=False)
    """Exactly as it came: what a signature is over."""
    values: Mapping[str, Any] = field(repr=False)

    def only(self, *names: str) -> "JsonBody":
        """The body itself, if it has no other fields than these."""
        for name in self.values:
            if name not in names:
                raise BadRequestError(
                    f"the body has an unknown field; known are: {', '.join(names) or 'none'}"
                )
        return self

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise BadRequestError(f"{name}: must be a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty where it is absent."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadRequestError(f"{name}: must be a list of texts")
        return tuple(value)

    def integer(self, name: str, low: int, high: int) -> int:
        """A number that must be there."""
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadRequestError(f"{name}: must be a whole number from {low} to {high}")
        return value

    def switch(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise BadRequestError(f"{name}: must be true or false")
        return value


async def read_json_body(request: Request, *, limit: int = MAX_BODY) -> JsonBody:
    """The body as an object of JSON; an empty one stands for no fields.

    Raises `BodyError` and `BadRequestError`.
    """
    return parse_json_body(await read_raw_body(request, limit))


async def read_raw_body(request: Request, limit: int) -> bytes:
    """The body exactly as it came; raises `BodyError`."""
    declared = request.headers.get("content-length")
    return await read_body(request.receive, limit, declared=declared)


def parse_json_body(raw: bytes) -> JsonBody:
    """A body as an object of JSON; raises `BadRequestError`."""
    if not raw:
        return JsonBody(raw, {})
    try:
        values = read_json(raw)
    except JsonError:
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(values, dict):
        raise BadRequestError("the body must be a JSON object")
    return JsonBody(raw, values)
