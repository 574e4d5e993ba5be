"""Watches the engine and the connections on behalf of metrics and tasks."""

import asyncio
from collections.abc import Awaitable, Callable

from keyserver.app.metrics import Metrics
from keyserver.engine.ports import TransportListener
from keyserver.model.identifiers import NodeId


class SessionCounter:
    """The engine's `SessionObserver`: counts sessions by how they ended."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_session(self, name: str, role: str, outcome: str, seconds: float) -> None:
        """Count a session."""
        self._metrics.sessions.labels(name, role, outcome).inc()
        self._metrics.session_seconds.labels(name).observe(seconds)

    def on_misbehaviour(self, culprits: frozenset[NodeId], what: str, evidence: bytes) -> None:
        """Count an offence; the engine has logged who it was."""
        self._metrics.misbehaviour.labels(what).inc()


class PeerReturns:
    """A `TransportListener` around the engine's: waiting tasks are tried when a peer is back."""

    def __init__(
        self,
        listener: TransportListener,
        hasten: Callable[[], Awaitable[None]] | None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """`hasten`: looks at the waiting tasks again; `None` without tasks.

        `on_change`: told of every connection and disconnection.
        """
        self._listener = listener
        self._hasten = hasten
        self._on_change = on_change
        self._returned = asyncio.Event()

    def on_connected(self, peer: NodeId) -> None:
        """A peer is there."""
        self._listener.on_connected(peer)
        self._returned.set()
        self._tell()

    def on_disconnected(self, peer: NodeId) -> None:
        """A peer is gone."""
        self._listener.on_disconnected(peer)
        self._tell()

    def on_message(self, peer: NodeId, message: bytes) -> bool:
        """A message has arrived."""
        return self._listener.on_message(peer, message)

    def _tell(self) -> None:
        if self._on_change is not None:
            self._on_change()

    async def run(self) -> None:
        """Have tasks looked at after peers came back, until cancelled."""
        while True:
            await self._returned.wait()
            self._returned.clear()
            if self._hasten is not None:
                await self._hasten()
