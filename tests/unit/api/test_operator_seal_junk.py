"""Whatever is sent to the routes of the seal, the answer is never a mistake of the program."""

import json
from random import Random
from typing import Any, Final

from tests.support.seal_desk import SealDesk

JUNK: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1 << 70, 1.5, "", "x", "\ud800", "\0", "a " * 33, 10**400),
    *([], {}, [1], ["x"], ["\ud800"], ["age1\ud800"], [["x"]], {"a": 1}, ["age1xxx"] * 3),
)
DOCUMENT: Final = '{"seal_id": "%s", "v": %s, "epoch": %s, "slot_id": 1, "group": 0, "member": 0}'
ORDERS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("POST", "unseal", {"share": "x", "withdraw": False}),
    ("POST", "rekey", {"threshold": 2, "shares": 3, "recipients": [], "verify": True}),
    ("POST", "rekey/0123456789abcdef/share", {"share": "x"}),
    ("POST", "rekey/0123456789abcdef/verify", {"share": "x"}),
    ("POST", "rekey/0123456789abcdef/commit", {}),
    ("POST", "rotate", {}),
    ("POST", "rewrap", {}),
)
TERMS: Final = ("0", "1", "2", "-1", "x", "1.0", "4294967296", "00000000001" + "9" * 5000, "%00")
ROUNDS: Final = 400


def spoilt(random: Random, body: dict[str, Any]) -> dict[str, Any]:
    """The body with one value replaced, or one more."""
    return {**body, random.choice([*body, "drop_slots", "x"]): random.choice(JUNK)}


async def test_bodies() -> None:
    random, statuses = Random(3), set()
    desk = await SealDesk().started()
    for number in range(ROUNDS):
        if number == ROUNDS // 2:
            await desk.open()
        method, path, body = random.choice(ORDERS)
        sent = json.dumps(spoilt(random, body)).encode()
        answer = await desk.ask(method, path, sent)
        assert answer.status in {200, 201, 202, 400, 404, 409, 429, 503}, (path, sent, answer.text)
        statuses.add(answer.status)
        desk.rekeys.forget()
    assert statuses >= {201, 400, 503}


async def test_numbers_of_terms() -> None:
    desk = await SealDesk().started()
    await desk.open()
    for term in TERMS:
        answer = await desk.ask("POST", f"terms/{term}/retire", b"")
        assert answer.status in {400, 404, 409}, (term[:20], answer.text)
    answer = await desk.ask("POST", f"terms/{1 << 64}/retire", b"")
    assert json.loads(answer.body)["error"]["message"] == (
        "term: must be a number from 1 to 4294967295"
    )
