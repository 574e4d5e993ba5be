import json
from dataclasses import replace

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import (
    AuditUnavailableError,
    ForeignSealError,
    KeySourceError,
    NoMatchingSlotError,
    NotInitialisedError,
    SealConflictError,
    SealedError,
    SealRecordDamagedError,
    ShareWrongSetError,
    WrongKeyError,
)
from keyserver.sealing.handing_out import Sharing
from keyserver.sealing.key_sources import KeyText
from keyserver.sealing.opening import OpenSeal, create
from keyserver.sealing.ports import SYSTEM, SealState
from keyserver.sealing.rekeying import renew
from keyserver.sealing.secret_key import SecretKey
from tests.support.sealing import NOW_MS, MemorySealStore, SealScene
from tests.support.stored_values import NODES

KEY = KeyText("KEY", "ab" * 32)


# --- opening ----------------------------------------------------------------------------------


async def test_a_store_without_a_seal() -> None:
    scene = await SealScene.make()
    scene.store.stored = None
    vault = await scene.process(node_id=NODES[0])
    status = vault.status()
    assert status.state is SealState.UNINITIALISED
    assert (status.epoch, status.required, status.node_id) == (0, 0, NODES[0])
    for ask in (vault.submit, vault.withdraw):
        with pytest.raises(NotInitialisedError):
            await ask(scene.shares[0])
    with pytest.raises(NotInitialisedError):
        await vault.open_with(KEY)
    with pytest.raises(NotInitialisedError):
        vault.record()


async def test_shares_open_and_are_forgotten() -> None:
    scene = await SealScene.make(5, 3)
    vault = await scene.process()
    first = vault.status()
    assert (first.state, first.required, first.shares) == (SealState.SEALED, 3, 5)
    assert first.identifier == scene.new.slot.identifier
    answers = [await vault.submit(scene.shares[member]) for member in (4, 0, 2)]
    assert [(a.progress, a.members) for a in answers] == [(1, (4,)), (2, (0, 4)), (3, (0, 2, 4))]
    assert [a.sealed for a in answers] == [True, True, False]
    assert all(a.accepted and a.reason is None and a.required == 3 for a in answers)
    status = vault.status()
    assert (status.state, status.progress, status.term) == (SealState.UNSEALED, 0, 1)
    assert not status.sealed
    await vault.opened()
    assert vault.node_secret is not None
    assert NodeId.of(vault.node_secret.public()) == status.node_id


async def test_an_open_seal_takes_no_shares() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    for ask in (vault.submit, vault.withdraw):
        for text in (scene.shares[2], "not even a share"):
            answer = await ask(text)
            assert (answer.sealed, answer.accepted) == (False, False)
            assert (answer.reason, answer.members) == ("already_unsealed", ())


async def test_everything_is_in_the_audit_log() -> None:
    scene = await SealScene.make()
    vault = await scene.process()
    await vault.submit(scene.shares[0])
    await vault.submit(scene.shares[0])
    await vault.withdraw(scene.shares[0])
    await vault.withdraw(scene.shares[0])
    await vault.submit(scene.shares[1])
    scene.clock.advance(15 * 60)
    await vault.drop_expired()
    await vault.submit(scene.shares[1])
    await vault.clear(SYSTEM)
    await vault.submit(scene.shares[1])
    await vault.submit(scene.shares[2])
    await vault.request_seal(SYSTEM)
    assert scene.audit.actions() == [
        "seal.init",
        "seal.unseal.share",
        "seal.share.withdrawn",
        "seal.unseal.share",
        "seal.share.expired",
        "seal.unseal.share",
        "seal.shares.cleared",
        *["seal.unseal.share"] * 2,
        "seal.unsealed",
        "seal.sealed",
    ]


async def test_who_repeats_himself_fills_no_log() -> None:
    scene = await SealScene.make()
    vault = await scene.process()
    await vault.submit(scene.shares[0])
    before = len(scene.audit.entries)
    for _ in range(5):
        assert (await vault.submit(scene.shares[0])).reason == "duplicate"
        assert (await vault.withdraw(scene.shares[1])).reason == "not_there"
    assert len(scene.audit.entries) == before


