"""Taking over what was decided: written first, then told to the rest of the node."""

import asyncio
from collections.abc import Callable, Collection, Iterable

import structlog

from keyserver.engine.acceptance import Committee, Trust, accept
from keyserver.engine.links import KeyFacts
from keyserver.engine.outcomes import DocumentInstalled, OutcomeListener, RecordInstalled
from keyserver.engine.ports import NodeSets, RecordStore, VoteConflictError
from keyserver.model.identifiers import Hash32
from keyserver.sessions.core import KeyState, Policy
from keyserver.sessions.writes import PutActive, PutDocument, Write

MAX_COMMITTEES = 64
"""Committees remembered; there are as many as node sets in the lifetime of the keys."""

log = structlog.get_logger()


def announce(listener: OutcomeListener, writes: Iterable[Write]) -> None:
    """Tell what was installed by writes that are durable now."""
    for write in writes:
        match write:
            case PutActive(certified):
                listener.on_outcome(RecordInstalled(certified.record.key_id))
            case PutDocument(key_id):
                listener.on_outcome(DocumentInstalled(key_id))
            case _:
                pass


class Installer:
    """Verifies facts about keys, writes what is new, and announces it."""

    def __init__(
        self,
        store: RecordStore,
        node_sets: NodeSets,
        listener: OutcomeListener,
        policy: Callable[[], Policy],
    ) -> None:
        self._store = store
        self._node_sets = node_sets
        self._listener = listener
        self._policy = policy
        self._committees: dict[Committee, None] = {}
        self._watchers: list[Callable[[Collection[Write]], None]] = []
        self.news = asyncio.Event()
        """Set when something was taken over."""

    def watch(self, watcher: Callable[[Collection[Write]], None]) -> None:
        """Show somebody, from now on, everything that is written here."""
        self._watchers.append(watcher)

    async def take(self, facts: KeyFacts, vouched: Collection[Hash32] = ()) -> KeyState:
        """Take over what is new; returns what this node has of the key now.

        Raises `Refused` for facts that do not verify, `StorageError` when the store fails.
        """
        state = await self._store.load(facts.key_id)
        self._remember(state)
        trust = Trust(
            self._node_sets.snapshot.current,
            self._policy().max_faulty,
            self._committees,
            vouched,
        )
        writes = accept(facts, state, trust)
        if not writes:
            return state
        try:
            await self._store.commit(writes)
        except VoteConflictError as conflict:
            # A session wrote meanwhile, or more than f nodes lie: what is on disk stands.
            log.error("decision_contradicts_store", key_id=facts.key_id, problem=str(conflict))
        else:
            for watcher in self._watchers:
                watcher(writes)
            announce(self._listener, writes)
            self.news.set()
        state = await self._store.load(facts.key_id)
        self._remember(state)
        return state

    def _remember(self, state: KeyState) -> None:
        if state.active is not None and len(self._committees) < MAX_COMMITTEES:
            self._committees[state.active.record.committee] = None
