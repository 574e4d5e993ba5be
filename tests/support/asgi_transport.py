"""The client's `Transport` straight into an application, without sockets."""

from dataclasses import dataclass, field

from starlette.types import ASGIApp

from keyserver.client.node_http import HttpAnswer, HttpRequest
from tests.support.asgi import call


@dataclass
class AsgiTransport:
    """Hands every request to one application."""

    app: ASGIApp
    asked: list[HttpRequest] = field(default_factory=list)

    async def exchange(self, node: str, request: HttpRequest) -> HttpAnswer:
        self.asked.append(request)
        headers = list(request.headers.items())
        answer = await call(self.app, request.method, request.path, headers, request.body)
        return HttpAnswer(node, answer.status, answer.body)
