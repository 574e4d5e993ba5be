"""Whoever writes the database puts another seal, or an older one, in the place of the node's."""

import asyncio
import json
from dataclasses import replace

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import NodeId
from keyserver.sealing import vault as module
from keyserver.sealing.errors import SealedError, SealRecordDamagedError
from keyserver.sealing.handing_out import Sharing
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.making import sealed_identity
from keyserver.sealing.opening import OpenSeal
from keyserver.sealing.ports import SYSTEM, SealState, SealVersion
from keyserver.sealing.record import SEAL_ID_SIZE, SealRecord
from keyserver.sealing.rekeying import first_record
from keyserver.sealing.secret_key import SIZE, SecretKey
from keyserver.sealing.seen import SeenSeal
from keyserver.sealing.vault import EPOCH_CHANGED, REQUESTED, ROLLBACK_DETECTED
from tests.support.sealing import NOW_MS, SealScene, documents

RANDOM = SeededRandom("attacker")


def own_seal(scene: SealScene, node_id: NodeId, seal_id: bytes) -> tuple[OpenSeal, str]:
    """A seal that the attacker has made, of a later epoch, and the one share that opens it."""
    assert scene.store.stored is not None
    epoch = scene.store.stored.epoch + 1
    bare = SealRecord(seal_id, node_id, epoch=epoch, slots=())
    made = first_record(bare, Sharing(1, 1), now_ms=NOW_MS, rng=RANDOM)
    keyring = Keyring.first(seal_id, SecretKey(RANDOM.bytes(SIZE)), NOW_MS)
    seal = OpenSeal(made.record, made.root, keyring, scene.store.stored.keyring_version + 1)
    return seal, documents(made.new)[0]


def node_of(scene: SealScene) -> tuple[NodeId, bytes]:
    assert scene.store.stored is not None
    record = SealRecord.from_json(scene.store.stored.record)
    return record.node_id, record.seal_id


@pytest.mark.parametrize("what", ["seal_id", "node_id"])
async def test_another_seal_is_not_taken_for_a_rekey(what: str) -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    node_id, seal_id = node_of(scene)
    if what == "seal_id":
        seal_id = RANDOM.bytes(SEAL_ID_SIZE)
    else:
        node_id = NodeId.of(SecretScalar.from_int(666).public())
    seal, share = own_seal(scene, node_id, seal_id)
    scene.store.stored = seal.stored(RANDOM)
    with pytest.raises(SealedError):
        await vault.refresh()
    assert await vault.must_shut() == ROLLBACK_DETECTED
    fresh = await scene.process(reason=ROLLBACK_DETECTED, seen=vault.seen)
    with pytest.raises(SealedError, match="restart"):
        await fresh.submit(share)


@pytest.mark.parametrize("reason", [REQUESTED, EPOCH_CHANGED])
async def test_another_seal_is_not_opened_by_the_process_that_replaces_one(reason: str) -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    seal, share = own_seal(scene, node_of(scene)[0], RANDOM.bytes(SEAL_ID_SIZE))
    scene.store.stored = seal.stored(RANDOM)
    fresh = await scene.process(reason=reason, seen=vault.seen)
    assert fresh.status().reason == ROLLBACK_DETECTED
    with pytest.raises(SealedError, match="restart"):
        await fresh.submit(share)


@pytest.mark.parametrize("when", ["before it starts", "while it is sealed"])
async def test_an_older_state_by_way_of_a_later_epoch(when: str) -> None:
    """A made-up epoch has the process replace itself; what it had seen is not forgotten by that."""
    scene = await SealScene.make()
    vault = await scene.opened()
    old = scene.store.stored
    assert old is not None
    await scene.upkeep(vault).rotate(SYSTEM)
    new = scene.store.stored
    assert new is not None
    scene.store.stored = replace(new, epoch=99, keyring_epoch=99)
    with pytest.raises(SealedError):
        await vault.refresh()
    assert await vault.must_shut() == EPOCH_CHANGED
    scene.store.stored = new if when == "while it is sealed" else old
    fresh = await scene.process(reason=EPOCH_CHANGED, seen=vault.seen)
    shares = scene.shares[:2]
    if when == "while it is sealed":
        await fresh.submit(shares.pop())
        scene.store.stored = old
    with pytest.raises(SealedError, match="earlier state"):
        await fresh.submit(shares[0])
    assert fresh.status().reason == ROLLBACK_DETECTED
    assert fresh.seen == vault.seen


async def test_the_process_that_replaces_one_opens_what_is_as_it_was_or_later() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    seen = vault.seen
    await scene.upkeep(vault).rotate(SYSTEM)
    fresh = await scene.process(reason=REQUESTED, seen=seen)
    assert fresh.status().reason == REQUESTED
    for share in scene.shares[:2]:
        await fresh.submit(share)
    assert fresh.is_open
    assert fresh.seen == vault.seen != seen


@pytest.mark.parametrize("identity", ["none", "the true one", "the attacker's"])
async def test_a_copied_name_opens_nothing_without_the_nodes_key(identity: str) -> None:
    """Ids are public, and anybody can make shares. The node's key shows whose the seal is."""
    scene = await SealScene.make()
    seal, share = own_seal(scene, *node_of(scene))
    scene.store.stored = seal.stored(RANDOM)
    if identity == "none":
        scene.store.stored_identity = None
    elif identity == "the attacker's":
        made = sealed_identity(SecretScalar.from_int(666), seal, RANDOM)
        scene.store.stored_identity = replace(made, node_id=seal.record.node_id)
    fresh = await scene.process()
    with pytest.raises(SealRecordDamagedError, match="node_identity"):
        await fresh.submit(share)
    assert not fresh.is_open
    assert fresh.status().state is SealState.UNSEALING


async def test_what_was_seen_is_told_as_text() -> None:
    scene = await SealScene.make()
    assert (await scene.process()).seen is None
    seen = (await scene.opened()).seen
    assert seen is not None
    assert SeenSeal.from_text(seen.to_text()) == seen
    assert seen.version == SealVersion(1, 1)
    for text in ("", "a:b:c:d", "00:00:1:1", f"{seen.to_text()}:1"):
        with pytest.raises(ValueError):
            SeenSeal.from_text(text)


async def test_a_record_that_cannot_be_read_is_for_others_to_tell() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    assert vault.seen is not None
    assert scene.store.stored is not None
    assert vault.seen.allows(replace(scene.store.stored, record=json.dumps([])))
    assert not vault.seen.allows(None)


async def test_an_audit_log_that_hangs_keeps_no_seal_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AUDIT_WAIT_S", 0.0)
    scene = await SealScene.make()
    vault = await scene.opened()
    monkeypatch.setattr(scene.audit, "record", lambda *_: asyncio.Event().wait())
    await vault.request_seal(SYSTEM)
    assert await vault.must_shut() == REQUESTED
