"""The composition root's part that deals with changes of the set on a contract's order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from keyserver.app.compose_engine import Engine
from keyserver.app.late_binding import LateMigrations, LateTip
from keyserver.chain.client import ChainClient
from keyserver.chain.migration import MigrationDriver
from keyserver.chain.migration_sessions import MigrationJudge, MigrationSessions, Records
from keyserver.chain.migration_transactions import (
    MigrationHandler,
    MigrationTransactions,
    migration_handlers,
)
from keyserver.chain.moved_sets import MovedNodeSets
from keyserver.chain.node_set import NodeSetTracker
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.model.identifiers import NodeId
from keyserver.model.set_change import CompletedChange
from keyserver.tasks.model import TaskKind
from keyserver.tasks.ports import MigrationStore, TaskHandler, WorkStore


class ChainStore(WorkStore, MigrationStore, Protocol):
    """All that a node must not forget of what it does on one chain."""


@dataclass(frozen=True)
class MigrationReading:
    """What is known of migrations before the engine is made."""

    tracker: NodeSetTracker
    moved: MovedNodeSets
    late: LateMigrations

    def on_completed(self, change: CompletedChange) -> None:
        """A change is on this node's disk (`ChangeNeeds.on_completed`)."""
        self.moved.on_completed(change)
        self.late.on_completed(change)


@dataclass(frozen=True)
class Migrations:
    """What acts on them."""

    driver: MigrationDriver
    handlers: Mapping[TaskKind, TaskHandler]
    """Of their transactions, for the queue."""


def compose_migrations(
    reading: MigrationReading,
    *,
    chain_id: int,
    client: ChainClient,
    tip: LateTip,
    me: NodeId,
    engine: Engine,
    records: Records,
    store: ChainStore,
    completed: Sequence[CompletedChange],
    clock: Clock,
    random: RandomSource,
    on_task: Callable[[], None],
) -> Migrations:
    """Make what starts, carries out and confirms migrations; sets the late parts of `reading`."""
    tracker = reading.tracker
    sessions = MigrationSessions(
        carrier=engine.set_changes,
        records=records,
        views=tracker,
        connected=lambda: engine.driver.connected,
        completed=completed[-1:],
    )
    driver = MigrationDriver(
        me=me,
        views=tracker,
        changes=sessions,
        transactions=MigrationTransactions(store, chain_id, on_task),
        store=store,
        clock=clock,
        random=random,
    )
    sessions.follow(driver)
    reading.late.sessions = sessions
    reading.late.judging = MigrationJudge(driver=driver, node_sets=tracker, tip=tip)
    handler = MigrationHandler(
        client=client, me=me.address, node_sets=tracker, wanted=driver.wanted
    )
    return Migrations(driver, migration_handlers(handler))
