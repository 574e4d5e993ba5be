"""Opens the keyring of a store, or makes the first one (sealing, C0 and C11).

An existing seal is never replaced here: a key that is missing or does not open stops the start.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import (
    ForeignSealError,
    KeySourceError,
    NoMatchingSlotError,
    SealRecordDamagedError,
    WrongKeyError,
)
from keyserver.sealing.key_sources import (
    PASSPHRASE,
    STATIC,
    KeyFile,
    KeySource,
    KeyText,
    Passphrase,
    make_key_file,
    new_passphrase_params,
    passphrase_key,
    static_key,
)
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.ports import SealStore, StoredSeal
from keyserver.sealing.record import SEAL_ID_SIZE, SealRecord, Slot
from keyserver.sealing.secret_key import SIZE, SecretKey


@dataclass(frozen=True, slots=True)
class OpenedSeal:
    """The keys of a store."""

    keyring: Keyring
    created: bool
    """Whether the store was sealed just now."""


async def open_or_create(
    store: SealStore, *, node_id: NodeId, source: KeySource, random: RandomSource, now_ms: int
) -> OpenedSeal:
    """Open a store's keyring, sealing the store first if it never was.

    `now_ms`: milliseconds since 1970. Raises `KeySourceError` for a key that cannot be read,
    `SealError` (foreign, no slot, wrong key, damaged) for a seal that does not open, and
    `StorageError` for trouble with the store.
    """
    stored = await store.load()
    if stored is None:
        keyring = await _create(store, node_id, source, random, now_ms)
    else:
        keyring = await _open(stored, node_id, source)
    return OpenedSeal(keyring, stored is None)


async def _create(
    store: SealStore, node_id: NodeId, source: KeySource, random: RandomSource, now_ms: int
) -> Keyring:
    params: dict[str, Any]
    if isinstance(source, Passphrase):
        if not source.text:
            raise KeySourceError("seal: an empty passphrase protects nothing")
        kind, params = PASSPHRASE, new_passphrase_params(random)
    else:
        if isinstance(source, KeyFile) and source.make_if_missing and not source.path.exists():
            make_key_file(source.path, random)
        kind, params = STATIC, {"key_id": source.key_id}
    slot = Slot(slot_id=1, kind=kind, created_at=now_ms, params=params)
    record = SealRecord(random.bytes(SEAL_ID_SIZE), node_id, epoch=1, slots=(slot,))
    root = SecretKey(random.bytes(SIZE))
    wrapped = record.wrap_root(slot, await _slot_key(source, slot), root, random)
    record = replace(record, slots=(replace(slot, wrapped_root=wrapped),))
    keyring = Keyring.first(record.seal_id, SecretKey(random.bytes(SIZE)), now_ms)
    box = keyring.wrap(root, epoch=1, version=1, rng=random)
    await store.create(
        StoredSeal(record.to_json(), epoch=1, keyring_version=1, keyring_epoch=1, keyring_box=box)
    )
    return keyring


async def _open(stored: StoredSeal, node_id: NodeId, source: KeySource) -> Keyring:
    record = SealRecord.from_json(stored.record)
    if record.node_id != node_id:
        raise ForeignSealError(
            f"seal: this store belongs to node {record.node_id.short}…, but the configured key is "
            f"that of node {node_id.short}…; check `path`, `database_url` and `self_secret`"
        )
    if not record.epoch == stored.epoch == stored.keyring_epoch:
        raise SealRecordDamagedError(
            f"seal: the record is of epoch {record.epoch}, its row of {stored.epoch}, the keyring "
            f"of {stored.keyring_epoch}"
        )
    slot = _matching_slot(record, source)
    own_key = await _slot_key(source, slot)
    try:
        root = record.unwrap_root(slot, own_key)
    except WrongKeyError as problem:
        raise WrongKeyError(f"{_described(source)}: {problem}") from problem
    return Keyring.unwrap(
        record.seal_id, root, record.epoch, stored.keyring_version, stored.keyring_box
    )


def _matching_slot(record: SealRecord, source: KeySource) -> Slot:
    for slot in record.slots:
        if isinstance(source, Passphrase):
            if slot.kind == PASSPHRASE:
                return slot
        elif slot.kind == STATIC and slot.params.get("key_id") == source.key_id:
            return slot
    present = ", ".join(
        f"{slot.kind} ({slot.params.get('key_id')})" if slot.kind == STATIC else slot.kind
        for slot in record.slots
    )
    raise NoMatchingSlotError(
        f"seal: no slot opens with {_described(source)}; this store has: {present or 'none'}"
    )


async def _slot_key(source: KeySource, slot: Slot) -> SecretKey:
    if isinstance(source, Passphrase):
        return await asyncio.to_thread(passphrase_key, source, slot.params)
    return static_key(source)


def _described(source: KeySource) -> str:
    match source:
        case KeyFile():
            return f"the key {source.key_id!r} in {source.path}"
        case KeyText():
            return f"the key {source.key_id!r} in {source.name}"
        case Passphrase():
            return "the passphrase"
