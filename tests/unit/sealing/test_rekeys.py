import json
from dataclasses import replace
from typing import Any

import pyrage
import pytest

from keyserver.errors import StorageError
from keyserver.sealing import key_sources
from keyserver.sealing.errors import (
    AuditUnavailableError,
    BadSharingError,
    NotInitialisedError,
    RekeyInProgressError,
    RekeyNotFoundError,
    SealConflictError,
    SealedError,
    SealRecordDamagedError,
    ShareMalformedError,
    ShareUnknownError,
    ShareWrongSetError,
    SlotUnavailableError,
)
from keyserver.sealing.key_sources import KeyText, Passphrase
from keyserver.sealing.ports import SYSTEM, AuditOutcome
from keyserver.sealing.rekeying import MAX_HISTORY
from keyserver.sealing.rekeys import REKEY_S, Rekeys
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.shares import check_share
from tests.support.sealing import ADMIN, SealScene, documents, proved, renewed

KEY = KeyText("KEY", "ab" * 32)


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sources, "SCRYPT_N", 16)


async def test_new_shares_take_the_place_of_the_old_ones() -> None:
    scene = await SealScene.make(3, 2)
    vault = await scene.opened()
    scene.put(vault, "a", b"kept")
    rekeys = scene.rekeys(vault)
    started = await rekeys.start(3, 4, (), True, ADMIN)
    assert (started.state, started.progress, started.required) == ("proving", 0, 2)
    assert started.expires_in_s == REKEY_S
    first = await rekeys.prove(started.rekey, scene.shares[2])
    assert (first.accepted, first.new_shares, first.status.progress) == (True, None, 1)
    again = await rekeys.prove(started.rekey, scene.shares[2])
    assert (again.accepted, again.reason, again.status.progress) == (False, "duplicate", 1)
    last = await rekeys.prove(started.rekey, scene.shares[0])
    assert last.new_shares is not None
    assert (last.status.state, last.status.progress, last.status.required) == ("verifying", 0, 3)
    new = documents(last.new_shares)
    await scene.opened()  # the old set is still in force
    for share in new[:2]:
        assert (await rekeys.verify(started.rekey, share)).status.state == "verifying"
    again = await rekeys.verify(started.rekey, new[0])
    assert (again.accepted, again.status.progress) == (False, 2)
    done = await rekeys.verify(started.rekey, new[3])
    assert (done.status.state, done.new_shares) == ("done", None)
    status = vault.status()
    assert (status.epoch, status.required, status.shares) == (2, 3, 4)
    fresh = await scene.opened(new[1:])
    assert scene.get(fresh, "a") == scene.get(vault, "a") == b"kept"
    with pytest.raises(ShareWrongSetError) as caught:
        await (await scene.process()).submit(scene.shares[0])
    assert caught.value.epoch == 1
    rekeying = [action for action in scene.audit.actions() if "rekey" in action]
    assert rekeying == [
        "seal.rekey.start",
        *["seal.rekey.share"] * 2,
        *["seal.rekey.verify"] * 3,
        "seal.rekey.commit",
    ]


async def test_a_staged_set_waits_for_the_order_after_its_shares_are_handed_out() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    rekeys = scene.rekeys(vault)
    before = scene.store.stored
    rekey_id, new = await proved(rekeys, scene.shares[:2], verify=False)
    assert scene.store.stored == before
    status = await rekeys.status(rekey_id)
    assert (status.state, status.progress, status.required) == ("staged", 0, 2)
    with pytest.raises(RekeyNotFoundError, match="staged"):
        await rekeys.prove(rekey_id, scene.shares[0])
    with pytest.raises(RekeyNotFoundError, match="staged"):
        await rekeys.verify(rekey_id, documents(new)[0])
    done = await rekeys.commit(rekey_id, ADMIN)
    assert (done.state, done.expires_in_s) == ("done", 0)
    assert vault.status().epoch == 2
    action, outcome, actor, details = scene.audit.entries[-1]
    assert (action, outcome, actor) == ("seal.rekey.commit", AuditOutcome.OK, ADMIN)
    assert details["verified"] is False
    await scene.opened(documents(new)[:2])
    with pytest.raises(RekeyNotFoundError):
        await rekeys.commit(rekey_id, ADMIN)


async def test_nothing_but_a_staged_set_is_put_in_force_by_an_order() -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    started = await rekeys.start(2, 3, (), True, ADMIN)
    with pytest.raises(RekeyNotFoundError, match="proving"):
        await rekeys.commit(started.rekey, ADMIN)
    for share in scene.shares[:2]:
        await rekeys.prove(started.rekey, share)
    with pytest.raises(RekeyNotFoundError, match="verifying"):
        await rekeys.commit(started.rekey, ADMIN)


