"""Between the migration driver and the engine: the driver's `SetChanges`, the engine's judge.

The driver says when a migration's session is to run; the engine runs it and asks, at every node,
whether the order is in order. Both questions end at the same view of the chain.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import structlog

from keyserver.chain.ports import ChainTip, MigrationViews
from keyserver.engine.ports import CatalogueEntry, NodeSets
from keyserver.errors import KeyServerError, StorageError
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord, KeyRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import CompletedChange, MigrationOrder, SetChange
from keyserver.model.set_change_rules import (
    MigrationView,
    OrderRefusedError,
    Rule,
    judge_migration,
)
from keyserver.sessions.core import GivenUpError, KeyState
from keyserver.sessions.set_change.phases import Report
from keyserver.tasks.migration import IDLE, SessionPhase, SessionState

log = structlog.get_logger()

JUDGE_WITHIN_S: Final = 20.0
"""How long an order may be ahead of this node's view of the chain."""

PAGE: Final = 1024
"""Keys that are read at once."""

LOOK_HOLDS_S: Final = 30.0
"""How long a look at all keys is good for: orders that come meanwhile cost no other one.

Keys made meanwhile are not overlooked: the session looks at every key before it touches one.
"""


class Carrier(Protocol):
    """Carries out changes of the node set (`keyserver.engine.set_changes`)."""

    async def carry_out(self, order: MigrationOrder) -> Report:
        """Move the keys as coordinator; raises `KeyServerError`."""
        ...

    async def stop(self) -> None:
        """Give up what this node carries out."""
        ...


