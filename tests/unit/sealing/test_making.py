import json
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing import key_sources
from keyserver.sealing.errors import (
    AlreadyInitialisedError,
    AuditUnavailableError,
    BadSharingError,
    ForeignSealError,
    KeySourceError,
    NoMatchingSlotError,
    SealConflictError,
    WrongKeyError,
)
from keyserver.sealing.key_sources import KeySource, KeyText, Passphrase
from keyserver.sealing.making import PreparedSeal, initialise, prepare
from keyserver.sealing.opening import create, open_or_create
from keyserver.sealing.ports import AuditOutcome
from keyserver.sealing.record import SealRecord
from keyserver.sealing.shares import check_share
from tests.support.sealing import (
    NOW_MS,
    AuditList,
    DiedError,
    MemorySealStore,
    SealScene,
    documents,
)

SECRET = SecretScalar(bytes(31) + b"\x07")
ME = NodeId.of(SECRET.public())
KEY = KeyText("KEY", "ab" * 32)


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sources, "SCRYPT_N", 16)


async def prepared(
    store: MemorySealStore, audit: AuditList | None = None, **changes: Any
) -> PreparedSeal:
    arguments: dict[str, Any] = {
        "node_secret": SECRET,
        "shares": 3,
        "threshold": 2,
        "source": None,
        "random": SeededRandom("making"),
        "now_ms": NOW_MS,
    }
    return await prepare(store, audit or AuditList(), **{**arguments, **changes})


async def running(source: KeySource = KEY) -> MemorySealStore:
    """The store of a node that runs with a key source."""
    store = MemorySealStore()
    random = SeededRandom("running")
    await create(store, node_id=ME, source=source, random=random, now_ms=NOW_MS)
    return store


async def scene_of(store: MemorySealStore, seal: PreparedSeal) -> SealScene:
    return SealScene(store, seal.shares)


# --- an empty store ---------------------------------------------------------------------------


async def test_an_empty_store_is_sealed_with_the_nodes_key() -> None:
    store, audit = MemorySealStore(), AuditList()
    seal = await prepared(store, audit)
    assert store.stored is None
    assert (seal.node_id, seal.secret_moved) == (ME, True)
    await seal.commit()
    scene = await scene_of(store, seal)
    vault = await scene.process()
    assert vault.status().sealed
    assert vault.status().node_id == ME
    opened = await scene.opened()
    assert opened.node_secret is not None
    assert opened.node_secret.expose() == SECRET.expose()
    ((action, outcome, _, details),) = audit.entries
    assert (action, outcome) == ("seal.init", AuditOutcome.OK)
    assert details["shares"] == 3
    assert details["kept_slot"] is False


async def test_a_node_without_a_key_gets_one() -> None:
    store = MemorySealStore()
    seal = await prepared(store, node_secret=None)
    await seal.commit()
    opened = await (await scene_of(store, seal)).opened()
    assert opened.node_secret is not None
    assert NodeId.of(opened.node_secret.public()) == seal.node_id


async def test_an_empty_store_has_no_slot_to_keep() -> None:
    with pytest.raises(BadSharingError, match="no slot to keep"):
        await prepared(MemorySealStore(), keep_slot=True, source=KEY)


# --- a store in use ---------------------------------------------------------------------------


@pytest.mark.parametrize("source", [KEY, Passphrase("correct horse")], ids=["static", "passphrase"])
@pytest.mark.parametrize("keep", [False, True], ids=["dropped", "kept"])
async def test_shares_take_the_place_of_a_key_or_stand_beside_it(
    source: KeySource, keep: bool
) -> None:
    store = await running(source)
    before = store.stored
    seal = await prepared(store, source=source, keep_slot=keep)
    assert store.stored == before
    await seal.commit()
    scene = await scene_of(store, seal)
    vault = await scene.opened()
    status = vault.status()
    assert (status.epoch, status.opens_itself) == (2, keep)
    assert [slot["slot_id"] for slot in vault.record()["slots"]] == ([2, 3] if keep else [2])
    fresh = await scene.process()
    if keep:
        await fresh.open_with(source)
        assert fresh.open_seal.root == vault.open_seal.root
    else:
        with pytest.raises(NoMatchingSlotError):
            await fresh.open_with(source)


async def test_records_are_not_touched() -> None:
    store = await running()
    opened = await open_or_create(
        store, node_id=ME, source=KEY, random=SeededRandom(1), now_ms=NOW_MS
    )
    seal = await prepared(store, source=KEY)
    await seal.commit()
    vault = await (await scene_of(store, seal)).opened()
    assert vault.open_seal.keyring == opened.keyring


