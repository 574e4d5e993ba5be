"""An application in whose place another can be put while its listener is open."""

from starlette.types import ASGIApp, Receive, Scope, Send


class SwitchingApp:
    """Hands every request to the application of the moment; one that runs keeps its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, send)
