"""Carries out changes of the node set, and takes part in those of others (design, section 14.4).

The sessions (`keyserver.sessions.set_change`) say what happens when; here is what they have
performed: judging the order, the change lock, moving the keys, waiting for votes, the last look.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, assert_never

import structlog

from keyserver.engine.driver import Driver
from keyserver.engine.ports import Identity, Ports
from keyserver.engine.set_change_lock import VOTING, ChangeLock
from keyserver.engine.set_change_moving import Moving
from keyserver.engine.set_change_needs import ChangeNeeds, ChangeOptions
from keyserver.engine.set_change_progress import ChangePhase, ChangeProgress
from keyserver.engine.set_change_walk import Catalogues, UnreliableError, Walk
from keyserver.errors import StorageError
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import KeyRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import ChangeSet, NodeCredential
from keyserver.model.set_change import (
    CompletedChange,
    LegacyOrder,
    MigrationOrder,
    SetChange,
    SetChangeOrder,
    decode_order,
    encode_order,
)
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError, Rule
from keyserver.sessions.core import KeyState, Refusal, SessionError, SessionKind, UnavailableError
from keyserver.sessions.set_change import SET_CHANGE, Target
from keyserver.sessions.set_change.fates import Fate, fate_of, loses_nobody
from keyserver.sessions.set_change.history import next_epoch, past_of
from keyserver.sessions.set_change.messages import PastChange
from keyserver.sessions.set_change.phases import Report
from keyserver.sessions.set_change.works import (
    Accepted,
    Conclude,
    Concluded,
    Counted,
    CountMoved,
    Declined,
    Judge,
    MoveKeys,
    Result,
    Settle,
    Settled,
    Survey,
    Work,
)

QUIET_S: Final = 5.0
"""How long sessions in progress have to end before a change has this node for itself."""

SETTLING_S: Final = 30.0
"""How long sessions in which nodes vote may go on after a freeze; then they are ended."""

UNDECIDED_S: Final = 240.0
"""How long votes are waited for until they are decided."""

LOOK_EVERY_S: Final = 0.5
"""How often the store is asked for undecided votes meanwhile."""

PAGE: Final = 1024
"""Own keys that are looked at between two turns of everything else."""

OF_CLIENTS = frozenset(
    {
        SessionKind.GENERATION,
        SessionKind.STORING,
        SessionKind.RETRIEVAL,
        SessionKind.SCHNORR,
        SessionKind.ECDSA,
    }
)
"""What has to end before a change has this node for itself."""

AGREEING = VOTING | {SessionKind.REDISTRIBUTION}
"""What leaves votes that have to be decided."""

_MEMBERS_REPEAT: Final = "this change was completed: only a node of the new set may repeat it"

log = structlog.get_logger()


class ChangeCatalogue(Catalogues, Protocol):
    """What peers have, and what is undecided here (`keyserver.engine.catalogue`)."""

    def on_given_up(self, kind: SessionKind, key_id: KeyId) -> None:
        """Have decided what a session has left behind."""
        ...


class SetChanges:
    """The changes of the node set at this node; `ChangeService` of its driver."""

    def __init__(
        self,
        identity: Identity,
        ports: Ports,
        driver: Driver,
        catalogue: ChangeCatalogue,
        needs: ChangeNeeds,
        lock: ChangeLock,
    ) -> None:
        self._identity = identity
        self._ports = ports
        self._driver = driver
        self._catalogue = catalogue
        self._needs = needs
        self._lock = lock
        self._moving: Moving | None = None
        self._carrying_out: asyncio.Task[Report] | None = None
        self.forbids = self._lock.forbids
        self.wait_until_thawed = self._lock.wait_until_thawed

    # --- what others ask --------------------------------------------------------------------------

    @property
    def is_exclusive(self) -> bool:
        """Whether a change has this node for itself: clients have to wait."""
        return self._lock.is_exclusive

    @property
    def change(self) -> SetChange | None:
        """The change that holds this node's lock; while there is one nothing is refreshed.

        None while one is repeated that was completed here.
        """
        return self._lock.change

    @property
    def progress(self) -> ChangeProgress | None:
        """How far the change has come that this node coordinates, or has coordinated last."""
        return None if self._moving is None else self._moving.progress

    @property
    def is_running(self) -> bool:
        """Whether this node takes part in a change, so that no other can begin."""
        return self._carrying_out is not None or self._lock.change is not None

    async def is_quiet(self) -> bool:
        """Whether what clients have asked for ends soon; waits for that, `QUIET_S` at most."""
        return await _all_set(self._driver.ends_of(OF_CLIENTS), QUIET_S)

    # --- carrying out -----------------------------------------------------------------------------

    async def carry_out(self, order: SetChangeOrder) -> Report:
        """Carry out an order as coordinator; it goes on even if the caller goes away.

        Raises `OrderRefusedError` if this node finds fault with it, `KeysWouldBeLostError` before
        anything is touched, and `DeniedError` and `UnavailableError` by the original's names. The
        same order again goes on where it stopped.
        """
        if self.is_running:
            raise UnavailableError("a change of the node set is running", "DuplicateSessionId")
        task = asyncio.ensure_future(self._carry_out(order))
        self._carrying_out = task
        task.add_done_callback(self._carried_out)
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """Give up what this node carries out, if it does: the process ends."""
        if self._carrying_out is not None:
            self._carrying_out.cancel()
            await asyncio.wait([self._carrying_out])

    def _carried_out(self, task: asyncio.Task[Report]) -> None:
        """Whoever waits is told; if nobody does, it is in the log."""
        self._carrying_out = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("set_change_failed", why=str(error))

    async def _carry_out(self, order: SetChangeOrder) -> Report:
        change = await self._needs.judge.judge(order)
        if change.is_repeat and self._identity.me not in change.new:
            raise OrderRefusedError(Rule.MASTER_OUTSIDE, _MEMBERS_REPEAT)
        members = {*change.old.nodes, *change.new.nodes}
        missing = frozenset(members) - self._driver.connected
        if isinstance(order, MigrationOrder):
            members |= await self._last_involved() & self._driver.connected
        everybody = tuple(sorted(members))
        self._moving = moving = Moving(
            self._identity,
            self._ports,
            self._driver,
            self._catalogue,
            self._needs.mover,
            ChangeProgress(change.id, missing=missing),
        )
        target = Target(change, everybody, needs_all=not isinstance(order, MigrationOrder))
        operation = ChangeSet(change.id, encode_order(order))
        try:
            report = await self._driver.execute(
                SET_CHANGE, operation, lambda _: NodeCredential(), target
            )
        except SessionError as error:
            lost = error.failed if isinstance(error, UnavailableError) else frozenset()
            moving.end(ChangePhase.FAILED, missing | lost, str(error))
            if moving.losing:
                raise KeysWouldBeLostError(moving.losing) from error
            raise
        assert isinstance(report, Report)
        moving.end(ChangePhase.DONE, frozenset(everybody) - report.executed)
        return report

    # --- what sessions have performed -------------------------------------------------------------

    async def perform(self, work: Any, ended: asyncio.Event) -> Result:
        """Do what a session asks for; `ended` is set when it is over."""
        try:
            return await self._perform(work, ended)
        except StorageError as problem:
            log.error("set_change_stopped", work=type(work).__name__, problem=str(problem))
            return Declined(Refusal.TEMPORARY, f"the store fails: {problem}")
        except ExceptionGroup as several:
            if several.split(StorageError)[1] is not None:
                raise
            log.error("set_change_stopped", work=type(work).__name__, problem=str(several))
            return Declined(Refusal.TEMPORARY, "the store fails")

    async def _perform(self, work: Work, ended: asyncio.Event) -> Result:
        if isinstance(work, Settle | Conclude) and not self._lock.is_held_for(ended):
            return Declined(Refusal.EXCLUSIVE, "another change of the node set has the lock")
        match work:
            case Judge():
                return await self._judge(work, ended)
            case Survey():
                surveyed = await self._coordinated.survey(work)
                progress = self._coordinated.progress
                return replace(surveyed, keys=progress.total + progress.keys_kept)
            case MoveKeys():
                result = await self._coordinated.move(work)
                done = ChangePhase.CONCLUDING if work.frozen else ChangePhase.FREEZING
                self._coordinated.note(done)
                return result
            case Settle():
                return await self._settle(work.change)
            case CountMoved(change):
                moved = 0
                async for record in self._records():
                    moved += record.set_id == change.new.id
                return Counted(moved)
            case Conclude():
                return await self._conclude(work)
        assert_never(work)

    @property
    def _coordinated(self) -> Moving:
        assert self._moving is not None  # only this node's own session asks
        return self._moving

    async def _judge(self, work: Judge, ended: asyncio.Event) -> Accepted | Declined:
        try:
            order = decode_order(work.order)
            if isinstance(order, MigrationOrder) and work.coordinator != order.master:
                return Declined(Refusal.DENIED, "a migration is coordinated by its master")
            change = await self._needs.judge.judge(order)  # may look through all keys
        except CodecError as problem:
            return Declined(Refusal.BAD, str(problem))
        except OrderRefusedError as refused:
            return Declined(Refusal.DENIED, str(refused))
        if change.id != work.change_id:
            return Declined(Refusal.DENIED, "the order means another change here")
        if not await self._is_involved(order, change):
            return Declined(Refusal.DENIED, "this node is in none of the sets")
        if change.is_repeat and work.coordinator not in change.new:
            return Declined(Refusal.DENIED, _MEMBERS_REPEAT)
        options = self._needs.options()
        exclusive = self._is_exclusive(order, change, options)
        if not self._lock.take(change, ended, exclusive=exclusive, yields=change.is_repeat):
            return Declined(Refusal.EXCLUSIVE, "another change of the node set is running")
        if exclusive and not await self.is_quiet():
            self._lock.give_back()
            return Declined(Refusal.BUSY, "sessions are in progress")
        log.info("set_change_accepted", change=change.id, leaving=len(change.leaving))
        return Accepted(change, options.allow_key_loss)

    async def _is_involved(self, order: SetChangeOrder, change: SetChange) -> bool:
        me = self._identity.me
        if me in change.old or me in change.new:
            return True
        return isinstance(order, MigrationOrder) and me in await self._last_involved()

    async def _last_involved(self) -> frozenset[NodeId]:
        """Who took part in the latest change: the keys are with them if it was cancelled then."""
        completed = await self._needs.store.completed()
        return frozenset((*completed[-1].old.nodes, *completed[-1].new.nodes) if completed else ())

    def _is_exclusive(
        self, order: SetChangeOrder, change: SetChange, options: ChangeOptions
    ) -> bool:
        """Whether clients have to wait, as those of the original expect.

        A change that was completed before moves next to nothing, and anybody who has seen the
        order may repeat it: that must not keep clients waiting.
        """
        legacy = isinstance(order, LegacyOrder)
        return legacy and not change.is_repeat and not options.serve_during_change

    async def _settle(self, change: SetChange) -> Settled | Declined:
        """From here on no vote for the old set; wait until those given are decided."""
        if await self._has_completed(change):
            return Settled(past_of(await self._needs.store.completed(), change))
        self._lock.freeze(change)
        if not await _all_set(self._driver.ends_of(AGREEING), SETTLING_S):
            self._driver.dismiss(AGREEING)
        if not await self._is_decided():
            return Declined(Refusal.TEMPORARY, "votes of this node are not decided")
        return Settled(past_of(await self._needs.store.completed(), change))

    async def _has_completed(self, change: SetChange) -> bool:
        """Whether this node is past this change: then it gives no vote for the old set anyway.

        The change is run again for the sake of others, who may be silent for ever.
        """
        completed = await self._needs.store.completed()
        is_latest = bool(completed) and completed[-1].id == change.id
        return is_latest and self._driver.node_set == change.new

    async def _is_decided(self) -> bool:
        """Whether everything that this node has voted for is decided before long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNDECIDED_S):
                while undecided := await self._ports.store.undecided():
                    for key_id in undecided:
                        for kind in sorted(VOTING):
                            self._catalogue.on_given_up(kind, key_id)
                    await asyncio.sleep(LOOK_EVERY_S)
                return True
        return False

    async def _conclude(self, work: Conclude) -> Concluded | Declined:
        """Look whether every key is where it belongs, then write the change down."""
        if not await self._has_completed(work.change) and await self._ports.store.undecided():
            return Declined(Refusal.TEMPORARY, "votes of this node are not decided")
        left = frozenset(work.left)
        if await self._strays(work.change, left):
            await self._catch_up(work.coordinator)
            strays = await self._strays(work.change, left)
            if strays:
                return Declined(Refusal.TEMPORARY, f"{strays} keys are on another set here")
        losing = await self._losing(work.change, left)
        if losing and not self._needs.options().allow_key_loss:
            return Declined(Refusal.DENIED, "keys that would be lost are left behind")
        if losing and (movable := await self._movable(work.change, losing)):
            return Declined(Refusal.TEMPORARY, f"{movable} keys left behind can be moved")
        if self._identity.me not in work.change.new:
            await self._needs.eraser.erase_shares(work.left)
        await self._write_down(work.change, work.past)
        return Concluded()

    async def _write_down(self, change: SetChange, past: Sequence[PastChange]) -> None:
        """Take over the history that the nodes agree on, with this change at its end."""
        kept = await self._needs.store.completed()
        when = {(each.epoch, each.id): each.completed_at for each in kept}
        now, network = self._ports.clock.unix(), change.old
        this = PastChange(next_epoch(tuple(past)), change.id, change.old.nodes, change.new.nodes)
        completed = [
            CompletedChange(
                each.epoch,
                each.id,
                NodeSet(network.chain_id, network.contract, each.old),
                NodeSet(network.chain_id, network.contract, each.new),
                when.get((each.epoch, each.id), now),
            )
            for each in (*past, this)
        ]
        latest = completed[-1]
        if completed != list(kept):
            await self._needs.store.keep_completed(completed)
        self._needs.on_completed(latest)
        log.info("set_change_completed", change=change.id, epoch=latest.epoch)

    # --- own keys ---------------------------------------------------------------------------------

    async def _records(self) -> AsyncIterator[KeyRecord]:
        """Every record in force here; raises `StorageError` for one that cannot be read."""
        store, after = self._ports.store, None
        while page := await store.catalogue(after, PAGE):
            read = {each.record.key_id: each for each in await store.records(after, PAGE)}
            for entry in page:
                active = read.get(entry.key_id) or (await store.load(entry.key_id)).active
                if active is not None:
                    yield active.record
            after = page[-1].key_id

    async def _strays(self, change: SetChange, left: frozenset[KeyId]) -> int:
        """How many keys are neither on the target set nor left behind."""
        strays = 0
        async for record in self._records():
            strays += record.set_id != change.new.id and record.key_id not in left
        return strays

    async def _losing(self, change: SetChange, left: frozenset[KeyId]) -> frozenset[KeyId]:
        """Those of the keys left behind that lose somebody, as far as this node knows them."""
        found = set()
        for key_id in left:
            state: KeyState = await self._ports.store.load(key_id)
            if state.active is not None and not loses_nobody(state.active.record, change.new):
                found.add(key_id)
        return frozenset(found)

    async def _movable(self, change: SetChange, losing: frozenset[KeyId]) -> int:
        """How many of these keys could be moved, by what this node is told itself.

        Shares of what is given up are erased: the coordinator's word is not enough for that. Whose
        catalogue cannot be read counts as a holder.
        """
        reachable, walk = self._driver.connected, self._walk()
        members = {*change.old.nodes, *change.new.nodes}
        movable = set(losing)
        async for view in walk.keys(members & reachable - {self._identity.me}):
            if view.key_id not in losing:
                continue
            assert view.state.active is not None  # of a view
            fate = fate_of(
                view.state.active.record,
                change.new,
                holders=view.holders | walk.unreliable,
                reachable=reachable,
                max_faulty=self._identity.policy().max_faulty,
            )
            if fate is not Fate.MOVES:
                movable.discard(view.key_id)
        return len(movable)

    def _walk(self) -> Walk:
        return Walk(self._identity.me, self._ports.store, self._catalogue)

    async def _catch_up(self, peer: NodeId) -> None:
        """Pull what a peer has; decisions may be on their way."""
        if peer == self._identity.me:
            return
        try:
            async for _ in self._catalogue.pages(peer):
                pass
        except UnreliableError as problem:
            log.warning("catalogue_not_read", peer=peer, problem=str(problem))


async def _all_set(events: Sequence[asyncio.Event], within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            for event in events:
                await event.wait()
            return True
    return False
