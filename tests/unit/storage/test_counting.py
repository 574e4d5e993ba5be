"""How many keys there are, and how many have a share here, without reading one."""

from pathlib import Path

from keyserver.crypto.curve import Scalar, SecretScalar
from keyserver.model.keys import KeyShare
from keyserver.sessions.writes import PutActive, PutPrepared, PutShare
from keyserver.storage.counting import count_keys, count_shares
from keyserver.storage.database import opened
from keyserver.storage.records import SqlRecordStore
from tests.support.stored_values import boxes, certified, digest, key_id, record, share


async def test_keys_and_shares_are_counted(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'node.sqlite'}") as database:
        store = SqlRecordStore(database, boxes())
        assert (await count_keys(database), await count_shares(database)) == (0, 0)
        prepared = PutPrepared(record(1), share(1), digest("transcript"))
        await store.commit([prepared])
        assert (await count_keys(database), await count_shares(database)) == (0, 0)
        await store.commit([PutActive(certified(record(1))), PutActive(certified(record(2)))])
        assert (await count_keys(database), await count_shares(database)) == (2, 1)
        value = SecretScalar.from_int(1000 + 2 + 2000 * 3)
        late = PutShare(key_id(2), record(2).hash, KeyShare(Scalar(3), value))
        await store.commit([late])
        assert (await count_keys(database), await count_shares(database)) == (2, 2)


async def test_a_share_that_comes_later_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    value = SecretScalar.from_int(1000 + 1 + 2000 * 2)
    async with opened(f"sqlite:///{path}") as database:
        store = SqlRecordStore(database, boxes())
        await store.commit([PutActive(certified(record(1)))])
        await store.commit([PutShare(key_id(1), record(1).hash, KeyShare(Scalar(2), value))])
    for file in tmp_path.iterdir():
        assert value.expose() not in file.read_bytes()
    async with opened(f"sqlite:///{path}") as database:
        state = await SqlRecordStore(database, boxes()).load(key_id(1))
        assert state.share == KeyShare(Scalar(2), value)
