import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import NodeId
from keyserver.sealing import key_sources
from keyserver.sealing.errors import (
    ForeignSealError,
    KeySourceError,
    NoMatchingSlotError,
    SealRecordDamagedError,
    WrongKeyError,
)
from keyserver.sealing.key_sources import KeyFile, KeySource, KeyText, Passphrase
from keyserver.sealing.opening import OpenedSeal, open_or_create
from tests.support.sealing import MemorySealStore
from tests.support.stored_values import NODES

ME, OTHER, _ = NODES
RANDOM = SeededRandom("opening")
KEY = KeyText("KEYSERVER_SEAL_KEY", "ab" * 32)


@dataclass
class Store(MemorySealStore):
    def change_record(self, **changes: Any) -> None:
        assert self.stored is not None
        record = {**json.loads(self.stored.record), **changes}
        self.stored = replace(self.stored, record=json.dumps(record))

    def slot(self) -> dict[str, Any]:
        assert self.stored is not None
        slot: dict[str, Any] = json.loads(self.stored.record)["slots"][0]
        return slot


async def opened(store: Store, source: KeySource, node_id: NodeId = ME) -> OpenedSeal:
    return await open_or_create(
        store, node_id=node_id, source=source, random=RANDOM, now_ms=1_700_000_000_000
    )


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sources, "SCRYPT_N", 16)


@pytest.mark.parametrize("source", [KEY, Passphrase("correct horse")], ids=["static", "passphrase"])
async def test_what_sealed_the_store_opens_it(source: KeySource) -> None:
    store = Store()
    first = await opened(store, source)
    again = await opened(store, source)
    assert (first.created, again.created) == (True, False)
    assert first.keyring == again.keyring
    assert first.keyring.active_term == 1


async def test_two_stores_share_no_key() -> None:
    one, two = await opened(Store(), KEY), await opened(Store(), KEY)
    assert one.keyring.seal_id != two.keyring.seal_id
    assert one.keyring.terms[1].key != two.keyring.terms[1].key


async def test_the_store_holds_no_key_in_the_clear() -> None:
    store = Store()
    ring = (await opened(store, KEY)).keyring
    secrets = (ring.terms[1].key.expose(), bytes.fromhex(KEY.value))
    for secret in secrets:
        assert secret not in store.stored.keyring_box  # type: ignore[union-attr]
        assert secret.hex() not in repr(store.stored)
        assert secret.hex() not in repr(ring)


async def test_passphrases_are_compared_in_one_normal_form() -> None:
    store = Store()
    await opened(store, Passphrase("grösse"))
    await opened(store, Passphrase("gro\u0308sse"))


@pytest.mark.parametrize(
    ("made_with", "tried", "said"),
    [
        (KEY, replace(KEY, value="cd" * 32), "the key 'default' in KEYSERVER_SEAL_KEY"),
        (Passphrase("right"), Passphrase("wrong"), "the passphrase"),
    ],
)
async def test_a_wrong_key_is_told_by_the_box(
    made_with: KeySource, tried: KeySource, said: str
) -> None:
    store = Store()
    await opened(store, made_with)
    with pytest.raises(WrongKeyError, match=re.escape(said)) as caught:
        await opened(store, tried)
    for secret in ("cd" * 32, "wrong"):
        assert secret not in str(caught.value).replace("seal: the key", "")


async def test_a_key_of_another_name_finds_no_slot() -> None:
    store = Store()
    await opened(store, KEY)
    with pytest.raises(NoMatchingSlotError, match=r"this store has: static \(default\)"):
        await opened(store, replace(KEY, key_id="other"))
    with pytest.raises(NoMatchingSlotError, match="the passphrase"):
        await opened(store, Passphrase("x"))


async def test_a_store_of_another_node_is_refused() -> None:
    store = Store()
    await opened(store, KEY)
    with pytest.raises(ForeignSealError, match=f"{ME.short}.*{OTHER.short}"):
        await opened(store, KEY, OTHER)


async def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(KeySourceError, match="empty passphrase"):
        await opened(Store(), Passphrase(""))


# --- damage ----------------------------------------------------------------------------------


async def test_a_changed_slot_does_not_open() -> None:
    store = Store()
    await opened(store, KEY)
    store.change_record(slots=[{**store.slot(), "created_at": 1}])
    with pytest.raises(WrongKeyError, match="or the seal record was changed"):
        await opened(store, KEY)


