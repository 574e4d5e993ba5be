"""Moves all keys to the target set, pass by pass (engine design, section 14.4, steps 2 to 4).

A pass goes through all catalogues and has every key moved that is not where it belongs, at most
`AT_ONCE` at a time. Keys that were made meanwhile are found by the next pass; when further passes
would not find fewer, the nodes freeze, and the last pass of all is one that finds none. With the
nodes frozen time is short: then only those keys are looked at that have come since the last pass.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence, Set
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Protocol

import structlog

from keyserver.engine.ports import AgedRecord, Identity, Ports
from keyserver.engine.set_change_needs import KeyMover
from keyserver.engine.set_change_progress import MOST_TOLD, ChangePhase, ChangeProgress
from keyserver.engine.set_change_walk import MOST_UNREADABLE, Catalogues, KeyView, Walk
from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH, KeyId, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.quorums import Quorums
from keyserver.sessions.core import KeyState, Refusal, SessionError
from keyserver.sessions.set_change.fates import Fate, fate_of
from keyserver.sessions.set_change.messages import MAX_LEFT
from keyserver.sessions.set_change.works import (
    Declined,
    Moved,
    MoveKeys,
    Survey,
    Surveyed,
)

AT_ONCE: Final = 64
"""Keys that are moved at the same time."""

TRIES: Final = 4
"""How often a key is tried before the change is given up."""

PASSES: Final = 3
"""How many passes there are before a freeze, if no key fails."""

CLEARLY_FEWER: Final = 0.75
"""Another pass before a freeze is worth while if the last one found so much less than before."""

FIRST_PAUSE_S: Final = 1.0
"""Before a pass over keys that could not be moved; twice as long before each further one."""

SURVEYS: Final = 3
"""How often the keys are looked at while catalogues cannot be read: who joins believes a record
only when several nodes have shown it."""

SURE_S: Final = 5
"""How much further back than the begin of the last pass is looked for what has come since."""

PAGE: Final = 256
"""Keys that have come lately and are read at once."""

log = structlog.get_logger()


class Connected(Protocol):
    """Who can be reached (`keyserver.engine.driver`)."""

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with a connection, and this node."""
        ...


class _Pass:
    """What one pass has found and done."""

    def __init__(self) -> None:
        self.arrived = 0
        self.moved = 0
        self.failed = 0
        self.broken = 0
        """How many have failed of this node's store."""
        self.given_up = False
        """Whether a key was tried often enough."""
        self.left: list[KeyId] = []


