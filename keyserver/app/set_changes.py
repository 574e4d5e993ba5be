"""Changes of the node set, as administrators and the chain order them at this node."""

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from keyserver.api.ports import ChangeStanding
from keyserver.engine.administrator_orders import AdministratorOrders
from keyserver.engine.ports import RecordStore
from keyserver.engine.set_changes import SetChanges
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.set_change import (
    AdministratorOrder,
    MigrationOrder,
    SetChange,
    SetChangeOrder,
)
from keyserver.model.set_change_rules import OrderRefusedError, Rule
from keyserver.sessions.writes import DropShares

log = structlog.get_logger()


class LeftShares:
    """Erases the shares of keys that are left behind where a node leaves."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def erase_shares(self, key_ids: Sequence[KeyId]) -> None:
        """Erase what this node has of them; raises `StorageError`."""
        await self._store.commit([DropShares(key_id) for key_id in key_ids])


class Migrations(Protocol):
    """Judges migrations (`keyserver.chain.migration_sessions.MigrationJudge`)."""

    async def judge(self, order: MigrationOrder) -> SetChange:
        """The change that is ordered; raises `OrderRefusedError`."""
        ...


class OrderJudges:
    """Every order before the one who knows: an administrator's, or a contract's."""

    def __init__(
        self, administrators: AdministratorOrders | None, migrations: Migrations | None
    ) -> None:
        """`None`: such orders are refused, for want of `admin_public` or of a contract."""
        self._administrators = administrators
        self._migrations = migrations

    async def judge(self, order: SetChangeOrder) -> SetChange:
        """The change that is ordered; raises `OrderRefusedError` and `StorageError`."""
        if isinstance(order, MigrationOrder):
            if self._migrations is None:
                raise OrderRefusedError(Rule.NO_MIGRATION, "this node follows no migrations")
            return await self._migrations.judge(order)
        try:
            return await self._judge(order)
        except OrderRefusedError as refused:
            # Who ordered hears only that this node refuses: its operator has to know why.
            log.warning("order_refused", rule=refused.rule, why=str(refused))
            raise

    async def _judge(self, order: AdministratorOrder) -> SetChange:
        if self._administrators is None:
            raise OrderRefusedError(Rule.NO_ADMINISTRATOR, "this node takes no such orders")
        return await self._administrators.judge(order)


class AdministratorsChanges:
    """The `SetChangeService` of a node that takes orders of an administrator."""

    def __init__(
        self,
        orders: AdministratorOrders,
        changes: SetChanges,
        connected: Callable[[], frozenset[NodeId]],
    ) -> None:
        """`connected`: peers with a connection, and this node."""
        self._orders = orders
        self._changes = changes
        self._connected = connected

    async def standing(self) -> ChangeStanding:
        """What stands in the way, if anything.

        Sessions in progress are no matter here: whether they are in the way depends on the order,
        and every node finds out for itself when it takes the change lock.
        """
        view = await self._orders.view()
        return ChangeStanding(
            view,
            all_connected=set(view.configured.nodes) <= self._connected(),
            change_runs=self._changes.is_running,
            has_sessions=False,
        )

    async def run(self, order: AdministratorOrder) -> None:
        """Carry out an order, and return when all is done; raises as `SetChanges.carry_out`."""
        await self._changes.carry_out(order)
