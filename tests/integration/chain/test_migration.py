"""Migrations on the real contract, block by block (chain watcher, section 14, check 12)."""

from itertools import pairwise

import pytest

from keyserver.model.identifiers import KeyId
from keyserver.tasks.migration import Refusal, Waiting
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
    MakeWorld,
    Script,
    StoredKey,
    assert_each_confirmed_once,
    assert_one_start,
    ids,
    settled,
)

DELAY = 5

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


async def test_three_five_four_six_and_five_members(make: MakeWorld) -> None:
    world = await make(A, B, C, spare=(D, E, F))
    sets = [(A, B, C), (A, B, C, D, E), (B, C, D, E), (A, B, C, D, E, F), (B, C, D, E, F)]
    for before, after in pairwise(sets):
        for number in set(after) - set(before):
            world.add(number)
        for number in set(before) - set(after):
            world.remove(number)
        await world.mine_until_current(*after)
        assert world.usable()
    assert len({started[1] for started in world.calls("startMigration")}) == len(sets) - 1
    assert len(world.history) == len(sets) - 1
    await settled(world)


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
