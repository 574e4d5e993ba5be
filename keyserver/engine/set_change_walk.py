"""Going through the keys of several nodes at once, in the order of their ids.

All catalogues are read side by side, a page of each at a time: a million keys need no more memory
than a thousand. What a peer has and this node has not is pulled and verified on the way; who holds
a share is what the nodes say themselves, and only guides what is tried.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from keyserver.engine.ports import RecordStore
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.core import KeyState

OWN_PAGE: Final = 256
"""Own records that are in memory at a time."""

MOST_UNPROVEN: Final = 4096
"""Keys that a peer may name and that nobody can prove; one that goes on is not read any further."""

MOST_UNREADABLE: Final = 16
"""Keys that may be unusable here; where more are, the store itself is not to be relied on."""

log = structlog.get_logger()


class Line(Protocol):
    """What one node says of one key (`CatalogueEntry`, `keyserver.engine.links.Entry`)."""

    @property
    def key_id(self) -> KeyId:
        """The key."""
        ...

    @property
    def record_hash(self) -> Hash32:
        """Its record in force there."""
        ...

    @property
    def has_share(self) -> bool:
        """Whether the node holds a share of that record."""
        ...


class UnreliableError(Exception):
    """A peer does not answer, or does not deliver what it says it has."""


class TooSlowError(UnreliableError):
    """A peer has kept this node waiting for its catalogue as long as it may."""


class Catalogues(Protocol):
    """Catalogues of peers (`keyserver.engine.catalogue`)."""

    def pages(self, peer: NodeId) -> AsyncIterator[Sequence[Line]]:
        """All lines of a peer in ascending order of key id; what is new has been pulled then.

        Raises `UnreliableError`.
        """
        ...

    async def catch_up(
        self, peers: Iterable[NodeId], is_enough: Callable[[frozenset[NodeId]], bool]
    ) -> frozenset[NodeId]:
        """Pull all that these peers have more; whose catalogues could be read.

        Who says that it has the same is not read line by line; once those read are enough, others
        are not waited for. Raises `StorageError`.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key, as this node knows it and as the nodes say."""

    key_id: KeyId
    state: KeyState
    """Its record in force, and nothing else."""
    holders: frozenset[NodeId]
    """Nodes that say they have a share of the record in force here."""


class Walk:
    """One way through all keys of this node and of some peers."""

    def __init__(self, me: NodeId, store: RecordStore, catalogues: Catalogues) -> None:
        self._me = me
        self._store = store
        self._catalogues = catalogues
        self._read: dict[KeyId, CertifiedRecord] = {}
        """The records of the page of this node's own catalogue that the walk stands in."""
        self.unreliable: set[NodeId] = set()
        """Peers whose catalogue could not be read to its end."""
        self.slow: set[NodeId] = set()
        """Those of them that had kept this node waiting too long."""
        self.unreadable: dict[KeyId, str] = {}
        """Keys that come up in no view, as this node cannot read them, and why."""

    async def keys(self, peers: Iterable[NodeId]) -> AsyncIterator[KeyView]:
        """Every key that this node can prove, its peers' included.

        Raises `StorageError`, but not for a key that cannot be read while others can.
        """
        cursors = [_Cursor(node, self._catalogues.pages(node)) for node in sorted(peers)]
        cursors.append(_Cursor(self._me, self._own_pages()))
        unproven: Counter[NodeId] = Counter()
        async for key_id, lines in self._merged(cursors):
            try:
                active = await self._active(key_id, lines)
            except StorageError as problem:
                self._note_unreadable(key_id, problem)
                continue
            if active is not None:
                yield _view(key_id, active, lines)
                continue
            unproven.update(lines.keys())
            for cursor in cursors:
                if cursor.node in lines and unproven[cursor.node] > MOST_UNPROVEN:
                    self._leave(cursor, UnreliableError("nobody can prove the keys it names"))

    def _note_unreadable(self, key_id: KeyId, problem: StorageError) -> None:
        if len(self.unreadable) >= MOST_UNREADABLE:
            raise problem
        log.error("key_unusable", key_id=key_id, problem=str(problem))
        self.unreadable[key_id] = str(problem)

    async def _merged(
        self, cursors: Sequence["_Cursor"]
    ) -> AsyncIterator[tuple[KeyId, dict[NodeId, Line]]]:
        ended = list(cursors)
        while True:
            if ended:
                problems = await asyncio.gather(*(cursor.turn() for cursor in ended))
                for cursor, problem in zip(ended, problems, strict=True):
                    if problem is not None:
                        self._leave(cursor, problem)
            lines = {cursor.node: line for cursor in cursors if (line := cursor.line) is not None}
            if not lines:
                return
            key_id = min(line.key_id for line in lines.values())
            yield key_id, {node: line for node, line in lines.items() if line.key_id == key_id}
            there = [c for c in cursors if c.line is not None and c.line.key_id == key_id]
            ended = [cursor for cursor in there if not cursor.advance()]

    def _leave(self, cursor: "_Cursor", problem: UnreliableError) -> None:
        log.warning("catalogue_not_read", peer=cursor.node, problem=str(problem))
        cursor.close()
        self.unreliable.add(cursor.node)
        if isinstance(problem, TooSlowError):
            self.slow.add(cursor.node)

    async def _active(self, key_id: KeyId, lines: Mapping[NodeId, Line]) -> CertifiedRecord | None:
        """The record in force here: the one just read, if everybody who has the key says so."""
        read = self._read.get(key_id)
        if read is not None and all(
            line.record_hash == read.record.hash for line in lines.values()
        ):
            return read
        return (await self._store.load(key_id)).active

    async def _own_pages(self) -> AsyncIterator[Sequence[Line]]:
        after: KeyId | None = None
        while page := await self._store.catalogue(after, OWN_PAGE):
            records = await self._store.records(after, OWN_PAGE)
            self._read = {certified.record.key_id: certified for certified in records}
            yield page
            after = page[-1].key_id


def _view(key_id: KeyId, active: CertifiedRecord, lines: Mapping[NodeId, Line]) -> KeyView:
    current = active.record.hash
    holders = {
        node for node, line in lines.items() if line.has_share and line.record_hash == current
    }
    return KeyView(key_id, KeyState(active=active), frozenset(holders))


class _Cursor:
    """Where the walk stands in one catalogue."""

    def __init__(self, node: NodeId, pages: AsyncIterator[Sequence[Line]]) -> None:
        self.node = node
        self._pages = pages
        self._page: Sequence[Line] = ()
        self._place = 0

    @property
    def line(self) -> Line | None:
        """The line it stands at; `None` at the end of a page, or of all."""
        return self._page[self._place] if self._place < len(self._page) else None

    def advance(self) -> bool:
        """Go on by a line; false if that is on another page."""
        self._place += 1
        return self._place < len(self._page)

    def close(self) -> None:
        """Stand at the end from now on."""
        self._page, self._place = (), 0

    async def turn(self) -> UnreliableError | None:
        """Turn over the page; what is wrong if the catalogue could not be read."""
        self.close()
        try:
            self._page = await anext(self._pages)
        except StopAsyncIteration:
            pass  # the end: there is no line any more
        except UnreliableError as problem:
            return problem
        return None
