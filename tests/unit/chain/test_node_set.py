"""Snapshots, and when a changed new set is shown."""

from keyserver.chain.client import BlockId, BlockRef
from keyserver.chain.node_set import (
    Candidate,
    StaticNodeSets,
    build_snapshot,
    build_view,
    next_candidate,
    next_sighting,
)
from keyserver.chain.set_reading import Member, SetReading
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import NodeAddress, NodeSet
from keyserver.tasks.migration import MigrationView, RunningMigration
from tests.support.keys import nodes_of

ALICE, BOB, CAROL = nodes_of(3)
CONTRACT = Address(b"\x01" * 20)
HERE, THERE = NodeAddress("10.0.0.1", 1), NodeAddress("10.0.0.2", 2)


def head(number: int) -> BlockRef:
    return BlockRef(number, Hash32(bytes([number]) * 32), Hash32(bytes(32)), 0, None)


def members(*nodes: NodeId, at: NodeAddress | None = HERE) -> tuple[Member, ...]:
    return tuple(Member(node, at) for node in nodes)


def read(
    current: tuple[Member, ...],
    new: tuple[Member, ...],
    migration: tuple[Member, ...] = (),
    *,
    master: NodeId | None = None,
    migration_id: Hash32 | None = None,
    confirmed: bool | None = None,
    confirmers: frozenset[NodeId] = frozenset(),
) -> SetReading:
    address = master.address if master else None
    return SetReading(7, current, new, migration, address, migration_id, confirmed, confirmers)


CHANGED = read(members(ALICE, BOB), members(ALICE, CAROL))


def test_a_new_set_is_a_candidate_from_its_first_sighting_on() -> None:
    candidate = next_candidate(None, CHANGED, head(10), still_there=True)
    assert candidate == Candidate(frozenset(CHANGED.new), head(10).id)
    assert next_candidate(candidate, CHANGED, head(12), still_there=True) is candidate
    assert [candidate.is_visible(head(n)) for n in (10, 14, 15, 99)] == [False, False, True, True]


def test_members_and_addresses_and_reorganisations_start_it_again() -> None:
    before = Candidate(frozenset(CHANGED.new), BlockId(10, Hash32(bytes(32))))
    moved = read(members(ALICE, BOB), members(ALICE, CAROL, at=THERE))
    more = read(members(ALICE, BOB), members(ALICE, BOB, CAROL))
    for changed, still_there in ((moved, True), (more, True), (CHANGED, False)):
        candidate = next_candidate(before, changed, head(12), still_there=still_there)
        assert candidate == Candidate(frozenset(changed.new), head(12).id)


def test_equal_sets_and_running_migrations_have_no_candidate() -> None:
    before = Candidate(frozenset(CHANGED.new), BlockId(10, Hash32(bytes(32))))
    equal = read(members(ALICE, BOB), members(BOB, ALICE, at=THERE))
    running = read(members(ALICE), members(ALICE, BOB), members(ALICE, BOB))
    for settled in (equal, running):
        assert next_candidate(before, settled, head(12), still_there=True) is None


def test_a_new_set_has_been_seen_since_it_looks_as_it_does_whatever_runs() -> None:
    running = read(members(ALICE), members(ALICE, BOB), members(ALICE, BOB))
    before = next_sighting(None, running, head(10), still_there=True)
    assert before == Candidate(frozenset(running.new), head(10).id)
    over = read(members(ALICE, BOB), members(ALICE, BOB))
    for reading in (running, over):
        assert next_sighting(before, reading, head(12), still_there=True) is before
    moved = read(members(ALICE), members(ALICE, BOB, at=THERE), members(ALICE, BOB))
    assert next_sighting(before, moved, head(12), still_there=True).seen == head(12).id
    assert next_sighting(before, running, head(12), still_there=False).seen == head(12).id


def test_while_a_migration_runs_its_set_is_the_new_one_that_is_shown() -> None:
    reading = read(
        members(ALICE, BOB),
        members(ALICE, BOB, CAROL),
        members(ALICE),
        master=ALICE,
        migration_id=Hash32(b"\x05" * 32),
        confirmed=False,
    )
    for show_new in (True, False):
        snapshot = build_snapshot(
            reading, chain_id=1, contract=CONTRACT, head=head(9), show_new=show_new
        )
        assert snapshot.new.nodes == (ALICE,)
        assert snapshot.all_nodes() == {ALICE, BOB}