async def test_shares_run_out_also_when_that_cannot_be_written_down() -> None:
    scene = await SealScene.make()
    vault, other = await scene.process(), await scene.opened()
    await vault.submit(scene.shares[0])
    await other.change(rotated)
    scene.clock.advance(15 * 60)
    scene.audit.fails = True
    with pytest.raises(AuditUnavailableError):
        await scene.upkeep(vault).compare()
    assert vault._machine.progress == 0
    assert vault._stored == scene.store.stored


async def test_a_share_that_cannot_be_logged_does_not_count() -> None:
    scene = await SealScene.make()
    vault = await scene.process()
    await vault.submit(scene.shares[0])
    scene.audit.fails = True
    for ask, text in ((vault.submit, scene.shares[1]), (vault.withdraw, scene.shares[0])):
        with pytest.raises(AuditUnavailableError):
            await ask(text)
    with pytest.raises(AuditUnavailableError):
        await vault.clear(SYSTEM)
    assert vault.status().progress == 1
    scene.audit.fails = False
    assert not (await vault.submit(scene.shares[1])).sealed


async def test_shares_wait_for_a_store_that_does_not_answer() -> None:
    scene = await SealScene.make()
    vault = await scene.process()
    await vault.submit(scene.shares[0])
    scene.store.fails = True
    with pytest.raises(StorageError):
        await vault.submit(scene.shares[1])
    assert vault.status().state is SealState.UNSEALING
    assert vault.status().progress == 2
    scene.store.fails = False
    answer = await vault.submit(scene.shares[0])
    assert (answer.sealed, answer.accepted, answer.reason) == (False, False, "duplicate")


async def test_shares_run_out_each_by_its_own_clock() -> None:
    scene = await SealScene.make(5, 4)
    vault = await scene.process(share_minutes=1)
    await vault.submit(scene.shares[0])
    scene.clock.advance(30)
    await vault.submit(scene.shares[1])
    scene.clock.advance(29.9)
    assert vault.status().progress == 2
    scene.clock.advance(0.2)
    assert vault.status().progress == 1
    await vault.submit(scene.shares[1])
    scene.clock.advance(59)
    assert vault.status().progress == 1
    scene.clock.advance(1.1)
    assert vault.status().state is SealState.SEALED


async def test_the_first_shares_are_combined_when_more_have_come() -> None:
    scene = await SealScene.make(3, 2)
    vault = await scene.process()
    scene.store.fails = True
    await vault.submit(scene.shares[0])
    for share in scene.shares[1:]:
        with pytest.raises(StorageError):
            await vault.submit(share)
    scene.store.fails = False
    assert not (await vault.submit(scene.shares[2])).sealed


async def test_a_key_source_opens_beside_shares() -> None:
    scene = await SealScene.make(source=KEY)
    by_key, by_shares = await scene.process(), await scene.opened()
    assert by_key.status().opens_itself
    await by_key.open_with(KEY)
    await by_key.open_with(KEY)
    assert by_key.open_seal.root == by_shares.open_seal.root
    assert [
        details["kind"]
        for action, _, _, details in scene.audit.entries
        if action == "seal.unsealed"
    ] == ["shamir", "static"]


async def test_a_key_source_that_does_not_open() -> None:
    scene = await SealScene.make(source=KEY)
    vault = await scene.process()
    with pytest.raises(WrongKeyError):
        await vault.open_with(replace(KEY, value="cd" * 32))
    with pytest.raises(NoMatchingSlotError):
        await vault.open_with(replace(KEY, key_id="other"))
    with pytest.raises(KeySourceError):
        await vault.open_with(replace(KEY, value="short"))
    assert vault.status().state is SealState.SEALED
    without = await SealScene.make()
    with pytest.raises(NoMatchingSlotError, match="shamir"):
        await (await without.process()).open_with(KEY)


