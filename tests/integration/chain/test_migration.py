"""Migrations on the real contract, block by block (chain watcher, section 14, check 12)."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from keyserver.chain.client import HEAD, At, CallResult, ContractCall, Returned
from keyserver.chain.set_reading import MASTER
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.tasks.migration import Refusal, Waiting
from keyserver.tasks.migration_decision import RESEND_BLOCKS
from keyserver.tasks.migration_status import MigrationPhase
from tests.support.chain_stack import KEY_SERVER_SET
from tests.support.fake_cluster import node_of
from tests.support.migrating_nodes import (
    A,
    B,
    C,
    D,
    E,
    F,
    Script,
    SharedReads,
    StoredKey,
    World,
    ids,
)

DELAY = 5
CONFIRMED = 3

MakeWorld = Callable[..., Awaitable[World]]


@pytest_asyncio.fixture
async def make() -> AsyncIterator[MakeWorld]:
    """Make worlds whose nodes end with the test."""
    made: list[World] = []

    async def world(
        *members: int,
        published: bool = False,
        spare: tuple[int, ...] = (),
        chain: type[SharedReads] = SharedReads,
    ) -> World:
        made.append(await World.of(*members, published=published, spare=spare, kind=chain))
        return made[-1]

    yield world
    for each in made:
        await each.close()


async def settled(world: World) -> None:
    """Everything sent is final, and nobody wants anything more."""
    calls = len(world.calls("startMigration")) + len(world.calls("confirmMigration"))
    sessions = len(world.history)
    await world.mine(35)
    assert calls == len(world.calls("startMigration")) + len(world.calls("confirmMigration"))
    assert sessions == len(world.history)
    for node in world.nodes.values():
        if node.running is not None:
            assert (await node.status()).phase is MigrationPhase.IDLE
            assert not await node.store.open_tasks()
            assert not await node.store.open_entries(node.me.address)


def assert_one_start(world: World, by: int) -> None:
    (start,) = world.calls("startMigration")
    assert (start[0], start[2]) == (node_of(by), True)


def assert_each_confirmed_once(world: World, *numbers: int) -> None:
    confirmations = world.calls("confirmMigration")
    assert all(worked for _, _, worked in confirmations)
    assert sorted(node for node, _, _ in confirmations) == sorted(ids(*numbers))


# --- changes of members -----------------------------------------------------------------------

BOTH_CONTRACTS = pytest.mark.parametrize("published", [False, True], ids=["ours", "published"])


@BOTH_CONTRACTS
@pytest.mark.parametrize(
    ("before", "after", "master"),
    [
        ((A, B, C), (A, B, C, D), A),
        ((A, B, C), (B, C), B),
        ((A, B, C), (B, C, D), B),
        ((A, B, C, D), (C, D, E, F), C),
    ],
    ids=["add", "remove", "replace", "replace-two"],
)
async def test_a_change_of_members(
    make: MakeWorld, before: tuple[int, ...], after: tuple[int, ...], master: int, published: bool
) -> None:
    spare = tuple(set(after) - set(before))
    world = await make(*before, published=published, spare=spare)
    for number in set(after) - set(before):
        world.add(number)
    for number in set(before) - set(after):
        world.remove(number)
    blocks = await world.mine_until_current(*after)
    assert blocks == 1 + DELAY + 2, "edit, delay, start, confirmations"
    assert_one_start(world, master)
    assert_each_confirmed_once(world, *after)
    ((leader, order),) = world.history
    assert leader == node_of(master)
    assert frozenset(order.new_nodes) == ids(*after)
    assert world.usable()
    await settled(world)


async def test_the_published_contract_has_none_of_our_additions(make: MakeWorld) -> None:
    world = await make(A, B, published=True)
    for method, arguments in [("isInitialized", ()), ("getCurrentList", ())]:
        data = _encode(method, *arguments)
        assert not world.chain.succeeds(world.contract, data)
    assert not world.chain.succeeds(
        world.contract,
        _encode("updateKeyServerAddress", node_of(A).address, "10.0.0.1:1"),
        sender=9,
    )
    assert world.chain.succeeds(world.contract, _encode("getNewKeyServers"))


def _encode(method: str, *arguments: object) -> bytes:
    return KEY_SERVER_SET.function(method).encode(*arguments)


async def test_one_change_after_another(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D, E))
    world.add(D)
    await world.mine_until_current(A, B, C, D)
    world.add(E)
    world.remove(A)
    await world.mine_until_current(B, C, D, E)
    starts = world.calls("startMigration")
    assert [by for by, _, _ in starts] == [node_of(A), node_of(B)]
    assert starts[0][1] != starts[1][1], "every migration has an id of its own"
    assert world.usable()
    await settled(world)


async def test_an_address_only_change_is_no_migration(make: MakeWorld) -> None:
    world = await make(A, B, C)
    world.owner("updateKeyServerAddress", node_of(B).address, "10.0.0.2:9000")
    await world.mine(DELAY + 3)
    for node in world.nodes.values():
        assert str(node.snapshot.address_by_node[node_of(B)]) == "10.0.0.2:9000"
        assert (await node.status()).phase is MigrationPhase.IDLE
    assert not world.calls("startMigration")


async def test_an_address_only_change_on_the_published_contract_is_none_either(
    make: MakeWorld,
) -> None:
    world = await make(A, B, C, published=True)
    world.remove(B)
    world.chain.mine()
    world.add(B, "10.0.0.2:9000")
    await world.mine(DELAY + 3)
    assert not world.calls("startMigration")
    await settled(world)


# --- refused changes --------------------------------------------------------------------------


async def test_disjoint_sets_are_refused(make: MakeWorld) -> None:
    world = await make(A, B, spare=(C, D))
    for number in (C, D):
        world.add(number)
    for number in (A, B):
        world.remove(number)
    await world.mine(DELAY + 40)
    assert not world.calls("startMigration")
    for node in world.nodes.values():
        status = await node.status()
        assert (status.phase, status.refused) == (MigrationPhase.REFUSED, Refusal.DISJOINT)
    assert world.usable()


async def test_disjoint_sets_are_refused_even_if_somebody_starts(make: MakeWorld) -> None:
    world = await make(A, B, spare=(C, D))
    for number in (C, D):
        world.add(number)
    for number in (A, B):
        world.remove(number)
    await world.mine(DELAY + 1)
    world.by_hand(C, "startMigration", b"\x01" * 32)
    await world.mine(DELAY + 10)
    assert not world.history
    for node in world.nodes.values():
        assert (await node.status()).refused is Refusal.DISJOINT


async def test_a_change_that_would_lose_keys_is_refused_until_it_does_not(make: MakeWorld) -> None:
    world = await make(A, B, C, D)
    lost = KeyId(b"\x22" * 32)
    world.keys[lost] = StoredKey(ids(A, B), 1)
    world.remove(A)
    await world.mine(DELAY + 10)
    status = await world.nodes[B].status()
    assert (status.refused, status.keys_at_risk) == (Refusal.KEYS_AT_RISK, (lost,))
    assert not world.calls("startMigration")
    world.keys[lost] = StoredKey(ids(A, B, C), 1)
    await world.mine_until_current(B, C, D)
    assert world.usable()
    assert world.usable(lost)


async def test_nobody_joins_a_session_that_would_lose_keys(make: MakeWorld) -> None:
    world = await make(A, B, C, D)
    world.script = Script.HANG
    world.remove(A)
    await world.mine(1 + DELAY + 1)
    ((_, order),) = world.history
    world.keys[KeyId(b"\x22" * 32)] = StoredKey(ids(A, B), 1)
    assert await world.nodes[C].driver.accepts(order) == Refusal.KEYS_AT_RISK.value


# --- the owner goes on editing ----------------------------------------------------------------


async def test_an_edit_during_the_delay_starts_it_again(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D, E))
    world.add(D)
    await world.mine(DELAY)
    status = await world.nodes[A].status()
    assert (status.phase, status.waiting_for) == (MigrationPhase.DELAYED, Waiting.DELAY)
    world.add(E)
    await world.mine(DELAY)
    assert not world.calls("startMigration")
    await world.mine_until_current(A, B, C, D, E)
    assert_one_start(world, A)


async def test_an_edit_after_the_start_was_sent_cancels_it(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D, E))
    world.add(D)
    await world.mine(1 + DELAY)
    (start,) = world.waiting(A)
    world.add(E)
    world.chain.node.mempool.drop(start)
    await world.mine()
    world.chain.node.submit(world.raw_of(A))
    await world.mine()
    (by_accident,) = world.calls("startMigration")
    assert by_accident[2], "it was mined after the edit: the migration set has E as well"
    assert not world.history
    blocks = await world.mine_until_current(A, B, C, D, E)
    assert blocks == DELAY, "seen for five blocks before anybody takes part"
    await settled(world)


async def test_an_edit_during_the_migration_waits_for_the_next(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D, E))
    world.script = Script.HANG
    world.add(D)
    await world.mine(1 + DELAY + 1)
    assert len(world.history) == 1
    world.add(E)
    await world.mine(3)
    world.script = Script.SUCCEED
    await world.mine_until_current(A, B, C, D)
    assert len(world.history) == 1, "the running one went on"
    await world.mine_until_current(A, B, C, D, E)
    assert len(world.calls("startMigration")) == 2
    await settled(world)


async def test_peers_are_current_and_new_and_then_current_and_migration_set(
    make: MakeWorld,
) -> None:
    world = await make(A, B, C, spare=(D, E))
    world.script = Script.HANG
    world.add(D)
    world.remove(A)
    await world.mine(DELAY)
    assert world.nodes[B].snapshot.all_nodes() == ids(A, B, C), "not before the delay is over"
    await world.mine()
    assert world.nodes[B].snapshot.all_nodes() == ids(A, B, C, D)
    await world.mine()
    assert world.nodes[B].snapshot.migration is not None
    world.add(E)
    await world.mine(DELAY + 2)
    assert world.nodes[B].snapshot.all_nodes() == ids(A, B, C, D)


# --- lost transactions and crashes ------------------------------------------------------------


async def test_a_lost_confirmation_is_sent_again_without_another_session(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.add(D)
    await world.mine(1 + DELAY + 1)
    assert len(world.history) == 1
    (confirmation,) = world.waiting(C)
    world.chain.node.mempool.drop(confirmation)
    await world.mine(2)
    assert world.current() == ids(A, B, C)
    status = await world.nodes[C].status()
    assert status.phase is MigrationPhase.CONFIRMING
    assert status.unconfirmed == ids(C)
    await world.mine_until_current(A, B, C, D)
    assert_each_confirmed_once(world, A, B, C, D)
    assert len(world.history) == 1
    await settled(world)


@pytest.mark.parametrize("script", [Script.HANG, Script.SUCCEED])
async def test_the_master_crashes_after_the_start(make: MakeWorld, script: Script) -> None:
    world = await make(A, B, C, spare=(D,))
    world.add(D)
    await world.mine(DELAY + 1)
    await world.kill(A)
    world.script = script
    await world.mine(3)
    (start,) = world.calls("startMigration")
    assert not world.history
    for number in (B, C, D):
        status = await world.nodes[number].status()
        assert (status.id, status.master) == (Hash32(start[1]), node_of(A))
        assert status.waiting_for is Waiting.SESSION
    world.script = Script.SUCCEED
    await world.restart(A)
    await world.mine_until_current(A, B, C, D)
    assert_one_start(world, A)
    assert len(world.history) == 1
    await settled(world)


async def test_the_master_crashes_during_the_session(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.script = Script.HANG
    world.add(D)
    await world.mine(1 + DELAY + 2)
    assert len(world.history) == 1
    await world.kill(A)
    await world.mine(2)
    world.script = Script.SUCCEED
    await world.restart(A)
    await world.mine_until_current(A, B, C, D)
    assert [leader for leader, _ in world.history] == [node_of(A)] * 2
    assert_one_start(world, A)
    await settled(world)


async def test_a_member_crashes_between_success_and_confirmation(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.script = Script.HANG
    world.add(D)
    await world.mine(1 + DELAY + 1)
    world.script = Script.SUCCEED
    await world.look()
    (joined,) = world.nodes[C].disk.state.joined_migrations.values()
    assert joined.succeeded_block is not None
    await world.kill(C)
    await world.mine(2)
    await world.restart(C)
    await world.mine_until_current(A, B, C, D)
    assert len(world.history) == 1
    assert_each_confirmed_once(world, A, B, C, D)
    await settled(world)


async def test_failed_sessions_are_repeated_with_pauses(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.script = Script.FAIL
    world.add(D)
    await world.mine(1 + DELAY + 20)
    # pauses of 10, 20, 40, 80, 160 seconds, and a block every 12
    assert len(world.history) == 5
    world.script = Script.SUCCEED
    await world.mine_until_current(A, B, C, D, most=40)
    assert_one_start(world, A)


async def test_the_session_waits_for_every_member(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.add(D)
    await world.mine(1)
    await world.kill(C)
    await world.mine(DELAY + 5)
    status = await world.nodes[A].status()
    assert (status.waiting_for, status.missing) == (Waiting.CONNECTIONS, ids(C))
    assert not world.history
    await world.restart(C)
    await world.mine_until_current(A, B, C, D)


async def test_a_reorganisation_takes_the_start_back(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.script = Script.HANG
    world.add(D)
    await world.mine(1 + DELAY + 1)
    (before,) = world.calls("startMigration")
    assert world.nodes[A].session.state.migration == before[1]
    await world.reorganise(1)
    for node in world.nodes.values():
        assert node.snapshot.migration is None
        assert node.session.state.migration is None
    world.script = Script.SUCCEED
    await world.mine_until_current(A, B, C, D)
    assert world.calls("startMigration") == [before], "the very same transaction"
    await settled(world)


async def test_a_reorganisation_takes_confirmations_back(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.add(D)
    await world.mine_until_current(A, B, C, D)
    await world.reorganise(1)
    assert world.current() == ids(A, B, C)
    await world.mine_until_current(A, B, C, D)
    assert_each_confirmed_once(world, A, B, C, D)
    assert len(world.history) == 1
    await settled(world)


# --- migrations that others start, or end -----------------------------------------------------


async def test_a_foreign_start_of_the_right_set_is_followed(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    await world.kill(A)
    world.add(D)
    await world.mine(1 + DELAY)
    world.by_hand(D, "startMigration", b"\x07" * 32)
    await world.mine()
    await world.restart(A)
    await world.mine_until_current(A, B, C, D)
    assert {leader for leader, _ in world.history} == ids(D)
    assert [call[1] for call in world.calls("startMigration")] == [b"\x07" * 32]
    await settled(world)


async def test_a_foreign_start_before_the_delay_waits_for_it(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.add(D)
    await world.mine()
    world.by_hand(D, "startMigration", b"\x07" * 32)
    await world.mine(DELAY - 1)
    assert not world.history
    for node in world.nodes.values():
        assert (await node.status()).waiting_for is Waiting.DELAY
    await world.mine_until_current(A, B, C, D)
    assert [leader for leader, _ in world.history] == [node_of(D)]


async def test_a_foreign_start_between_two_edits_is_refused_and_cancelled(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D, E))
    world.add(D)
    await world.mine()
    world.by_hand(D, "startMigration", b"\x07" * 32)
    world.chain.mine()
    world.add(E)
    await world.mine(DELAY + 5)
    assert not world.history
    for number in (A, B, C, D):
        status = await world.nodes[number].status()
        assert (status.phase, status.refused) == (MigrationPhase.REFUSED, Refusal.FOREIGN_SET)
        assert status.id == b"\x07" * 32
    world.owner("cancelMigration", b"\x07" * 32)
    await world.mine(DELAY)
    assert len(world.calls("startMigration")) == 1, "the delay begins again"
    await world.mine_until_current(A, B, C, D, E)
    assert [by for by, _, _ in world.calls("startMigration")] == [node_of(D), node_of(A)]
    await settled(world)


@pytest.mark.parametrize("script", [Script.HANG, Script.FAIL])
async def test_a_cancelled_migration_is_started_anew_under_another_id(
    make: MakeWorld, script: Script
) -> None:
    world = await make(A, B, C, spare=(D,))
    world.script = script
    world.add(D)
    await world.mine(1 + DELAY + 3)
    (first,) = world.calls("startMigration")
    world.owner("cancelMigration", first[1])
    await world.mine()
    world.script = Script.SUCCEED
    for node in world.nodes.values():
        assert node.session.state.migration is None, "the session is forgotten"
    await world.mine_until_current(A, B, C, D)
    starts = world.calls("startMigration")
    assert len(starts) == 2
    assert starts[0][1] != starts[1][1]
    await settled(world)


async def test_a_change_that_is_taken_back_after_cancelling_leaves_nothing(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D,))
    world.script = Script.HANG
    world.add(D)
    await world.mine(1 + DELAY + 3)
    (first,) = world.calls("startMigration")
    world.owner("cancelMigration", first[1])
    world.remove(D)
    await world.mine(DELAY + 5)
    assert len(world.calls("startMigration")) == 1
    assert world.current() == ids(A, B, C)
    await settled(world)


# --- the master's own disk --------------------------------------------------------------------

WRITES = 17
"""How often the disk of the master is written in a whole migration."""


@pytest.mark.parametrize("which", range(1, WRITES + 2))
async def test_the_master_dies_at_any_of_its_writes(make: MakeWorld, which: int) -> None:
    """Every other time what it wrote is on disk, and it has not heard so."""
    world = await make(A, B, spare=(C,))
    world.nodes[A].disk.fail_commit(which, written=which % 2 == 0)
    world.add(C)
    await world.mine_until_current(A, B, C, most=60)
    assert_one_start(world, A)
    assert_each_confirmed_once(world, A, B, C)
    assert world.usable()
    await world.mine(CONFIRMED + 1)
    assert world.deaths == (which <= WRITES)


# --- contracts that allow more than ours ------------------------------------------------------


class LeavingMaster(SharedReads):
    """A chain whose contract says that a server that is leaving started the migration (W-39)."""

    async def call(self, call: ContractCall, at: At = HEAD) -> CallResult:
        result = await super().call(call, at)
        if call.data != MASTER.encode() or result == Returned(bytes(32)):
            return result
        return Returned(node_of(A).address.rjust(32, b"\0"))


async def test_a_master_that_leaves_is_reported_and_nothing_done(make: MakeWorld) -> None:
    world = await make(A, B, C, chain=LeavingMaster)
    world.remove(A)
    await world.mine(1 + DELAY + 70)
    assert len(world.calls("startMigration")) == 1
    assert not world.history
    assert not world.calls("confirmMigration")
    for number in (A, B, C):
        status = await world.nodes[number].status()
        assert (status.refused, status.master) == (Refusal.MASTER_OUTSIDE, node_of(A))


async def test_a_start_that_the_contract_would_refuse_is_not_sent(make: MakeWorld) -> None:
    """As when an id was used before and this node does not know it: it chooses another one."""
    world = await make(A, B, C, spare=(D,))
    world.add(D)
    await world.mine(DELAY)
    used = world.nodes[A].first_id
    world.by_hand(B, "startMigration", used)
    world.chain.mine()
    world.owner("cancelMigration", used)
    world.chain.mine()
    world.by_hand(B, "startMigration", b"\x05" * 32)
    world.chain.mine()
    world.owner("cancelMigration", b"\x05" * 32)
    await world.mine(1)
    await world.mine(DELAY + 1)
    assert len(world.calls("startMigration")) == 2, "eth_call says that it would fail"
    await world.mine_until_current(A, B, C, D, most=RESEND_BLOCKS + 10)
    starts = world.calls("startMigration")
    assert len(starts) == 3
    assert starts[-1][1] != used
