"""Keys go by the migration's set as soon as this node has written its change down."""

from dataclasses import dataclass, replace

from keyserver.chain.moved_sets import MovedNodeSets
from keyserver.model.identifiers import Address, Hash32
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.set_change import CompletedChange, SetChange
from keyserver.tasks.migration import MigrationView, RunningMigration
from tests.support.fake_cluster import node_of

CONTRACT = Address(b"\x07" * 20)
OLD, NEW = (NodeSet.of(5, CONTRACT, {node_of(n) for n in numbers}) for numbers in ((1, 2), (2, 3)))
ID = Hash32(b"\x09" * 32)
RUNNING = MigrationView(
    block=50,
    current=OLD,
    new=NEW,
    new_since=40,
    new_shown=False,
    running=RunningMigration(ID, NEW, node_of(2), frozenset()),
    last_id=ID,
)
DONE = CompletedChange(1, SetChange.ordered(OLD, NEW, ID).id, OLD, NEW, 1_700_000_000)


@dataclass
class Contract:
    """What the tracker shows."""

    snapshot: NodeSetSnapshot
    migration_view: MigrationView | None


def contract() -> Contract:
    return Contract(NodeSetSnapshot(OLD, NEW, None, (), epoch=3, block_number=50), RUNNING)


def test_the_contract_counts_until_the_change_is_written_down() -> None:
    seen = contract()
    sets = MovedNodeSets(seen, ())
    assert sets.snapshot is seen.snapshot
    sets.on_completed(DONE)
    assert sets.snapshot == replace(seen.snapshot, current=NEW, new=OLD)
    assert sets.snapshot.all_nodes() == {*OLD.nodes, *NEW.nodes}, "who leaves is not cut off yet"
    assert sets.snapshot is sets.snapshot, "it is made once"


def test_a_change_that_was_on_disk_at_the_start_counts() -> None:
    assert MovedNodeSets(contract(), [DONE]).snapshot.current == NEW


def test_another_migration_is_no_matter() -> None:
    other = replace(DONE, id=SetChange.ordered(OLD, NEW, Hash32(b"\x0a" * 32)).id)
    assert MovedNodeSets(contract(), [other]).snapshot.current == OLD
    assert MovedNodeSets(contract(), [DONE, other]).snapshot.current == OLD, "an id used again"


def test_the_contract_counts_again_when_the_migration_is_over_or_cancelled() -> None:
    seen = contract()
    sets = MovedNodeSets(seen, [DONE])
    assert sets.snapshot.current == NEW
    seen.migration_view = replace(RUNNING, running=None)
    seen.snapshot = replace(seen.snapshot, block_number=51)
    assert sets.snapshot.current == OLD


def test_nothing_is_known_before_the_first_reading() -> None:
    seen = contract()
    seen.migration_view = None
    assert MovedNodeSets(seen, [DONE]).snapshot is seen.snapshot
