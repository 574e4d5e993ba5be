"""Whose turn it is when several coordinators want the same of one key (engine design, section 16).

Each node lets one of them in at a time. Coordinators have a rank for every key, the same at all
nodes: a session gives way at once to a better one that is here already, and waits for the end of
a worse one. Nobody ever waits for a better one, so there is no deadlock, and of those that begin
together the best gets all nodes. It only decides who comes first: what excludes for good are the
votes on disk (section 7.6).
"""

import asyncio
import contextlib

from keyserver.engine.session_table import LiveSession, SessionTable
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.sessions.agreement import first_proposer
from keyserver.sessions.core import SessionKind

EXCLUSIVE = frozenset({SessionKind.GENERATION})
"""Sessions of which a node lets in one per key.

Not those that store a document key: there a node votes as soon as it is asked, and all that want
to store the same value may go on side by side.
"""

LONGEST_TURN_S = 30.0
"""A session that has not ended by then stands in nobody's way any more: its coordinator may have
left it on purpose."""

PATIENCE_S = 5.0
"""How long to wait for the end of others."""


def rank(key_id: KeyId, coordinator: NodeId, nodes: tuple[NodeId, ...]) -> tuple[int, NodeId]:
    """The place of a coordinator for a key, the smallest is the best.

    The node whose range of key ids holds the key comes first, then the others in canonical order;
    nodes outside the set come last.
    """
    if coordinator not in nodes:
        return len(nodes), coordinator
    distance = nodes.index(coordinator) - first_proposer(key_id, len(nodes))
    return distance % len(nodes), coordinator


async def wait_for_turn(
    session: LiveSession, table: SessionTable, nodes: tuple[NodeId, ...]
) -> bool:
    """Wait until no other session is in the way; false if this one has to give way."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                rivals = _rivals(session, table)
                own = _rank_of(session, nodes)
                if any(_rank_of(rival, nodes) < own for rival in rivals):
                    return False
                before = next((rival for rival in rivals if rival.has_turn), None)
                if before is None:
                    session.has_turn = True
                    return True
                await before.ended.wait()
    return False


def _rivals(session: LiveSession, table: SessionTable) -> list[LiveSession]:
    return [
        other
        for other in table.participants(session.subject)
        if other is not session and session.opened_at - other.opened_at < LONGEST_TURN_S
    ]


def _rank_of(session: LiveSession, nodes: tuple[NodeId, ...]) -> tuple[int, NodeId]:
    return rank(session.subject[1], session.coordinator, nodes)
