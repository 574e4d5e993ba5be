"""Who generated a key under a request for both keys (op 3).

Only that coordinator may follow with a document key of its own making (engine design, section 8).
Kept in memory: after a restart a node takes no part in such a storing.
"""

from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.requests import Operation
from keyserver.sessions.core import SessionKind
from keyserver.sessions.runner import Role, Runner

MOST_REMEMBERED = 1024
"""Keys that are remembered; the oldest are forgotten first."""


class GeneratedBoth:
    """The coordinators of the latest generations of both keys that this node took part in."""

    def __init__(self) -> None:
        self._coordinator: dict[KeyId, NodeId] = {}

    def note(self, completed: Runner) -> None:
        """Take note of a session that brought its result, if it is one of these."""
        ctx = completed.ctx
        if (ctx.kind, completed.role, ctx.request.operation_number) != (
            SessionKind.GENERATION,
            Role.PARTICIPANT,
            Operation.GENERATE_BOTH,
        ):
            return
        self._coordinator[ctx.request.key_id] = ctx.coordinator
        if len(self._coordinator) > MOST_REMEMBERED:
            del self._coordinator[next(iter(self._coordinator))]

    def by(self, key_id: KeyId) -> NodeId | None:
        """Who generated the key; `None` if unknown or not under such a request."""
        return self._coordinator.get(key_id)
