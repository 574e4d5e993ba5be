"""Carries migrations of the node set out: the driver around `keyserver.tasks.migration_decision`.

It looks again with every block, every ten seconds, and whenever a connection or the session has
changed. What must survive a crash is stored before anything follows from it: the id of a start,
that a migration was accepted, that its session succeeded, and every transaction.
"""

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from keyserver.chain.client import BlockRef
from keyserver.chain.migration_transactions import MigrationTransactions
from keyserver.chain.ports import Evaluation, MigrationViews, SetChanges
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock, TimerHandle
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import MigrationOrder
from keyserver.tasks.migration import (
    AcceptMigration,
    Action,
    CheckKeys,
    ChooseId,
    ForgetSession,
    JoinedMigration,
    KeyCheck,
    MigrationFacts,
    MigrationView,
    PlannedStart,
    RecordFailure,
    RecordSuccess,
    Refusal,
    Refuse,
    RunningMigration,
    SendConfirm,
    SendStart,
    StartSession,
    Wait,
)
from keyserver.tasks.migration_decision import (
    back_off,
    confirm_is_wanted,
    decide,
    refused_order,
    start_is_wanted,
)
from keyserver.tasks.migration_status import MigrationStatus, status_of
from keyserver.tasks.model import TaskKind
from keyserver.tasks.ports import MigrationStore

log = structlog.get_logger()

INTERVAL_S: Final = 10.0
"""Seconds between two looks when nothing happens."""

CHECK_AGAIN_S: Final = 60.0
"""Seconds for which keys that were found to be at risk are not counted again."""

MOST_STEPS: Final = 8
"""Steps in one go; each leads to another state, so there are never that many."""


