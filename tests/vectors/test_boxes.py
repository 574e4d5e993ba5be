import hashlib
import json
from typing import Any

import pytest

from keyserver.crypto import boxes
from tests.vectors.files import load, raw

_FILE: dict[str, Any] = load("sealing")
_SEAL: dict[str, Any] = _FILE["seal_v1"]
_SEAL_ID = raw(_SEAL["seal_record"]["seal_id"])


@pytest.mark.parametrize("case", _FILE["xaes256gcm"]["cases"], ids=lambda case: case["key"][:4])
def test_published_xaes(case: dict[str, str]) -> None:
    key, nonce, aad = raw(case["key"]), raw(case["nonce"]), raw(case["aad"])
    assert boxes.xaes_subkey(key, nonce) == raw(case["subkey"])
    ciphertext = boxes.xaes_encrypt(key, nonce, raw(case["plaintext"]), aad)
    assert ciphertext == raw(case["ciphertext"])
    assert boxes.xaes_decrypt(key, nonce, ciphertext, aad) == raw(case["plaintext"])


def test_accumulated_xaes() -> None:
    """The published accumulation: inputs from one SHAKE-128 stream, results into another."""
    iterations = _FILE["xaes256gcm"]["accumulated"]["iterations"]
    stream = hashlib.shake_128(b"").digest(iterations * (32 + 24 + 2 + 510))
    results = hashlib.shake_128()
    position = 0

    def take(n: int) -> bytes:
        nonlocal position
        position += n
        return stream[position - n : position]

    for _ in range(iterations):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        aad = take(take(1)[0])
        results.update(boxes.xaes_encrypt(key, nonce, plaintext, aad))
    assert results.digest(32) == raw(_FILE["xaes256gcm"]["accumulated"]["result"])


def test_slots_of_the_seal_record() -> None:
    record = _SEAL["seal_record"]
    own_keys = {1: raw(_SEAL["unseal_secret"]), 2: raw(_SEAL["static"]["key"])}
    expected = {1: raw(_SEAL["kek"]), 2: raw(_SEAL["static"]["kek"])}
    for slot in record["slots"]:
        key = boxes.slot_key(
            _SEAL_ID, slot["kind"], record["epoch"], slot["slot_id"], own_keys[slot["slot_id"]]
        )
        assert key == expected[slot["slot_id"]]
        context = boxes.wrapped_root_context(
            slot,
            record_format=record["format"],
            seal_id=_SEAL_ID,
            node_id=raw(record["node_id"]),
            epoch=record["epoch"],
        )
        if slot["slot_id"] == 1:
            assert context == raw(_SEAL["wrapped_root_context"])
        opened = boxes.open_box({boxes.NO_TERM: key}, raw(slot["wrapped_root"]), context)
        assert opened == raw(_SEAL["root_key"])


@pytest.mark.parametrize("keyring", _SEAL["keyrings"], ids=lambda keyring: keyring["version"])
def test_keyrings(keyring: dict[str, Any]) -> None:
    key = boxes.keyring_key(_SEAL_ID, raw(_SEAL["root_key"]))
    assert key == raw(keyring["key"])
    context = boxes.keyring_context(_SEAL_ID, keyring["epoch"], keyring["version"])
    assert context == raw(keyring["context"])
    plain = boxes.open_box({boxes.NO_TERM: key}, raw(keyring["box"]), context)
    assert plain == keyring["plain"].encode()
    assert boxes.canonical_json(json.loads(plain)) == plain


@pytest.mark.parametrize("record", _SEAL["records"], ids=lambda record: record["table"])
def test_records(record: dict[str, Any]) -> None:
    term = record["term"]
    term_key = raw(_SEAL["term_keys"][str(term)])
    key = boxes.table_key(_SEAL_ID, term_key, record["table"])
    assert key == raw(record["table_key"])
    context = boxes.record_context(record["table"], record["column"], record["pk"])
    assert context == raw(record["context"])
    box = raw(record["box"])
    assert boxes.box_term(box) == term
    assert boxes.open_box({term: key}, box, context) == raw(record["plaintext"])

    class _Nonce:
        def bytes(self, n: int) -> bytes:
            assert n == 24
            return box[6:30]

    assert boxes.seal_box(key, raw(record["plaintext"]), context, _Nonce(), term) == box


def test_the_seal_after_a_rekey() -> None:
    rekey = _SEAL["rekey"]
    record = rekey["seal_record"]
    (slot,) = record["slots"]
    key = boxes.slot_key(
        _SEAL_ID, slot["kind"], record["epoch"], slot["slot_id"], raw(rekey["unseal_secret"])
    )
    context = boxes.wrapped_root_context(
        slot,
        record_format=record["format"],
        seal_id=_SEAL_ID,
        node_id=raw(record["node_id"]),
        epoch=record["epoch"],
    )
    assert (key, context) == (raw(rekey["kek"]), raw(rekey["wrapped_root_context"]))
    root = boxes.open_box({boxes.NO_TERM: key}, raw(slot["wrapped_root"]), context)
    assert root == raw(rekey["root_key"])
    keyring = rekey["keyring"]
    assert boxes.keyring_key(_SEAL_ID, root) == raw(keyring["key"])
    assert boxes.keyring_context(_SEAL_ID, keyring["epoch"], keyring["version"]) == raw(
        keyring["context"]
    )


def test_a_handover() -> None:
    """No process makes one yet; its box is fixed all the same."""
    handover = _SEAL["rekey"]["handover"]
    key = boxes.handover_key(_SEAL_ID, raw(_SEAL["term_keys"][str(handover["term"])]))
    context = boxes.handover_context(_SEAL_ID, handover["from_epoch"], handover["to_epoch"])
    assert (key, context) == (raw(handover["key"]), raw(handover["context"]))
    opened = boxes.open_box({handover["term"]: key}, raw(handover["box"]), context)
    assert opened == raw(_SEAL["rekey"]["root_key"])
