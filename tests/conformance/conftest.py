"""The places where stores are tried: memory, a SQLite file, a PostgreSQL database."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from keyserver.storage.database import opened
from tests.support.postgres import PostgresServer, PostgresUnavailableError
from tests.support.stores import MemorySite, SqlSite, StoreSite


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer.start()
    except PostgresUnavailableError as reason:
        pytest.skip(f"no PostgreSQL server can be started: {reason}")
    try:
        yield server
    finally:
        server.stop()


@pytest_asyncio.fixture
async def postgres_url(postgres: PostgresServer) -> str:
    """A database with the tables in it, and nothing else."""
    url = await postgres.new_database()
    async with opened(url):
        return url


SQL_SITES = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
SITES = ("memory", *SQL_SITES)


@pytest_asyncio.fixture(params=SITES)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreSite]:
    if request.param == "memory":
        yield MemorySite()
        return
    async for sql in _sql_site(request, tmp_path):
        yield sql


@pytest_asyncio.fixture(params=SQL_SITES)
async def sql_site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlSite]:
    async for sql in _sql_site(request, tmp_path):
        yield sql


async def _sql_site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlSite]:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = await server.new_database()
    else:
        url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    sql = await SqlSite.open(url)
    try:
        yield sql
    finally:
        await sql.close()
