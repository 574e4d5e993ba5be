"""This process among those of its node: it says that it is there, and acts for the node in turn.

Sealing, C9. On a PostgreSQL server several processes may share a database; the one that holds the
lease acts. In a file there is one process, which acts always.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from keyserver.engine.pausing import pause
from keyserver.engine.ports import Clock, TimerHandle
from keyserver.errors import StorageError
from keyserver.sealing.ports import ReplicaFacts, SealStatus
from keyserver.storage.database import Database
from keyserver.storage.replicas import LEASE_MS, Hold, HoldFence, Report, SqlReplicas

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
"""How often a process looks whether it may act, and whether its state has changed."""

RENEW_EVERY_S: Final = 3.0

REPORT_EVERY_S: Final = 5.0

ACT_FOR_S: Final = LEASE_MS / 1000 - 2
"""How long a process acts without having renewed its lease: less than others wait for it."""


class Replica:
    """One process of a node."""

    def __init__(
        self,
        database: Database,
        *,
        replica_id: str,
        clock: Clock,
        operator_url: str,
        software: str,
        seal: Callable[[], SealStatus],
    ) -> None:
        """From now on `database` lets this process write as the node only while it acts.

        `replica_id`: a UUID, another one after every start; `operator_url`: where operators reach
        this process; `seal`: the state of its seal.
        """
        self.replica_id = replica_id
        self._clock = clock
        self._operator_url = operator_url
        self._software = software
        self._seal = seal
        self._table = SqlReplicas(database)
        self._is_shared = database.is_shared
        self._hold: Hold | None = None
        self._said_unsealed = False
        """What the lease says of this process."""
        self._renewed_at = -math.inf
        self._acts_until = -math.inf
        self._reported: Report | None = None
        self._reported_at = -math.inf
        self._in_trouble = False
        self._turn = asyncio.Lock()
        """One at a time: a look, or the release."""
        self._timer: TimerHandle | None = None
        self._changed = asyncio.Event()
        """Set and replaced whenever `is_active` changes."""
        self._has_looked = asyncio.Event()
        self._waiting = 0
        """How many wait to act."""
        self._stopping = False
        if self._is_shared:
            database.fence = HoldFence(self._held, self._lose)

    @property
    def is_active(self) -> bool:
        """Whether this process acts for the node.

        False before its lease runs out for others, whatever else this process is busy with.
        """
        return self._held() is not None

    async def until(self, active: bool) -> None:
        """Wait until this process acts, or has ceased to, be it for a moment.

        It takes the lease only while somebody waits to act: who does has ended everything that was
        done, and forgotten everything that was known, while it acted before.
        """
        if not active:
            hold = self._held()
            while hold is not None and self._held() is hold:
                await self._changed.wait()
            return
        with self._willing():
            while not self.is_active:
                await self._changed.wait()

    @contextmanager
    def _willing(self) -> Iterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def all(self) -> Sequence[ReplicaFacts]:
        """What is known of every process of the node; raises `StorageError`."""
        return await self._table.all()

    async def looked(self) -> None:
        """Wait until it was once tried to take the lease, however that went."""
        with self._willing():
            await self._has_looked.wait()

    async def run(self) -> None:
        """Report, and take the lease or keep it, until cancelled."""
        while True:
            async with self._turn:
                if not self._stopping:
                    await self._look()
            if self._waiting:
                self._has_looked.set()
            await pause(self._clock, LOOK_EVERY_S)

    async def release(self) -> None:
        """Act no more, and let another process act at once; for a process that stops."""
        self._stopping = True
        hold = self._hold
        self._lose()
        async with self._turn:
            try:
                if hold is not None:
                    await self._table.release(hold)
                await self._table.forget(self.replica_id)
            except StorageError as problem:
                log.warning("replica_not_released", problem=str(problem))

    # --- once a second ------------------------------------------------------------------------

    async def _look(self) -> None:
        status = self._seal()
        try:
            await self._keep_lease(unsealed=not status.sealed)
            await self._report(status)
        except StorageError as problem:
            if not self._in_trouble:
                log.warning("replica_without_database", problem=str(problem))
            self._in_trouble = True
        else:
            self._in_trouble = False

    async def _keep_lease(self, *, unsealed: bool) -> None:
        asked_at = self._clock.monotonic()
        hold = self._held()
        if hold is None and self._waiting:
            taken = await self._table.take(self.replica_id, unsealed=unsealed)
            if taken is not None:
                self._act(taken, asked_at, unsealed=unsealed)
        elif hold is not None and self._is_shared and self._is_renewal_due(unsealed=unsealed):
            if not await self._table.renew(hold, unsealed=unsealed):
                self._lose()
            elif self._hold is hold:  # not so if its time ran out meanwhile
                self._act(hold, asked_at, unsealed=unsealed)

    def _is_renewal_due(self, *, unsealed: bool) -> bool:
        passed = self._clock.monotonic() - self._renewed_at
        return passed >= RENEW_EVERY_S or unsealed is not self._said_unsealed

    async def _report(self, status: SealStatus) -> None:
        report = Report(
            replica_id=self.replica_id,
            operator_url=self._operator_url,
            state=status.state,
            progress=status.progress,
            required=status.required,
            epoch=status.epoch,
            term=status.term,
            software=self._software,
        )
        now = self._clock.monotonic()
        if report != self._reported or now - self._reported_at >= REPORT_EVERY_S:
            await self._table.report(report)
            self._reported, self._reported_at = report, now

    # --- who acts -----------------------------------------------------------------------------

    def _held(self) -> Hold | None:
        """The lease, while it lasts by this process's own clock."""
        return self._hold if self._clock.monotonic() < self._acts_until else None

    def _act(self, hold: Hold, asked_at: float, *, unsealed: bool) -> None:
        """`asked_at`: no later than the database counts from."""
        if hold is not self._hold:
            log.info("replica_acts", replica=self.replica_id, fence=hold.fence)
        self._hold = hold
        self._renewed_at, self._said_unsealed = asked_at, unsealed
        if self._is_shared:
            self._stop_timer()
            self._acts_until = asked_at + ACT_FOR_S
            left = max(0.0, self._acts_until - self._clock.monotonic())
            self._timer = self._clock.call_later(left, self._lose)
        else:
            self._acts_until = math.inf
        self._announce()

    def _lose(self) -> None:
        """Act no more; harmless where it does not."""
        self._stop_timer()
        self._acts_until = -math.inf
        if self._hold is not None:
            log.info("replica_stands_by", replica=self.replica_id, fence=self._hold.fence)
            self._hold = None
        self._announce()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