async def test_a_staged_set_that_is_cancelled_never_counts() -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    before = scene.store.stored
    rekey_id, _ = await proved(rekeys, scene.shares[:2], verify=False)
    await rekeys.cancel(rekey_id, ADMIN)
    with pytest.raises(RekeyNotFoundError):
        await rekeys.commit(rekey_id, ADMIN)
    assert scene.store.stored == before


async def test_the_root_key_is_another_one() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    old = vault.open_seal
    await renewed(scene.rekeys(vault), scene.shares[:2])
    new = vault.open_seal
    assert new.root != old.root
    assert new.keyring == old.keyring
    assert new.version > old.version
    assert new.record.slots[0].slot_id == 2


async def test_new_shares_are_encrypted_to_their_holders() -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    holders = [pyrage.x25519.Identity.generate() for _ in range(2)]
    recipients = [str(holder.to_public()) for holder in holders]
    started = await rekeys.start(2, 2, recipients, True, ADMIN)
    await rekeys.prove(started.rekey, scene.shares[0])
    made = (await rekeys.prove(started.rekey, scene.shares[1])).new_shares
    assert made is not None
    opened = [
        pyrage.decrypt(share.content, [holder]).decode()
        for share, holder in zip(made.shares, holders, strict=True)
    ]
    for share in opened:
        done = await rekeys.verify(started.rekey, share)
    assert done.status.state == "done"


async def test_only_good_shares_count() -> None:
    scene, other = await SealScene.make(), await SealScene.make(seed="other")
    vault = await scene.opened()
    rekeys = scene.rekeys(vault)
    started = await rekeys.start(2, 3, (), True, ADMIN)
    for text, error in (
        ("junk", ShareMalformedError),
        (other.shares[0], ShareWrongSetError),
    ):
        with pytest.raises(error):
            await rekeys.prove(started.rekey, text)
    assert (await rekeys.status(started.rekey)).progress == 0
    rekey_id, new = started.rekey, None
    for share in scene.shares[:2]:
        new = (await rekeys.prove(rekey_id, share)).new_shares
    assert new is not None
    for old in (scene.shares[0], json.loads(scene.shares[0])["mnemonic"]):
        with pytest.raises(ShareWrongSetError) as caught:
            await rekeys.verify(rekey_id, old)
        assert str(caught.value) == (
            "share: of the present set 1, which is to be replaced; one of the new set 2 is wanted"
        )
        assert caught.value.epoch == 1
    with pytest.raises(ShareWrongSetError, match="another store"):
        await rekeys.verify(rekey_id, other.shares[0])
    forged = replace(check_share(documents(new)[0], _record(rekeys)), value=bytes(32))
    with pytest.raises(ShareUnknownError):
        await rekeys.verify(rekey_id, forged.mnemonic())
    assert (await rekeys.status(rekey_id)).progress == 0


def _record(rekeys: Rekeys) -> Any:
    assert rekeys._open is not None
    assert rekeys._open.renewal is not None
    return rekeys._open.renewal.record


async def test_steps_come_in_order() -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    started = await rekeys.start(2, 3, (), True, ADMIN)
    with pytest.raises(RekeyNotFoundError, match="proving"):
        await rekeys.verify(started.rekey, scene.shares[0])
    for share in scene.shares[:2]:
        await rekeys.prove(started.rekey, share)
    with pytest.raises(RekeyNotFoundError, match="verifying"):
        await rekeys.prove(started.rekey, scene.shares[0])
    for unknown in ("", "00" * 8):
        with pytest.raises(RekeyNotFoundError, match="no rekey"):
            await rekeys.status(unknown)


async def test_one_at_a_time_for_an_hour() -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    started = await rekeys.start(2, 3, (), True, ADMIN)
    with pytest.raises(RekeyInProgressError):
        await rekeys.start(2, 3, (), True, ADMIN)
    scene.clock.advance(REKEY_S - 1)
    assert (await rekeys.status(started.rekey)).expires_in_s == 1
    scene.clock.advance(1)
    with pytest.raises(RekeyNotFoundError):
        await rekeys.prove(started.rekey, scene.shares[0])
    await rekeys.start(2, 3, (), True, ADMIN)


async def test_a_rekey_that_runs_out_during_a_step_stays_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    started = await rekeys.start(2, 3, (), True, ADMIN)

    async def slowly(*_: object) -> None:
        scene.clock.advance(REKEY_S)

    with monkeypatch.context() as patch:
        patch.setattr(scene.audit, "record", slowly)
        with pytest.raises(RekeyNotFoundError):
            await rekeys.prove(started.rekey, scene.shares[0])
    with pytest.raises(RekeyNotFoundError):
        await rekeys.status(started.rekey)


