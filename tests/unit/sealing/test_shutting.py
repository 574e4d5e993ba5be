"""Taking the keys from everybody: on an order, whatever else goes on."""

import asyncio
import gc
import json

import pytest

from keyserver.sealing.errors import SealedError
from keyserver.sealing.ports import SYSTEM, SealState
from tests.support.sealing import SealScene


async def test_shutting_takes_the_keys_from_everybody() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    boxes, keys = vault.boxes, [vault.open_seal.root, vault.open_seal.keyring.terms[1].key]
    buffers = [key._key for key in keys]
    del keys
    await vault.request_seal(SYSTEM)
    await vault.request_seal(SYSTEM)
    assert await vault.must_shut() == "requested"
    vault.shut("requested")
    gc.collect()
    assert [bytes(buffer) for buffer in buffers] == [bytes(32)] * 2
    for use in (lambda: boxes.seal("t", "c", ["1"], b""), lambda: boxes.open("t", "c", ["1"], b"")):
        with pytest.raises(SealedError):
            use()
    for name in ("boxes", "node_secret", "open_seal"):
        with pytest.raises(SealedError):
            getattr(vault, name)
    status = vault.status()
    assert (status.state, status.reason, status.term) == (SealState.SEALED, "requested", 0)
    assert not vault.memory_locked
    assert scene.audit.actions().count("seal.sealed") == 1
    for share in scene.shares[:2]:
        await vault.submit(share)
    assert vault.status().reason is None


async def test_sealing_what_is_sealed_changes_nothing() -> None:
    scene = await SealScene.make()
    vault = await scene.process(reason="requested")
    assert vault.status().reason == "requested"
    await vault.request_seal(SYSTEM)
    assert "seal.sealed" not in scene.audit.actions()


async def test_sealing_does_not_wait_for_a_store_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    monkeypatch.setattr(scene.store, "load", asyncio.Event().wait)
    looking = asyncio.ensure_future(vault.refresh())
    await asyncio.sleep(0)
    await asyncio.wait_for(vault.request_seal(SYSTEM), 1)
    assert await vault.must_shut() == "requested"
    assert not looking.done()
    looking.cancel()


async def test_two_orders_to_seal_at_once_are_one() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    await asyncio.gather(vault.request_seal(SYSTEM), vault.request_seal(SYSTEM))
    assert scene.audit.actions().count("seal.sealed") == 1


async def test_sealing_does_not_need_the_audit_log() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    scene.audit.fails = True
    await vault.request_seal(SYSTEM)
    assert await vault.must_shut() == "requested"


async def test_nothing_shows_a_secret() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    root = vault.open_seal.root.expose()
    shown = repr([vault.open_seal, vault.status(), vault.record(), scene.audit.entries, scene.new])
    words = [json.loads(share)["mnemonic"] for share in scene.shares]
    for secret in (root.hex(), repr(root)[2:-1], *words):
        assert secret not in shown
