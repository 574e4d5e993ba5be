"""Opens the keyring of a store, or makes the first one (sealing, C0 and C11).

An existing seal is never replaced here: a key that is missing or does not open stops the start.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.errors import CryptoError, InvalidShareSetError
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
from keyserver.sealing.ports import SealStore, SealVersion, StoredIdentity, StoredSeal
from keyserver.sealing.record import SEAL_ID_SIZE, SealRecord, Slot
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SIZE, SecretKey
from keyserver.sealing.shares import SHAMIR

IDENTITY_PLACE: Final = ("node_identity", "secret_box", ("1",))
"""Table, column and row of the node's key (sealing, C17)."""


@dataclass(frozen=True, slots=True)
class OpenedSeal:
    """The keys of a store."""

    keyring: Keyring
    created: bool
    """Whether the store was sealed just now."""


@dataclass(frozen=True, slots=True)
class OpenSeal:
    """All there is of an open seal."""

    record: SealRecord
    root: SecretKey
    keyring: Keyring
    keyring_version: int

    @property
    def version(self) -> SealVersion:
        """What grows with every change."""
        return SealVersion(self.record.epoch, self.keyring_version)

    def stored(self, rng: RandomSource) -> StoredSeal:
        """What the store keeps of it."""
        epoch, version = self.version.epoch, self.version.keyring_version
        box = self.keyring.wrap(self.root, epoch, version, rng)
        return StoredSeal(self.record.to_json(), epoch, version, epoch, box)


def open_keyring(stored: StoredSeal, record: SealRecord, root: SecretKey) -> OpenSeal:
    """Open the rest of a seal with its root key; raises `SealRecordDamagedError`."""
    version = stored.keyring_version
    keyring = Keyring.unwrap(record.seal_id, root, record.epoch, version, stored.keyring_box)
    return OpenSeal(record, root, keyring, version)


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
        keyring = await create(store, node_id=node_id, source=source, random=random, now_ms=now_ms)
        return OpenedSeal(keyring, created=True)
    record = read_record(stored, node_id)
    root = await open_root(record, source)
    return OpenedSeal(open_keyring(stored, record, root).keyring, created=False)


async def create(
    store: SealStore, *, node_id: NodeId, source: KeySource, random: RandomSource, now_ms: int
) -> Keyring:
    """Seal a new store with one slot, which this source opens.

    Raises `KeySourceError`, `AlreadyInitialisedError` and `StorageError`.
    """
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
    wrapped = record.wrap_root(slot, await slot_key(source, slot), root, random)
    record = replace(record, slots=(replace(slot, wrapped_root=wrapped),))
    keyring = Keyring.first(record.seal_id, SecretKey(random.bytes(SIZE)), now_ms)
    await store.create(OpenSeal(record, root, keyring, 1).stored(random))
    return keyring


def read_record(stored: StoredSeal, node_id: NodeId | None) -> SealRecord:
    """The record of a stored seal; raises `SealRecordDamagedError` and `ForeignSealError`.

    `node_id`: whose it must be, where the configuration has the node's key.
    """
    record = SealRecord.from_json(stored.record)
    if node_id is not None and record.node_id != node_id:
        raise ForeignSealError(
            f"seal: this store belongs to node {record.node_id.short}…, the configuration to node "
            f"{node_id.short}…; check `path`, `database_url`, `self_secret` and `expect_node_id`"
        )
    if not record.epoch == stored.epoch == stored.keyring_epoch:
        raise SealRecordDamagedError(
            f"seal: the record is of epoch {record.epoch}, its row of {stored.epoch}, the keyring "
            f"of {stored.keyring_epoch}"
        )
    return record


async def open_root(record: SealRecord, source: KeySource) -> SecretKey:
    """The root key, by a slot that opens without operators.

    Raises `KeySourceError`, `NoMatchingSlotError`, `WrongKeyError` and `SealRecordDamagedError`.
    """
    slot = matching_slot(record, source)
    own_key = await slot_key(source, slot)
    try:
        return record.unwrap_root(slot, own_key)
    except WrongKeyError as problem:
        raise WrongKeyError(f"{_described(source)}: {problem}") from problem


def open_identity(identity: StoredIdentity, seal: OpenSeal, boxes: SecretBoxes) -> SecretScalar:
    """The node's key out of its box; raises `SealRecordDamagedError` if it is not this node's."""
    table, column, row = IDENTITY_PLACE
    try:
        secret = SecretScalar(boxes.open(table, column, row, identity.secret_box))
    except CryptoError as problem:
        raise SealRecordDamagedError(f"node_identity: the node's key: {problem}") from problem
    if not NodeId.of(secret.public()) == identity.node_id == seal.record.node_id:
        raise SealRecordDamagedError(
            f"node_identity: the key is not that of node {seal.record.node_id.short}…, whose the "
            "seal is"
        )
    return secret


def find_node_secret(
    identity: StoredIdentity | None, seal: OpenSeal, boxes: SecretBoxes, kind: str
) -> SecretScalar | None:
    """The node's key if the store has it; where a slot of shares has opened the seal, it must.

    It alone shows that the seal is this node's: anybody can make one with shares, and a copied
    name. Raises `SealRecordDamagedError`.
    """
    if identity is not None:
        return open_identity(identity, seal, boxes)
    if kind == SHAMIR:
        raise SealRecordDamagedError("node_identity: the node's key is not there")
    return None


def root_by_shares(record: SealRecord, secret: Callable[[], SecretKey]) -> SecretKey:
    """The root key by the secret of shares that are good by their commitments.

    Raises `SealRecordDamagedError`: if it does not open, it is not the shares.
    """
    slot = next(slot for slot in record.slots if slot.kind == SHAMIR)
    try:
        return record.unwrap_root(slot, secret())
    except (WrongKeyError, InvalidShareSetError) as problem:
        raise SealRecordDamagedError(
            "seal record: the shares are good, but do not open it; it was changed: restore a backup"
        ) from problem


def matching_slot(record: SealRecord, source: KeySource) -> Slot:
    """The slot that a source is for; raises `NoMatchingSlotError`."""
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


async def slot_key(source: KeySource, slot: Slot) -> SecretKey:
    """A slot's own key, from its source; raises `KeySourceError`."""
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