async def test_cancelling_changes_nothing() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    rekeys = scene.rekeys(vault)
    before = scene.store.stored
    rekey_id, new = await proved(rekeys, scene.shares[:2])
    await rekeys.verify(rekey_id, documents(new)[0])
    await rekeys.cancel(rekey_id, ADMIN)
    assert scene.store.stored == before
    with pytest.raises(RekeyNotFoundError):
        await rekeys.verify(rekey_id, documents(new)[1])
    with pytest.raises(RekeyNotFoundError):
        await rekeys.cancel(rekey_id, ADMIN)
    await scene.opened()
    started = [entry for entry in scene.audit.entries if entry[0] == "seal.rekey.cancel"]
    assert [(outcome, actor) for _, outcome, actor, _ in started] == [(AuditOutcome.OK, ADMIN)]


async def test_what_cannot_be_started() -> None:
    scene = await SealScene.make()
    vault = await scene.process()
    rekeys = scene.rekeys(vault)
    with pytest.raises(BadSharingError):
        await rekeys.start(4, 3, (), True, ADMIN)
    with pytest.raises(SealedError):
        await rekeys.start(2, 3, (), True, ADMIN)
    opened = await scene.opened()
    scene.audit.fails = True
    with pytest.raises(AuditUnavailableError):
        await scene.rekeys(opened).start(2, 3, (), True, ADMIN)


async def test_a_rekey_does_not_outlive_the_open_seal() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    rekeys = scene.rekeys(vault)
    started = await rekeys.start(2, 3, (), True, ADMIN)
    vault.shut("requested")
    with pytest.raises(SealedError):
        await rekeys.prove(started.rekey, scene.shares[0])
    rekeys.forget()
    with pytest.raises(RekeyNotFoundError):
        await rekeys.status(started.rekey)


async def test_terms_may_be_rotated_meanwhile() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    rekeys = scene.rekeys(vault)
    rekey_id, new = await proved(rekeys, scene.shares[:2])
    await scene.upkeep(vault).rotate(ADMIN)
    for share in documents(new)[:2]:
        await rekeys.verify(rekey_id, share)
    fresh = await scene.opened(documents(new)[:2])
    assert fresh.status().term == 2


async def test_another_replica_may_have_rotated_meanwhile() -> None:
    """The last step is refused, and taken again with any of the shares."""
    scene = await SealScene.make()
    vault, other = await scene.opened(), await scene.opened()
    rekeys = scene.rekeys(vault)
    rekey_id, new = await proved(rekeys, scene.shares[:2])
    await scene.upkeep(other).rotate(ADMIN)
    await rekeys.verify(rekey_id, documents(new)[0])
    with pytest.raises(SealConflictError):
        await rekeys.verify(rekey_id, documents(new)[1])
    done = await rekeys.verify(rekey_id, documents(new)[0])
    assert (done.status.state, done.reason) == ("done", "duplicate")
    assert (await scene.opened(documents(new)[:2])).status().term == 2


async def test_a_rekey_that_was_overtaken_is_given_up() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    slow, fast = scene.rekeys(vault), scene.rekeys(vault)
    started = await slow.start(2, 3, (), True, ADMIN)
    await renewed(fast, scene.shares[:2])
    with pytest.raises(SealConflictError, match="start again"):
        await slow.prove(started.rekey, scene.shares[0])
    with pytest.raises(RekeyNotFoundError):
        await slow.status(started.rekey)


async def test_a_store_that_does_not_answer_costs_one_more_try() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    rekeys = scene.rekeys(vault)
    rekey_id, new = await proved(rekeys, scene.shares[:2])
    await rekeys.verify(rekey_id, documents(new)[0])
    scene.store.fails = True
    with pytest.raises(StorageError):
        await rekeys.verify(rekey_id, documents(new)[1])
    scene.store.fails = False
    assert (await rekeys.verify(rekey_id, documents(new)[1])).status.state == "done"
    outcomes = [e[1] for e in scene.audit.entries if e[0] == "seal.rekey.commit"]
    assert outcomes == [AuditOutcome.OK, AuditOutcome.ERROR, AuditOutcome.OK]


