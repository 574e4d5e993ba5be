"""Boxes: a second implementation agrees, and nothing altered or moved opens (sealing, C23)."""

import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.boxes import open_box, record_context, seal_box, table_key, xaes_subkey
from keyserver.crypto.errors import BoxError, BoxTagError
from keyserver.crypto.randomness import SeededRandom

SEAL_ID = bytes(range(16))
TERM_KEY = SeededRandom("term").bytes(32)
PLAIN = b"thirty-two bytes of plain secret"
PLACE = ("service_keys", "key_box", ("eth:0x01", "billing", "k1"))
KEY = table_key(SEAL_ID, TERM_KEY, PLACE[0])
CONTEXT = record_context(*PLACE)
BOX = seal_box(KEY, PLAIN, CONTEXT, SeededRandom("nonce"), term=3)


def subkey_by_hand(key: bytes, nonce: bytes) -> bytes:
    """C2SP XAES-256-GCM with another library's AES: CMAC of two blocks, by its definition."""
    block = AES.new(key, AES.MODE_ECB)
    top = int.from_bytes(block.encrypt(bytes(16)), "big")
    k1 = (top << 1 ^ (0x87 if top >> 127 else 0)) % (1 << 128)
    halves = b""
    for counter in (1, 2):
        message = bytes([0, counter]) + b"X\0" + nonce[:12]
        masked = int.from_bytes(message, "big") ^ k1
        halves += block.encrypt(masked.to_bytes(16, "big"))
    return halves


@settings(max_examples=60, deadline=None)
@given(
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=200),
    st.binary(max_size=50),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32),
)
def test_another_implementation_opens_our_boxes(
    key: bytes, plain: bytes, context: bytes, term: int, seed: int
) -> None:
    box = seal_box(key, plain, context, SeededRandom(seed), term)
    header, nonce, sealed, tag = box[:6], box[6:30], box[30:-16], box[-16:]
    assert header == b"\x01\x01" + term.to_bytes(4, "big")
    assert subkey_by_hand(key, nonce) == xaes_subkey(key, nonce)
    cipher = AES.new(subkey_by_hand(key, nonce), AES.MODE_GCM, nonce=nonce[12:])
    cipher.update(header + context)
    assert cipher.decrypt_and_verify(sealed, tag) == plain


@settings(max_examples=60, deadline=None)
@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=24, max_size=24),
    st.binary(max_size=200),
    st.binary(max_size=50),
)
def test_we_open_another_implementations_boxes(
    key: bytes, nonce: bytes, plain: bytes, context: bytes
) -> None:
    header = b"\x01\x01\0\0\0\x07"
    cipher = AES.new(subkey_by_hand(key, nonce), AES.MODE_GCM, nonce=nonce[12:])
    cipher.update(header + context)
    sealed, tag = cipher.encrypt_and_digest(plain)
    assert open_box({7: key}, header + nonce + sealed + tag, context) == plain


def test_every_flipped_bit_is_refused() -> None:
    assert open_box({3: KEY}, BOX, CONTEXT) == PLAIN
    for bit in range(8 * len(BOX)):
        flipped = bytearray(BOX)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BoxError):
            open_box({3: KEY}, bytes(flipped), CONTEXT)


def test_a_flipped_term_is_refused_under_the_right_key_too() -> None:
    flipped = BOX[:5] + bytes([BOX[5] ^ 1]) + BOX[6:]
    with pytest.raises(BoxTagError):
        open_box({3 ^ 1: KEY}, flipped, CONTEXT)


@pytest.mark.parametrize(
    "place",
    [
        ("service_keys", "key_box", ("eth:0x01", "billing", "k2")),
        ("service_keys", "key_box", ("eth:0x01", "billin", "gk1")),
        ("service_keys", "key_box", ("eth:0x01", '"billing","k1"')),
        ("service_keys", "other_box", PLACE[2]),
        ("key_shares", "key_box", PLACE[2]),
        ("service_keyskey_box", "", PLACE[2]),
    ],
    ids=["row", "shifted names", "joined names", "column", "table", "shifted labels"],
)
def test_a_box_that_was_moved_is_refused(place: tuple[str, str, tuple[str, ...]]) -> None:
    with pytest.raises(BoxTagError):
        open_box({3: KEY}, BOX, record_context(*place))
    key = table_key(SEAL_ID, TERM_KEY, place[0])
    with pytest.raises(BoxTagError):
        open_box({3: key}, BOX, record_context(*place))


def test_a_box_of_another_store_is_refused() -> None:
    key = table_key(bytes(16), TERM_KEY, PLACE[0])
    with pytest.raises(BoxTagError):
        open_box({3: key}, BOX, CONTEXT)
