"""What becomes of a key in a set change (engine design, section 14.4, step 2)."""

from collections.abc import Set
from enum import Enum

from keyserver.model.identifiers import NodeId
from keyserver.model.keys import KeyRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.quorums import Quorums


class Fate(Enum):
    """What a change does with a key."""

    ARRIVED = "arrived"
    """Its record is on the target set."""
    MOVES = "moves"
    STAYS = "stays"
    """It cannot be moved, and loses nobody: it stays as it is, and is reported."""
    IS_LOST = "is lost"
    """It cannot be moved, and would lose holders: the change must not begin."""


def fate_of(
    record: KeyRecord,
    target: NodeSet,
    *,
    holders: Set[NodeId],
    reachable: Set[NodeId],
    max_faulty: int | None,
) -> Fate:
    """The fate of a key whose share these nodes say they hold, while these take part.

    A redistribution needs t + 1 holders, a quorum of the committee, and room for t + 1 shares.
    """
    if record.set_id == target.id:
        return Fate.ARRIVED
    members = set(record.nodes)
    quorum = Quorums.of(len(members), max_faulty).agreement
    has_holders = len(holders & reachable & members) >= record.required_nodes
    has_quorum = len(members & reachable) >= quorum
    if has_holders and has_quorum and len(target) >= record.required_nodes:
        return Fate.MOVES
    return Fate.STAYS if loses_nobody(record, target) else Fate.IS_LOST


def loses_nobody(record: KeyRecord, target: NodeSet) -> bool:
    """Whether a key that stays as it is keeps all nodes that may hold a share of it."""
    return all(node in target for node in record.nodes)
