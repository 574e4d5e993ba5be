"""A rekey whose last step was sent to the store, which did not say whether it was done."""

import pytest

from keyserver.errors import StorageError
from keyserver.sealing.errors import RekeyNotFoundError, SealConflictError
from keyserver.sealing.rekeys import REKEY_S, Rekeys
from tests.support.sealing import ADMIN, SealScene, documents, proved


def dies_at_the_next_write(scene: SealScene, *, done: bool) -> None:
    """The store does not answer any more, after a last write that it has done or not."""
    scene.store.dies_at, scene.store.dies_done = scene.store.writes + 1, done


async def unsure(scene: SealScene, *, done: bool) -> tuple[Rekeys, str, list[str]]:
    """A rekey whose commit got no answer; the store answers again."""
    rekeys = scene.rekeys(await scene.opened())
    rekey_id, new = await proved(rekeys, scene.shares[:2])
    await rekeys.verify(rekey_id, documents(new)[0])
    dies_at_the_next_write(scene, done=done)
    with pytest.raises(StorageError):
        await rekeys.verify(rekey_id, documents(new)[1])
    assert (await rekeys.status(rekey_id)).state == "unsure"
    with pytest.raises(StorageError):
        await rekeys.cancel(rekey_id, ADMIN)
    scene.store.fails = False
    return rekeys, rekey_id, documents(new)


async def test_what_may_be_in_force_is_not_cancelled() -> None:
    scene = await SealScene.make()
    rekeys, rekey_id, new = await unsure(scene, done=True)
    with pytest.raises(SealConflictError, match="new shares are in force"):
        await rekeys.cancel(rekey_id, ADMIN)
    assert "seal.rekey.cancel" not in scene.audit.actions()
    vault = rekeys._vault
    await vault.refresh()
    assert vault.status().epoch == 2, "it goes on with the set that it has stored itself"
    await scene.opened(new[:2])
    with pytest.raises(RekeyNotFoundError):
        await rekeys.status(rekey_id)


async def test_a_commit_that_was_not_done_can_be_cancelled_and_does_not_come_late() -> None:
    scene = await SealScene.make()
    rekeys, rekey_id, _ = await unsure(scene, done=False)
    before = scene.store.stored
    assert before is not None
    await rekeys.cancel(rekey_id, ADMIN)
    stored = scene.store.stored
    assert stored is not None
    assert (stored.record, stored.epoch) == (before.record, 1)
    assert stored.version > before.version, "a write still under way finds another version"
    await scene.opened()


async def test_a_share_shown_again_ends_what_was_unsure() -> None:
    scene = await SealScene.make()
    rekeys, rekey_id, new = await unsure(scene, done=True)
    assert (await rekeys.verify(rekey_id, new[0])).status.state == "done"
    await scene.opened(new[:2])


async def test_the_node_sees_by_itself_that_its_commit_was_done() -> None:
    scene = await SealScene.make()
    rekeys, rekey_id, new = await unsure(scene, done=True)
    await scene.upkeep(await scene.opened(new[:2])).rotate(ADMIN)  # another replica is faster
    await rekeys._vault.refresh()
    assert rekeys._vault.status().epoch == 2
    assert rekeys._vault.open_seal.keyring.active_term == 2
    assert (await rekeys.status(rekey_id)).state == "done"
    assert (await rekeys.verify(rekey_id, new[1])).status.state == "done"


async def test_a_commit_that_another_replica_made_impossible_can_be_cancelled() -> None:
    scene = await SealScene.make()
    rekeys, rekey_id, _ = await unsure(scene, done=False)
    await scene.upkeep(await scene.opened()).rotate(ADMIN)
    await rekeys.cancel(rekey_id, ADMIN)
    assert rekeys._vault.open_seal.keyring.active_term == 2
    assert scene.audit.actions()[-1] == "seal.rekey.cancel"


async def unsure_of_an_order(scene: SealScene, *, done: bool) -> tuple[Rekeys, str, list[str]]:
    """The same of a set that is not read back."""
    rekeys = scene.rekeys(await scene.opened())
    rekey_id, new = await proved(rekeys, scene.shares[:2], verify=False)
    dies_at_the_next_write(scene, done=done)
    with pytest.raises(StorageError):
        await rekeys.commit(rekey_id, ADMIN)
    assert (await rekeys.status(rekey_id)).state == "unsure"
    scene.store.fails = False
    return rekeys, rekey_id, documents(new)


@pytest.mark.parametrize("done", [True, False])
async def test_the_order_to_commit_a_staged_set_is_given_again(done: bool) -> None:
    scene = await SealScene.make()
    rekeys, rekey_id, new = await unsure_of_an_order(scene, done=done)
    assert (await rekeys.commit(rekey_id, ADMIN)).state == "done"
    await scene.opened(new[:2])


async def test_a_staged_set_that_may_be_in_force_is_not_cancelled() -> None:
    scene = await SealScene.make()
    rekeys, rekey_id, _ = await unsure_of_an_order(scene, done=True)
    with pytest.raises(SealConflictError, match="new shares are in force"):
        await rekeys.cancel(rekey_id, ADMIN)
    with pytest.raises(RekeyNotFoundError):
        await rekeys.status(rekey_id)


async def test_a_rekey_that_runs_out_while_it_is_committed_stays_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    rekeys = scene.rekeys(vault)
    rekey_id, new = await proved(rekeys, scene.shares[:2])
    await rekeys.verify(rekey_id, documents(new)[0])

    async def slowly(*_: object) -> None:
        scene.clock.advance(REKEY_S)
        raise StorageError("the database does not answer")

    monkeypatch.setattr(vault, "change", slowly)
    with pytest.raises(StorageError):
        await rekeys.verify(rekey_id, documents(new)[1])
    with pytest.raises(RekeyNotFoundError):
        await rekeys.status(rekey_id)