async def test_a_store_without_shares_says_so() -> None:
    store = MemorySealStore()
    await create(store, node_id=NODES[0], source=KEY, random=SeededRandom(1), now_ms=NOW_MS)
    scene = await SealScene.make()
    scene.store = store
    vault = await scene.process()
    assert (vault.status().required, vault.status().identifier) == (0, None)
    with pytest.raises(ShareWrongSetError, match="does not open with shares"):
        await vault.submit(scene.shares[0])
    assert await vault.clear(SYSTEM) == 0
    await vault.open_with(KEY)
    assert vault.node_secret is None


# --- stores that are not what they should be --------------------------------------------------


async def test_a_store_of_another_node_is_not_opened() -> None:
    scene = await SealScene.make()
    with pytest.raises(ForeignSealError):
        await scene.process(node_id=NODES[0])


async def test_a_changed_record_is_never_a_wrong_share() -> None:
    scene = await SealScene.make()
    vault = await scene.process()
    assert scene.store.stored is not None
    record = json.loads(scene.store.stored.record)
    record["slots"][0]["created_at"] += 1
    scene.store.stored = replace(scene.store.stored, record=json.dumps(record))
    await vault.submit(scene.shares[0])
    with pytest.raises(SealRecordDamagedError, match="the shares are good"):
        await vault.submit(scene.shares[1])
    assert vault.status().progress == 2


async def test_a_forged_commitment_does_not_open() -> None:
    """Whoever writes the database may have commitments to shares of their own."""
    scene, other = await SealScene.make(), await SealScene.make(seed="other")
    assert scene.store.stored is not None
    record, forged = (
        json.loads(one.store.stored.record)  # type: ignore[union-attr]
        for one in (scene, other)
    )
    for field in ("slots", "seal_id"):
        record[field] = forged[field]
    scene.store.stored = replace(scene.store.stored, record=json.dumps(record))
    vault = await scene.process()
    await vault.submit(other.shares[0])
    with pytest.raises(SealRecordDamagedError):
        await vault.submit(other.shares[1])
    assert not vault.is_open


@pytest.mark.parametrize("whose", ["another box", "another node", "another key"])
async def test_the_nodes_key_must_be_that_of_the_record(whose: str) -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    identity = scene.store.stored_identity
    assert identity is not None
    stranger = SecretScalar.random(SeededRandom("stranger"))
    place = ("node_identity", "secret_box", ("1",))
    scene.store.stored_identity = {
        "another box": replace(identity, secret_box=identity.secret_box[:-1] + b"\0"),
        "another node": replace(identity, node_id=NodeId.of(stranger.public())),
        "another key": replace(
            identity, secret_box=vault.boxes.seal(*place, stranger.expose()).box
        ),
    }[whose]
    fresh = await scene.process()
    await fresh.submit(scene.shares[0])
    with pytest.raises(SealRecordDamagedError, match="node_identity"):
        await fresh.submit(scene.shares[1])
    assert not fresh.is_open


# --- changes by other processes ---------------------------------------------------------------


def rotated(seal: OpenSeal) -> OpenSeal:
    return replace(seal, keyring=seal.keyring.rotated(SecretKey(bytes(32)), NOW_MS))


def rekeyed(seal: OpenSeal) -> OpenSeal:
    renewal = renew(seal.record, Sharing(2, 3), [], now_ms=NOW_MS, rng=SeededRandom("new"))
    return renewal.applied(seal)


async def test_another_process_follows_a_new_term() -> None:
    scene = await SealScene.make()
    one, two = await scene.opened(), await scene.opened()
    boxes = two.boxes
    await one.change(rotated)
    scene.put(one, "a", b"new")
    await two.refresh()
    assert two.status().term == 2
    assert scene.get(two, "a") == b"new"
    assert boxes is two.boxes


async def test_boxes_look_for_a_newer_term_themselves() -> None:
    scene = await SealScene.make()
    one, two = await scene.opened(), await scene.opened()
    assert not await two.boxes.refresh()
    await one.change(rotated)
    assert await two.boxes.refresh()
    assert not await two.boxes.refresh()
    await one.change(rekeyed)
    assert not await two.boxes.refresh()
    assert await two.must_shut() == "epoch_changed"


