"""Which node starts the session for a key id (chain watcher, section 5 and W-16).

The key ids are cut into as many equal ranges as there are nodes, in the order of the node ids.
The node of a range starts the sessions of its ids; when a request stays unanswered, the next
nodes in order may start it too, one more with every interval.
"""

from collections.abc import Container

from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.node_set import KEY_SPACE, NodeSet


def starter_index(key_id: KeyId, nodes: int) -> int:
    """Position of the node whose range holds `key_id`, among `nodes` >= 1 in canonical order."""
    return int.from_bytes(key_id, "big") // ((KEY_SPACE - 1) // nodes + 1)


def turn_of(node: NodeId, node_set: NodeSet, key_id: KeyId) -> int | None:
    """How many intervals a request must have waited until `node` may start its session.

    0 for the node of the range, 1 for the next one in order, and so on; `None` for a node that
    is not in the set.
    """
    if node not in node_set:
        return None
    nodes = len(node_set)
    return (node_set.nodes.index(node) - starter_index(key_id, nodes)) % nodes


def may_start_from(
    node: NodeId, node_set: NodeSet, key_id: KeyId, first_seen: int, interval: int
) -> int | None:
    """The block from which on `node` may start a session; `None` for a node not in the set.

    `first_seen` is the block in which the request was first seen, `interval` the number of
    blocks a starter is given.
    """
    turn = turn_of(node, node_set, key_id)
    return None if turn is None else first_seen + interval * turn


def turn_among(
    node: NodeId, node_set: NodeSet, key_id: KeyId, present: Container[NodeId]
) -> int | None:
    """As `turn_of`, but nodes that are not `present` have no turn.

    For sessions that may run twice without harm: a dead starter then costs no time, and two nodes
    that see different peers may both start.
    """
    turn = turn_of(node, node_set, key_id)
    if turn is None:
        return None
    earlier = (turn_of(other, node_set, key_id) for other in node_set.nodes if other in present)
    return sum(other is not None and other < turn for other in earlier)


def hopeless_from(node_set: NodeSet, first_seen: int, interval: int) -> int:
    """The block from which on every node has had its turn: the request cannot succeed (W-16)."""
    return first_seen + interval * (len(node_set) + 1)


def backoff(attempts: int, interval: int) -> int:
    """Blocks to wait after so many attempts without result, >= 1: +30, +60, .. +240 (W-15)."""
    return interval << min(attempts - 1, 3)


def jitter(node: NodeId, key_id: KeyId, attempts: int, interval: int) -> int:
    """Blocks added to a back-off, below an eighth of the interval, different on every node.

    It keeps two starters whose sessions got in each other's way from doing so again.
    """
    digest = keccak256(node + key_id + attempts.to_bytes(4, "big"))
    return int.from_bytes(digest[:8], "big") % (interval // 8 + 1)
