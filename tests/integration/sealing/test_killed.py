"""Killed by signal 9 at every transaction of a seal's life (sealing, C23, fifth item)."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import ShareWrongSetError
from keyserver.sealing.vault import Vault
from keyserver.storage.database import opened
from keyserver.storage.schema import SERVICE_KEYS
from keyserver.storage.sealing import SqlSealStore
from tests.support.killed_seal import DEATHS, PLACE, PLAIN
from tests.support.manual_clock import ManualClock
from tests.support.sealing import AuditList


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stores of processes that were killed, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("killed")
    program = [sys.executable, "-m", "tests.support.killed_seal", str(folder)]
    subprocess.run(program, check=True, timeout=100)
    return folder


@asynccontextmanager
async def survivor(folder: Path) -> AsyncIterator[Vault]:
    """A process that starts where another was killed."""
    async with opened(f"sqlite:///{folder / 'node.sqlite'}") as database:
        vault = Vault(
            SqlSealStore(database), AuditList(), random=SystemRandom(), clock=ManualClock()
        )
        await vault.load()
        yield vault
        if vault.is_open and (folder / "new.json").exists():
            boxes = vault.boxes
            rows = await database.read(lambda c: c.scalars(select(SERVICE_KEYS.c.key_box)).all())
            assert [boxes.open(*PLACE, box) for box in rows] == [PLAIN]


async def opens_with(folder: Path, shares: str) -> bool:
    path = folder / shares
    if not path.exists():
        return False
    async with survivor(folder) as vault:
        if not vault.status().epoch:
            return False
        for share in json.loads(path.read_text()):
            try:
                await vault.submit(share)
            except ShareWrongSetError:
                assert not vault.is_open
                return False
        assert vault.node_secret is not None
        assert NodeId.of(vault.node_secret.public()) == vault.status().node_id
        return vault.is_open


@pytest.mark.parametrize(("step", "moment"), DEATHS)
async def test_exactly_one_set_of_shares_opens(killed: Path, step: str, moment: str) -> None:
    folder = killed / f"{step}-{moment}"
    assert (folder / "ended_by").read_text() == "SIGKILL"
    found = (await opens_with(folder, "old.json"), await opens_with(folder, "new.json"))
    if step == "init" and moment != "after":
        assert found == (False, False)  # nothing was made: the store is empty
        async with survivor(folder) as vault:
            assert vault.status().epoch == 0
        return
    is_renewed = step not in ("init", "rekey") or (step == "rekey" and moment == "after")
    assert found == (not is_renewed, is_renewed)
