"""Renews the shares of all keys on a schedule: same key, same set, new polynomial (section 13).

Shares that were stolen before a refresh are worth nothing together with such that are stolen after
it. Whose turn it is, `keyserver.engine.refresh_turns` says; here a node looks for keys that it has
to refresh itself, and says in which refreshes of others it takes part. Changes of the node set go
first.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from keyserver.engine.ports import AgedRecord, Clock, Identity, NodeSets, Ports, Successions
from keyserver.engine.refresh_tries import RefreshTries
from keyserver.engine.refresh_turns import RefreshTurns
from keyserver.engine.set_change_needs import KeyMover
from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import KeyState, SessionError

AT_ONCE: Final = 4
"""Keys that are refreshed at the same time; each slot then rests as long as it has worked."""

PAGE: Final = 256
"""Old records that are looked up at a time."""

LONGEST_PAUSE_S: Final = 60.0
"""Between two looks."""

LOOKS_A_SLOT: Final = 4
"""How often a node looks at least while it is its turn."""

RUNS_A_ROUND: Final = 2
"""How often a node tries the same key again while the turns of all nodes last."""

MANY_FAILURES: Final = 8
"""After so many in a row something else is wrong, perhaps this node's clock: the rest waits for
another look, after a pause that doubles each time."""

log = structlog.get_logger()


class Changes(Successions, Protocol):
    """Changes of the node set that this node has accepted (`keyserver.engine.set_change_lock`)."""

    @property
    def change(self) -> SetChange | None:
        """The change that holds this node's lock."""
        ...


class RefreshRules:
    """To which set shares go: with a change of the node set, or for a refresh that is due here."""

    def __init__(
        self, me: NodeId, changes: Changes, node_sets: NodeSets, clock: Clock, turns: RefreshTurns
    ) -> None:
        self._me = me
        self._changes = changes
        self._node_sets = node_sets
        self._clock = clock
        self._turns = turns
        self.tries = RefreshTries(turns.round_s)
        """Of the other nodes."""

    @property
    def current(self) -> NodeSet:
        """The set on which keys are refreshed."""
        return self._node_sets.snapshot.current

    def obstacle(self) -> str | None:
        """Why nothing may be refreshed now, by this node or with it."""
        sets = self._node_sets.snapshot
        if not self._turns.interval_s:
            return "refresh_interval_days is 0"
        if self._changes.change is not None or sets.migration is not None:
            return "the node set is being changed"
        if sets.stale:
            return "the node set could not be read lately"
        return None if self._me in sets.current else "this node is not in the node set"

    def target(
        self, change_id: Hash32, key_id: KeyId, state: KeyState, coordinator: NodeId
    ) -> NodeSet | None:
        """The set that a change goes to; for zeros the current one, if a refresh is due here."""
        if change_id != ZERO_HASH:
            return self._changes.target(change_id, key_id, state, coordinator)
        if self.obstacle() is not None or state.active is None or not self.is_here(state):
            return None
        if coordinator not in self.current:
            return None
        if not self._turns.is_let_in(state.installed_at, self._clock.unix()):
            return None
        version, now = state.active.record.version, self._clock.monotonic()
        if coordinator != self._me and not self.tries.let_in(coordinator, key_id, version, now):
            return None
        return self.current

    def is_here(self, state: KeyState) -> bool:
        """Whether the key is on the current set; others are left to changes of the set."""
        return state.active is not None and state.active.record.set_id == self.current.id


@dataclass(slots=True)
class RefreshCounts:
    """What has become of refreshes that this node has begun, since it started."""

    done: int = 0
    failed: int = 0
    running: int = 0
    elsewhere: int = 0
    """Keys that were due at the last look, and are on another set than the current one."""


