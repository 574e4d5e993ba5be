"""The process as its operator sees it: the operator listener's `ProcessView`."""

from collections.abc import Sequence

from keyserver.api.facts import Trouble
from keyserver.api.operator import NodeView
from keyserver.app.roles import Roles
from keyserver.app.seal_metrics import SealMetrics
from keyserver.sealing.errors import SealedError, StandbyError
from keyserver.sealing.upkeep import Upkeep
from keyserver.sealing.vault import Vault


class OperatorsProcess:
    """Tells of the seal always, and of the node while this process is it."""

    def __init__(self, roles: Roles, vault: Vault, upkeep: Upkeep) -> None:
        self._roles = roles
        self._vault = vault
        self._upkeep = upkeep
        self._metrics = SealMetrics()

    @property
    def node(self) -> NodeView:
        """The running node; raises `SealedError` or `StandbyError`."""
        return self._roles.node

    async def troubles(self) -> Sequence[Trouble]:
        """Why it cannot serve now; empty when it is ready."""
        if self._roles.problem is not None:
            return [Trouble("not_started", self._roles.problem)]
        view = self._roles.view
        if view is not None:
            return await view.troubles()
        try:
            _ = self._roles.node
        except (SealedError, StandbyError) as error:
            return [Trouble(error.code.lower(), str(error))]
        return []

    async def metrics(self) -> bytes:
        """All metrics; raises `StorageError`."""
        view = self._roles.view
        own = self._metrics.render(
            self._vault.status(),
            self._upkeep.progress,
            acting=view is not None,
            unopened=self._vault.unopened,
        )
        return own if view is None else own + await view.metrics()
