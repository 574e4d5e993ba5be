"""Migrations in which something goes wrong, or is meant to (chain watcher, section 14)."""

import pytest

from keyserver.chain.client import HEAD, At, CallResult, ContractCall, Returned
from keyserver.chain.set_reading import MASTER
from keyserver.model.identifiers import Hash32
from keyserver.tasks.migration import Refusal, Waiting
from keyserver.tasks.migration_decision import RESEND_BLOCKS
from keyserver.tasks.migration_status import MigrationPhase
from tests.support.fake_cluster import node_of
from tests.support.migrating_nodes import (
    A,
    B,
    C,
    D,
    E,
    MakeWorld,
    Script,
    SharedReads,
    assert_each_confirmed_once,
    assert_one_start,
    ids,
    settled,
)

DELAY = 5
CONFIRMED = 3

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


@pytest.mark.parametrize("which", [1, 4, 7, 10, 13, 16, WRITES, WRITES + 1])
async def test_the_master_dies_at_many_of_its_writes(make: MakeWorld, which: int) -> None:
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