class Records(Protocol):
    """The keys at rest, as far as they are looked at here (`RecordStore`)."""

    async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Active records in ascending order of key id, those after `after`."""
        ...

    async def records(self, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
        """Their records, but for those that cannot be used."""
        ...

    async def load(self, key_id: KeyId) -> KeyState:
        """All that is stored about a key."""
        ...


class Driver(Protocol):
    """The migration driver (`keyserver.chain.migration`)."""

    def knows(self, migration_id: Hash32) -> bool:
        """Whether it has seen that this migration runs."""
        ...

    async def accepts(self, order: MigrationOrder) -> str | None:
        """Why this node takes no part; `None`: it does."""
        ...

    def on_left_behind(self, node: NodeId, migration_id: Hash32) -> None:
        """A member needs another session."""
        ...

    def wake(self) -> None:
        """Something has changed."""
        ...


class _Look:
    """One look at all keys; it goes on although whoever asked for it has gone."""

    def __init__(self, target_id: Hash32, work: Coroutine[Any, Any, tuple[KeyId, ...]]) -> None:
        self.target_id = target_id
        self.found = asyncio.ensure_future(work)
        self.found.add_done_callback(self._note_end)
        self._ended_at: float | None = None

    def _note_end(self, _: object) -> None:
        self._ended_at = asyncio.get_running_loop().time()

    @property
    def is_old(self) -> bool:
        """Whether keys have to be looked at again."""
        if self._ended_at is None:
            return False
        failed = self.found.cancelled() or self.found.exception() is not None
        return failed or asyncio.get_running_loop().time() - self._ended_at > LOOK_HOLDS_S


class MigrationSessions:
    """The sessions of migrations at this node; the driver's `SetChanges`."""

    def __init__(
        self,
        *,
        carrier: Carrier,
        records: Records,
        views: MigrationViews,
        connected: Callable[[], frozenset[NodeId]],
        completed: Iterable[CompletedChange] = (),
    ) -> None:
        """`follow` must be called before anything is started.

        `completed`: what this node's disk says at the start; it may have died before the driver
        heard of the last one.
        """
        self._carrier = carrier
        self._records = records
        self._views = views
        self._connected = connected
        self._driver: Driver | None = None
        self._completed = {change.id for change in completed}
        self._state = IDLE
        self._look: _Look | None = None
        self._leading: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    def follow(self, driver: Driver) -> None:
        """Tell this driver what comes of its orders."""
        self._driver = driver

    @property
    def state(self) -> SessionState:
        """Active while this node leads; finished also where another node has led."""
        view = self._views.migration_view
        if self._state == IDLE and view is not None and view.running is not None:
            assert view.change is not None  # as a migration runs
            if view.change.id in self._completed:
                return SessionState(SessionPhase.FINISHED, view.running.id)
        return self._state

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with an open connection."""
        return self._connected()

    async def keys_at_risk(self, target: NodeSet) -> tuple[KeyId, ...]:
        """Stored keys that lose holders and keep fewer than t + 1; raises `StorageError`.

        What was found for the same target a moment ago is good enough.
        """
        look = self._look
        if look is None or look.target_id != target.id or look.is_old:
            look = self._look = _Look(target.id, self._look_at_keys(target))
        return await asyncio.shield(look.found)

    async def _look_at_keys(self, target: NodeSet) -> tuple[KeyId, ...]:
        found: list[KeyId] = []
        after: KeyId | None = None
        while page := await self._records.catalogue(after, PAGE):
            records = await self._records.records(after, PAGE)
            read = {certified.record.key_id: certified for certified in records}
            for entry in page:
                known = read.get(entry.key_id) or await self._loaded(entry.key_id)
                if known is not None and _is_at_risk(known.record, target):
                    found.append(entry.key_id)
            after = page[-1].key_id
        return tuple(found)

    async def _loaded(self, key_id: KeyId) -> CertifiedRecord | None:
        """A record that has not come with its page, if this node can use it."""
        try:
            return (await self._records.load(key_id)).active
        except StorageError as problem:  # it is for the nodes that can read it to judge
            log.error("key_unusable", key_id=key_id, problem=str(problem))
            return None

    def start(self, order: MigrationOrder) -> None:
        """Lead a session; what is under way already is the engine's to refuse."""
        self._state = SessionState(SessionPhase.ACTIVE, order.id)
        self._leading = asyncio.create_task(self._lead(order))
        self._leading.add_done_callback(partial(self._on_led, order))

    def forget(self) -> None:
        """Idle from now on; what this node leads is given up."""
        self._state = IDLE
        view = self._views.migration_view
        if view is not None and view.change is not None:
            self._completed.discard(view.change.id)
        if self._leading is not None:
            self._leading.cancel()
            self._leading = None
            self._stopping = asyncio.create_task(self._carrier.stop())

    def on_completed(self, completed: CompletedChange) -> None:
        """A change is on this node's disk (`ChangeNeeds.on_completed`)."""
        self._completed.add(completed.id)
        if self._driver is not None:
            self._driver.wake()

    async def _lead(self, order: MigrationOrder) -> None:
        report = await self._carrier.carry_out(order)
        assert self._driver is not None
        for node in order.new_nodes:
            if node not in report.executed:
                self._driver.on_left_behind(node, order.id)

    def _on_led(self, order: MigrationOrder, led: asyncio.Task[None]) -> None:
        """However a session ends that was not given up, the driver hears of it."""
        error = GivenUpError("this node gave it up") if led.cancelled() else led.exception()
        if led is not self._leading:
            return
        self._leading = None
        if error is None:
            self._end(SessionState(SessionPhase.FINISHED, order.id))
            return
        if not isinstance(error, KeyServerError):
            log.error("migration_session_broke", id=order.id.hex(), exc_info=error)
        why = str(error) or type(error).__name__
        self._end(SessionState(SessionPhase.FAILED, order.id, why))

    def _end(self, state: SessionState) -> None:
        self._state = state
        assert self._driver is not None
        self._driver.wake()


def _is_at_risk(record: KeyRecord, target: NodeSet) -> bool:
    stay = sum(node in target for node in record.nodes)
    return stay < len(record.nodes) and stay < record.required_nodes


class MigrationJudge:
    """Judges orders of migrations for the engine (`OrderJudge`, as far as these go)."""

    def __init__(self, *, driver: Driver, node_sets: NodeSets, tip: ChainTip) -> None:
        self._driver = driver
        self._node_sets = node_sets
        self._tip = tip

    async def judge(self, order: MigrationOrder) -> SetChange:
        """The change that is ordered; raises `OrderRefusedError` or `StorageError`.

        An order that is ahead of this node's view is waited for, up to 20 s.
        """
        await self._until_seen(order)
        snapshot = self._node_sets.snapshot
        change = judge_migration(order, MigrationView(snapshot, frozenset(order.new_nodes)))
        why = await self._driver.accepts(order)
        if why is not None:
            raise OrderRefusedError(Rule.UNSETTLED, why)
        return change

    async def _until_seen(self, order: MigrationOrder) -> None:
        try:
            async with asyncio.timeout(JUDGE_WITHIN_S):
                while not self._sees(order):
                    await self._tip.next_evaluation()
        except TimeoutError:
            log.info("migration_not_seen", id=order.id.hex())

    def _sees(self, order: MigrationOrder) -> bool:
        running = self._node_sets.snapshot.migration
        shown = running is not None and running.id == order.id
        return shown and self._driver.knows(order.id)
