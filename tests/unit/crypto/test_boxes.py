import pytest

from keyserver.crypto import boxes
from keyserver.crypto.errors import (
    BoxTagError,
    CryptoError,
    TruncatedBoxError,
    UnknownBoxFormatError,
    UnknownTermError,
)
from keyserver.crypto.randomness import SeededRandom

_RNG = SeededRandom("boxes")
_KEY = _RNG.bytes(32)
_CONTEXT = boxes.record_context("shares", "box", ["a", "1"])
_BOX = boxes.seal_box(_KEY, b"secret", _CONTEXT, _RNG, term=7)


def test_round_trip() -> None:
    assert len(_BOX) == 6 + boxes.OVERHEAD
    assert boxes.box_term(_BOX) == 7
    assert boxes.open_box({3: bytes(32), 7: _KEY}, _BOX, _CONTEXT) == b"secret"
    assert boxes.seal_box(_KEY, b"secret", _CONTEXT, _RNG, term=7) != _BOX
    empty = boxes.seal_box(_KEY, b"", b"", _RNG)
    assert boxes.open_box({boxes.NO_TERM: _KEY}, empty, b"") == b""


@pytest.mark.parametrize("length", [0, 1, 45])
def test_too_short(length: int) -> None:
    with pytest.raises(TruncatedBoxError, match="at least 46"):
        boxes.open_box({7: _KEY}, _BOX[:length], _CONTEXT)


@pytest.mark.parametrize("header", [b"\0\1", b"\2\1", b"\1\2", b"\1\0"])
def test_unknown_format(header: bytes) -> None:
    with pytest.raises(UnknownBoxFormatError):
        boxes.open_box({7: _KEY}, header + _BOX[2:], _CONTEXT)


def test_unknown_term() -> None:
    with pytest.raises(UnknownTermError, match="term 7"):
        boxes.open_box({6: _KEY}, _BOX, _CONTEXT)


@pytest.mark.parametrize("position", range(6, len(_BOX), 5))
def test_altered(position: int) -> None:
    altered = bytearray(_BOX)
    altered[position] ^= 0x40
    with pytest.raises(BoxTagError):
        boxes.open_box({7: _KEY}, bytes(altered), _CONTEXT)


def test_moved_or_under_another_key() -> None:
    for other in (
        boxes.record_context("shares", "box", ["a", "2"]),
        boxes.record_context("shares", "bo", ["a", "1"]),
        boxes.record_context("share", "sbox", ["a", "1"]),
    ):
        with pytest.raises(BoxTagError):
            boxes.open_box({7: _KEY}, _BOX, other)
    with pytest.raises(BoxTagError):
        boxes.open_box({7: bytes(32)}, _BOX, _CONTEXT)
    with pytest.raises(BoxTagError):
        boxes.open_box({8: _KEY}, _BOX[:5] + b"\x08" + _BOX[6:], _CONTEXT)


def test_all_failures_look_the_same_from_outside() -> None:
    errors = (TruncatedBoxError, UnknownBoxFormatError, UnknownTermError, BoxTagError)
    assert {error.code for error in errors} == {"STORAGE_CORRUPT"}


@pytest.mark.parametrize(("key", "nonce"), [(31, 24), (33, 24), (32, 23), (32, 12)])
def test_lengths_of_key_and_nonce(key: int, nonce: int) -> None:
    with pytest.raises(CryptoError, match="key of 32 bytes and a nonce of 24"):
        boxes.xaes_subkey(bytes(key), bytes(nonce))


def test_derived_keys_differ() -> None:
    seal_id, key = bytes(16), bytes(32)
    derived = {
        boxes.keyring_key(seal_id, key),
        boxes.handover_key(seal_id, key),
        boxes.table_key(seal_id, key, "a"),
        boxes.table_key(seal_id, key, "b"),
        boxes.slot_key(seal_id, "static", 1, 1, key),
        boxes.slot_key(seal_id, "static", 1, 2, key),
        boxes.slot_key(seal_id, "static", 2, 1, key),
        boxes.slot_key(seal_id, "shamir", 1, 1, key),
        boxes.keyring_key(b"\1" * 16, key),
    }
    assert len(derived) == 9
    assert {len(key) for key in derived} == {32}


def test_contexts() -> None:
    assert boxes.handover_context(b"\1" * 16, 2, 3) == (
        b"keyserver.seal.v1/handover\0" + b"\1" * 16 + b"\0\0\0\2\0\0\0\3"
    )


def test_canonical_json() -> None:
    value = {"b": [1, None, True, "ö"], "a": {"z": "", "y": -5}, "c": ()}
    expected = '{"a":{"y":-5,"z":""},"b":[1,null,true,"ö"],"c":[]}'
    assert boxes.canonical_json(value) == expected.encode()


@pytest.mark.parametrize("value", [1.0, 1 << 53, -(1 << 53), b"x", {1: 2}, {"ö": 1}, [{"a": 1.5}]])
def test_canonical_json_refuses(value: object) -> None:
    with pytest.raises(CryptoError, match="canonical JSON"):
        boxes.canonical_json(value)
