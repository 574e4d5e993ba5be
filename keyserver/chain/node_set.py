"""The node set as the chain tells it (chain watcher, section 4 with W-09, W-17, W-19, W-20)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from keyserver.chain.client import BlockId, BlockRef, CallResult, ChainClient, ContractCall
from keyserver.chain.name_registry import SET_OPTION, ContractDirectory
from keyserver.chain.ports import Evaluation, NodeSetListener
from keyserver.chain.set_reading import (
    Member,
    PlacedCall,
    SetReading,
    SetUnreadableError,
    first_calls,
    membership,
    reading,
    second_calls,
)
from keyserver.engine.ports import Clock
from keyserver.errors import ChainError
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.node_set import Migration, NodeAddress, NodeSet, NodeSetSnapshot
from keyserver.model.set_change import CompletedChange, current_set
from keyserver.tasks.migration import MigrationView, RunningMigration
from keyserver.tasks.migration_decision import NEW_SET_DELAY_BLOCKS

STALE_BLOCKS = 10
STALE_S = 300.0
"""After so long without a good reading while one is due, the snapshot is stale (W-09)."""

_log = structlog.get_logger(__name__)


class StaticNodeSets:
    """A node set from the configuration (`server_set_contract = "none"`).

    An administrator's change makes another set the current one, until the configuration names
    other nodes than those that the change was ordered for. All configured nodes stay connected.
    """

    def __init__(
        self,
        configured: NodeSet,
        addresses: dict[NodeId, NodeAddress],
        latest: CompletedChange | None = None,
    ) -> None:
        """`latest`: the last change that this node has completed."""
        known = tuple(sorted(addresses.items()))
        current = current_set(configured, latest)
        self._snapshot = NodeSetSnapshot(current, configured, None, known, epoch=0, block_number=0)

    @property
    def snapshot(self) -> NodeSetSnapshot:
        """The current set; as the new one, the configured nodes."""
        return self._snapshot

    @property
    def configured(self) -> NodeSet:
        """All nodes that the configuration names, this one included."""
        return self._snapshot.new

    def on_completed(self, change: CompletedChange) -> None:
        """A change is on this node's disk."""
        current = current_set(self.configured, change)
        if current != self._snapshot.current:
            self._snapshot = replace(self._snapshot, current=current)
            _log.info("node_set_changed", current=len(current), configured=len(self.configured))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A new set that differs from the current one, and since when it looks like this."""

    members: frozenset[Member]
    seen: BlockId

    def is_visible(self, head: BlockRef) -> bool:
        """Whether it is old enough to be shown."""
        return head.number - self.seen.number >= NEW_SET_DELAY_BLOCKS


def next_sighting(
    before: Candidate | None, read: SetReading, head: BlockRef, *, still_there: bool
) -> Candidate:
    """Since when the new set looks as it does, whatever else goes on (pure; W-25)."""
    members = frozenset(read.new)
    if before is None or before.members != members or not still_there:
        return Candidate(members, head.id)
    return before


def next_candidate(
    before: Candidate | None, read: SetReading, head: BlockRef, *, still_there: bool
) -> Candidate | None:
    """The candidate after a reading (pure).

    Any change of members or network addresses starts its time again; so does a reorganisation
    that took the block of its first sighting (`still_there` false).
    """
    differs = {member.node for member in read.new} != {member.node for member in read.current}
    if read.migration or not differs:
        return None
    return next_sighting(before, read, head, still_there=still_there)


def build_view(
    read: SetReading,
    *,
    chain_id: int,
    contract: Address,
    head: BlockRef,
    new_since: int,
    show_new: bool,
) -> MigrationView:
    """What migrations are decided by (pure); without any delay, but telling of it."""
    new = _node_set(chain_id, contract, read.new)
    current = _node_set(chain_id, contract, read.current)
    differs = new.nodes != current.nodes
    return MigrationView(
        block=head.number,
        current=current,
        new=new,
        new_since=new_since,
        new_shown=show_new and differs and not read.migration,
        running=_running(read, chain_id, contract),
        last_id=read.migration_id,
    )


def _running(read: SetReading, chain_id: int, contract: Address) -> RunningMigration | None:
    """The running migration as everybody may see it; without an id there is nothing to name."""
    if not read.migration or read.migration_id is None:
        return None
    known = (*read.migration, *read.current, *read.new)
    master = next((member.node for member in known if member.node.address == read.master), None)
    target = _node_set(chain_id, contract, read.migration)
    return RunningMigration(read.migration_id, target, master, read.confirmed)


def build_snapshot(
    read: SetReading, *, chain_id: int, contract: Address, head: BlockRef, show_new: bool
) -> NodeSetSnapshot:
    """What the rest of the node gets to see of a reading (pure).

    While a migration runs its set is the new set that is shown: what the owner edits meanwhile
    waits until it is over. So `all_nodes` are those to be connected with (W-22): current and new,
    after the delay, then current and migration set.
    """
    new = read.migration or (read.new if show_new else read.current)
    shown = (*read.current, *read.migration, *new)
    addresses: dict[NodeId, NodeAddress] = {}
    for member in shown:
        if member.network_address is not None:
            addresses.setdefault(member.node, member.network_address)
    return NodeSetSnapshot(
        current=_node_set(chain_id, contract, read.current),
        new=_node_set(chain_id, contract, new),
        migration=_migration(read),
        addresses=tuple(sorted(addresses.items())),
        epoch=read.last_change,
        block_number=head.number,
    )


def _node_set(chain_id: int, contract: Address, members: Sequence[Member]) -> NodeSet:
    return NodeSet.of(chain_id, contract, {member.node for member in members})


def _migration(read: SetReading) -> Migration | None:
    """The running migration, if everything about it could be read."""
    candidates = [member.node for member in (*read.current, *read.migration)]
    master = next((node for node in candidates if node.address == read.master), None)
    if not read.migration or master is None:
        return None
    if read.migration_id is None:
        return None
    nodes = frozenset(member.node for member in read.migration)
    return Migration(read.migration_id, nodes, master, bool(read.confirmed_by_self))


class NodeSetTracker:
    """The `NodeSets` of a node with a key server set contract; a `ChainObserver`."""

    def __init__(
        self,
        *,
        client: ChainClient,
        contracts: ContractDirectory,
        chain_id: int,
        me: NodeId,
        with_migration: bool,
        clock: Clock,
        listeners: Sequence[NodeSetListener] = (),
    ) -> None:
        """`with_migration`: whether new and migration sets are looked at at all."""
        self._client = client
        self._contracts = contracts
        self._chain_id = chain_id
        self._me = me
        self._with_migration = with_migration
        self._clock = clock
        self._listeners = list(listeners)
        self._node_of: dict[Address, NodeId] = {}
        self._candidate: Candidate | None = None
        self._sighting: Candidate | None = None
        self._view: MigrationView | None = None
        self._failing: tuple[float, int] | None = (clock.monotonic(), 0)
        self._head_number = 0
        self._snapshot = replace(self._empty(0), stale=True)
        self._problem: str | None = "not read yet"

    @property
    def snapshot(self) -> NodeSetSnapshot:
        """The last good snapshot, marked when it may be out of date."""
        return self._snapshot

    @property
    def problem(self) -> str | None:
        """Why the set could not be read last time, in words for an operator."""
        return self._problem

    @property
    def migration_view(self) -> MigrationView | None:
        """What to decide migrations by; `None` before the first reading or without a contract."""
        return None if self._view is None else replace(self._view, stale=self._snapshot.stale)

    def add_listener(self, listener: NodeSetListener) -> None:
        """Tell `listener` of every later change."""
        self._listeners.append(listener)

    async def on_evaluation(self, evaluation: Evaluation) -> None:
        """Read the set if it may have changed; raises `ChainError` if the chain cannot be asked.

        A contract that answers nonsense raises nothing: the rest of the node goes on.
        """
        head = evaluation.head
        self._head_number = head.number
        contract = self._contracts.address(SET_OPTION)
        try:
            if contract is None:
                self._view = None
                self._take_over(self._empty(head.number), self._contracts.problems.get(SET_OPTION))
            elif self._is_due(evaluation, contract):
                self._take_over(await self._read(contract, head), None)
        except SetUnreadableError as error:
            _log.error("node_set_unreadable", contract="0x" + _hex(contract), reason=str(error))
            self._note_failure(str(error))
        except ChainError as error:
            self._note_failure(str(error))
            raise

    def on_unavailable(self) -> None:
        """The snapshot stays as it is; after a while it counts as stale."""
        self._note_failure("the chain cannot be asked")

    def _is_due(self, evaluation: Evaluation, contract: Address) -> bool:
        waiting = self._candidate is not None and not self._candidate.is_visible(evaluation.head)
        shown = self._candidate is not None and self._snapshot.new == self._snapshot.current
        moved = contract != self._snapshot.current.contract
        touched = contract in evaluation.touched
        failing = self._failing is not None
        # not every confirmation makes a log
        migrating = self._view is not None and self._view.running is not None
        return evaluation.reread or touched or moved or failing or waiting or shown or migrating

    async def _read(self, contract: Address, head: BlockRef) -> NodeSetSnapshot:
        me = self._me.address
        if contract != self._snapshot.current.contract:
            self._candidate = self._sighting = None
        first = await self._ask(contract, first_calls(with_migration=self._with_migration), head)
        members = membership(first)
        calls = second_calls(members, me, self._node_of)
        answers = await self._ask(contract, calls, head)
        read = reading(members, me, self._node_of, calls, answers)
        await self._date(read, head)
        show_new = self._candidate is None or self._candidate.is_visible(head)
        self._node_of = {
            member.node.address: member.node
            for member in (*read.current, *read.migration, *read.new)
        }
        assert self._sighting is not None
        self._view = build_view(
            read,
            chain_id=self._chain_id,
            contract=contract,
            head=head,
            new_since=self._sighting.seen.number,
            show_new=show_new,
        )
        return build_snapshot(
            read, chain_id=self._chain_id, contract=contract, head=head, show_new=show_new
        )

    async def _date(self, read: SetReading, head: BlockRef) -> None:
        """Find out since when the new set looks as it does."""
        still_there = await self._is_still_there(self._candidate, head)
        since_there = await self._is_still_there(self._sighting, head)
        self._candidate = next_candidate(self._candidate, read, head, still_there=still_there)
        self._sighting = next_sighting(self._sighting, read, head, still_there=since_there)

    async def _ask(
        self, contract: Address, calls: Sequence[PlacedCall], head: BlockRef
    ) -> Sequence[CallResult]:
        batch = [ContractCall(contract, function.encode(*args)) for function, args in calls]
        return await self._client.call_many(batch, head) if batch else ()

    async def _is_still_there(self, candidate: Candidate | None, head: BlockRef) -> bool:
        """Whether the block of the first sighting is canonical; asked only while it matters."""
        if candidate is None or candidate.is_visible(head):
            return True
        block = await self._client.block(candidate.seen.number)
        return block is not None and block.hash == candidate.seen.hash

    def _take_over(self, snapshot: NodeSetSnapshot, problem: str | None) -> None:
        self._failing = None
        self._problem = problem
        self._publish(snapshot)

    def _note_failure(self, problem: str) -> None:
        self._problem = problem
        if self._failing is None:
            self._failing = (self._clock.monotonic(), self._head_number)
        since, block = self._failing
        too_long = self._clock.monotonic() - since > STALE_S
        if too_long or self._head_number - block > STALE_BLOCKS:
            self._publish(replace(self._snapshot, stale=True))

    def _publish(self, snapshot: NodeSetSnapshot) -> None:
        before, self._snapshot = self._snapshot, snapshot
        if replace(before, block_number=snapshot.block_number) == snapshot:
            return
        _log.info(
            "node_set_changed",
            block=snapshot.block_number,
            current=len(snapshot.current),
            new=len(snapshot.new),
            migrating=snapshot.migration is not None,
            epoch=snapshot.epoch,
            stale=snapshot.stale,
            isolated=self._me not in snapshot.current,
        )
        for listener in self._listeners:
            listener.on_node_set(before, snapshot)

    def _empty(self, block_number: int) -> NodeSetSnapshot:
        nobody = NodeSet.of(self._chain_id, Address(bytes(20)), set())
        return NodeSetSnapshot(nobody, nobody, None, (), epoch=0, block_number=block_number)


def _hex(address: Address | None) -> str:
    return "" if address is None else address.hex()
