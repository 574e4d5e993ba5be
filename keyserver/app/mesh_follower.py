"""Lets the connections follow the node set."""

from collections.abc import Mapping
from typing import Protocol

from keyserver.engine.ports import NodeSets
from keyserver.model.identifiers import NodeId
from keyserver.model.node_set import NodeAddress, NodeSetSnapshot
from keyserver.model.set_change import CompletedChange


class Connections(Protocol):
    """Those of this node (`keyserver.net.mesh`)."""

    def update_peers(
        self, addresses: Mapping[NodeId, NodeAddress], admitted: frozenset[NodeId]
    ) -> None:
        """Say who may connect and where peers are."""
        ...


class MeshFollower:
    """A `NodeSetListener`: who is in any of the sets may connect, and is connected to.

    Who took part in the latest change may go on connecting, member or not. Who has left was
    perhaps away when the keys moved: then it learns that they did, and erases its shares. And if
    the migration was cancelled after that, the keys are with those who were to join. Nobody
    connects to them.
    """

    def __init__(
        self, mesh: Connections, node_sets: NodeSets, latest: CompletedChange | None
    ) -> None:
        """`latest`: the last completed change, if it may have left nodes behind."""
        self._mesh = mesh
        self._node_sets = node_sets
        self._latest = latest

    def on_node_set(self, before: NodeSetSnapshot, after: NodeSetSnapshot) -> None:
        """The node set has changed."""
        self.show()

    def on_completed(self, change: CompletedChange) -> None:
        """A change is on this node's disk."""
        self._latest = change
        self.show()

    def show(self) -> None:
        """Connect to the members as of now, and to nobody else."""
        snapshot = self._node_sets.snapshot
        admitted = set(snapshot.all_nodes())
        if self._latest is not None:
            admitted.update(self._latest.old.nodes, self._latest.new.nodes)
        self._mesh.update_peers(snapshot.address_by_node, frozenset(admitted))
