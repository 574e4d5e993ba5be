"""Is the opening of a session what it says it is? What is checked before anything waits for it.

Engine design, sections 5.5 and 6. A request that is not authentic costs this node the check and
nothing else: no record is read for it, no session waits in its name, no other one waits for it.
"""

from collections.abc import Callable
from typing import Any

from keyserver.engine.session_table import CounterWindow
from keyserver.model.identifiers import NodeId, Nonce32, SessionId
from keyserver.sessions.core import SessionKind
from keyserver.sessions.identity import session_id

REQUESTED = frozenset(
    {
        SessionKind.GENERATION,
        SessionKind.STORING,
        SessionKind.RETRIEVAL,
        SessionKind.SCHNORR,
        SessionKind.ECDSA,
    }
)
"""Sessions that somebody outside the network asks for, with a credential."""


class Openings:
    """Which openings were used, and in whose name they may be."""

    def __init__(self, boot_nonce_of: Callable[[NodeId], Nonce32 | None]) -> None:
        """`boot_nonce_of`: what the process that is connected now said in its HELLO."""
        self._boot_nonce_of = boot_nonce_of
        self._counters = CounterWindow()

    def check(
        self, sender: NodeId, sid: SessionId, kind: SessionKind, message: Any
    ) -> Nonce32 | None:
        """The coordinator's boot nonce; `None` if id, counter and sender do not fit together.

        Each counter is accepted once.
        """
        boot_nonce = self._boot_nonce_of(sender)
        if boot_nonce is None:
            return None
        expected = session_id(kind, sender, boot_nonce, message.counter, message.request.hash)
        if sid != expected or not self._counters.use(sender, boot_nonce, message.counter):
            return None
        return boot_nonce
