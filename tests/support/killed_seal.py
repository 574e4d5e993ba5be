"""A process that changes a seal and is killed at one of its transactions, by itself.

Run as a program: makes one store after the other, each by a fork that kills itself, see `DEATHS`.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from keyserver.crypto.randomness import SystemRandom
from keyserver.sealing.making import prepare
from keyserver.sealing.ports import SYSTEM
from keyserver.sealing.rekeys import Rekeys
from keyserver.sealing.upkeep import SETTLED_S, Upkeep
from keyserver.sealing.vault import Vault
from keyserver.storage.database import Database, opened
from keyserver.storage.schema import SERVICE_KEYS
from keyserver.storage.sealing import SqlSealStore
from tests.support.manual_clock import ManualClock
from tests.support.sealing import NOW_MS, AuditList, documents

STEPS = ("init", "rekey", "rotate", "rewrap", "retire")
"""Each is one transaction, in this order."""

MOMENTS = ("before", "inside", "after")
"""Of a transaction: inside is when all is written but nothing is committed."""

DEATHS = [(step, moment) for step in STEPS for moment in MOMENTS]

PLAIN = b"thirty-two bytes of plain secret"
PLACE = ("service_keys", "key_box", ("eth:0x01", "billing", "1"))


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class MortalDatabase:
    """A database whose transaction of one number is the last thing that its process does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read = database.read
        self.left = 0
        self.moment = ""

    async def write_shared(self, work: Callable[[Connection], Any]) -> Any:
        self.left -= 1
        if self.left != 0:
            return await self._database.write_shared(work)
        if self.moment == "before":
            kill_oneself()
        if self.moment == "inside":
            await self._database.write_shared(lambda connection: _done_and_killed(work, connection))
        result = await self._database.write_shared(work)
        kill_oneself()
        return result


def _done_and_killed(work: Callable[[Connection], Any], connection: Connection) -> None:
    work(connection)
    kill_oneself()


async def live(folder: Path, step: str, moment: str) -> None:
    """Do all steps, up to the death in the one named; shares are handed out as files."""
    async with opened(f"sqlite:///{folder / 'node.sqlite'}") as database:
        mortal = MortalDatabase(database)
        store, audit, random = SqlSealStore(mortal), AuditList(), SystemRandom()  # type: ignore[arg-type]
        clock = ManualClock(NOW_MS // 1000)

        def dies_in(name: str) -> None:
            mortal.left, mortal.moment = (1, moment) if step == name else (0, "")

        prepared = await prepare(
            store,
            audit,
            node_secret=None,
            shares=3,
            threshold=2,
            source=None,
            random=random,
            now_ms=NOW_MS,
        )
        old = _hand_out(folder / "old.json", documents(prepared.shares))
        dies_in("init")
        await prepared.commit()
        vault = Vault(store, audit, random=random, clock=clock)
        await vault.load()
        for share in old:
            await vault.submit(share)
        await _put_service_key(database, vault)
        rekeys = Rekeys(vault, audit, random=random, clock=clock)
        started = await rekeys.start(2, 3, (), True, SYSTEM)
        for share in old:
            answer = await rekeys.prove(started.rekey, share)
        assert answer.new_shares is not None
        new = _hand_out(folder / "new.json", documents(answer.new_shares))
        dies_in("rekey")
        for share in new:
            await rekeys.verify(started.rekey, share)
        upkeep = Upkeep(vault, store, audit, random=random, clock=clock, rotate_days=0)
        dies_in("rotate")
        await upkeep.rotate(SYSTEM)
        clock.advance(SETTLED_S)
        dies_in("rewrap")
        await upkeep.rewrap_all()
        dies_in("retire")
        await upkeep.retire(1, SYSTEM)


def _hand_out(path: Path, shares: list[str]) -> list[str]:
    path.write_text(json.dumps(shares[:2]))
    return shares[:2]


async def _put_service_key(database: Database, vault: Vault) -> None:
    sealed = vault.boxes.seal(*PLACE, PLAIN)
    owner, service, key_id = PLACE[2]
    row = {
        "owner": owner,
        "service": service,
        "key_id": key_id,
        "seq": 1,
        "key_box": sealed.box,
        "key_term": sealed.term,
        "created_at": 1,
        "expires_at": 2,
        "origin": "made",
    }
    await database.write_shared(lambda c: c.execute(insert(SERVICE_KEYS).values(row)))


async def _make_empty(path: Path) -> None:
    async with opened(f"sqlite:///{path}"):
        pass


def main(folder: Path) -> None:
    empty = folder / "empty.sqlite"
    asyncio.run(_make_empty(empty))
    for step, moment in DEATHS:
        place = folder / f"{step}-{moment}"
        place.mkdir()
        shutil.copy(empty, place / "node.sqlite")
        child = os.fork()
        if child == 0:
            asyncio.run(live(place, step, moment))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended_by = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
        (place / "ended_by").write_text(ended_by)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
