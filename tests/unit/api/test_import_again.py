"""Imports from imicros-keys that are repeated while the original goes on."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest_asyncio

from keyserver.sealing.imicros.database import Database, hash_name
from keyserver.sealing.imicros.plan import PREFIX, documents, make_plan
from keyserver.sealing.service_keys.model import Pair
from tests.support.imicros import MASTER
from tests.support.raw_http import Answer
from tests.support.service_key_desk import (
    Desk,
    code_of,
    fields_of,
    opened_store,
    owner_path,
    service_path,
)

DAY_MS = 24 * 60 * 60 * 1000
OWNER, SERVICE = "g1", "mail"

Entry = tuple[str, int]
"""A digit that names a key, and when it was made: in days from now."""


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_store(tmp_path) as database:
        yield Desk(database)


def id_of(name: str) -> str:
    return f"{name * 8}-{name * 4}-4{name * 3}-8{name * 3}-{name * 12}"


def document(desk: Desk, entries: Sequence[Entry], default: str) -> dict[str, Any]:
    now = desk.clock.unix() * 1000
    fields = {}
    for name, day in entries:
        made = now + day * DAY_MS
        value = {"guid": id_of(name), "key": name * 64, "iat": made, "exp": made + 30 * DAY_MS}
        fields[id_of(name)] = base64.b64encode(json.dumps(value).encode()).decode()
    fields["default"] = fields[id_of(default)]
    database = Database(
        {"owners": [OWNER], OWNER: [SERVICE]}, {hash_name(OWNER, SERVICE): fields}, {}
    )
    [(_, found)] = documents(make_plan(database, MASTER, ()), now, 1000)
    content: dict[str, Any] = json.loads(found)
    return content


async def give(desk: Desk, content: dict[str, Any]) -> Answer:
    return await desk.order("POST", owner_path(PREFIX + OWNER, "/restore"), content)


async def ids(desk: Desk) -> list[str]:
    """The keys by number."""
    found = await desk.store.versions(Pair(PREFIX + OWNER, SERVICE), None, 100)
    assert [each.seq for each in found] == list(range(len(found), 0, -1))
    return [each.key_id[0] for each in reversed(found)]


async def current(desk: Desk) -> dict[str, Any]:
    token = await desk.token(PREFIX + OWNER)
    return fields_of(await desk.ask("POST", service_path(SERVICE, "/current"), token=token))


async def test_after_a_race_and_a_rotation_in_the_original(desk: Desk) -> None:
    """Of two keys made at once the older one became `default`; it is not that any more."""
    race = [("a", -40), ("b", -39)]
    assert fields_of(await give(desk, document(desk, race, "a")))["restored"] == 2
    assert await ids(desk) == ["b", "a"]
    rotated = document(desk, [*race, ("c", -2)], "c")
    assert fields_of(await give(desk, rotated)) == {"restored": 1, "present": 2}
    assert fields_of(await give(desk, rotated)) == {"restored": 0, "present": 3}
    assert await ids(desk) == ["b", "a", "c"]
    assert (await current(desk))["id"] == id_of("c")


async def test_after_a_race_between_clocks_that_differ(desk: Desk) -> None:
    """New keys that seem to be older come after those that are there; the current one is last."""
    assert fields_of(await give(desk, document(desk, [("a", -9)], "a")))["restored"] == 1
    again = document(desk, [("a", -9), ("b", -11), ("c", -12)], "c")
    assert fields_of(await give(desk, again)) == {"restored": 2, "present": 1}
    assert fields_of(await give(desk, again)) == {"restored": 0, "present": 3}
    assert await ids(desk) == ["a", "b", "c"]


async def test_after_a_rotation_here(desk: Desk) -> None:
    old = [("a", -40)]
    assert fields_of(await give(desk, document(desk, old, "a")))["restored"] == 1
    made = await current(desk)
    again = document(desk, [*old, ("c", -2)], "c")
    assert fields_of(await give(desk, again)) == {"restored": 1, "present": 1}
    assert await ids(desk) == ["a", made["id"][0], "c"]


async def test_another_key_or_time_under_an_id_is_refused(desk: Desk) -> None:
    content = document(desk, [("a", -9)], "a")
    assert fields_of(await give(desk, content))["restored"] == 1
    for change in ({"key": "11" * 32}, {"expires_at": 5}, {"created_at": 5}, {"origin": "made"}):
        answer = await give(desk, content | {"keys": [content["keys"][0] | change]})
        assert (answer.status, code_of(answer)) == (409, "CONFLICT"), change
    assert await ids(desk) == ["a"]
