"""Whatever clients and administrators send about service keys, the node's answer is never a 5xx."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest_asyncio

from keyserver.storage.database import opened
from tests.support.service_key_desk import Desk

KEY_ID: Final = "35e53e27-3d91-4524-8c40-80566546f536"
JUNK: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 1 << 70, 1.5, "", "x", "\ud800", "\0", "a" * 5000, 10**400),
    *([], {}, [1], ["x"], [[]], {"a": 1}, KEY_ID, "11" * 32, "svc:*", "*", "a*b", "age1xxx"),
)
ORDERS: Final[dict[str, Any]] = {
    "/v1/admin/grants": {"principal": "p", "owner": "o", "service": "s", "days": 1},
    "/v1/admin/tokens": {"principal": "p", "scopes": ["keys:use"], "services": ["*"], "days": 1},
    "/v1/admin/owners/o/export": {"recipients": ["x"]},
    "/v1/admin/owners/o/restore": {
        **{"format": 1, "kind": "owner-export", "owner": "o", "exported_at": 1},
        "keys": [
            {
                **{"service": "s", "id": KEY_ID, "seq": 1, "key": "11" * 32},
                **{"created_at": 1, "expires_at": 2, "origin": "imicros"},
            }
        ],
    },
}
ROUNDS: Final = 300


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        yield Desk(database)


def spoilt(random: Random, body: Any) -> Any:
    """The body with one value somewhere in it replaced."""
    copy = json.loads(json.dumps(body))
    inner = copy["keys"][0] if "keys" in copy and random.random() < 0.7 else copy
    inner[random.choice([*inner, "x"])] = random.choice(JUNK)
    return copy


async def test_orders(desk: Desk) -> None:
    random = Random(7)
    statuses = set()
    for _ in range(ROUNDS):
        path = random.choice(list(ORDERS))
        body = json.dumps(spoilt(random, ORDERS[path])).encode()
        answer = await desk.order("POST", path, body)
        assert answer.status < 500, (path, body, answer.text)
        statuses.add(answer.status)
    assert statuses >= {200, 400}, "some of it is right"


async def test_data(desk: Desk) -> None:
    random = Random(8)
    token = await desk.token("svc:a")
    for _ in range(ROUNDS):
        end = random.choice(["encrypt", "decrypt", "current"])
        names = random.sample(["plaintext", "ciphertext", "aad", "x"], 2)
        body = json.dumps({name: random.choice(JUNK) for name in names}).encode()
        answer = await desk.ask("POST", f"/v1/keys/s/{end}", body, token=token)
        assert answer.status < 500, (end, body, answer.text)


PATHS: Final = (
    *("%ff/current", "%ED%A0%80/current", "%00/current", "a" * 300 + "/current", "/current"),
    *("s/%00", f"s/{KEY_ID}%00", "s?before=99999999999999999999", "s?before=9007199254740991"),
    *("?limit=x", "?limit=99999999999999999999999", "?after=%ff", "?after=%00"),
)


async def test_paths(desk: Desk) -> None:
    token = await desk.token("svc:a")
    for path in PATHS:
        target = f"/v1/keys{'' if path.startswith('?') else '/'}{path}"
        order = target.replace("/v1/keys", "/v1/admin/owners")
        for method in ("GET", "POST"):
            assert (await desk.ask(method, target, token=token)).status < 500, target
            assert (await desk.order(method, order)).status < 500, order
