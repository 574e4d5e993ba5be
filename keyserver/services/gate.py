"""What every handler asks first, and how it words "not yet"."""

from keyserver.engine.key_server import KeyServerApi
from keyserver.model.keys import KeyRecord
from keyserver.services.base import HandlerTools, ServiceContract
from keyserver.services.standing import Standing, Want, read_standing
from keyserver.tasks.model import Task
from keyserver.tasks.ports import (
    Disposition,
    NothingOwed,
    NotMember,
    ReadAt,
    TryAgain,
    WaitUntil,
)
from keyserver.tasks.responsibility import turn_among

STARTER_CHECK_BLOCKS = 3
"""How often a node that waits for another one's session looks whether that one is there."""


async def still_wanted(
    tools: HandlerTools, service: ServiceContract, task: Task, head: int
) -> Standing | Disposition:
    """The request's standing at the head, or how the task ends or waits without it.

    A request counts as gone only if it is gone at the confirmed block too (W-29). Raises
    `ChainError` or `AbiError`: nothing is known.
    """
    me = tools.me.address
    standing = await read_standing(tools.reader, service, task.key, me, ReadAt.HEAD)
    if standing.want is Want.NOT_MEMBER or tools.me not in tools.node_sets.snapshot.current:
        return NotMember("not a key server of this contract")
    if standing.want is not Want.NOTHING:
        return standing
    confirmed = await read_standing(tools.reader, service, task.key, me, ReadAt.CONFIRMED)
    if confirmed.want is Want.NOTHING:
        return NothingOwed(confirmed.block, "not pending, or answered by this node")
    return WaitUntil(head + 1, "no answer wanted at the head, but at the confirmed block")


def soon(tools: HandlerTools, task: Task, head: int, reason: str) -> Disposition:
    """With the next block while the request is young, then as every other retry."""
    if head < task.first_seen.block + tools.interval:
        return WaitUntil(head + 1, reason)
    return TryAgain(reason)


def until_turn(tools: HandlerTools, task: Task, head: int, reason: str) -> Disposition | None:
    """How a task waits whose session another node is to start; `None` if it is this node's turn.

    For sessions that may run twice without harm: nodes that are not connected have no turn.
    """
    node_set = tools.node_sets.snapshot.current
    turn = turn_among(tools.me, node_set, task.key.key_id, tools.key_server.connected)
    if turn is None:
        return NotMember("not in the current node set")
    start = task.first_seen.block + turn * tools.interval
    if head >= start:
        return None
    return WaitUntil(min(start, head + STARTER_CHECK_BLOCKS), reason)


async def known_record(key_server: KeyServerApi, task: Task) -> KeyRecord | None:
    """The key's record: this node's own, else one that a peer shows with its certificate."""
    state = await key_server.key_state(task.key.key_id)
    certified = state.active or await key_server.find_record(task.key.key_id)
    return certified.record if certified else None
