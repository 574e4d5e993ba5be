"""What must hold in a world when everything has come to its end."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, islice
from typing import TYPE_CHECKING

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.simulation.scenarios.invariants import (
    MAX_COMBINATIONS,
    check_document,
    check_record,
    check_shares_of,
)
from keyserver.simulation.scenarios.violation import require
from keyserver.simulation.whole_node import WholeNode
from keyserver.simulation.world_rules import SERVICE
from keyserver.storage.stored_key import StoredKey

if TYPE_CHECKING:
    from keyserver.simulation.world import World


async def unsettled(world: "World") -> list[str]:
    """What nodes still have to do, in words; nothing: all is quiet."""
    late = []
    for place, node in enumerate(world.nodes):
        if not node.is_up:
            late.append(f"node {place} is down")
            continue
        tasks = await node.work.open_tasks()
        entries = await node.work.open_entries(node.address)
        late += [f"node {place}: {t.key.kind.name} {t.state.value}, {t.reason}" for t in tasks]
        late += [f"node {place}: {e.key.method} {e.state.value}, {e.reason}" for e in entries]
        late += [f"node {place}: undecided key" for _ in await node.store.undecided()]
    return late


def check_world(world: "World") -> None:
    """Raise `Violation` for anything that must not be."""
    for order in world.orders:
        order.check()
    for place, node in enumerate(world.nodes):
        require(node.failure is None, "a part of a node has ended", f"{place}: {node.failure!r}")
        _check_nonces(world, node, place)
        _check_answers(world, node, place)
    blamed: set[NodeId] = set().union(*(node.recorder.culprits for node in world.nodes))
    require(not blamed, "an honest node was blamed")
    _check_keys(world)


def _check_nonces(world: "World", node: WholeNode, place: int) -> None:
    """No transaction of the node is left waiting, and none was lost on the way."""
    waiting = [each.nonce for each in world.chain.pool.waiting if each.sender == node.address]
    require(not waiting, "a nonce is stuck", f"node {place}: {waiting}")
    if world.deepest > world.rules.confirmations:
        return  # an answer that was final may have left the chain, and nobody needs it again
    used = world.chain.head.nonce_of(node.address)
    known = [entry.nonce for entry in node.disk.state.entries.values()]
    highest = max((nonce for nonce in known if nonce is not None), default=-1)
    require(highest < used, "a nonce was never used", f"node {place}: {highest}, used {used}")


def _check_answers(world: "World", node: WholeNode, place: int) -> None:
    """No answer is on the chain twice, and none was changed after it was given."""
    if world.deepest <= world.rules.confirmations:
        mined = Counter(_answers_of(world, node.address))
        twice = [d[:4].hex() for d, count in mined.items() if count > _requests(world, d[4:36])]
        require(not twice, "an answer was mined twice", f"node {place}: {twice}")
    by_task: dict[tuple[int, str], set[bytes]] = {}
    for entry in node.disk.state.entries.values():
        if not entry.bound_to_epoch:
            by_task.setdefault((entry.key.task_id, entry.key.method), set()).add(entry.data)
    changed = [method for (_, method), data in by_task.items() if len(data) > 1]
    require(not changed, "an answer was changed", f"node {place}: {changed}")


def _requests(world: "World", key_id: bytes) -> int:
    """How often the contract was asked for the same: what was refused is asked for again."""
    orders = (order.asked for order in world.orders)
    return max(asked.requests() for asked in orders if asked.key_id == key_id)


def _answers_of(world: "World", sender: Address) -> list[bytes]:
    return [
        transaction.data
        for block in world.chain.blocks
        for transaction in block.transactions
        if transaction.sender == sender
        and transaction.to == SERVICE
        and block.receipts[transaction.hash].succeeded
    ]


# --- what is stored ------------------------------------------------------------------------------


def _check_keys(world: "World") -> None:
    disks = [node.disk.state.keys for node in world.nodes]
    for key_id in sorted(set().union(*disks)):
        _check_key(key_id, [disk[key_id] for disk in disks if key_id in disk], len(world.nodes))


def _check_key(key_id: KeyId, stored: Sequence[StoredKey], nodes: int) -> None:
    states = [key.state for key in stored]
    records = {s.active.record.hash: s.active for s in states if s.active is not None}
    if not records:
        return
    require(len(records) == 1, "nodes disagree about a record", key_id.hex()[:8])
    (certified,) = records.values()
    check_record(certified, nodes)
    documents = {state.document.document for state in states if state.document is not None}
    require(len(documents) <= 1, "nodes disagree about a document key", key_id.hex()[:8])
    for state in states:
        if state.document is not None:
            check_document(key_id, state.document, certified, nodes)
    record = certified.record
    shares = [state.share for state in states if state.share is not None]
    check_shares_of(record, shares)
    require(len(shares) >= record.required_nodes, "too few nodes hold a share", key_id.hex()[:8])
    for chosen in islice(combinations(shares, record.required_nodes), MAX_COMBINATIONS):
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        require(secret.public() == record.public, "shares do not open the key", key_id.hex()[:8])
