"""Versions of service keys, and what is asked of their store (sealing, C15 and C17)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from keyserver.sealing.secret_key import SecretKey

DAY_MS: Final = 24 * 60 * 60 * 1000

EXPORT_LIFE_MS: Final = DAY_MS
"""How long an export allows the deletion of what it holds."""


class Origin:
    """Where a version comes from; texts of the column `origin`."""

    MADE: Final = "made"
    """Here, when it was first asked for or the one before had expired."""
    IMICROS: Final = "imicros"
    """Taken over from a deployment of imicros-keys."""


class Pair(NamedTuple):
    """Whose keys, and what for."""

    owner: str
    service: str


@dataclass(frozen=True, slots=True)
class Version:
    """The public half of a version; times in milliseconds since 1970."""

    pair: Pair
    key_id: str
    """A UUID, unique for its pair."""
    seq: int
    """From 1, without two of the same number."""
    created_at: int
    expires_at: int
    """From then on it is not handed out as the current one any more."""
    origin: str

    @property
    def row_key(self) -> tuple[str, str, str]:
        """The values of the row's key, as the context of its box has them."""
        return (self.pair.owner, self.pair.service, self.key_id)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version with its key in a box."""

    version: Version
    key_box: bytes = field(repr=False)
    key_term: int


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A version, opened."""

    version: Version
    key: SecretKey = field(repr=False)
    is_current: bool
    """Whether it is what asking without an id gives now."""


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """A service for which an owner has keys."""

    service: str
    keys: int
    expires_at: int
    """Of the newest one."""


@dataclass(frozen=True, slots=True)
class OwnerLine:
    """An owner at a glance; deleted ones are there, too."""

    owner: str
    services: int
    keys: int
    deleted_at: int | None


@dataclass(frozen=True, slots=True)
class Export:
    """What was handed out for safe-keeping, before a deletion."""

    export_id: str
    owner: str
    sha256: bytes
    """Of the encrypted document, 32 bytes."""
    versions: bytes
    """Which versions it holds (`exports.versions_hash`), 32 bytes."""
    made_at: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """What is to be deleted, and on which export's strength."""

    owner: str
    export_id: str
    sha256: bytes
    deleted_by: str
    at: int


class ServiceKeyStore(Protocol):
    """Where versions are kept. All methods raise `StorageError` for trouble with the database."""

    async def latest(self, pair: Pair) -> StoredVersion | None:
        """The version of the highest number.

        Raises `OwnerDeletedError`, as `find` does.
        """
        ...

    async def find(self, pair: Pair, key_id: str) -> StoredVersion | None:
        """One version."""
        ...

    async def add(self, stored: StoredVersion) -> bool:
        """Keep a version, unless its number or its id is taken; whether it was kept.

        Raises `OwnerDeletedError` and `StaleTermError`, by what is so when it would be kept.
        """
        ...

    async def versions(self, pair: Pair, before: int | None, limit: int) -> Sequence[Version]:
        """Versions of a pair, the newest first, those before the number `before`."""
        ...

    async def services(self, owner: str, after: str, limit: int) -> Sequence[ServiceLine]:
        """Services of an owner in the order of their bytes, those after `after`."""
        ...

    async def owners(self, after: str, limit: int) -> Sequence[OwnerLine]:
        """Owners in the order of their bytes, those after `after`."""
        ...

    async def all_of(
        self, owner: str, services: Collection[str] | None = None
    ) -> Sequence[StoredVersion]:
        """Every version of an owner, or of some of its services, by service and number."""
        ...

    async def keep_export(self, export: Export) -> None:
        """Note an export; those too old to be of use are forgotten."""
        ...

    async def delete(self, deletion: Deletion) -> int:
        """Delete all versions of an owner and leave a tombstone; how many there were.

        In one transaction. Raises `ExportStaleError` unless the export is there, is of this owner,
        has this hash, is younger than a day and holds every version.
        """
        ...

    async def restore(
        self, owner: str, versions: Sequence[StoredVersion], present: Collection[Version] = ()
    ) -> None:
        """Keep versions of an owner and take its tombstone away, all or nothing.

        Raises `RestoreConflictError` if a number or an id is taken, or one of those that were
        `present` is not there any more; and `StaleTermError`.
        """
        ...
