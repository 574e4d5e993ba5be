"""Valid tasks, sightings and answers for tests, each with defaults."""

from typing import Any

from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId
from keyserver.tasks.model import (
    SeenRequest,
    SetEpoch,
    Sighting,
    Task,
    TaskKey,
    TaskKind,
    new_task,
)
from keyserver.tasks.outbox import Answer, OutboxEntry, new_entry

CHAIN_ID = 1337
CONTRACT = Address(b"\xc0" * 20)
SET_CONTRACT = Address(b"\x5e" * 20)
SENDER = Address(b"\xaa" * 20)
EPOCH = SetEpoch(SET_CONTRACT, 7)
KEY_ID = KeyId(b"\x11" * 32)


def block_hash(number: int, branch: int = 0) -> Hash32:
    return Hash32(keccak256(b"block %d %d" % (number, branch)))


def sighting(block: int = 10, *, log: int | None = 0, branch: int = 0) -> Sighting:
    return Sighting(block, block_hash(block, branch), log)


def task_key(kind: TaskKind = TaskKind.GENERATE_SERVER_KEY, **fields: Any) -> TaskKey:
    values: dict[str, Any] = {
        "chain_id": CHAIN_ID,
        "contract": CONTRACT,
        "kind": kind,
        "key_id": KEY_ID,
    }
    return TaskKey(**(values | fields))


def seen(
    block: int = 10, *, log: int | None = 0, payload: bytes = b"", key: TaskKey | None = None
) -> SeenRequest:
    return SeenRequest(key or task_key(), payload, sighting(block, log=log))


def task(**fields: Any) -> Task:
    """Task 1, pending, seen in a log of block 10."""
    base = new_task(1, seen())
    values = {name: getattr(base, name) for name in Task.__slots__}
    return Task(**(values | fields))


def answer(method: str = "serverKeyGenerated", **fields: Any) -> Answer:
    values: dict[str, Any] = {"epoch": EPOCH, "method": method, "data": method.encode()}
    return Answer(**(values | fields))


def entry(task_id: int = 1, **fields: Any) -> OutboxEntry:
    """A queued entry with id 1."""
    base = new_entry(task_id, SENDER, CONTRACT, answer())
    values = {name: getattr(base, name) for name in OutboxEntry.__slots__}
    return OutboxEntry(**(values | {"id": 1} | fields))


__all__ = ["ZERO_HASH", "answer", "block_hash", "entry", "seen", "sighting", "task", "task_key"]
