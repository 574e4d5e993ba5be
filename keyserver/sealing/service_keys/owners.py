"""What administrators do with the keys of an owner: list, export, delete, restore (C15.4)."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, groupby
from typing import Any

from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.sealing.errors import KeyNotFoundError, RestoreConflictError
from keyserver.sealing.ports import AuditLog, Caller
from keyserver.sealing.service_keys.boxes import KeyBoxes
from keyserver.sealing.service_keys.exports import (
    document_of,
    encrypt_to,
    read_document,
    versions_hash,
)
from keyserver.sealing.service_keys.model import (
    Deletion,
    Export,
    Origin,
    OwnerLine,
    ServiceKey,
    ServiceKeyStore,
    StoredVersion,
)
from keyserver.sealing.service_keys.names import check_name, new_key_id
from keyserver.sealing.service_keys.trail import Trail


@dataclass(frozen=True, slots=True)
class Exported:
    """All keys of an owner, encrypted."""

    export: Export
    keys: int
    document: bytes = field(repr=False)
    """An age file."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of the keys of a document."""

    restored: int
    present: int
    """These were there already, the same to the last bit."""


class Owners:
    """Owners of service keys; who may ask is checked before.

    Every method raises `StorageError`, and those that change or show something
    `AuditUnavailableError`.
    """

    def __init__(
        self,
        store: ServiceKeyStore,
        boxes: KeyBoxes,
        audit: AuditLog,
        *,
        random: RandomSource,
        clock: Clock,
    ) -> None:
        self._store = store
        self._boxes = boxes
        self._trail = Trail(audit)
        self._random = random
        self._clock = clock

    def check_open(self) -> None:
        """Raise `SealedError` while the node is sealed."""
        self._boxes.check_open()

    async def page(self, after: str, limit: int) -> Sequence[OwnerLine]:
        """Owners in the order of their bytes, those after `after`."""
        return await self._store.owners(after, limit)

    async def export(self, caller: Caller, owner: str, recipients: Sequence[str]) -> Exported:
        """All keys of an owner, encrypted to age recipients.

        Raises `SealedError`, `BadNameError`, `KeyNotFoundError` for an owner without keys.
        """
        self._boxes.check_open()
        check_name("owner", owner)
        stored = await self._store.all_of(owner)
        if not stored:
            raise KeyNotFoundError("owner: has no keys here")
        now = self._clock.unix() * 1000
        keys = [await self._opened(version) for version in stored]
        document = encrypt_to(recipients, document_of(owner, keys, now))
        export = Export(
            export_id=new_key_id(self._random),
            owner=owner,
            sha256=hashlib.sha256(document).digest(),
            versions=versions_hash(version.version for version in stored),
            made_at=now,
        )
        details = _details(owner, len(keys), export.export_id, export.sha256)
        async with self._trail.of("keys.owner.export", caller, details):
            await self._store.keep_export(export)
        return Exported(export, len(keys), document)

    async def delete(self, caller: Caller, owner: str, export_id: str, sha256: bytes) -> int:
        """Delete all keys of an owner; how many there were.

        Raises `ExportStaleError` unless this export of the last day holds them all.
        """
        check_name("owner", owner)
        now = self._clock.unix() * 1000
        deletion = Deletion(owner, export_id, sha256, caller.principal, now)
        details = _details(owner, len(await self._store.all_of(owner)), export_id, sha256)
        async with self._trail.of("keys.owner.delete", caller, details):
            return await self._store.delete(deletion)

    # Any: what a client sent as JSON.
    async def restore(self, caller: Caller, owner: str, document: Mapping[str, Any]) -> Restored:
        """Keep the keys of a decrypted export, or of a part of one, again; or those of an import.

        Keys that an import brings get other numbers than the document's where those are taken.

        Raises `SealedError`, `BadNameError`, `RestoreConflictError` if a key is there with other
        content, its number is taken, or the owner is deleted meanwhile.
        """
        self._boxes.check_open()
        keys = read_document(check_name("owner", owner), document)
        services = {key.version.pair.service for key in keys}
        stored = await self._store.all_of(owner, services)
        known = {version.version.row_key: version for version in stored}
        new, present = [], []
        for key in keys:
            there = known.get(key.version.row_key)
            if there is None:
                new.append(key)
            elif _is_same(await self._opened(there), key):
                present.append(there.version)
            else:
                raise RestoreConflictError(
                    f"key {key.version.key_id} of service {key.version.pair.service!r} is there "
                    "with other content"
                )
        missing = [self._boxes.seal(key.version, key.key) for key in _numbered(new, stored)]
        async with self._trail.of("keys.owner.restore", caller, _details(owner, len(missing))):
            await self._store.restore(owner, missing, present)
        return Restored(len(missing), len(present))

    async def _opened(self, stored: StoredVersion) -> ServiceKey:
        return ServiceKey(stored.version, await self._boxes.open(stored), is_current=False)


def _details(
    owner: str, keys: int, export_id: str | None = None, sha256: bytes | None = None
) -> dict[str, str | int | bool | None]:
    """What the audit log is told."""
    digest = None if sha256 is None else sha256.hex()
    return {"owner": owner, "keys": keys, "export": export_id, "export_sha256": digest}


def _is_same(there: ServiceKey, restored: ServiceKey) -> bool:
    version = restored.version
    if version.origin == Origin.IMICROS:
        # There keys have no numbers, and each import counts anew: the current one comes last.
        version = replace(version, seq=there.version.seq)
    return there.version == version and there.key == restored.key


def _numbered(new: Iterable[ServiceKey], stored: Iterable[StoredVersion]) -> Iterator[ServiceKey]:
    """New keys, by service and number, as they will be stored.

    Where an import's numbers are taken, its keys follow upon those that are there, in their order.
    """
    taken: defaultdict[str, set[int]] = defaultdict(set)
    for each in stored:
        taken[each.version.pair.service].add(each.version.seq)
    for service, group in groupby(new, lambda key: key.version.pair.service):
        keys = list(group)
        is_import = all(key.version.origin == Origin.IMICROS for key in keys)
        if is_import and any(key.version.seq in taken[service] for key in keys):
            numbers = count(max(taken[service]) + 1)
            keys = [replace(key, version=replace(key.version, seq=next(numbers))) for key in keys]
        yield from keys