async def test_history_names_the_sets_before_up_to_sixteen() -> None:
    scene = await SealScene.make(1, 1)
    vault = await scene.opened()
    share, identifiers = scene.shares[0], [scene.new.slot.identifier]
    for _ in range(MAX_HISTORY + 2):
        new = await renewed(scene.rekeys(vault), [share], threshold=1, count=1)
        share = documents(new)[0]
        identifiers.append(new.slot.identifier)
    history = vault.record()["history"]
    assert [entry["identifier"] for entry in history] == identifiers[-MAX_HISTORY - 1 : -1]
    assert [entry["epoch"] for entry in history] == list(range(3, MAX_HISTORY + 3))
    assert len(set(identifiers)) == len(identifiers)


# --- slots beside the shares ------------------------------------------------------------------


@pytest.mark.parametrize("source", [KEY, Passphrase("correct horse")], ids=["static", "passphrase"])
async def test_a_slot_beside_the_shares_is_wrapped_anew(source: Any) -> None:
    scene = await SealScene.make(source=source)
    vault = await scene.opened()
    new = await renewed(scene.rekeys(vault, source), scene.shares[:2])
    fresh = await scene.process()
    await fresh.open_with(source)
    assert fresh.open_seal.root == (await scene.opened(documents(new)[:2])).open_seal.root


@pytest.mark.parametrize(
    "source",
    [None, replace(KEY, value="cd" * 32), replace(KEY, value="z"), replace(KEY, key_id="other")],
    ids=["none", "wrong", "broken", "unknown"],
)
async def test_a_slot_whose_key_is_not_at_hand_stops_it(source: KeyText | None) -> None:
    scene = await SealScene.make(source=KEY)
    vault = await scene.opened()
    with pytest.raises(SlotUnavailableError):
        await scene.rekeys(vault, source).start(2, 3, (), True, ADMIN)
    await renewed(scene.rekeys(vault, source), scene.shares[:2], drop_slots=True)
    assert [slot["kind"] for slot in vault.record()["slots"]] == ["shamir"]


async def test_two_slots_beside_the_shares_need_both_their_keys() -> None:
    scene = await SealScene.make(source=KEY)
    vault = await scene.opened()
    slots = vault.open_seal.record.slots
    another = replace(slots[1], slot_id=9, params={"key_id": "second"})
    vault._seal = replace(
        vault.open_seal, record=replace(vault.open_seal.record, slots=(*slots, another))
    )
    with pytest.raises(SlotUnavailableError, match=r"slot 9 \(static\)"):
        await scene.rekeys(vault, KEY).start(2, 3, (), True, ADMIN)


async def test_shares_must_open_the_root_key_in_use() -> None:
    """As they would not, had somebody put another store's rows in place of ours."""
    scene = await SealScene.make()
    vault = await scene.opened()
    vault._seal = replace(vault.open_seal, root=SecretKey(bytes(32)))
    rekeys = scene.rekeys(vault)
    started = await rekeys.start(2, 3, (), True, ADMIN)
    await rekeys.prove(started.rekey, scene.shares[0])
    before = scene.store.stored
    with pytest.raises(SealRecordDamagedError, match="another root key"):
        await rekeys.prove(started.rekey, scene.shares[1])
    assert scene.store.stored == before


async def test_new_shares_must_open_the_new_root_key() -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    rekey_id, new = await proved(rekeys, scene.shares[:2])
    assert rekeys._open is not None
    assert rekeys._open.renewal is not None
    wrong = replace(rekeys._open.renewal, root=SecretKey(bytes(32)))
    rekeys._open = replace(rekeys._open, renewal=wrong)
    await rekeys.verify(rekey_id, documents(new)[0])
    before = scene.store.stored
    with pytest.raises(SealRecordDamagedError):
        await rekeys.verify(rekey_id, documents(new)[1])
    assert scene.store.stored == before


async def test_a_store_without_shares_is_initialised_not_rekeyed() -> None:
    scene = await SealScene.make(source=KEY)
    vault = await scene.opened()
    assert vault._seal is not None
    static_only = replace(vault._seal.record, slots=vault._seal.record.slots[1:])
    vault._seal = replace(vault._seal, record=static_only)
    with pytest.raises(NotInitialisedError, match="seal init"):
        await scene.rekeys(vault, KEY).start(2, 3, (), True, SYSTEM)


async def test_no_secret_is_printed_or_logged() -> None:
    scene = await SealScene.make()
    rekeys = scene.rekeys(await scene.opened())
    _, new = await proved(rekeys, scene.shares[:2])
    shown = repr([rekeys._open, scene.audit.entries, new])
    for document in [*documents(new), *scene.shares]:
        words = json.loads(document)["mnemonic"]
        assert words not in shown
        assert " ".join(words.split()[8:12]) not in shown
    assert rekeys._open is not None
    assert rekeys._open.renewal is not None
    assert rekeys._open.renewal.root.expose().hex() not in shown