class Refreshes:
    """Looks for keys whose shares this node has to have renewed, and does so."""

    def __init__(
        self,
        identity: Identity,
        ports: Ports,
        mover: KeyMover,
        rules: RefreshRules,
        turns: RefreshTurns,
    ) -> None:
        self._identity = identity
        self._ports = ports
        self._mover = mover
        self._rules = rules
        self._turns = turns
        self._resting: dict[KeyId, float] = {}
        """Keys that could not be refreshed, and until when they are left alone."""
        self._in_a_row = 0
        """Failures since the last success, in this look."""
        self._discouraged = 0
        """Looks in a row that were given up because of failures."""
        self.counts = RefreshCounts()
        self._obstacle: str | None = None
        """What has been told in the log."""
        self.last_failure: str | None = None
        """Why a key could not be refreshed when it was this node's turn, until one could."""

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._pause_s())
            try:
                await self._forget_tries()
                await self._look()
            except StorageError as problem:
                log.error("old_records_not_read", problem=str(problem))

    def _pause_s(self) -> float:
        """Different at every node and every time, so that they do not all look at once."""
        if not self._turns.interval_s:
            return LONGEST_PAUSE_S
        slot_s = self._turns.slot_s(max(len(self._rules.current), 1))
        longest_s = min(LONGEST_PAUSE_S, slot_s / LOOKS_A_SLOT)
        longest_s = min(longest_s * 2.0**self._discouraged, self._turns.round_s)
        part = int.from_bytes(self._identity.random.bytes(2), "big") / 2**16
        return longest_s * (0.5 + part / 2)

    @property
    def obstacle(self) -> str | None:
        """Why nothing may be refreshed now, by this node or with it."""
        return self._rules.obstacle()

    async def _forget_tries(self) -> None:
        """What was refreshed was tried with success."""
        for key_id, version in self._rules.tries.open:
            state = await self._load(key_id)
            record = state.active.record if state is not None and state.active else None
            if record is not None and record.version != version:
                self._rules.tries.forget(key_id, version)

    # --- looking ----------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Go through the records that may be due, the oldest first."""
        self._note(self.obstacle)
        after: AgedRecord | None = None
        elsewhere, seen = 0, set[KeyId]()
        self._in_a_row = 0
        slots = asyncio.Semaphore(AT_ONCE)
        while self._may_go_on() and (page := await self._page(after)):
            async with asyncio.TaskGroup() as tasks:
                for entry in filter(self._is_old, page):
                    seen.add(entry.key_id)
                    state = await self._load(entry.key_id)
                    if state is None or not self._may_go_on():
                        continue
                    elsewhere += not self._rules.is_here(state)
                    if self._is_own_turn(entry.key_id, state):
                        await slots.acquire()
                        tasks.create_task(self._in_slot(entry.key_id, slots))
            after = page[-1]
        self.counts.elsewhere = elsewhere
        self._discouraged = self._discouraged + 1 if self._in_a_row >= MANY_FAILURES else 0
        for key_id in self._resting.keys() - seen:
            del self._resting[key_id]

    def _may_go_on(self) -> bool:
        return self.obstacle is None and self._in_a_row < MANY_FAILURES

    async def _page(self, after: AgedRecord | None) -> list[AgedRecord]:
        before = self._ports.clock.unix() - int(self._turns.earliest_s)
        return list(await self._ports.store.aged(after, before, PAGE))

    async def _load(self, key_id: KeyId) -> KeyState | None:
        try:
            return await self._ports.store.load(key_id)
        except StorageError as problem:
            log.error("key_unusable", key_id=key_id, problem=str(problem))
            return None

    def _is_old(self, entry: AgedRecord) -> bool:
        """Whether a record is due by its age alone."""
        age_s = self._turns.age_s(entry.installed_at, self._ports.clock.unix())
        return age_s >= self._turns.due_s(entry.record_hash)

    def _is_own_turn(self, key_id: KeyId, state: KeyState) -> bool:
        if self._resting.get(key_id, 0.0) > self._ports.clock.monotonic():
            return False
        if state.active is None or not self._rules.is_here(state):
            return False
        age_s = self._turns.age_s(state.installed_at, self._ports.clock.unix())
        return age_s >= self._turns.begins_s(state.active.record, self._identity.me)

    # --- refreshing -------------------------------------------------------------------------------

    async def _in_slot(self, key_id: KeyId, slots: asyncio.Semaphore) -> None:
        """Refresh a key; then leave the machine to others for as long as that took."""
        began = self._ports.clock.monotonic()
        self.counts.running += 1
        try:
            if self._may_go_on():
                await self._refresh(key_id)
        finally:
            self.counts.running -= 1
        await asyncio.sleep(self._ports.clock.monotonic() - began)
        slots.release()

    async def _refresh(self, key_id: KeyId) -> None:
        try:
            await self._mover.redistribute(key_id, ZERO_HASH, self._rules.current)
        except (SessionError, StorageError) as error:
            self._failed(key_id, str(error))
        else:
            log.info("key_refreshed", key_id=key_id)
            self.counts.done += 1
            self.last_failure = None
            self._in_a_row = 0

    def _failed(self, key_id: KeyId, why: str) -> None:
        now = self._ports.clock.monotonic()
        self._resting[key_id] = now + self._turns.round_s / RUNS_A_ROUND
        self.counts.failed += 1
        self._in_a_row += 1
        self.last_failure = why
        log.warning("key_not_refreshed", key_id=key_id, why=why)

    def _note(self, obstacle: str | None) -> None:
        """Take note of why nothing is refreshed; in the log once, where it is news."""
        if obstacle is not None and obstacle != self._obstacle:
            log.info("refreshes_wait", why=obstacle)
        self._obstacle = obstacle