def view_of(reading: SetReading, *, show_new: bool = True) -> MigrationView:
    return build_view(
        reading, chain_id=1, contract=CONTRACT, head=head(9), new_since=3, show_new=show_new
    )


def test_migrations_are_decided_by_the_sets_as_they_are() -> None:
    view = view_of(CHANGED)
    assert (view.block, view.new_since, view.contract) == (9, 3, CONTRACT)
    assert view.current == NodeSet.of(1, CONTRACT, {ALICE, BOB})
    assert view.new == NodeSet.of(1, CONTRACT, {ALICE, CAROL})
    assert view.new_shown
    assert view.running is None
    assert view.last_id is None
    assert not view_of(CHANGED, show_new=False).new_shown
    assert not view_of(read(members(ALICE), members(ALICE, at=THERE))).new_shown


def test_a_running_migration_is_told_with_its_confirmations() -> None:
    number = Hash32(b"\x05" * 32)
    sets = (members(ALICE, BOB), members(BOB, CAROL), members(BOB, CAROL))
    reading = read(*sets, master=ALICE, migration_id=number, confirmers=frozenset({CAROL}))
    view = view_of(reading)
    target = NodeSet.of(1, CONTRACT, {BOB, CAROL})
    assert view.running == RunningMigration(number, target, ALICE, frozenset({CAROL}))
    assert view.last_id == number
    assert not view.new_shown
    stranger = view_of(read(*sets, migration_id=number)).running
    assert stranger is not None
    assert stranger.master is None
    unnamed = view_of(read(*sets, master=ALICE))
    assert unnamed.running is None
    assert not unnamed.new_shown


def test_a_hidden_new_set_shows_nothing_of_itself() -> None:
    hidden = build_snapshot(CHANGED, chain_id=1, contract=CONTRACT, head=head(9), show_new=False)
    assert hidden.new == hidden.current
    assert CAROL not in hidden.address_by_node
    shown = build_snapshot(CHANGED, chain_id=1, contract=CONTRACT, head=head(9), show_new=True)
    assert CAROL in shown.new
    assert CAROL in shown.address_by_node
    assert (shown.epoch, shown.block_number, shown.current.chain_id) == (7, 9, 1)


def test_the_current_sets_network_address_comes_first_if_it_can_be_used() -> None:
    current = (Member(ALICE, HERE), Member(BOB, None))
    new = (Member(ALICE, THERE), Member(BOB, THERE))
    snapshot = build_snapshot(
        read(current, new), chain_id=1, contract=CONTRACT, head=head(9), show_new=True
    )
    assert snapshot.address_by_node == {ALICE: HERE, BOB: THERE}


def test_a_migration_is_shown_only_if_all_about_it_is_known() -> None:
    sets = (members(ALICE, BOB), members(BOB, CAROL), members(BOB, CAROL))
    number = Hash32(b"\x05" * 32)

    def shown(master: NodeId | None, known_id: Hash32 | None, confirmed: bool | None) -> bool:
        reading = read(*sets, master=master, migration_id=known_id, confirmed=confirmed)
        snapshot = build_snapshot(
            reading, chain_id=1, contract=CONTRACT, head=head(9), show_new=True
        )
        return snapshot.migration is not None

    assert shown(CAROL, number, False)
    assert shown(ALICE, number, True)
    assert not shown(None, number, False)
    assert not shown(CAROL, None, False)
    assert shown(CAROL, number, None), "also to a node that is in none of the sets"


def test_a_configured_set_never_changes() -> None:
    node_set = NodeSet.of(0, CONTRACT, {ALICE, BOB})
    sets = StaticNodeSets(node_set, {ALICE: HERE})
    assert sets.snapshot.current == sets.snapshot.new == node_set
    assert sets.snapshot.address_by_node == {ALICE: HERE}
    assert not sets.snapshot.stale
