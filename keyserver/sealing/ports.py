"""What sealing asks of the store (`keyserver.storage.sealing` implements it)."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredSeal:
    """The rows of the tables `seal` and `seal_keyring` (sealing, C17)."""

    record: str
    """The seal record, JSON."""
    epoch: int
    keyring_version: int
    keyring_epoch: int
    keyring_box: bytes


class SealStore(Protocol):
    """Where the seal record and the keyring's box are kept."""

    async def load(self) -> StoredSeal | None:
        """What is stored; `None` for a store that was never sealed.

        Raises `StorageError` if only a part of it is there.
        """
        ...

    async def create(self, seal: StoredSeal) -> None:
        """Store the first seal of this store.

        Raises `StorageError` if there is one, or if sealed rows exist without one.
        """
        ...
