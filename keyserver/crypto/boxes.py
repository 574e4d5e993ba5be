"""Sealed boxes: secrets at rest.

    01 || 01 || u32 term || nonce (24) || ciphertext and tag

XAES-256-GCM (C2SP): AES-256-GCM under a key derived per box from a 24-byte random nonce, so one key
seals any number of boxes. A box opens only in its place, its *context*, under its store's keys,
which are derived here too. Sealing, sections C3 and C4, which fix every byte.
"""

import json
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyserver.crypto.errors import (
    BoxTagError,
    CryptoError,
    TruncatedBoxError,
    UnknownBoxFormatError,
    UnknownTermError,
)
from keyserver.crypto.hashing import hkdf_sha256
from keyserver.crypto.randomness import RandomSource

OVERHEAD = 46
"""How many bytes longer a box is than its content."""

NO_TERM = 0
"""The term written where the key is no term key."""

_HEADER = b"\x01\x01"
_HEADER_SIZE = 6
_NONCE_SIZE = 24
_PREFIX = b"keyserver.seal.v1/"
_SAFE_INTEGER = 1 << 53


def seal_box(
    key: bytes, plaintext: bytes, context: bytes, rng: RandomSource, term: int = NO_TERM
) -> bytes:
    """Seal bytes under a 32-byte key, bound to a context; `OVERHEAD` bytes longer."""
    header = _HEADER + term.to_bytes(4, "big")
    nonce = rng.bytes(_NONCE_SIZE)
    return header + nonce + xaes_encrypt(key, nonce, plaintext, header + context)


def open_box(keys: Mapping[int, bytes], box: bytes, context: bytes) -> bytes:
    """Open a box with the 32-byte key of its term.

    Raises TruncatedBoxError, UnknownBoxFormatError, UnknownTermError or BoxTagError.
    """
    term = box_term(box)
    key = keys.get(term)
    if key is None:
        raise UnknownTermError(f"box: no key for term {term}")
    header, sealed = box[:_HEADER_SIZE], box[_HEADER_SIZE + _NONCE_SIZE :]
    nonce = box[_HEADER_SIZE : _HEADER_SIZE + _NONCE_SIZE]
    return xaes_decrypt(key, nonce, sealed, header + context)


def box_term(box: bytes) -> int:
    """Return the term a box was sealed under; raises as `open_box` for what is no box."""
    if len(box) < OVERHEAD:
        raise TruncatedBoxError(f"box: need at least {OVERHEAD} bytes, got {len(box)}")
    if box[:2] != _HEADER:
        raise UnknownBoxFormatError(f"box: unknown format {box[0]}, algorithm {box[1]}")
    return int.from_bytes(box[2:_HEADER_SIZE], "big")


def xaes_encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt with XAES-256-GCM: 32-byte key, 24-byte nonce; the 16-byte tag stands at the end."""
    return AESGCM(xaes_subkey(key, nonce)).encrypt(nonce[12:], plaintext, associated)


def xaes_decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Decrypt what `xaes_encrypt` made; raises BoxTagError if anything differs."""
    try:
        return AESGCM(xaes_subkey(key, nonce)).decrypt(nonce[12:], ciphertext, associated)
    except InvalidTag as error:
        raise BoxTagError("box: altered, moved, or sealed under another key") from error


def xaes_subkey(key: bytes, nonce: bytes) -> bytes:
    """Return the 32-byte AES key for one nonce: a CMAC-based derivation in counter mode.

    Raises CryptoError unless the key has 32 bytes and the nonce 24.
    """
    if len(key) != 32 or len(nonce) != _NONCE_SIZE:
        raise CryptoError("box: need a key of 32 bytes and a nonce of 24")
    # One block at a time, and ECB because CMAC is defined on the bare block cipher.
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    top = int.from_bytes(block.update(bytes(16)), "big")
    mask = (top << 1 ^ (0x87 if top >> 127 else 0)) & ((1 << 128) - 1)
    halves = b"".join(
        (int.from_bytes(bytes([0, counter]) + b"X\0" + nonce[:12], "big") ^ mask).to_bytes(
            16, "big"
        )
        for counter in (1, 2)
    )
    return block.update(halves)


def slot_key(seal_id: bytes, kind: str, epoch: int, slot_id: int, own_key: bytes) -> bytes:
    """Return the key that wraps the root key in one slot."""
    numbers = epoch.to_bytes(4, "big") + slot_id.to_bytes(4, "big")
    return _derive(seal_id, own_key, b"kek/" + kind.encode("ascii") + b"\0" + numbers)


def keyring_key(seal_id: bytes, root_key: bytes) -> bytes:
    """Return the key of the keyring's box."""
    return _derive(seal_id, root_key, b"keyring")


def table_key(seal_id: bytes, term_key: bytes, table: str) -> bytes:
    """Return the key of one table's boxes in one term."""
    return _derive(seal_id, term_key, b"table/" + table.encode("ascii"))


def handover_key(seal_id: bytes, term_key: bytes) -> bytes:
    """Return the key of a handover's box."""
    return _derive(seal_id, term_key, b"handover")


def record_context(table: str, column: str, primary_key: Sequence[str]) -> bytes:
    """Return the place of one secret column of one row, its key given as texts."""
    fields = (table.encode(), column.encode(), canonical_json(list(primary_key)))
    return _label("record") + b"".join(len(f).to_bytes(2, "big") + f for f in fields)


def wrapped_root_context(
    slot: Mapping[str, object], *, record_format: int, seal_id: bytes, node_id: bytes, epoch: int
) -> bytes:
    """Return the place of the root key in a slot of the seal record."""
    fields = {name: value for name, value in slot.items() if name != "wrapped_root"}
    fields |= {
        "format": record_format,
        "seal_id": seal_id.hex(),
        "node_id": node_id.hex(),
        "epoch": epoch,
    }
    return _label("wrapped-root") + canonical_json(fields)


def keyring_context(seal_id: bytes, epoch: int, version: int) -> bytes:
    """Return the place of the keyring."""
    return _label("keyring") + seal_id + epoch.to_bytes(4, "big") + version.to_bytes(8, "big")


def handover_context(seal_id: bytes, from_epoch: int, to_epoch: int) -> bytes:
    """Return the place of a handover between two epochs."""
    epochs = from_epoch.to_bytes(4, "big") + to_epoch.to_bytes(4, "big")
    return _label("handover") + seal_id + epochs


def canonical_json(value: object) -> bytes:
    """Return RFC 8785 JSON of objects with ASCII names, texts, integers, booleans, null, arrays.

    Raises CryptoError for anything else, floats and integers from 2^53 on included.
    """
    _check_canonical(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _check_canonical(value: object) -> None:
    match value:
        case None | bool() | str():
            return
        case int() if abs(value) < _SAFE_INTEGER:
            return
        case list() | tuple():
            for item in value:
                _check_canonical(item)
        case dict():
            for name, item in value.items():
                if not isinstance(name, str) or not name.isascii():
                    raise CryptoError("canonical JSON: names must be ASCII texts")
                _check_canonical(item)
        case _:
            raise CryptoError(f"canonical JSON: no {type(value).__name__} of this kind")


def _label(name: str) -> bytes:
    return _PREFIX + name.encode("ascii") + b"\0"


def _derive(seal_id: bytes, key: bytes, purpose: bytes) -> bytes:
    return hkdf_sha256(salt=seal_id, key=key, info=_PREFIX + purpose)
