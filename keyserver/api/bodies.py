"""Reading request bodies within bounds of size and time."""

import asyncio

from starlette.types import Receive

BODY_S = 10.0
"""How long a client may take to send a body."""


class BodyError(Exception):
    """A body that is not taken; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


async def read_body(receive: Receive, limit: int, *, declared: str | None) -> bytes:
    """The whole body.

    `declared` is the `Content-Length` header. Raises `BodyError`: 413 for more than `limit` bytes,
    408 if it does not come in time, 400 if the client goes away.
    """
    if declared is not None and int(declared) > limit:
        raise BodyError(413)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise BodyError(400)
                body += message.get("body", b"")
                if len(body) > limit:
                    raise BodyError(413)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise BodyError(408) from None