async def test_the_slower_of_two_changes_is_refused_and_follows() -> None:
    scene = await SealScene.make()
    one, two = await scene.opened(), await scene.opened()
    await one.change(rotated)
    with pytest.raises(SealConflictError):
        await two.change(rotated)
    assert two.status().term == 2
    await two.change(rotated)
    await one.refresh()
    assert one.status().term == 3


async def test_a_new_set_of_shares_makes_sealing_due() -> None:
    scene = await SealScene.make()
    one, two = await scene.opened(), await scene.opened()
    await one.change(rekeyed)
    with pytest.raises(SealedError):
        await two.refresh()
    reason = await two.must_shut()
    assert reason == "epoch_changed"
    two.shut(reason)
    assert (two.status().state, two.status().reason) == (SealState.SEALED, "epoch_changed")
    await two.load()
    assert two.status().epoch == 2


async def test_a_sealed_process_learns_of_a_new_set() -> None:
    scene = await SealScene.make()
    one, two = await scene.opened(), await scene.process()
    await two.submit(scene.shares[2])
    await one.change(rekeyed)
    await two.refresh()
    assert (two.status().epoch, two.status().progress) == (2, 0)
    with pytest.raises(ShareWrongSetError) as caught:
        await two.submit(scene.shares[0])
    assert caught.value.epoch == 1


async def test_a_set_that_was_replaced_meanwhile_does_not_open() -> None:
    scene = await SealScene.make()
    one, two = await scene.opened(), await scene.process()
    await two.submit(scene.shares[0])
    await one.change(rekeyed)
    with pytest.raises(ShareWrongSetError, match="just been replaced"):
        await two.submit(scene.shares[1])
    assert (two.status().state, two.status().epoch) == (SealState.SEALED, 2)


async def test_a_process_learns_of_the_first_shares() -> None:
    scene = await SealScene.make()
    stored, scene.store.stored = scene.store.stored, None
    vault = await scene.process()
    await vault.refresh()
    scene.store.stored = stored
    await vault.refresh()
    assert vault.status().state is SealState.SEALED


@pytest.mark.parametrize("part", ["all", "epoch", "version"])
async def test_an_older_store_makes_sealing_due_until_the_next_start(part: str) -> None:
    scene = await SealScene.make()
    old = scene.store.stored
    assert old is not None
    one = await scene.opened()
    await one.change(rekeyed)
    new = scene.store.stored
    assert new is not None
    scene.store.stored = {
        "all": None,
        "epoch": replace(new, epoch=1),
        "version": replace(new, keyring_version=1),
    }[part]
    with pytest.raises(SealedError):
        await one.refresh()
    assert await one.must_shut() == "rollback_detected"
    one.shut("rollback_detected")
    scene.store.stored = old
    for share in scene.shares:
        with pytest.raises(SealedError, match="went back"):
            await one.submit(share)
    with pytest.raises(SealedError, match="went back"):
        await one.open_with(KEY)
    in_its_place = await scene.process(reason="rollback_detected")
    with pytest.raises(SealedError, match="went back"):
        await in_its_place.submit(scene.shares[0])
    await in_its_place.refresh()
    assert in_its_place.status().reason == "rollback_detected"
    await scene.opened()


async def test_a_sealed_process_sees_an_older_store_too() -> None:
    scene = await SealScene.make()
    old = scene.store.stored
    one = await scene.opened()
    await one.change(rotated)
    waiting = await scene.process()
    await waiting.submit(scene.shares[0])
    scene.store.stored = old
    with pytest.raises(SealedError, match="went back"):
        await waiting.submit(scene.shares[1])
    assert waiting.status().reason == "rollback_detected"
    await waiting.refresh()


async def test_a_change_whose_answer_was_lost_is_in_use() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    scene.store.dies_at, scene.store.dies_done = scene.store.writes + 1, True
    replaced = scene.store._die_after

    def lost() -> None:
        scene.store.fails = False
        replaced()

    scene.store._die_after = lost  # type: ignore[method-assign]
    await vault.change(rotated)
    assert vault.status().term == 2
