"""Whether a contract still wants this node's answer to a request (chain watcher, W-29).

Asks two things at one block: the contract's own "is a response required", and whether the request
is in the pending list. The first alone is not enough: the original contracts say yes for requests
that do not exist, and every contract says yes throughout the personal stage.
"""

from dataclasses import dataclass
from enum import Enum

from keyserver.evm.abi import AbiError
from keyserver.model.identifiers import Address
from keyserver.services.base import Asked, ServiceContract, decode_count
from keyserver.tasks.model import COMMON_STAGE_OF, TaskKey, TaskKind
from keyserver.tasks.ports import ContractReader, ReadAt, Reading

MAX_PENDING = 1024
"""Entries of one pending list that are looked at (W-13)."""


class Want(Enum):
    """What the contract wants of this node."""

    ANSWER = "answer"
    NOTHING = "nothing"
    """The request is gone, or this node has answered."""
    LATER = "later"
    """The request is pending, but its stage has not begun."""
    NOT_MEMBER = "not a member"
    """This node is no key server for the contract."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a request at one block."""

    want: Want
    block: int
    asked: Asked | None = None
    """The pending entry, where there is one."""


async def read_standing(
    reader: ContractReader,
    service: ServiceContract,
    key: TaskKey,
    server: Address,
    at: ReadAt,
) -> Standing:
    """Ask the contract; raises `ChainError` or `AbiError`, both no answer at all."""
    calls = [service.required_call(key, server), service.count_call]
    first = await reader.read(key.contract, calls, at)
    required, count = first.results
    if required is None:
        return Standing(Want.NOT_MEMBER, first.block)
    if not may_be_wanted(key.kind, required):
        return Standing(Want.NOTHING, first.block)
    pending = await _pending_entry(reader, service, key, first, decode_count(count))
    if pending is None:
        return Standing(Want.NOTHING, first.block)
    entries = {asked.kind: asked for asked in pending}
    if key.kind not in entries:
        return Standing(Want.NOTHING, first.block)
    too_early = COMMON_STAGE_OF.get(key.kind) in entries
    want = Want.LATER if too_early else Want.ANSWER
    return Standing(want, first.block, entries[key.kind])


def may_be_wanted(kind: TaskKind, required: bytes) -> bool:
    """What "is a response required" says about a task; raises `AbiError` for no bool.

    The contract answers for the stage that a request is in. In the common stage "no" means that
    this node has answered it, and says nothing about the personal stage, which comes after.
    """
    if len(required) != 32:
        raise AbiError("whether a response is required cannot be read")
    return kind in COMMON_STAGE_OF or any(required)


async def _pending_entry(
    reader: ContractReader, service: ServiceContract, key: TaskKey, pinned: Reading, count: int
) -> tuple[Asked, ...] | None:
    if count == 0:
        return None
    calls = [service.item_call(index) for index in range(min(count, MAX_PENDING))]
    reading = await reader.read_at(key.contract, calls, pinned.block, pinned.block_hash)
    for data in reading.results:
        asked = _asked(service, data)
        if asked and _is_of(key, asked[0]):
            return asked
    return None


def _is_of(key: TaskKey, asked: Asked) -> bool:
    """Whether an entry, or a stage of it, is the request that a task is about."""
    theirs = (asked.key_id, asked.requester, asked.message)
    return theirs == (key.key_id, key.requester, key.message)


def _asked(service: ServiceContract, data: bytes | None) -> tuple[Asked, ...]:
    """An entry that cannot be read is not the one we look for (W-13)."""
    try:
        return () if data is None else service.asked_in_item(data)
    except AbiError:
        return ()