async def test_history_is_outside_every_context() -> None:
    store = Store()
    await opened(store, KEY)
    store.change_record(history=[{"epoch": 0, "identifier": 1, "replaced_at": 5}])
    assert not (await opened(store, KEY)).created


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format 2 is not known"),
        ({"seal_id": "00"}, "seal_id must be hexadecimal digits of 16 bytes"),
        ({"seal_id": "zz" * 16}, "seal_id must be"),
        ({"node_id": None}, "node_id must be"),
        ({"epoch": -1}, "epoch must be a natural number"),
        ({"epoch": True}, "epoch must be a natural number"),
        ({"epoch": 2}, "the record is of epoch 2, its row of 1"),
        ({"slots": {}}, "slots must be a list"),
        ({"slots": [1]}, "slots must be objects"),
        ({"slots": [{"params": 1}]}, "params must be an object"),
        ({"slots": [{"params": {}, "kind": 7}]}, "kind must be an ASCII text"),
        ({"history": 1}, "history must be a list"),
        ({"history": [5]}, "history must be a list of objects"),
    ],
)
async def test_a_damaged_record_names_the_field(changes: dict[str, Any], said: str) -> None:
    store = Store()
    await opened(store, KEY)
    store.change_record(**changes)
    with pytest.raises(SealRecordDamagedError, match=re.escape(said)):
        await opened(store, KEY)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 200_000, '{"a":' * 200_000])
async def test_a_record_that_is_no_json_object_is_refused(text: str) -> None:
    store = Store()
    await opened(store, KEY)
    assert store.stored is not None
    store.stored = replace(store.stored, record=text)
    with pytest.raises(SealRecordDamagedError, match="JSON"):
        await opened(store, KEY)


async def test_a_root_box_that_is_no_box_is_damage() -> None:
    store = Store()
    await opened(store, KEY)
    store.change_record(slots=[{**store.slot(), "wrapped_root": "0101"}])
    with pytest.raises(SealRecordDamagedError, match="slot 1, wrapped_root"):
        await opened(store, KEY)


@pytest.mark.parametrize("change", [{"keyring_version": 2}, {"keyring_box": bytes(80)}])
async def test_a_changed_keyring_is_damage(change: dict[str, Any]) -> None:
    store = Store()
    await opened(store, KEY)
    assert store.stored is not None
    store.stored = replace(store.stored, **change)
    with pytest.raises(SealRecordDamagedError, match="keyring of epoch 1"):
        await opened(store, KEY)


async def test_a_keyring_of_another_epoch_is_damage() -> None:
    store = Store()
    await opened(store, KEY)
    assert store.stored is not None
    store.stored = replace(store.stored, keyring_epoch=2)
    with pytest.raises(SealRecordDamagedError, match="the keyring of 2"):
        await opened(store, KEY)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"kdf": "argon2"}, "needs kdf scrypt"),
        ({"salt": 5}, "needs kdf scrypt and a salt"),
        ({"n": 0}, "scrypt's n must be 1 to 1048576"),
        ({"n": 1 << 30}, "scrypt's n"),
        ({"r": "8"}, "scrypt's r"),
        ({"p": 1000}, "scrypt's p"),
        ({"n": 3}, "passphrase slot"),
        ({"salt": "xy"}, "passphrase slot"),
    ],
)
async def test_passphrase_parameters_are_checked(params: dict[str, Any], said: str) -> None:
    store = Store()
    await opened(store, Passphrase("words"))
    slot = store.slot()
    store.change_record(slots=[{**slot, "params": {**slot["params"], **params}}])
    with pytest.raises(SealRecordDamagedError, match=re.escape(said)):
        await opened(store, Passphrase("words"))


# --- the key file of a node that names no key source -----------------------------------------


async def test_the_first_start_makes_the_key_file(tmp_path: Path) -> None:
    source = KeyFile(tmp_path / "seal.key", make_if_missing=True)
    store = Store()
    first = await opened(store, source)
    assert source.path.stat().st_mode & 0o777 == 0o600
    again = await opened(store, source)
    assert again.keyring == first.keyring


async def test_a_crash_after_the_key_file_leaves_it_to_be_used(tmp_path: Path) -> None:
    source = KeyFile(tmp_path / "seal.key", make_if_missing=True)
    await opened(Store(), source)
    before = source.path.read_bytes()
    await opened(Store(), source)
    assert source.path.read_bytes() == before


async def test_a_lost_key_file_is_never_replaced(tmp_path: Path) -> None:
    source = KeyFile(tmp_path / "seal.key", make_if_missing=True)
    store = Store()
    await opened(store, source)
    source.path.unlink()
    with pytest.raises(KeySourceError, match="No such file"):
        await opened(store, source)
    assert not source.path.exists()


async def test_a_configured_key_file_is_not_made(tmp_path: Path) -> None:
    store = Store()
    with pytest.raises(KeySourceError, match="No such file"):
        await opened(store, KeyFile(tmp_path / "seal.key"))
    assert store.stored is None


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = KeyFile(tmp_path / "missing" / "seal.key", make_if_missing=True)
    with pytest.raises(KeySourceError, match="cannot be made"):
        await opened(Store(), source)
