"""Calling an ASGI application without a socket."""

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Receive

from tests.support.raw_http import Answer


async def call(
    app: ASGIApp,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    client: tuple[str, int] = ("127.0.0.1", 50_000),
    receive: Receive | None = None,
) -> Answer:
    """One request, as the server would hand it on; the target is sent as it stands.

    `receive` gives its body where the test says when.
    """
    raw_path, _, query = target.encode("latin-1").partition(b"?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query,
        "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in headers],
        "client": client,
        "server": ("127.0.0.1", 8082),
        "state": {},
    }
    sent: list[dict[str, Any]] = []
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def whole() -> dict[str, Any]:
        return left.pop() if left else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive or whole, send)
    start, *rest = sent
    answered = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in start["headers"])
    return Answer(start["status"], "", answered, b"".join(part["body"] for part in rest))
