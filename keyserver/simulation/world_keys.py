"""Where the keys of a world are, and must be, when everything has come to its end.

The chain tells which sets there were. Every key belongs on the last of them, with a share at each
member and none elsewhere; its record was decided by a set that was current before.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.sessions.core import KeyState
from keyserver.simulation.owner import set_of
from keyserver.simulation.scenarios.moved_keys import check_moved_key
from keyserver.simulation.scenarios.violation import require
from keyserver.simulation.whole_node import WholeNode
from keyserver.simulation.world_rules import NODE_SET

if TYPE_CHECKING:
    from keyserver.simulation.world import World

Set = frozenset[NodeId]


def sets_of(world: "World") -> list[Set]:
    """The sets that were current on the chain, one after the other."""
    known = {node.address: node.id for node in world.nodes}
    found: list[Set] = []
    for place in range(len(world.chain.blocks)):
        current = _nodes(known, set_of(world.chain, NODE_SET, place).current)
        if not found or found[-1] != current:
            found.append(current)
    return found


def _targets_of(world: "World") -> list[Set]:
    """The sets to which a migration ever ran, whatever came of it."""
    known = {node.address: node.id for node in world.nodes}
    seen = (set_of(world.chain, NODE_SET, place) for place in range(len(world.chain.blocks)))
    return sorted({_nodes(known, each.migration) for each in seen if each.migration}, key=sorted)


def _nodes(known: dict[Address, NodeId], addresses: Sequence[Address]) -> Set:
    return frozenset(known[address] for address in addresses)


def unmoved(world: "World") -> list[str]:
    """What is still to be done about the node set, in words."""
    contract = set_of(world.chain, NODE_SET)
    late = ["a migration is running"] if contract.migration else []
    current, edited = set(contract.current), set(contract.edited)
    if current != edited and not is_refused(world):
        late.append("the new set is not current")
    members = {node.id for node in world.nodes if node.address in current}
    for place, node in enumerate(world.nodes):
        for key_id, state in _states(node).items():
            if state.active is None or node.id in world.liars:
                continue
            moved = set(state.active.record.nodes) == members
            holds = state.share is not None
            if holds is not (node.id in members) or (holds and not moved):
                late.append(f"node {place}: share of {key_id.hex()[:8]}")
    return late


def is_refused(world: "World") -> bool:
    """Whether the nodes may refuse what the owner wants: nobody stays, or too few holders do."""
    contract = set_of(world.chain, NODE_SET)
    known = {node.address: node.id for node in world.nodes}
    edited = _nodes(known, contract.edited)
    if not set(contract.current) & set(contract.edited):
        return True
    records = [s.active.record for node in world.nodes for s in _states(node).values() if s.active]
    return any(len(edited & set(record.nodes)) < record.required_nodes for record in records)


def _states(node: WholeNode) -> dict[KeyId, KeyState]:
    return {key_id: stored.state for key_id, stored in node.disk.state.keys.items()}


def check_keys(world: "World") -> None:
    """Raise `Violation` unless every key is where it belongs, and works."""
    sets = sets_of(world)
    for earlier, later in pairwise(sets):
        require(bool(earlier & later), "all nodes were replaced at once")
    known = set().union(*(_states(node) for node in world.nodes))
    for key_id in sorted(known):
        stored = {
            node.id: key
            for node in world.nodes
            if node.id not in world.liars and (key := node.disk.state.keys.get(key_id)) is not None
        }
        check_moved_key(key_id, stored, [*_targets_of(world), *sets])


def histories(world: "World") -> set[tuple[bytes, ...]]:
    """What honest members of the current set have written down of changes, by their names."""
    last = sets_of(world)[-1]
    return {
        tuple(change.id for change in node.disk.state.set_changes)
        for node in world.nodes
        if node.id in last and node.id not in world.liars
    }