class Moving:
    """One change at its coordinator, from the first look to the last key."""

    def __init__(
        self,
        identity: Identity,
        ports: Ports,
        sessions: Connected,
        catalogues: Catalogues,
        mover: KeyMover,
        progress: ChangeProgress,
    ) -> None:
        self._identity = identity
        self._ports = ports
        self._sessions = sessions
        self._catalogues = catalogues
        self._mover = mover
        self._attempts: Counter[KeyId] = Counter()
        self._reasons: dict[KeyId, str] = {}
        self._whole: tuple[int, _Pass] | None = None
        """The last pass before the freeze, with Unix seconds before its begin."""
        self._slow: set[NodeId] = set()
        """Peers that have kept this node waiting; until the next step they are not asked again."""
        self.progress = progress
        self.losing = 0
        """Keys because of which the change must not begin."""

    def note(self, phase: ChangePhase, why: str = "") -> None:
        """Take note of where the change stands."""
        self.progress = replace(self.progress, phase=phase, why=why)
        log.info("set_change", phase=phase, moved=self.progress.moved, total=self.progress.total)

    def end(self, phase: ChangePhase, missing: frozenset[NodeId], why: str = "") -> None:
        """Take note of how the change has ended, and of who has not taken part to the end."""
        self.note(phase, why)
        self.progress = replace(self.progress, missing=missing)

    # --- before anything is touched ---------------------------------------------------------------

    async def survey(self, work: Survey) -> Surveyed:
        """Look what would become of every key; raises `StorageError`."""
        self.note(ChangePhase.LOOKING)
        self._slow.clear()
        for _ in range(SURVEYS):
            surveyed, unreliable = await self._look(work)
            if not unreliable:
                break
        self.losing = 0 if work.may_lose_keys else surveyed.losing
        return surveyed

    async def _look(self, work: Survey) -> tuple[Surveyed, Set[NodeId]]:
        reachable = self._reachable(work.taking_part)
        walk = self._walk()
        fates: Counter[Fate] = Counter()
        self._reasons.clear()
        async for view in walk.keys(reachable - {self._identity.me} - self._slow):
            fate = self._fate(view, work, reachable)
            fates[fate] += 1
            if fate in (Fate.IS_LOST, Fate.STAYS):
                self._keep(view.key_id, _reason(fate))
        total = fates.total() - len(self._reasons)
        for key_id, problem in walk.unreadable.items():
            self._keep(key_id, problem)
        self.progress = replace(self.progress, total=total, moved=fates[Fate.ARRIVED])
        self._tell_kept()
        self._slow |= walk.slow
        return Surveyed(fates[Fate.MOVES], fates[Fate.IS_LOST]), walk.unreliable

    # --- moving -----------------------------------------------------------------------------------

    async def move(self, work: MoveKeys) -> Moved | Declined:
        """Move keys until none is left, or before a freeze for a while; raises `StorageError`."""
        self.note(ChangePhase.MOVING_REST if work.frozen else ChangePhase.MOVING)
        if work.frozen and (rest := await self._move_rest(work)) is not None:
            return rest
        self._attempts.clear()
        self._slow.clear()
        passes: list[_Pass] = []
        pause_s = FIRST_PAUSE_S
        while True:
            began, walk = self._ports.clock.unix(), self._walk()
            done = await self._pass(walk, work)
            self._whole = None if done.failed or work.frozen else (began, done)
            passes.append(done)
            if done.given_up:
                return Declined(Refusal.TEMPORARY, f"{done.failed} keys could not be moved")
            if _is_enough(passes, work.frozen):
                moved = sum(each.moved for each in passes)
                return self._result(walk, work, moved, done)
            if done.failed:
                await asyncio.sleep(pause_s)
                pause_s *= 2

    async def _move_rest(self, work: MoveKeys) -> Moved | None:
        """Move what has come since the last pass; `None` if only another pass tells what is left.

        Nothing new is decided any more: what is missing here, one of a quorum shows.
        """
        if self._whole is None:
            return None
        began, whole = self._whole
        reachable = self._reachable(work.taking_part)
        me, old = frozenset({self._identity.me}), work.change.old
        read = await self._catalogues.catch_up(
            reachable - self._slow - me, lambda read: self._is_quorum(read | me, old)
        )
        if not self._is_quorum(read | me, old):
            return None
        moved, base = 0, self.progress.moved
        for _ in range(TRIES):
            views = self._come_since(began - SURE_S, frozenset(whole.left))
            done = await self._go_through(views, work, reachable)
            if done.failed or done.left:
                return None
            moved += done.moved
            self.progress = replace(self.progress, moved=base + moved, total=base + moved)
            if done.moved == 0:
                return Moved(moved, tuple(whole.left))
        return None

    async def _come_since(self, began: int, left: frozenset[KeyId]) -> AsyncIterator[KeyView]:
        """Keys with a record of late; who took part in making it is taken to hold its share."""
        store, before = self._ports.store, self._ports.clock.unix() + 1
        place = AgedRecord(began, KeyId(bytes(32)), ZERO_HASH)
        while page := await store.aged(place, before, PAGE):
            for each in page:
                active = (await store.load(each.key_id)).active
                if active is not None and each.key_id not in left:
                    holders = frozenset(active.record.nodes)
                    yield KeyView(each.key_id, KeyState(active=active), holders)
            place = page[-1]

    async def _pass(self, walk: Walk, work: MoveKeys) -> _Pass:
        """Go through the keys of all nodes."""
        reachable = self._reachable(work.taking_part)
        self._reasons.clear()
        views = walk.keys(reachable - {self._identity.me} - self._slow)
        done = await self._go_through(views, work, reachable)
        for key_id, problem in walk.unreadable.items():
            self._attempts[key_id] += 1
            self._failed(key_id, problem, done)
        arrived = done.arrived + done.moved
        self.progress = replace(self.progress, moved=arrived, total=arrived + done.failed)
        self._tell_kept()
        self._slow |= walk.slow
        return done

    async def _go_through(
        self, views: AsyncIterator[KeyView], work: MoveKeys, reachable: frozenset[NodeId]
    ) -> _Pass:
        done, slots = _Pass(), asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            async for view in views:
                match self._fate(view, work, reachable):
                    case Fate.ARRIVED:
                        done.arrived += 1
                    case Fate.MOVES:
                        self._attempts[view.key_id] += 1
                        await slots.acquire()
                        tasks.create_task(self._move_one(view.key_id, work, done, slots))
                    case Fate.IS_LOST if not work.may_lose_keys:
                        self._attempts[view.key_id] += 1
                        self._failed(view.key_id, _reason(Fate.IS_LOST), done)
                    case Fate.STAYS | Fate.IS_LOST as fate:
                        done.left.append(view.key_id)
                        self._keep(view.key_id, _reason(fate))
        return done

    async def _move_one(
        self, key_id: KeyId, work: MoveKeys, done: _Pass, slots: asyncio.Semaphore
    ) -> None:
        if self._attempts[key_id] > TRIES:
            self._failed(key_id, "it does not arrive", done)
            slots.release()
            return
        try:
            await self._mover.redistribute(key_id, work.change.id, work.change.new)
        except SessionError as error:
            self._failed(key_id, str(error), done)
        except StorageError as problem:
            done.broken += 1
            if done.broken > MOST_UNREADABLE:
                raise  # it is not about this key
            self._failed(key_id, str(problem), done)
        else:
            done.moved += 1
            self.progress = replace(self.progress, moved=self.progress.moved + 1)
        finally:
            slots.release()

    def _failed(self, key_id: KeyId, why: str, done: _Pass) -> None:
        log.info("key_not_moved", key_id=key_id, why=why)
        done.failed += 1
        done.given_up |= self._attempts[key_id] >= TRIES
        self._keep(key_id, why)

    def _result(self, walk: Walk, work: MoveKeys, moved: int, done: _Pass) -> Moved | Declined:
        """What was decided anywhere is known to one of a quorum, if they all have answered."""
        answered = self._reachable(work.taking_part) - walk.unreliable - self._slow
        if not self._is_quorum(answered, work.change.old):
            why = "too few catalogues could be read to be sure that no key is left"
            return Declined(Refusal.TEMPORARY, why)
        if len(done.left) > MAX_LEFT:
            return Declined(Refusal.TEMPORARY, f"{len(done.left)} keys would stay behind")
        return Moved(moved, tuple(done.left))

    # --- what both need ---------------------------------------------------------------------------

    def _walk(self) -> Walk:
        return Walk(self._identity.me, self._ports.store, self._catalogues)

    def _reachable(self, taking_part: frozenset[NodeId]) -> frozenset[NodeId]:
        return taking_part & self._sessions.connected

    def _is_quorum(self, nodes: frozenset[NodeId], of: NodeSet) -> bool:
        quorum = Quorums.of(len(of), self._identity.policy().max_faulty).agreement
        return sum(node in of for node in nodes) >= quorum

    def _fate(self, view: KeyView, work: Survey | MoveKeys, reachable: frozenset[NodeId]) -> Fate:
        assert view.state.active is not None
        return fate_of(
            view.state.active.record,
            work.change.new,
            holders=view.holders,
            reachable=reachable,
            max_faulty=self._identity.policy().max_faulty,
        )

    def _keep(self, key_id: KeyId, why: str) -> None:
        self._reasons[key_id] = why

    def _tell_kept(self) -> None:
        told = dict(sorted(self._reasons.items())[:MOST_TOLD])
        self.progress = replace(
            self.progress, kept=MappingProxyType(told), keys_kept=len(self._reasons)
        )


def _reason(fate: Fate) -> str:
    keeps = "it stays as it is" if fate is Fate.STAYS else "it would be left with too few"
    return f"too few of its holders can be reached, or are in the new set: {keeps}"


def _is_enough(passes: Sequence[_Pass], frozen: bool) -> bool:
    """Whether this was the last pass; before a freeze there may always be another key.

    Who fails again and again has ended the change by then; who has failed once may be new.
    """
    last = passes[-1]
    if frozen:
        return last.failed == last.moved == 0
    if last.failed:
        return len(passes) >= TRIES
    if last.moved <= AT_ONCE or len(passes) >= PASSES:
        return True
    return len(passes) > 1 and last.moved > CLEARLY_FEWER * passes[-2].moved
