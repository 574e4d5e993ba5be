"""Who has written what the acting process alone may write, as the database itself notes it."""

import asyncio
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from keyserver.storage.database import Database
from tests.support.postgres import PostgresServer

WATCHED = ("tasks", "outbox", "read_blocks", "key_records", "key_shares", "open_records", "votes")

NOTE = """
CREATE TABLE noted (id bigserial PRIMARY KEY, writer text NOT NULL, what text NOT NULL);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted (writer, what) VALUES (current_user, TG_TABLE_NAME);
    RETURN NULL;
END $$;
"""


@dataclass(frozen=True)
class SharedDatabase:
    """A database that every process opens as a user of its own."""

    url: str

    @classmethod
    def make(cls, server: PostgresServer, users: list[str]) -> "SharedDatabase":
        return asyncio.run(cls._make(server, users))

    @classmethod
    async def _make(cls, server: PostgresServer, users: list[str]) -> "SharedDatabase":
        made = cls(await server.new_database())
        await (await Database.open(made.url)).close()  # the tables
        connection = await asyncpg.connect(made.url)
        try:
            for user in users:
                await connection.execute(f"CREATE ROLE {user} LOGIN SUPERUSER")
            await connection.execute(NOTE)
            for table in WATCHED:
                await connection.execute(
                    f"CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON {table} "
                    "FOR EACH STATEMENT EXECUTE FUNCTION note()"
                )
        finally:
            await connection.close()
        return made

    def url_of(self, user: str) -> str:
        return self.url.replace("//ks@", f"//{user}@")

    def writers(self) -> list[str]:
        """Who has written, one after the other, each named once for all that it wrote in a row."""
        rows = asyncio.run(self._rows("SELECT writer FROM noted ORDER BY id"))
        return [writer for writer, _ in groupby(row["writer"] for row in rows)]

    async def _rows(self, query: str) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            rows: list[Any] = await connection.fetch(query)
            return rows
        finally:
            await connection.close()