async def test_the_old_root_key_opens_nothing_new() -> None:
    store = await running()
    old = store.stored
    seal = await prepared(store, source=KEY)
    await seal.commit()
    assert old is not None
    assert store.stored is not None
    assert store.stored.version > old.version
    assert store.stored.keyring_box != old.keyring_box
    mixed = MemorySealStore(replace(store.stored, record=old.record, epoch=1, keyring_epoch=1))
    with pytest.raises(StorageError):
        await open_or_create(mixed, node_id=ME, source=KEY, random=SeededRandom(1), now_ms=0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"source": None}, NoMatchingSlotError),
        ({"source": replace(KEY, value="cd" * 32)}, WrongKeyError),
        ({"source": replace(KEY, value="zz")}, KeySourceError),
        ({"source": KEY, "node_secret": None}, BadSharingError),
        ({"source": KEY, "node_secret": SecretScalar(bytes(31) + b"\x08")}, ForeignSealError),
        ({"source": KEY, "threshold": 4}, BadSharingError),
        ({"source": KEY, "recipients": ["age1x"]}, BadSharingError),
    ],
)
async def test_what_cannot_be_prepared_changes_nothing(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    store = await running()
    before = store.stored
    with pytest.raises(error):
        await prepared(store, **changes)
    assert store.stored == before


async def test_shares_can_be_checked_before_they_are_in_force() -> None:
    store = await running()
    seal = await prepared(store, source=KEY)
    for member, text in enumerate(documents(seal.shares)):
        assert check_share(text, seal.record).member_index == member
        public = SealRecord.from_public(seal.record.public())
        assert check_share(text, public).member_index == member


# --- only once --------------------------------------------------------------------------------


async def test_shares_are_made_once() -> None:
    scene = await SealScene.make()
    with pytest.raises(AlreadyInitialisedError):
        await prepared(scene.store, source=KEY)


async def test_of_two_at_once_one_is_told() -> None:
    for store, source in ((MemorySealStore(), None), (await running(), KEY)):
        one = await prepared(store, source=source, random=SeededRandom(1))
        two = await prepared(store, source=source, random=SeededRandom(2))
        await one.commit()
        with pytest.raises(AlreadyInitialisedError):
            await two.commit()
        await SealScene(store, one.shares).opened()


async def test_a_store_that_was_changed_otherwise_is_a_conflict() -> None:
    store, audit = await running(), AuditList()
    seal = await prepared(store, audit, source=KEY)
    assert store.stored is not None
    store.stored = replace(store.stored, keyring_version=2)
    with pytest.raises(SealConflictError):
        await seal.commit()
    assert [outcome for _, outcome, _, _ in audit.entries] == [
        AuditOutcome.OK,
        AuditOutcome.ERROR,
    ]


async def test_a_store_that_another_process_has_filled_is_named() -> None:
    """The database refuses the second row by an error of its own."""

    class Racing(MemorySealStore):
        async def create(self, *_: Any) -> None:
            self.stored = other.stored
            raise StorageError("unique violation")

    other = await running()
    with pytest.raises(AlreadyInitialisedError, match="another process"):
        await (await prepared(Racing())).commit()


async def test_without_the_audit_log_nothing_is_made() -> None:
    store = MemorySealStore()
    seal = await prepared(store, AuditList(fails=True))
    with pytest.raises(AuditUnavailableError):
        await seal.commit()
    assert store.stored is None


async def test_a_lost_answer_is_made_up_for() -> None:
    class Forgetful(MemorySealStore):
        async def create(self, *arguments: Any) -> None:
            await super().create(*arguments)
            raise DiedError("the connection was lost")

    store = Forgetful()
    await initialise(
        store,
        AuditList(),
        node_secret=SECRET,
        shares=1,
        threshold=1,
        source=None,
        random=SeededRandom(5),
        now_ms=NOW_MS,
    )
    assert store.stored is not None
    seal = await prepared(MemorySealStore(dies_at=1))
    with pytest.raises(StorageError):
        await seal.commit()


async def test_a_write_that_fails_on_a_store_in_use_is_that_failure() -> None:
    class Failing(MemorySealStore):
        async def replace(self, *_: Any, **__: Any) -> None:
            raise DiedError("the disk is full")

    store = Failing((await running()).stored)
    seal = await prepared(store, source=KEY)
    with pytest.raises(DiedError):
        await seal.commit()


async def test_history_tells_no_set_where_there_was_none() -> None:
    store = await running()
    seal = await prepared(store, source=KEY)
    assert json.loads(json.dumps(seal.record.public()))["history"] == []
