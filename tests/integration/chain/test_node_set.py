"""The set tracker over the real contract of the key server set."""

import pytest

from keyserver.chain.client import (
    BlockTag,
    ChainUnavailableError,
    ContractCall,
)
from keyserver.chain.name_registry import (
    SET_NAMES,
    SET_OPTION,
    ContractDirectory,
    ContractSource,
    FixedContract,
    RegisteredContract,
)
from keyserver.chain.node_set import NodeSetTracker
from keyserver.chain.ports import Evaluation
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.node_set import NodeAddress, NodeSetSnapshot
from tests.support import echo_contract as echo
from tests.support.chain_stack import CHAIN_ID, KEY_SERVER_SET
from tests.support.eth_tester_client import EthTesterClient
from tests.support.fake_cluster import node_of
from tests.support.faulty_client import FaultyClient
from tests.support.manual_clock import ManualClock
from tests.support.registry import Registry

CONFIRMATIONS = 3


class Bench:
    """The contract, and a node that tracks it block by block."""

    def __init__(self, *numbers: int, me: int = 1, with_migration: bool = True) -> None:
        self.inner = EthTesterClient.start(chain_id=CHAIN_ID)
        self.client = FaultyClient(self.inner)
        self.clock = ManualClock()
        self.contract = self.deploy()
        for number in numbers:
            self.add(number)
        self.changes: list[tuple[NodeSetSnapshot, NodeSetSnapshot]] = []
        self.follow(FixedContract(self.contract), me=me, with_migration=with_migration)

    def follow(
        self,
        source: ContractSource,
        *,
        registry: Address | None = None,
        me: int = 1,
        with_migration: bool = True,
    ) -> None:
        """Begin anew, as after a restart."""
        self.directory = ContractDirectory(
            client=self.client,
            registry=registry,
            sources={SET_OPTION: source},
            services=(),
            retry_interval_blocks=30,
        )
        self.tracker = NodeSetTracker(
            client=self.client,
            contracts=self.directory,
            chain_id=CHAIN_ID,
            me=node_of(me),
            with_migration=with_migration,
            clock=self.clock,
            listeners=[self],
        )
        self.first = True

    def on_node_set(self, before: NodeSetSnapshot, after: NodeSetSnapshot) -> None:
        self.changes.append((before, after))

    def deploy(self) -> Address:
        return self.inner.deploy(load_artifact("OwnedKeyServerSetWithMigration").bytecode)

    def send(self, method: str, *arguments: object, to: Address | None = None) -> None:
        """The owner's transaction, in a block of its own."""
        data = KEY_SERVER_SET.function(method).encode(*arguments)
        self.inner.transact(to or self.contract, data)
        self.inner.mine()

    def send_as(self, number: int, method: str, *arguments: object) -> None:
        """A key server's transaction; key server n is development account n - 1."""
        data = KEY_SERVER_SET.function(method).encode(*arguments)
        self.inner.transact(self.contract, data, sender=number - 1)
        self.inner.mine()

    def add(self, number: int, address: str = "", to: Address | None = None) -> None:
        where = address or f"127.0.0.1:{8000 + number}"
        self.send("addKeyServer", node_of(number), where, to=to)

    def remove(self, number: int) -> None:
        self.send("removeKeyServer", node_of(number).address)

    def is_stale(self) -> bool:
        return self.tracker.snapshot.stale

    async def look(self, *, reread: bool = False) -> NodeSetSnapshot:
        """Evaluate the head, as the watcher does."""
        head = await self.inner.block(BlockTag.LATEST)
        confirmed = await self.inner.block(max(0, self.inner.node.head.number - CONFIRMATIONS))
        assert head is not None
        assert confirmed is not None
        reread = reread or self.first
        if reread:
            await self.directory.refresh(head, confirmed.id)
        watched = sorted(self.directory.hints)
        logs = await self.inner.logs(watched, confirmed.number, head.number)
        touched = frozenset(log.address for log in logs)
        await self.tracker.on_evaluation(Evaluation(head, confirmed.id, touched, reread))
        self.first = False
        return self.tracker.snapshot

    async def mine_and_look(self, count: int = 1) -> NodeSetSnapshot:
        for _ in range(count):
            self.inner.mine()
            await self.look()
        return self.tracker.snapshot


def nodes(*numbers: int) -> tuple[NodeId, ...]:
    return tuple(sorted(node_of(number) for number in numbers))


async def test_the_set_is_ordered_by_node_id() -> None:
    bench = Bench(3, 1, 2, 4, 5)
    snapshot = await bench.look()
    assert snapshot.current.nodes == nodes(1, 2, 3, 4, 5)
    assert snapshot.current.nodes[0] == node_of(5)
    assert snapshot.current.contract == bench.contract
    assert snapshot.new == snapshot.current
    assert snapshot.migration is None
    assert snapshot.epoch == 0
    assert not snapshot.stale
    assert snapshot.address_by_node[node_of(3)] == NodeAddress("127.0.0.1", 8003)


