"""Seal record, keyring and record boxes of the project's own vectors (sealing, C3 and C4)."""

import json
from typing import Any

import pytest

from keyserver.crypto.errors import BoxTagError, UnknownTermError
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import WrongKeyError
from keyserver.sealing.key_sources import KeyText
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.opening import open_or_create
from keyserver.sealing.ports import StoredSeal
from keyserver.sealing.record import SealRecord
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SecretKey
from tests.support.sealing import MemorySealStore
from tests.vectors.files import load

SEAL = load("sealing")["seal_v1"]
RECORD = SealRecord.from_json(json.dumps(SEAL["seal_record"]))
ROOT = SecretKey(bytes.fromhex(SEAL["root_key"]))


def keyring(number: int) -> Keyring:
    vector = SEAL["keyrings"][number]
    box = bytes.fromhex(vector["box"])
    return Keyring.unwrap(RECORD.seal_id, ROOT, vector["epoch"], vector["version"], box)


def own_key(kind: str) -> SecretKey:
    return SecretKey(
        bytes.fromhex(SEAL["static"]["key"] if kind == "static" else SEAL["unseal_secret"])
    )


def test_the_record_is_written_as_it_was_read() -> None:
    assert json.loads(RECORD.to_json()) == {**SEAL["seal_record"], "history": []}
    assert SealRecord.from_json(RECORD.to_json()) == RECORD


@pytest.mark.parametrize("slot", RECORD.slots, ids=lambda slot: slot.kind)
def test_every_slot_opens_the_root_key(slot: Any) -> None:
    assert RECORD.unwrap_root(slot, own_key(slot.kind)) == ROOT
    with pytest.raises(WrongKeyError):
        RECORD.unwrap_root(slot, SecretKey(bytes(32)))


def test_the_slot_of_the_next_epoch_opens_its_root_key() -> None:
    vector = SEAL["rekey"]
    record = SealRecord.from_json(json.dumps(vector["seal_record"]))
    secret = SecretKey(bytes.fromhex(vector["unseal_secret"]))
    root = record.unwrap_root(record.slots[0], secret)
    assert root == SecretKey(bytes.fromhex(vector["root_key"]))
    stored = vector["keyring"]
    box = bytes.fromhex(stored["box"])
    ring = Keyring.unwrap(record.seal_id, root, stored["epoch"], stored["version"], box)
    assert ring.to_plain().decode() == stored["plain"]


@pytest.mark.parametrize("number", [0, 1])
def test_keyrings_open_to_their_terms(number: int) -> None:
    ring = keyring(number)
    assert ring.to_plain().decode() == SEAL["keyrings"][number]["plain"]
    for term in ring.terms.values():
        assert term.key.expose().hex() == SEAL["term_keys"][str(term.number)]


@pytest.mark.parametrize("vector", SEAL["records"], ids=lambda vector: vector["table"])
def test_record_boxes_open_in_their_place_only(vector: Any) -> None:
    ring = keyring(1)
    assert ring.table_key(vector["term"], vector["table"]).hex() == vector["table_key"]
    boxes = SecretBoxes(ring, SeededRandom(0))
    place = (vector["table"], vector["column"], vector["pk"])
    box = bytes.fromhex(vector["box"])
    assert boxes.open(*place, box).hex() == vector["plaintext"]
    with pytest.raises(BoxTagError):
        boxes.open(vector["table"], vector["column"], [*vector["pk"], "x"], box)


@pytest.mark.parametrize("vector", SEAL["records"], ids=lambda vector: vector["table"])
def test_record_boxes_are_made_byte_for_byte(vector: Any) -> None:
    class Nonce:
        def bytes(self, n: int) -> bytes:
            return bytes.fromhex(vector["box"])[6 : 6 + n]

    full = keyring(1)
    ring = Keyring(full.seal_id, full.terms, vector["term"])
    plain = bytes.fromhex(vector["plaintext"])
    sealed = SecretBoxes(ring, Nonce()).seal(vector["table"], vector["column"], vector["pk"], plain)
    assert sealed.box.hex() == vector["box"]
    assert sealed.term == vector["term"]


def test_a_term_that_the_keyring_lacks_is_named() -> None:
    vector = next(one for one in SEAL["records"] if one["term"] == 2)
    boxes = SecretBoxes(keyring(0), SeededRandom(0))
    with pytest.raises(UnknownTermError, match="term 2"):
        boxes.open(vector["table"], vector["column"], vector["pk"], bytes.fromhex(vector["box"]))


async def test_the_static_slot_opens_the_store() -> None:
    box = bytes.fromhex(SEAL["keyrings"][1]["box"])
    store = MemorySealStore(StoredSeal(json.dumps(SEAL["seal_record"]), 1, 2, 1, box))
    opened = await open_or_create(
        store,
        node_id=NodeId(bytes.fromhex(SEAL["seal_record"]["node_id"])),
        source=KeyText("KEY", SEAL["static"]["key"], key_id="2023-11-a"),
        random=SeededRandom(0),
        now_ms=0,
    )
    assert opened.keyring == keyring(1)
    assert not opened.created
