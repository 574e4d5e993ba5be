"""The change lock: whose it is, what it keeps from beginning, and when it is free."""

import asyncio
from dataclasses import replace

import pytest

from keyserver.engine import set_change_lock
from keyserver.engine.change_gate import ChangeGate
from keyserver.engine.set_change_lock import ChangeLock
from keyserver.model.identifiers import ZERO_HASH, Address, KeyId
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import KeyState, Refusal, SessionKind, UnavailableError
from tests.support.fake_cluster import certified_record
from tests.support.set_changes import ALL, NODES, set_of

CHANGE = SetChange.ordered(ALL, set_of(NODES[1:]))
OTHER = SetChange.ordered(ALL, set_of(NODES[2:]))
KEY = KeyId(b"\x01" * 32)
CLIENTS = (SessionKind.GENERATION, SessionKind.STORING, SessionKind.RETRIEVAL)
OWN = (SessionKind.SET_CHANGE, SessionKind.REDISTRIBUTION, SessionKind.SHARE_ADDITION)
EMPTY = KeyState()


def held(*, exclusive: bool = False) -> tuple[ChangeLock, asyncio.Event]:
    lock, ended = ChangeLock(), asyncio.Event()
    assert lock.take(CHANGE, ended, exclusive=exclusive)
    return lock, ended


def holder(lock: ChangeLock) -> SetChange | None:
    return lock.change


def frozen(lock: ChangeLock) -> bool:
    return lock.is_frozen


def key_on(change: SetChange | None) -> KeyState:
    certified = certified_record(KEY, Address(bytes(20)), 1, NODES)
    if change is None:
        return KeyState(active=certified)
    record = replace(certified.record, set_id=change.new.id)
    return KeyState(active=replace(certified, record=record))


def test_it_is_free_until_it_is_taken_and_when_the_session_has_ended() -> None:
    lock, ended = held()
    assert holder(lock) == CHANGE
    assert not lock.take(OTHER, asyncio.Event(), exclusive=False)
    ended.set()
    assert holder(lock) is None
    assert lock.take(OTHER, asyncio.Event(), exclusive=False)
    assert holder(lock) == OTHER


def test_a_session_that_has_ended_takes_nothing() -> None:
    lock, ended = ChangeLock(), asyncio.Event()
    ended.set()
    assert not lock.take(CHANGE, ended, exclusive=False)


def test_a_repeated_change_loses_it_to_any_other() -> None:
    lock, repeat, ended = ChangeLock(), asyncio.Event(), asyncio.Event()
    assert lock.take(CHANGE, repeat, exclusive=False, yields=True)
    assert lock.is_held_for(repeat)
    assert holder(lock) is None
    assert lock.target(CHANGE.id, KEY, EMPTY, NODES[0]) == CHANGE.new
    assert not lock.take(CHANGE, asyncio.Event(), exclusive=False)
    assert lock.take(OTHER, ended, exclusive=False)
    assert holder(lock) == OTHER
    assert lock.is_held_for(ended)
    assert not lock.is_held_for(repeat)
    assert lock.target(CHANGE.id, KEY, EMPTY, NODES[0]) is None
    assert not lock.take(CHANGE, asyncio.Event(), exclusive=False, yields=True)
    repeat.set()
    assert holder(lock) == OTHER


def test_it_can_be_given_back() -> None:
    lock, _ = held(exclusive=True)
    lock.give_back()
    assert holder(lock) is None
    assert not lock.is_exclusive


def test_keys_may_go_to_the_target_of_the_change_that_holds_it() -> None:
    lock, ended = held()
    assert lock.target(CHANGE.id, KEY, EMPTY, NODES[0]) == CHANGE.new
    assert lock.target(OTHER.id, KEY, EMPTY, NODES[0]) is None
    assert lock.target(ZERO_HASH, KEY, EMPTY, NODES[0]) is None  # a refresh has to wait
    ended.set()
    assert lock.target(CHANGE.id, KEY, EMPTY, NODES[0]) is None


