"""A cluster whose node set changes by order: who signs, what each node takes for the set.

Every node has a view of its own: without a contract the last change on its disk says which set is
the current one. What a contract says of a migration is the same for all; it is set by hand.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from keyserver.app.set_changes import LeftShares, OrderJudges
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.engine.administrator_orders import AdministratorOptions, AdministratorOrders
from keyserver.engine.redistributions import Redistributions
from keyserver.engine.set_change_needs import ChangeNeeds, ChangeOptions
from keyserver.engine.set_changes import SetChanges
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import CertifiedRecord
from keyserver.model.node_set import Migration, NodeSet
from keyserver.model.set_change import (
    BoundOrder,
    CompletedChange,
    LegacyOrder,
    MigrationOrder,
    SetChange,
    SetChangeOrder,
    domain_of,
    set_change_digest,
    set_hash,
)
from keyserver.model.set_change_rules import MigrationView, judge_migration
from keyserver.sessions.set_change.phases import Report
from keyserver.simulation.clock import EPOCH
from keyserver.simulation.cluster import Cluster, CrashedError, FixedSets, SimulatedNode
from keyserver.simulation.disk import SimulatedRecordStore
from keyserver.storage.set_changes import MemorySetChangeStore

ADMINISTRATOR: Final = SecretScalar.from_int(0xAD314)
MIGRATION: Final = Hash32(b"\x3d" * 32)
FOR_EVER: Final = EPOCH + 10**8
"""No order expires in a simulation."""


class OwnMover:
    """A node's own redistributions, as long as its process runs."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    async def redistribute(
        self, key_id: KeyId, change_id: Hash32, target: NodeSet
    ) -> CertifiedRecord:
        """As `Redistributions` does."""
        redistributions: Redistributions | None = self._node.redistributions
        if redistributions is None:
            raise CrashedError
        return await redistributions.redistribute(key_id, change_id, target)


class SeenMigrations:
    """Judges migrations by the view of one node, which has seen the new set for long enough."""

    def __init__(self, sets: FixedSets) -> None:
        self._sets = sets

    async def judge(self, order: MigrationOrder) -> SetChange:
        """The change that is ordered; raises `OrderRefusedError`."""
        snapshot = self._sets.snapshot
        settled = frozenset(snapshot.new.nodes)
        return judge_migration(order, MigrationView(snapshot, settled))


class ChangingSet:
    """Makes the first nodes of a cluster its set; to be used before the nodes start."""

    def __init__(self, cluster: Cluster, first: Iterable[int]) -> None:
        self.cluster = cluster
        self.configured = cluster.sets.snapshot.current
        """All there are: whom an administrator's order is about."""
        self.options = {node.id: ChangeOptions() for node in cluster.nodes}
        self._first = self.set_of(first)
        self._migration: Migration | None = None
        self._target = self.configured
        self._views: dict[NodeId, FixedSets] = {}
        cluster.sets_of = self._view
        cluster.change_needs = self._needs

    # --- what a node needs ------------------------------------------------------------------------

    def _view(self, node: SimulatedNode) -> FixedSets:
        """What the process that starts takes for the set: what is on its disk."""
        completed = node.disk.platter.state.set_changes
        current = completed[-1].new if completed else self._first
        snapshot = replace(self.cluster.sets.snapshot, current=current, new=self._target)
        view = FixedSets(replace(snapshot, migration=self._migration))
        self._views[node.id] = view
        return view

    def _needs(self, node: SimulatedNode) -> ChangeNeeds:
        store, view = MemorySetChangeStore(node.disk), self._views[node.id]
        administrators = AdministratorOrders(
            lambda: self.configured,
            AdministratorOptions(NodeId.of(ADMINISTRATOR.public())),
            store,
            node.clock.unix,
        )

        def completed(change: CompletedChange) -> None:
            view.snapshot = replace(view.snapshot, current=change.new)

        return ChangeNeeds(
            OrderJudges(administrators, SeenMigrations(view)),
            OwnMover(node),
            LeftShares(SimulatedRecordStore(node.disk, node.process, self.cluster.random)),
            store,
            lambda: self.options[node.id],
            completed,
        )

    # --- orders -----------------------------------------------------------------------------------

    def set_of(self, places: Iterable[int]) -> NodeSet:
        """The set of the nodes at these places."""
        own = self.configured
        return NodeSet.of(own.chain_id, own.contract, {self.cluster.nodes[i].id for i in places})

    def bound(self, new: Iterable[int], *, epoch: int = 1) -> BoundOrder:
        """The administrator's order, good for one change."""
        target = self.set_of(new)
        digest = set_change_digest(
            domain_of(self.configured),
            old_set_id=self.configured.id,
            new_set_id=target.id,
            epoch=epoch,
            not_after=FOR_EVER,
        )
        return BoundOrder(self.configured.id, target.nodes, epoch, FOR_EVER, _signed(digest))

    def legacy(self, new: Iterable[int]) -> LegacyOrder:
        """The administrator's order in the original's form."""
        target, signed = self.set_of(new).nodes, _signed
        return LegacyOrder(
            target, signed(set_hash(self.configured.nodes)), signed(set_hash(target))
        )

    def migrate(self, new: Iterable[int], master: SimulatedNode) -> MigrationOrder:
        """A migration that the contract shows to every node from now on."""
        self._target = self.set_of(new)
        members = frozenset(self._target.nodes)
        self._migration = Migration(MIGRATION, members, master.id, confirmed_by_self=False)
        for view in self._views.values():
            view.snapshot = replace(view.snapshot, new=self._target, migration=self._migration)
        return MigrationOrder(MIGRATION, self._target.nodes, master.id)

    async def carry_out(self, order: SetChangeOrder, by: SimulatedNode) -> Report:
        """Raises what `SetChanges.carry_out` does, and `CrashedError`."""

        async def work(_: object) -> Report:
            changes: SetChanges | None = by.changes
            assert changes is not None
            return await changes.carry_out(order)

        return await by.call(work)

    # --- what came of it --------------------------------------------------------------------------

    def view_of(self, node: SimulatedNode) -> FixedSets:
        """What the node's last process takes for the sets; it can be changed."""
        return self._views[node.id]

    def current_of(self, node: SimulatedNode) -> tuple[NodeId, ...]:
        """The members of the set that the node's last process took for the current one."""
        return self._views[node.id].snapshot.current.nodes

    def history(self, node: SimulatedNode) -> tuple[CompletedChange, ...]:
        """The changes that a node has written down."""
        return node.disk.platter.state.set_changes


def _signed(digest: Hash32) -> Signature:
    return Signature(sign_digest(ADMINISTRATOR, digest))
