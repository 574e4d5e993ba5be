"""The seal record and the keyring's box in the database (`keyserver.sealing.ports.SealStore`)."""

from sqlalchemy import Connection, insert, select

from keyserver.errors import StorageError
from keyserver.sealing.ports import StoredSeal
from keyserver.storage.database import Database
from keyserver.storage.schema import KEY_SHARES, SEAL, SEAL_KEYRING


class SqlSealStore:
    """The one row of `seal` and the one of `seal_keyring`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> StoredSeal | None:
        """What is stored; `None` for a store that was never sealed."""
        return await self._database.read(_stored)

    async def create(self, seal: StoredSeal) -> None:
        """Store the first seal; raises `StorageError` if there is one or sealed rows exist."""
        await self._database.write(lambda connection: _create(connection, seal))


def _stored(connection: Connection) -> StoredSeal | None:
    record = connection.execute(select(SEAL)).one_or_none()
    keyring = connection.execute(select(SEAL_KEYRING)).one_or_none()
    if record is None and keyring is None:
        return None
    if record is None or keyring is None:
        missing = "seal" if record is None else "seal_keyring"
        raise StorageError(f"the row of table {missing} is missing; restore a backup")
    return StoredSeal(
        record=record.record,
        epoch=record.epoch,
        keyring_version=keyring.version,
        keyring_epoch=keyring.epoch,
        keyring_box=keyring.box,
    )


def _create(connection: Connection, seal: StoredSeal) -> None:
    if connection.scalar(select(SEAL.c.id)) is not None:
        raise StorageError("this store is sealed already")
    if connection.scalar(select(KEY_SHARES.c.key_id).limit(1)) is not None:
        raise StorageError(
            "the seal is missing, but sealed rows are there that only it opens; restore a backup"
        )
    connection.execute(insert(SEAL).values(id=1, record=seal.record, epoch=seal.epoch))
    connection.execute(
        insert(SEAL_KEYRING).values(
            id=1,
            version=seal.keyring_version,
            epoch=seal.keyring_epoch,
            box=seal.keyring_box,
        )
    )