@pytest.mark.parametrize("kind", [*CLIENTS, *OWN])
def test_a_free_one_and_one_that_is_held_forbid_nothing(kind: SessionKind) -> None:
    assert ChangeLock().forbids(kind, EMPTY) is None
    assert held()[0].forbids(kind, EMPTY) is None


@pytest.mark.parametrize("kind", [*CLIENTS, *OWN])
def test_an_exclusive_one_lets_only_the_change_itself_go_on(kind: SessionKind) -> None:
    lock, ended = held(exclusive=True)
    assert lock.forbids(kind, EMPTY) is (Refusal.EXCLUSIVE if kind in CLIENTS else None)
    ended.set()
    assert lock.forbids(kind, EMPTY) is None


def test_a_freeze_forbids_votes_for_the_old_set_only() -> None:
    lock, ended = held()
    lock.freeze(OTHER)
    assert not frozen(lock)
    lock.freeze(CHANGE)
    assert frozen(lock)
    assert lock.forbids(SessionKind.GENERATION, EMPTY) is Refusal.TEMPORARY
    assert lock.forbids(SessionKind.STORING, key_on(None)) is Refusal.TEMPORARY
    assert lock.forbids(SessionKind.STORING, key_on(CHANGE)) is None
    assert lock.forbids(SessionKind.RETRIEVAL, key_on(None)) is None
    assert all(lock.forbids(kind, EMPTY) is None for kind in OWN)
    ended.set()
    assert not frozen(lock)
    assert lock.forbids(SessionKind.GENERATION, EMPTY) is None


async def test_requests_wait_for_the_end_of_a_freeze() -> None:
    lock, ended = held()
    await lock.wait_until_thawed()
    lock.freeze(CHANGE)
    waiting = asyncio.ensure_future(lock.wait_until_thawed())
    await asyncio.sleep(0)
    assert not waiting.done()
    ended.set()
    await waiting
    await lock.wait_until_thawed()


async def test_they_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_change_lock, "THAW_S", 0.01)
    lock, _ = held()
    lock.freeze(CHANGE)
    with pytest.raises(UnavailableError, match="about to end"):
        await lock.wait_until_thawed()


# --- the gate ----------------------------------------------------------------------------------


class Changes(ChangeLock):
    """The lock alone, as far as the gate asks for it."""

    async def perform(self, work: object, ended: asyncio.Event) -> object:
        return work, ended


async def test_a_gate_without_changes_lets_everything_through_but_them() -> None:
    gate = ChangeGate()
    gate.check_open()
    await gate.wait_until_thawed()
    for kind in CLIENTS:
        gate.check(kind, EMPTY)
    assert gate.forbids(SessionKind.SET_CHANGE, EMPTY) is Refusal.POLICY


async def test_a_gate_asks_the_changes() -> None:
    changes, gate, ended = Changes(), ChangeGate(), asyncio.Event()
    gate.serve(changes)
    assert gate.forbids(SessionKind.SET_CHANGE, EMPTY) is None
    assert await gate.perform("work", ended) == ("work", ended)
    changes.take(CHANGE, ended, exclusive=False)
    gate.check_open()
    changes.freeze(CHANGE)
    with pytest.raises(UnavailableError, match="in the way") as refused:
        gate.check(SessionKind.GENERATION, EMPTY)
    assert refused.value.code == "ConsensusTemporaryUnreachable"
    waiting = asyncio.ensure_future(gate.wait_until_thawed())
    ended.set()
    await waiting
    changes.take(CHANGE, asyncio.Event(), exclusive=True)
    with pytest.raises(UnavailableError) as exclusive:
        gate.check(SessionKind.RETRIEVAL, EMPTY)
    assert exclusive.value.code == "ExclusiveSessionActive"
    with pytest.raises(UnavailableError):
        gate.check_open()