async def test_before_the_first_look_the_set_is_empty_and_stale() -> None:
    snapshot = Bench(1).tracker.snapshot
    assert snapshot.stale
    assert len(snapshot.current) == 0


async def test_a_quiet_block_costs_nothing() -> None:
    bench = Bench(1, 2, 3)
    await bench.look()
    await bench.mine_and_look(5)
    before = bench.inner.calls["call"]
    await bench.mine_and_look(5)
    assert bench.inner.calls["call"] == before
    assert len(bench.changes) == 1


async def test_a_member_added_before_the_initialisation_is_done_is_there_at_once() -> None:
    bench = Bench(1, 2)
    await bench.look()
    bench.add(3)
    assert (await bench.look()).current.nodes == nodes(1, 2, 3)
    before, after = bench.changes[-1]
    assert (before.current.nodes, after.current.nodes) == (nodes(1, 2), nodes(1, 2, 3))


async def test_a_network_address_that_is_none_makes_a_member_unreachable_only() -> None:
    bench = Bench(1, 2)
    bench.add(3, "example.org:8083")
    bench.add(4, "[::1]:8084")
    snapshot = await bench.look()
    assert snapshot.current.nodes == nodes(1, 2, 3, 4)
    assert node_of(3) not in snapshot.address_by_node
    assert snapshot.address_by_node[node_of(4)] == NodeAddress("::1", 8084)


async def test_an_address_change_reaches_the_snapshot() -> None:
    bench = Bench(1, 2)
    await bench.look()
    bench.send("updateKeyServerAddress", node_of(2).address, "10.0.0.2:9000")
    snapshot = await bench.look()
    assert snapshot.address_by_node[node_of(2)] == NodeAddress("10.0.0.2", 9000)


async def test_a_failing_endpoint_changes_nothing() -> None:
    bench = Bench(1, 2)
    before = await bench.look()
    bench.add(3)
    bench.client.fail_next("call_many", ChainUnavailableError("timeout"))
    with pytest.raises(ChainUnavailableError):
        await bench.look()
    assert bench.tracker.snapshot == before
    assert bench.tracker.problem == "timeout"
    assert (await bench.mine_and_look()).current.nodes == nodes(1, 2, 3)
    assert bench.tracker.problem is None


async def test_a_failure_between_the_two_batches_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(1, 2)
    before = await bench.look()
    bench.add(3)
    honest = bench.client.call_many
    head = await bench.inner.block(BlockTag.LATEST)
    assert head is not None

    async def moved(calls: list[ContractCall], at: object) -> object:
        results = await honest(calls, head)
        bench.inner.reorganise(1)
        return results

    monkeypatch.setattr(bench.client, "call_many", moved)
    with pytest.raises(ChainUnavailableError, match="not canonical"):
        await bench.look()
    assert bench.tracker.snapshot == before


async def test_the_snapshot_is_stale_when_the_chain_is_away_for_long() -> None:
    bench = Bench(1, 2)
    await bench.look()
    bench.tracker.on_unavailable()
    bench.clock.advance(299)
    bench.tracker.on_unavailable()
    assert not bench.is_stale()
    bench.clock.advance(2)
    bench.tracker.on_unavailable()
    assert bench.is_stale()
    assert bench.tracker.snapshot.current.nodes == nodes(1, 2)
    assert bench.changes[-1][1].stale
    assert not (await bench.mine_and_look()).stale


async def test_a_contract_that_answers_nonsense_keeps_the_old_set_until_it_is_stale() -> None:
    bench = Bench(1, 2)
    registry = Registry.deploy(bench.inner)
    registry.enter("secretstore_server_set", bench.contract)
    bench.inner.mine(CONFIRMATIONS)
    bench.follow(RegisteredContract(SET_NAMES), registry=registry.address)
    await bench.look()
    registry.enter("secretstore_server_set", bench.inner.deploy(echo.CREATION_CODE))
    bench.inner.mine(CONFIRMATIONS)
    snapshot = await bench.look(reread=True)
    assert snapshot.current.nodes == nodes(1, 2)
    assert bench.tracker.problem is not None
    assert not snapshot.stale
    snapshot = await bench.mine_and_look(11)
    assert snapshot.stale
    assert snapshot.current.nodes == nodes(1, 2)


async def test_without_a_contract_the_node_is_alone() -> None:
    bench = Bench(1, 2)
    bench.follow(FixedContract(Address(b"\x05" * 20)))
    snapshot = await bench.look()
    assert len(snapshot.current) == 0
    assert "no contract" in (bench.tracker.problem or "")


async def test_the_set_moves_with_its_entry_in_the_registry() -> None:
    bench = Bench(1, 2)
    other = bench.deploy()
    bench.add(3, to=other)
    registry = Registry.deploy(bench.inner)
    bench.follow(RegisteredContract(SET_NAMES), registry=registry.address)
    assert len((await bench.look()).current) == 0
    assert "secretstore_server_set" in (bench.tracker.problem or "")
    registry.enter("secretstore_server_set", bench.contract)
    bench.inner.mine(CONFIRMATIONS)
    assert (await bench.look(reread=True)).current.nodes == nodes(1, 2)
    registry.enter("secretstore_server_set", other)
    assert (await bench.look(reread=True)).current.nodes == nodes(1, 2), "not confirmed yet"
    bench.inner.mine(CONFIRMATIONS)
    snapshot = await bench.look(reread=True)
    assert snapshot.current.nodes == nodes(3)
    assert snapshot.current.contract == other


