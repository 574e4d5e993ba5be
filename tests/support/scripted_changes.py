"""A `SetChangeService` that does what a test tells it to."""

from dataclasses import dataclass, field

from keyserver.api.ports import ChangeStanding
from keyserver.model.set_change import AdministratorOrder
from keyserver.model.set_change_rules import AdministratorView
from tests.support.set_changes import view


@dataclass
class ScriptedChanges:
    """Takes down the orders it is given; `failure` is raised if set."""

    seen: AdministratorView = field(default_factory=view)
    all_connected: bool = True
    change_runs: bool = False
    has_sessions: bool = False
    orders: list[AdministratorOrder] = field(default_factory=list)
    failure: Exception | None = None

    async def standing(self) -> ChangeStanding:
        return ChangeStanding(self.seen, self.all_connected, self.change_runs, self.has_sessions)

    async def run(self, order: AdministratorOrder) -> None:
        self.orders.append(order)
        if self.failure is not None:
            raise self.failure
