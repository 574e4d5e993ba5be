"""An administrator's orders in the eyes of this node: its configuration, history and clock."""

from collections.abc import Callable
from dataclasses import dataclass

from keyserver.engine.set_change_ports import SetChangeStore
from keyserver.model.identifiers import NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import AdministratorOrder, SetChange
from keyserver.model.set_change_rules import AdministratorView, judge_order


@dataclass(frozen=True, slots=True)
class AdministratorOptions:
    """What the configuration says of administrators."""

    administrator: NodeId | None
    """`admin_public`."""
    strict_admin: bool = False
    allow_repeated_change: bool = False


class AdministratorOrders:
    """Judges an administrator's orders; nothing is remembered but what the store keeps."""

    def __init__(
        self,
        configured: Callable[[], NodeSet],
        options: AdministratorOptions,
        store: SetChangeStore,
        unix: Callable[[], int],
    ) -> None:
        """`configured`: all configured nodes and this one; `unix`: the time, in seconds."""
        self._configured = configured
        self._options = options
        self._store = store
        self._unix = unix

    async def view(self) -> AdministratorView:
        """What orders are judged by now; raises `StorageError`."""
        completed = await self._store.completed()
        return AdministratorView(
            self._configured(),
            self._options.administrator,
            tuple(completed),
            self._unix(),
            strict_admin=self._options.strict_admin,
            allow_repeated_change=self._options.allow_repeated_change,
        )

    async def judge(self, order: AdministratorOrder) -> SetChange:
        """The change that is ordered; raises `OrderRefusedError` and `StorageError`."""
        return judge_order(order, await self.view())
