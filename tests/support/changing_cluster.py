"""Clusters whose node set changes: real nodes, orders by the tests' administrator."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keyserver.crypto import elgamal
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.administrator_orders import AdministratorOptions, AdministratorOrders
from keyserver.engine.redistributions import Redistributions
from keyserver.engine.set_change_needs import ChangeNeeds, ChangeOptions
from keyserver.engine.set_changes import SetChanges
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.model.set_change import (
    BoundOrder,
    CompletedChange,
    LegacyOrder,
    MigrationOrder,
    SetChange,
    SetChangeOrder,
    domain_of,
    set_change_digest,
)
from keyserver.sessions.set_change.phases import Report
from keyserver.simulation.clock import EPOCH
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.storage.set_changes import MemorySetChangeStore
from tests.support.key_life import AUTHOR, DOCUMENT_KEY, REQUESTER, opened
from tests.support.set_changes import ADMIN, legacy_order, sign

MIGRATION = Hash32(b"\x3d" * 32)


@dataclass
class Orders:
    """Administrators as the node judges them; of a migration the tests say what is on chain."""

    administrator: AdministratorOrders
    migration: SetChange | None = None

    async def judge(self, order: SetChangeOrder) -> SetChange:
        if not isinstance(order, MigrationOrder):
            return await self.administrator.judge(order)
        assert self.migration is not None
        return self.migration


@dataclass
class Mover:
    """The node's own redistributions, unless the test wants something else."""

    node: SimulatedNode
    moved: list[KeyId] = field(default_factory=list)
    delay_s: float = 0.0
    instead: Callable[[KeyId, Hash32, NodeSet], Coroutine[Any, Any, object]] | None = None

    async def redistribute(self, key_id: KeyId, change_id: Hash32, target: NodeSet) -> object:
        self.moved.append(key_id)
        await asyncio.sleep(self.delay_s)
        if self.instead is not None:
            return await self.instead(key_id, change_id, target)
        redistributions: Redistributions | None = self.node.redistributions
        assert redistributions is not None
        return await redistributions.redistribute(key_id, change_id, target)


@dataclass
class Eraser:
    """Takes down what it was told to erase."""

    erased: list[KeyId] = field(default_factory=list)
    broken: bool = False

    async def erase_shares(self, key_ids: Sequence[KeyId]) -> None:
        if self.broken:
            raise StorageError("the disk is gone")
        self.erased += key_ids


