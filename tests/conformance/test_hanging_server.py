"""A PostgreSQL server that takes connections and statements, and says nothing any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from keyserver.errors import StorageError
from keyserver.storage import postgres
from keyserver.storage.database import Database, opened

pytestmark = pytest.mark.postgres

PATIENCE_S = 0.5
BOUND_S = 20.0
"""Of all that waits here; far more than a statement, a rollback and a new connection take."""


@dataclass
class Way:
    """Between a client and the server; what is sent waits while it is held."""

    behind: int
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        try:
            async with asyncio.TaskGroup() as halves:
                halves.create_task(self._pump(reader, to_writer))
                halves.create_task(self._pump(to_reader, writer))
        except* OSError:
            pass  # one side has ended the connection
        finally:
            writer.transport.abort()
            to_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(4096):
            await self.open.wait()
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError


@asynccontextmanager
async def way_to(url: str) -> AsyncIterator[tuple[str, Way]]:
    parsed = make_url(url)
    assert parsed.port is not None
    way = Way(parsed.port)
    way.open.set()
    server = await asyncio.start_server(way.pass_on, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield parsed.set(port=port).render_as_string(hide_password=False), way
    finally:
        way.open.set()
        server.close()


def one(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT 1")) or 0)


@pytest.mark.parametrize("kind", ["read", "write", "write_shared"])
async def test_who_asks_is_told(
    postgres_url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who waits behind somebody else; and all goes on when the server does."""
    monkeypatch.setattr(postgres, "ANSWER_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_S", PATIENCE_S)
    async with way_to(postgres_url) as (url, way), opened(url) as database:
        ask = getattr(database, kind)
        assert await ask(one) == 1
        way.open.clear()
        async with asyncio.timeout(BOUND_S):
            asked = await asyncio.gather(ask(one), ask(one), return_exceptions=True)
            assert [type(each) for each in asked] == [StorageError, StorageError]
        way.open.set()
        assert await ask(one) == 1


async def test_a_start_is_given_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_S", PATIENCE_S)
    async with way_to(postgres_url) as (url, way):
        way.open.clear()
        async with asyncio.timeout(BOUND_S):
            with pytest.raises(StorageError):
                await Database.open(url)
