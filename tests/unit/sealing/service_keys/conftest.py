"""A replica with a database of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from keyserver.storage.database import opened
from tests.support.service_key_desk import Desk


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        yield Desk(database)
