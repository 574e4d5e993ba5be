"""The node set that keys belong on, where the contract's own view is some blocks behind.

Between the end of a migration's session and the last confirmation on chain the contract still names
the old set. A key made on that set now would be left behind there: nobody moves keys any more. So
who makes, stores and reads keys goes by the migration's set from the moment on at which this node
has written the change down; who answers the contracts goes by what they say.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from keyserver.engine.ports import NodeSets
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.set_change import CompletedChange
from keyserver.tasks.migration import MigrationView


class ContractSets(NodeSets, Protocol):
    """What the contract says (`keyserver.chain.node_set`)."""

    @property
    def migration_view(self) -> MigrationView | None:
        """Current set and running migration of the last reading."""
        ...


class MovedNodeSets:
    """`NodeSets` of the engine where a contract has the node set."""

    def __init__(self, contract: ContractSets, completed: Sequence[CompletedChange]) -> None:
        """`completed`: the changes on this node's disk; the latest says where the keys are."""
        self._contract = contract
        self._latest = completed[-1].id if completed else None
        self._seen: NodeSetSnapshot | None = None
        self._shown: NodeSetSnapshot | None = None
        """What was made of `_seen`."""

    @property
    def snapshot(self) -> NodeSetSnapshot:
        """As the contract says, but with the migration's set as the current one once it has it.

        The contract's own current set stands beside it as the new one: so its members are admitted
        and go on serving, who leaves included, until the contract has switched.
        """
        seen = self._contract.snapshot
        if self._shown is None or seen is not self._seen:
            target = self._moved_to()
            self._seen = self._shown = seen
            if target is not None:
                self._shown = replace(seen, current=target, new=seen.current)
        return self._shown

    def on_completed(self, change: CompletedChange) -> None:
        """A change is on this node's disk."""
        self._latest = change.id
        self._shown = None

    def _moved_to(self) -> NodeSet | None:
        view = self._contract.migration_view
        change = None if view is None else view.change
        return change.new if change is not None and change.id == self._latest else None