# --- the new set and migrations ------------------------------------------------------------------


async def initialised(*numbers: int, me: int = 1, with_migration: bool = True) -> Bench:
    bench = Bench(*numbers, me=me, with_migration=with_migration)
    bench.send("completeInitialization")
    await bench.look()
    return bench


async def test_a_changed_new_set_is_shown_after_five_blocks_and_stays() -> None:
    bench = await initialised(1, 2, 3)
    bench.add(4)
    shown = [(await bench.look()).new.nodes]
    shown += [(await bench.mine_and_look()).new.nodes for _ in range(12)]
    assert shown == [nodes(1, 2, 3)] * 5 + [nodes(1, 2, 3, 4)] * 8
    assert bench.tracker.snapshot.current.nodes == nodes(1, 2, 3)
    assert node_of(4) in bench.tracker.snapshot.address_by_node
    calls = bench.inner.calls["call"]
    await bench.mine_and_look(3)
    assert bench.inner.calls["call"] == calls, "once shown there is nothing to ask"


async def test_another_edit_starts_the_delay_again() -> None:
    bench = await initialised(1, 2, 3)
    bench.add(4)
    await bench.look()
    await bench.mine_and_look(3)
    bench.send("updateKeyServerAddress", node_of(4).address, "10.0.0.4:1")
    await bench.look()
    assert (await bench.mine_and_look(4)).new.nodes == nodes(1, 2, 3)
    assert (await bench.mine_and_look()).new.nodes == nodes(1, 2, 3, 4)


async def test_an_edit_that_is_taken_back_is_never_shown() -> None:
    bench = await initialised(1, 2, 3)
    bench.add(4)
    await bench.look()
    await bench.mine_and_look(2)
    bench.remove(4)
    await bench.look()
    assert (await bench.mine_and_look(8)).new.nodes == nodes(1, 2, 3)


async def test_a_reorganisation_of_the_first_sighting_starts_the_delay_again() -> None:
    bench = await initialised(1, 2, 3)
    raw = bench.inner.sign(
        bench.contract, KEY_SERVER_SET.function("addKeyServer").encode(node_of(4), "10.0.0.4:1")
    )
    bench.inner.node.submit(raw)
    await bench.mine_and_look(4)
    bench.inner.reorganise(4, {0: [raw]})
    await bench.look(reread=True)
    assert (await bench.mine_and_look(4)).new.nodes == nodes(1, 2, 3)
    assert (await bench.mine_and_look()).new.nodes == nodes(1, 2, 3, 4)


async def test_a_migration_from_start_to_completion() -> None:
    bench = await initialised(1, 2)
    bench.remove(1)
    bench.add(3)
    await bench.look()
    await bench.mine_and_look(5)
    assert bench.tracker.snapshot.new.nodes == nodes(2, 3)
    bench.send_as(3, "startMigration", b"\x01" * 32)
    snapshot = await bench.look()
    assert snapshot.migration is not None
    assert snapshot.migration.id == b"\x01" * 32
    assert snapshot.migration.nodes == frozenset(nodes(2, 3))
    assert snapshot.migration.master == node_of(3)
    assert not snapshot.migration.confirmed_by_self
    assert snapshot.all_nodes() == frozenset(nodes(1, 2, 3))
    bench.send_as(2, "confirmMigration", b"\x01" * 32)
    assert (await bench.mine_and_look()).epoch == 0
    bench.send_as(3, "confirmMigration", b"\x01" * 32)
    snapshot = await bench.look()
    assert snapshot.migration is None
    assert snapshot.current.nodes == snapshot.new.nodes == nodes(2, 3)
    assert snapshot.epoch == bench.inner.node.head.number


async def test_a_member_sees_its_own_confirmation_and_a_stranger_the_migration() -> None:
    bench = await initialised(1, 2, me=2)
    bench.add(3)
    bench.send_as(2, "startMigration", b"\x01" * 32)
    bench.send_as(2, "confirmMigration", b"\x01" * 32)
    snapshot = await bench.look()
    assert snapshot.migration is not None
    assert snapshot.migration.confirmed_by_self
    bench.follow(FixedContract(bench.contract), me=9)
    seen = (await bench.look()).migration
    assert seen is not None
    assert not seen.confirmed_by_self


async def test_without_auto_migration_only_the_current_set_is_read() -> None:
    bench = await initialised(1, 2, with_migration=False)
    bench.add(3)
    await bench.look()
    snapshot = await bench.mine_and_look(8)
    assert snapshot.new.nodes == snapshot.current.nodes == nodes(1, 2)
