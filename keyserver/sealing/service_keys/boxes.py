"""Seals and opens service keys with the keys of the vault, wherever those are by now.

A box holds the key and what the row says beside it, `key(32) || canonical JSON`: who can write the
database could otherwise have an old version be the current one again, or one live longer.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from keyserver.crypto.boxes import canonical_json
from keyserver.crypto.errors import BoxError, UnknownTermError
from keyserver.errors import StorageError
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SIZE, SecretKey
from keyserver.sealing.service_keys.model import StoredVersion, Version

TABLE: Final = "service_keys"
COLUMN: Final = "key_box"


class KeyVault(Protocol):
    """The seal of this process (`keyserver.sealing.vault.Vault`)."""

    @property
    def boxes(self) -> SecretBoxes:
        """What seals and opens now; raises `SealedError`."""
        ...

    async def refresh(self) -> None:
        """Read the keyring anew: another replica may have made a term."""
        ...


class CorruptKeyError(StorageError):
    """A stored key that does not open: altered, moved, or sealed under a lost term."""

    code = "STORAGE_CORRUPT"
    retriable = False


class KeyBoxes:
    """The boxes of the table of service keys."""

    def __init__(self, vault: KeyVault) -> None:
        self._vault = vault

    def check_open(self) -> None:
        """Raise `SealedError` while the node is sealed."""
        _ = self._vault.boxes

    def seal(self, version: Version, key: SecretKey) -> StoredVersion:
        """A version ready to be stored; raises `SealedError`."""
        plaintext = key.expose() + _said_of(version)
        sealed = self._vault.boxes.seal(TABLE, COLUMN, version.row_key, plaintext)
        return StoredVersion(version, sealed.box, sealed.term)

    async def refresh(self) -> None:
        """Look for terms that other replicas have made."""
        await self._vault.refresh()

    async def open(self, stored: StoredVersion) -> SecretKey:
        """The key of a stored version; raises `SealedError` and `CorruptKeyError`."""
        row_key, key_id = stored.version.row_key, stored.version.key_id
        try:
            plaintext = await open_anew(self._vault, TABLE, COLUMN, row_key, stored.key_box)
        except BoxError as problem:
            raise CorruptKeyError(f"service key {key_id}: {problem}") from problem
        if plaintext[SIZE:] != _said_of(stored.version):
            raise CorruptKeyError(f"service key {key_id}: its row says not what was sealed")
        return SecretKey(plaintext[:SIZE])


def _said_of(version: Version) -> bytes:
    """Everything in a row that counts; its key is in the context of the box."""
    said = {
        "seq": version.seq,
        "created_at": version.created_at,
        "expires_at": version.expires_at,
        "origin": version.origin,
    }
    return canonical_json(said)


async def open_anew(
    vault: KeyVault, table: str, column: str, row_key: Sequence[str], box: bytes
) -> bytes:
    """Open a box, also one in a term that another replica has made meanwhile.

    Raises `SealedError`, and `BoxError` for a box that does not open.
    """
    try:
        return vault.boxes.open(table, column, row_key, box)
    except UnknownTermError:
        await vault.refresh()
    return vault.boxes.open(table, column, row_key, box)
