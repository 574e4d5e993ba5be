"""Views and facts of migrations, by numbers: node n is the n-th in ascending order of ids."""

from collections.abc import Iterable

from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.tasks.migration import (
    JoinedMigration,
    KeyCheck,
    MigrationView,
    PlannedStart,
    RunningMigration,
)
from tests.support.keys import nodes_of

CHAIN = 1337
CONTRACT = Address(b"\x5e" * 20)
NODES = tuple(sorted(nodes_of(7)))
BLOCK = 1000


def node(number: int) -> NodeId:
    """The node of this number, from 1."""
    return NODES[number - 1]


def nodes(*numbers: int) -> frozenset[NodeId]:
    return frozenset(node(number) for number in numbers)


def set_of(*numbers: int) -> NodeSet:
    return NodeSet.of(CHAIN, CONTRACT, set(nodes(*numbers)))


def id_of(number: int) -> Hash32:
    return Hash32(number.to_bytes(32, "big"))


def running(
    *target: int, number: int = 1, master: int | None = 1, confirmed: Iterable[int] = ()
) -> RunningMigration:
    leader = None if master is None else node(master)
    return RunningMigration(id_of(number), set_of(*target), leader, nodes(*confirmed))


def view(
    current: tuple[int, ...],
    new: tuple[int, ...],
    migration: RunningMigration | None = None,
    *,
    age: int = 5,
    last: int | None = None,
    stale: bool = False,
    block: int = BLOCK,
) -> MigrationView:
    """A view in which the new set has been the same for `age` blocks."""
    last_id = id_of(last) if last is not None else None
    return MigrationView(
        block=block,
        current=set_of(*current),
        new=set_of(*new),
        new_since=block - age,
        new_shown=migration is None and age >= 5 and set(current) != set(new),
        running=migration,
        last_id=migration.id if migration is not None else last_id,
        stale=stale,
    )


def planned(of: MigrationView, number: int = 1) -> PlannedStart:
    """The id `number` for the sets of a view."""
    return PlannedStart(id_of(number), CONTRACT, of.current.id, of.new.id, of.block)


def joined(
    migration: RunningMigration, *, accepted: int = BLOCK, succeeded: int | None = None
) -> JoinedMigration:
    return JoinedMigration(migration.id, CONTRACT, migration.target.id, accepted, succeeded)


def safe(target: NodeSet) -> KeyCheck:
    """No key would be lost."""
    return KeyCheck(target.id, ())
