"""What must hold in a world when everything has come to its end."""

from collections import Counter
from typing import TYPE_CHECKING

from keyserver.model.identifiers import Address, NodeId
from keyserver.simulation.owner import set_of
from keyserver.simulation.scenarios.violation import require
from keyserver.simulation.whole_node import WholeNode
from keyserver.simulation.world_keys import check_keys, histories, sets_of, unmoved
from keyserver.simulation.world_rules import NODE_SET, SERVICE
from keyserver.tasks.model import TaskState

if TYPE_CHECKING:
    from keyserver.simulation.world import World


async def unsettled(world: "World") -> list[str]:
    """What nodes still have to do, in words; nothing: all is quiet."""
    late, members = [], set_of(world.chain, NODE_SET).current
    for place, node in enumerate(world.nodes):
        if not node.is_up:
            late.append(f"node {place} is down")
            continue
        tasks = await node.work.open_tasks()
        if node.address not in members:  # it keeps what it was asked, for the day it is back
            tasks = [task for task in tasks if task.state is not TaskState.HELD]
        entries = await node.work.open_entries(node.address)
        late += [f"node {place}: {t.key.kind.name} {t.state.value}, {t.reason}" for t in tasks]
        late += [f"node {place}: {e.key.method} {e.state.value}, {e.reason}" for e in entries]
        late += [f"node {place}: undecided key" for _ in await node.store.undecided()]
    return late + unmoved(world)


def check_world(world: "World") -> None:
    """Raise `Violation` for anything that must not be."""
    for order in world.orders:
        order.check()
    for place, node in enumerate(world.nodes):
        require(node.failure is None, "a part of a node has ended", f"{place}: {node.failure!r}")
        _check_nonces(world, node, place)
        _check_answers(world, node, place)
    honest = [node for node in world.nodes if node.id not in world.liars]
    blamed: set[NodeId] = set().union(*(node.recorder.culprits for node in honest))
    require(blamed <= world.liars, "an honest node was blamed")
    check_keys(world)
    require(len(histories(world)) == 1, "nodes tell different histories of the set")


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
        sets = len(sets_of(world))  # what was asked of one set is answered again by the next
        twice = [
            data[:4].hex()
            for data, count in mined.items()
            if count > sets * _requests(world, data[4:36])
        ]
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