class ChangingCluster:
    """A cluster of which the first nodes are the set, and all are configured."""

    def __init__(
        self, nodes: int, first: int, *, seed: int = 1, cluster: Cluster | None = None
    ) -> None:
        """`cluster`: one of that many nodes, in place of a new one."""
        self.cluster = cluster or Cluster(nodes, seed=seed)
        self.nodes = self.cluster.nodes
        self.configured = self.cluster.sets.snapshot.current
        self.cluster.change_needs = self._needs
        self.options = {node.id: ChangeOptions() for node in self.nodes}
        self.orders: dict[NodeId, Orders] = {}
        self.movers: dict[NodeId, Mover] = {}
        self.erasers = {node.id: Eraser() for node in self.nodes}
        self.admins: dict[NodeId, NodeId | None] = {node.id: ADMIN for node in self.nodes}
        self.migration: SetChange | None = None
        self.keys = 0
        self.be_current(self.set_of(range(first)))

    def _needs(self, node: SimulatedNode) -> ChangeNeeds:
        store = MemorySetChangeStore(node.disk)
        options = AdministratorOptions(self.admins[node.id])
        administrator = AdministratorOrders(
            lambda: self.configured, options, store, node.clock.unix
        )
        self.orders[node.id] = Orders(administrator, self.migration)
        self.movers[node.id] = Mover(node)
        return ChangeNeeds(
            self.orders[node.id],
            self.movers[node.id],
            self.erasers[node.id],
            store,
            lambda: self.options[node.id],
            self._completed,
        )

    async def __aenter__(self) -> "ChangingCluster":
        await self.cluster.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cluster.__aexit__()

    # --- sets -------------------------------------------------------------------------------------

    def set_of(self, places: Iterable[int]) -> NodeSet:
        own = self.configured
        return NodeSet.of(own.chain_id, own.contract, {self.nodes[i].id for i in places})

    def be_current(self, nodes: NodeSet) -> None:
        sets = self.cluster.sets
        sets.snapshot = replace(sets.snapshot, current=nodes, new=self.configured)

    def _completed(self, change: CompletedChange) -> None:
        self.be_current(change.new)

    # --- orders -----------------------------------------------------------------------------------

    def bound(self, new: Iterable[int], *, epoch: int = 1) -> BoundOrder:
        old, target = self.configured, self.set_of(new)
        digest = set_change_digest(
            domain_of(old),
            old_set_id=old.id,
            new_set_id=target.id,
            epoch=epoch,
            not_after=EPOCH + 10**6,
        )
        return BoundOrder(old.id, target.nodes, epoch, EPOCH + 10**6, sign(digest))

    def legacy(self, new: Iterable[int]) -> LegacyOrder:
        return legacy_order(self.configured, self.set_of(new).nodes)

    def migrate(self, new: Iterable[int], master: int) -> MigrationOrder:
        """A migration that the chain shows to every node from now on."""
        current, target = self.cluster.sets.snapshot.current, self.set_of(new)
        self.migration = SetChange.ordered(current, target, MIGRATION)
        for orders in self.orders.values():
            orders.migration = self.migration
        return MigrationOrder(MIGRATION, target.nodes, self.nodes[master].id)

    def changes(self, place: int) -> SetChanges:
        changes = self.nodes[place].changes
        assert changes is not None
        return changes

    async def carry_out(self, order: SetChangeOrder, by: int = 0) -> Report:
        """Raises what `SetChanges.carry_out` does, and `CrashedError`."""
        changes = self.changes(by)
        return await self.nodes[by].call(lambda _: changes.carry_out(order))

    async def history(self, place: int) -> list[Hash32]:
        store = MemorySetChangeStore(self.nodes[place].disk.platter)
        return [change.id for change in await store.completed()]

    # --- keys -------------------------------------------------------------------------------------

    async def generate(self, threshold: int = 1, by: int = 1, *, document: bool = False) -> KeyId:
        self.keys += 1
        key_id = KeyId(self.keys.to_bytes(1, "big") * 32)
        api, credential = self.nodes[by].api, OnChainAddress(CONTRACT, AUTHOR)
        record = await api.generate_server_key(key_id, threshold, credential)
        if document:
            await self.store_document(key_id, record.record.public, by)
        return key_id

    async def store_document(self, key_id: KeyId, public: Any, by: int = 1) -> None:
        sealed = elgamal.encrypt_document_key(public, DOCUMENT_KEY, SeededRandom(1))
        document = DocumentKey(sealed.common, sealed.encrypted)
        credential = OnChainAddress(CONTRACT, AUTHOR)
        await self.nodes[by].api.store_document_key(key_id, document, credential)

    async def retrieve(self, key_id: KeyId, by: int) -> None:
        """The document key comes out right; raises a `SessionError` if it cannot be had."""
        credential = OnChainPublic(CONTRACT, REQUESTER.public())
        result = await self.nodes[by].api.retrieve_shadow(key_id, credential)
        assert opened(result) == DOCUMENT_KEY

    async def check_keys(self, keys: Iterable[KeyId], places: Iterable[int], version: int) -> None:
        """Every one is on this set, with a share at each member and none elsewhere."""
        target = self.set_of(places)
        for key_id in keys:
            for node in self.nodes:
                if not node.is_up:
                    continue
                state = await node.store.load(key_id)
                if node.id in target or state.active is not None:
                    assert state.active is not None
                    assert state.active.record.set_id == target.id
                    assert state.active.record.version == version
                assert (state.share is not None) == (node.id in target)
                assert state.prepared is None

    async def settle(self, seconds: float = 5.0) -> None:
        """Let virtual time pass: what is on its way arrives."""
        await asyncio.sleep(seconds)