class MigrationDriver:
    """A `ChainObserver`, to be told after the node set has been read and before the sender."""

    def __init__(
        self,
        *,
        me: NodeId,
        views: MigrationViews,
        changes: SetChanges,
        transactions: MigrationTransactions,
        store: MigrationStore,
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._me = me
        self._views = views
        self._changes = changes
        self._transactions = transactions
        self._store = store
        self._clock = clock
        self._random = random
        self._head: BlockRef | None = None
        self._plan: PlannedStart | None = None
        self._plan_of: Address | None = None
        """The contract whose plan has been read."""
        self._joined: JoinedMigration | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._failing: Hash32 | None = None
        """The migration that failures are counted for."""
        self._left_behind: Hash32 | None = None
        """The migration of which a member wants another session."""
        self._check: tuple[KeyCheck, float] | None = None
        self._told: Refuse | None = None
        self._lock = asyncio.Lock()
        self._signal = asyncio.Event()
        self._timer: TimerHandle | None = None

    # --- what others tell -----------------------------------------------------------------

    async def on_evaluation(self, evaluation: Evaluation) -> None:
        """Withdraw what this block makes pointless; all else in `run`. Raises `StorageError`."""
        async with self._lock:
            self._head = evaluation.head
            view = self._view()
            if view is not None:
                await self._load(view)
                await self._withdraw(view)
        self._signal.set()

    def on_unavailable(self) -> None:
        """Nothing to do: the node set goes stale by itself."""

    def wake(self) -> None:
        """A connection or the session has changed."""
        self._signal.set()

    def on_left_behind(self, node: NodeId, migration_id: Hash32) -> None:
        """A member of the target needs another session; it gets one as often as the pauses allow.

        It matters to a master whose own session succeeds, or has; else there is another one anyway.
        """
        view = self._view()
        running = view.running if view is not None else None
        if running is None or running.id != migration_id or node not in running.target:
            return
        if self._left_behind == migration_id:
            return
        log.warning("migration_member_left_behind", node=node.short, id=migration_id.hex())
        self._left_behind = migration_id
        if self._joined is not None and self._joined.succeeded_block is not None:
            self._note_failure(migration_id)
        self._signal.set()

    # --- what others ask ------------------------------------------------------------------

    async def accepts(self, order: MigrationOrder) -> str | None:
        """Why this node takes no part in a session of this order; `None`: it does (W-24, W-25).

        Raises `StorageError`.
        """
        async with self._lock:
            judged = await self._judged(order)
        if not isinstance(judged, str):
            # It takes a while to look at all keys, and blocks come meanwhile: not in the lock.
            at_risk = await self._changes.keys_at_risk(judged.target)
            judged = Refusal.KEYS_AT_RISK.value if at_risk else await self._joined_by(order)
        if not isinstance(judged, str):
            return None
        log.warning("migration_order_refused", id=order.id.hex(), reason=judged)
        return judged

    async def _joined_by(self, order: MigrationOrder) -> RunningMigration | str:
        """The migration that this node takes part in now, or why it does not."""
        async with self._lock:
            judged, view = await self._judged(order), self._view()
            if view is None or isinstance(judged, str):
                return judged
            if self._joined is None or not self._joined.is_of(judged):
                await self._accept(view, judged)
            return judged

    async def _judged(self, order: MigrationOrder) -> RunningMigration | str:
        """The migration that is ordered, or what the chain says against it."""
        view = self._view()
        if view is None or view.running is None:
            return "no migration is known"
        await self._load(view)
        why = refused_order(view, self._joined, order)
        return view.running if why is None else why

    def knows(self, migration_id: Hash32) -> bool:
        """Whether this migration runs, as of the last block that was looked at here."""
        view = self._view()
        return view is not None and view.running is not None and view.running.id == migration_id

    def wanted(self, kind: TaskKind, migration_id: Hash32) -> bool | None:
        """Whether a transaction is still to be sent; `None` before the first block."""
        view = self._view()
        if view is None:
            return None
        if kind is TaskKind.START_MIGRATION:
            return start_is_wanted(self._me, view, self._plan, migration_id)
        return confirm_is_wanted(self._me, view, self._joined, migration_id)

    async def status(self) -> MigrationStatus | None:
        """How things stand; `None` before the first block or without a contract."""
        async with self._lock:
            view = self._view()
            if view is None:
                return None
            return status_of(self._me, view, self._changes.state, await self._facts(view))

    # --- the loop -------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; trouble with the store is tried again."""
        self._tick()
        try:
            while True:
                await self._signal.wait()
                self._signal.clear()
                try:
                    await self.advance()
                except KeyServerError as error:
                    log.warning("migration_waits", reason=str(error))
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _tick(self) -> None:
        self._signal.set()
        self._timer = self._clock.call_later(INTERVAL_S, self._tick)

    async def advance(self) -> None:
        """Do all that can be done now; raises `StorageError`, what is left is done next time."""
        self._drop_old_check()
        for _ in range(MOST_STEPS):
            async with self._lock:
                action = await self._step()
            match action:
                case None:
                    return
                case CheckKeys(target):  # it takes a while, and blocks come meanwhile
                    at_risk = await self._changes.keys_at_risk(target)
                    self._check = KeyCheck(target.id, at_risk), self._clock.monotonic()

    async def _step(self) -> Action | None:
        """Carry a step out; `None` if there is no other one now."""
        view = self._view()
        if view is None:
            return None
        action = decide(self._me, view, self._changes.state, await self._facts(view))
        self._tell(action)
        return action if await self._perform(action, view) else None

    async def _perform(self, action: Action, view: MigrationView) -> bool:
        """Carry a step out; whether there may be another one now."""
        match action:
            case Wait() | Refuse():
                return False
            case ChooseId(current, new):
                await self._choose_id(view, current, new)
            case CheckKeys():
                pass  # not in the lock: `advance` does it
            case SendStart(migration_id):
                await self._send(TaskKind.START_MIGRATION, view, migration_id)
            case SendConfirm(migration_id):
                await self._send(TaskKind.CONFIRM_MIGRATION, view, migration_id)
            case AcceptMigration(running):
                await self._accept(view, running)
            case StartSession(order):
                log.info("migration_session_started", id=order.id.hex(), to=len(order.new_nodes))
                self._left_behind = None
                self._changes.start(order)
                return False
            case ForgetSession():
                self._changes.forget()
            case RecordSuccess(joined):
                await self._record_success(view, joined)
            case RecordFailure(running, reason):
                self._record_failure(running, reason)
        return True

    # --- steps ----------------------------------------------------------------------------

    async def _choose_id(self, view: MigrationView, current: NodeSet, new: NodeSet) -> None:
        await self._withdraw(view)
        migration_id = Hash32(self._random.bytes(32))
        plan = PlannedStart(migration_id, view.contract, current.id, new.id, view.block)
        await self._store.keep_planned_start(plan)
        self._plan = plan

    async def _send(self, kind: TaskKind, view: MigrationView, migration_id: Hash32) -> None:
        assert self._head is not None, "there is no view before the first block"
        await self._transactions.send(kind, view.contract, migration_id, self._head)

    async def _accept(self, view: MigrationView, running: RunningMigration) -> None:
        joined = JoinedMigration(running.id, view.contract, running.target.id, view.block)
        await self._store.keep_joined_migration(joined)
        self._joined = joined
        log.info("migration_accepted", id=running.id.hex(), members=len(running.target))

    async def _record_success(self, view: MigrationView, joined: JoinedMigration) -> None:
        joined = replace(joined, succeeded_block=view.block)
        await self._store.keep_joined_migration(joined)
        self._joined = joined
        if self._left_behind == joined.id:
            self._note_failure(joined.id)
        self._changes.forget()
        log.info("migration_session_succeeded", id=joined.id.hex(), block=view.block)

    def _record_failure(self, running: RunningMigration, reason: str) -> None:
        self._note_failure(running.id)
        log.warning("migration_session_failed", id=running.id.hex(), reason=reason)
        self._changes.forget()

    def _note_failure(self, migration_id: Hash32) -> None:
        self._failures = self._failures + 1 if self._failing == migration_id else 1
        self._failing = migration_id
        self._retry_at = self._clock.monotonic() + back_off(self._failures)

    def _tell(self, action: Action) -> None:
        """Say once why a change is refused."""
        if isinstance(action, CheckKeys):
            return
        refused = action if isinstance(action, Refuse) else None
        if refused is not None and refused != self._told:
            log.error("migration_refused", reason=refused.why.value, keys=len(refused.keys))
        self._told = refused

    async def _withdraw(self, view: MigrationView) -> None:
        """Take back transactions that nobody needs and that have not left this node."""
        plan, last = self._plan, view.last_id
        if (
            plan is not None
            and plan.id != last
            and not self.wanted(TaskKind.START_MIGRATION, plan.id)
        ):
            await self._transactions.withdraw(
                TaskKind.START_MIGRATION, view.contract, plan.id, view.block
            )
        if last is not None and not self.wanted(TaskKind.CONFIRM_MIGRATION, last):
            await self._transactions.withdraw(
                TaskKind.CONFIRM_MIGRATION, view.contract, last, view.block
            )

    # --- what is known --------------------------------------------------------------------

    def _view(self) -> MigrationView | None:
        view = self._views.migration_view
        if view is None or self._head is None:
            return None
        return replace(view, block=self._head.number)

    async def _load(self, view: MigrationView) -> None:
        """Read what is stored for these sets."""
        if self._plan_of != view.contract:
            self._plan = await self._store.planned_start(view.contract)
            self._plan_of = view.contract
        running, joined = view.running, self._joined
        if joined is not None and not _may_go_on(joined, view):
            await self._end(joined)
        if running is not None and self._joined is None:
            self._joined = await self._store.joined_migration(view.contract, running.id)

    async def _end(self, joined: JoinedMigration) -> None:
        """Should its id ever run again, its success counts for nothing.

        Older contracts take an id twice, and a reorganisation may take a start back for a while.
        """
        if joined.succeeded_block is not None:
            await self._store.keep_joined_migration(replace(joined, succeeded_block=None))
        self._joined = None

    async def _facts(self, view: MigrationView) -> MigrationFacts:
        await self._load(view)
        plan, running, contract = self._plan, view.running, view.contract
        last = self._transactions.last
        start = confirm = None
        if plan is not None and plan.fits(view):
            start = await last(TaskKind.START_MIGRATION, contract, plan.id)
        if running is not None:
            confirm = await last(TaskKind.CONFIRM_MIGRATION, contract, running.id)
        failing = running is not None and self._failing == running.id
        return MigrationFacts(
            plan=plan,
            joined=self._joined,
            start=start,
            confirm=confirm,
            retry_at=self._retry_at if failing else 0.0,
            left_behind=failing and self._left_behind == self._failing,
            check=self._check[0] if self._check is not None else None,
            now=self._clock.monotonic(),
            connected=self._changes.connected,
        )

    def _drop_old_check(self) -> None:
        if self._check is None:
            return
        found, when = self._check
        if not found.at_risk or self._clock.monotonic() - when >= CHECK_AGAIN_S:
            self._check = None


def _may_go_on(joined: JoinedMigration, view: MigrationView) -> bool:
    """Whether it runs, or its set is current: a reorganisation may have it run a bit longer."""
    if view.running is not None:
        return joined.is_of(view.running)
    return view.current.id == joined.target_set
