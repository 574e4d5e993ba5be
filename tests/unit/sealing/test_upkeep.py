import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from keyserver.crypto.boxes import box_term
from keyserver.errors import StorageError
from keyserver.sealing import upkeep as module
from keyserver.sealing.errors import (
    AuditUnavailableError,
    NoSuchTermError,
    SealConflictError,
    SealedError,
    TermInUseError,
)
from keyserver.sealing.ports import SYSTEM, AuditOutcome, ReplicaFacts, SealState
from keyserver.sealing.upkeep import COMPARE_EVERY_S, SETTLED_S, Upkeep
from keyserver.sealing.vault import Vault
from tests.support.manual_clock import ManualClock
from tests.support.sealing import SealScene

DAY_S = 86_400
REPLICA = ReplicaFacts("r2", "", SealState.UNSEALED, 0, 2, 1, 2, "1", 0, 0, live=True, active=False)


async def until(condition: Callable[[], bool]) -> None:
    """Let the tasks of the loop run on."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def scene_with_records(count: int = 3) -> tuple[SealScene, Vault, Upkeep]:
    scene = await SealScene.make()
    vault = await scene.opened()
    for number in range(count):
        scene.put(vault, f"row {number}", b"plain %d" % number)
    return scene, vault, scene.upkeep(vault)


def terms(scene: SealScene) -> set[int]:
    return {box_term(box) for box in scene.store._all().values()}


# --- terms ------------------------------------------------------------------------------------


async def test_a_rotation_needs_no_share_and_touches_no_record() -> None:
    scene, vault, upkeep = await scene_with_records()
    before = dict(scene.store.boxes)
    assert await upkeep.rotate(SYSTEM) == 2
    assert vault.status().term == 2
    assert scene.store.boxes == before
    assert scene.get(vault, "row 1") == b"plain 1"
    scene.put(vault, "new", b"new")
    assert box_term(scene.store.boxes["service_keys", "key_box", ("new",)]) == 2
    fresh = await scene.opened()
    assert scene.get(fresh, "new") == b"new"


async def test_records_move_to_the_active_term() -> None:
    scene, vault, upkeep = await scene_with_records(7)
    await upkeep.rotate(SYSTEM)
    assert terms(scene) == {1}
    scene.clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    assert terms(scene) == {2}
    assert [scene.get(vault, f"row {n}") for n in range(7)] == [b"plain %d" % n for n in range(7)]
    assert vault.node_secret is not None
    assert (upkeep.progress.done, upkeep.progress.left, upkeep.progress.problem) == (8, 0, None)
    fresh = await scene.opened()
    assert fresh.node_secret is not None


async def test_batches_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    scene, _, upkeep = await scene_with_records(5)
    await upkeep.rotate(SYSTEM)
    scene.clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    assert terms(scene) == {2}
    assert scene.store.writes == 2 + 3


async def test_a_box_that_does_not_open_is_left_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    scene, _, upkeep = await scene_with_records(6)
    for number in (0, 1, 4):
        place = ("service_keys", "key_box", (f"row {number}",))
        scene.store.boxes[place] = scene.store.boxes[place][:-1] + b"\0"
    await upkeep.rotate(SYSTEM)
    scene.clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    assert (upkeep.progress.done, upkeep.progress.left) == (4, 3)
    assert upkeep.progress.problem == "3 boxes do not open"
    with pytest.raises(TermInUseError):
        await upkeep.retire(1, SYSTEM)


async def test_a_record_that_was_changed_meanwhile_stays() -> None:
    scene, vault, upkeep = await scene_with_records(1)
    await upkeep.rotate(SYSTEM)
    scene.clock.advance(SETTLED_S)
    (old,) = [box for box in await scene.store.boxes_not_of(2, 9) if box.table == "service_keys"]
    scene.put(vault, "row 0", b"changed")
    assert await scene.store.replace_boxes([(old, old.box)]) == 0
    await upkeep.rewrap_all()
    assert scene.get(vault, "row 0") == b"changed"


async def test_records_are_moved_once_every_replica_has_the_term() -> None:
    scene, _, upkeep = await scene_with_records()
    await upkeep.rotate(SYSTEM)
    running = asyncio.ensure_future(upkeep.rewrap_all())
    for _ in range(int(SETTLED_S) - 1):
        await asyncio.sleep(0)
        scene.clock.advance(1)
    assert terms(scene) == {1}
    while not running.done():
        await asyncio.sleep(0)
        scene.clock.advance(1)
    assert terms(scene) == {2}


async def test_a_term_that_a_fast_clock_has_dated_is_moved_to_all_the_same() -> None:
    scene, vault, upkeep = await scene_with_records()
    fast = await scene.opened()
    ahead = replace(scene, clock=ManualClock(scene.clock.unix() + DAY_S))
    await ahead.upkeep(fast).rotate(SYSTEM)
    await upkeep.compare()
    assert vault.status().term == 2
    with pytest.raises(TermInUseError, match="a moment ago"):
        await upkeep.retire(1, SYSTEM)
    scene.clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    assert terms(scene) == {2}
    await upkeep.retire(1, SYSTEM)


async def test_an_empty_term_is_retired() -> None:
    scene, vault, upkeep = await scene_with_records()
    await upkeep.rotate(SYSTEM)
    scene.clock.advance(SETTLED_S)
    with pytest.raises(TermInUseError, match="run a rewrap first"):
        await upkeep.retire(1, SYSTEM)
    await upkeep.rewrap_all()
    await upkeep.retire(1, SYSTEM)
    assert list(vault.open_seal.keyring.terms) == [2]
    with pytest.raises(NoSuchTermError):
        await upkeep.retire(1, SYSTEM)
    assert await upkeep.rotate(SYSTEM) == 3
    await scene.opened()


async def test_terms_that_may_be_in_use_are_kept() -> None:
    scene, _, upkeep = await scene_with_records(0)
    with pytest.raises(TermInUseError, match="active"):
        await upkeep.retire(1, SYSTEM)
    await upkeep.rotate(SYSTEM)
    with pytest.raises(TermInUseError, match="a moment ago"):
        await upkeep.retire(1, SYSTEM)
    scene.clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    with pytest.raises(TermInUseError, match="a replica"):
        await upkeep.retire(1, SYSTEM, [replace(REPLICA, term=1)])
    harmless = [replace(REPLICA, term=1, live=False), replace(REPLICA, term=0), REPLICA]
    await upkeep.retire(1, SYSTEM, harmless)


async def test_a_box_that_comes_at_the_last_moment_keeps_its_term() -> None:
    scene, vault, upkeep = await scene_with_records(0)
    late = vault.boxes.seal("service_keys", "key_box", ("late",), b"late").box
    await upkeep.rotate(SYSTEM)
    scene.clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    counted = scene.store.boxes_by_term

    async def then_comes_one() -> object:
        counts = await counted()
        scene.store.boxes["service_keys", "key_box", ("late",)] = late
        return counts

    scene.store.boxes_by_term = then_comes_one  # type: ignore[assignment]
    with pytest.raises(TermInUseError):
        await upkeep.retire(1, SYSTEM)
    assert scene.get(vault, "late") == b"late"
    outcomes = [entry[1] for entry in scene.audit.entries if entry[0] == "seal.retire"]
    assert outcomes == [AuditOutcome.OK, AuditOutcome.ERROR]


async def test_a_sealed_node_has_no_terms() -> None:
    scene = await SealScene.make()
    upkeep = scene.upkeep(await scene.process())
    for ask in (upkeep.rotate, upkeep.rewrap):
        with pytest.raises(SealedError):
            await ask(SYSTEM)
    with pytest.raises(SealedError):
        await upkeep.retire(1, SYSTEM)
    await upkeep.compare()


async def test_nothing_is_done_that_cannot_be_logged() -> None:
    scene, vault, upkeep = await scene_with_records()
    scene.audit.fails = True
    for ask in (upkeep.rotate, upkeep.rewrap):
        with pytest.raises(AuditUnavailableError):
            await ask(SYSTEM)
    assert vault.status().term == 1
    assert not upkeep.progress.running


# --- as time passes ---------------------------------------------------------------------------


async def test_the_active_term_is_replaced_when_it_is_old() -> None:
    scene, vault, _ = await scene_with_records()
    never, upkeep = scene.upkeep(vault, 0), scene.upkeep(vault, 90)
    scene.clock.advance(90 * DAY_S)
    await upkeep.compare()
    assert vault.status().term == 1
    scene.clock.advance(1)
    await never.compare()
    assert vault.status().term == 1
    await upkeep.compare()
    assert vault.status().term == 2
    await upkeep.compare()
    assert vault.status().term == 2


async def test_of_two_replicas_one_rotates() -> None:
    scene = await SealScene.make()
    one, two = await scene.opened(), await scene.opened()
    scene.clock.advance(91 * DAY_S)
    await scene.upkeep(one).compare()
    await scene.upkeep(two).compare()
    assert (one.status().term, two.status().term) == (2, 2)
    with pytest.raises(SealConflictError):
        await _rotate_over(scene, one, two)
    await scene.upkeep(two).compare()


async def _rotate_over(scene: SealScene, one: Vault, two: Vault) -> None:
    await scene.upkeep(one).rotate(SYSTEM)
    await scene.upkeep(two).rotate(SYSTEM)


async def test_expired_shares_are_dropped_while_it_waits() -> None:
    scene = await SealScene.make()
    vault = await scene.process()
    await vault.submit(scene.shares[0])
    scene.clock.advance(15 * 60)
    await scene.upkeep(vault).compare()
    assert scene.audit.actions()[-1] == "seal.share.expired"


async def test_it_runs_on_through_trouble() -> None:
    scene, vault, upkeep = await scene_with_records()
    other = await scene.opened()
    running = asyncio.ensure_future(upkeep.run())
    try:
        await asyncio.sleep(0)
        scene.store.fails = True
        scene.clock.advance(COMPARE_EVERY_S)
        await asyncio.sleep(0)
        scene.store.fails = False
        await scene.upkeep(other).rotate(SYSTEM)
        for _ in range(5):
            await asyncio.sleep(0)
        scene.clock.advance(COMPARE_EVERY_S)
        await until(lambda: vault.status().term == 2)
        scene.clock.advance(SETTLED_S)
        await upkeep.rewrap(SYSTEM)
        assert upkeep.progress.running
        await until(lambda: not upkeep.progress.running)
        assert terms(scene) == {2}
        scene.store.fails = True
        await upkeep.rewrap(SYSTEM)
        await until(lambda: not upkeep.progress.running)
        assert upkeep.progress.problem == "the database does not answer"
        scene.store.fails = False
        vault.shut("requested")
        scene.clock.advance(COMPARE_EVERY_S)
        await asyncio.sleep(0)
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_rewrap_that_stopped_goes_on_when_asked_again() -> None:
    scene, _, upkeep = await scene_with_records(4)
    await upkeep.rotate(SYSTEM)
    scene.clock.advance(SETTLED_S)
    scene.store.fails = True
    with pytest.raises(StorageError):
        await upkeep.rewrap_all()
    scene.store.fails = False
    await upkeep.rewrap_all()
    assert terms(scene) == {2}
