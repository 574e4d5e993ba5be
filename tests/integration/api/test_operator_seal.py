"""The routes of the seal over the seal itself: shares, orders, rekeys."""

import base64
import json
from typing import Any

import pyrage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyserver.api.operator_seal import PeerLine
from keyserver.api.refusals import MOST_OF_ALL, MOST_OF_ONE
from keyserver.crypto.randomness import SeededRandom
from keyserver.sealing.making import initialise
from keyserver.sealing.ports import SYSTEM, AuditOutcome, SealState
from tests.support.raw_http import Answer
from tests.support.seal_desk import (
    ADMIN,
    NODE,
    NODE_KEY,
    OTHER_NODE,
    SealDesk,
    fields,
    refusal,
    replica,
    unchanged,
)
from tests.support.sealing import NOW_MS, AuditList, MemorySealStore, documents

ADMIN_ONLY = [
    ("DELETE", "unseal"),
    ("POST", "seal"),
    ("GET", "replicas"),
    ("POST", "rotate"),
    ("POST", "rewrap"),
    ("POST", "terms/1/retire"),
    ("POST", "rekey"),
    ("GET", "rekey/0011223344556677"),
    ("DELETE", "rekey/0011223344556677"),
    ("POST", "rekey/0011223344556677/share"),
    ("POST", "rekey/0011223344556677/verify"),
]


@pytest.fixture
async def desk() -> SealDesk:
    return await SealDesk().started()


async def foreign_shares() -> list[str]:
    """Shares of another store."""
    new = await initialise(
        MemorySealStore(),
        AuditList(),
        node_secret=NODE_KEY,
        shares=3,
        threshold=2,
        source=None,
        random=SeededRandom(99),
        now_ms=NOW_MS,
    )
    return documents(new)


def words_of(document: str) -> str:
    words: str = json.loads(document)["mnemonic"]
    return words


# --- open to all ------------------------------------------------------------------------------


async def test_the_status_of_a_store_without_a_seal() -> None:
    desk = SealDesk()
    await desk.vault.load()
    status = fields(await desk.ask("GET", "status"))
    assert (status["initialised"], status["sealed"], status["required"]) == (False, True, 0)
    assert refusal(await desk.ask("GET", "record")) == (501, "NOT_INITIALISED")
    assert refusal(await desk.give("word " * 33)) == (501, "NOT_INITIALISED")


async def test_the_status_while_sealed(desk: SealDesk) -> None:
    answer = await desk.ask("GET", "status")
    assert answer.header("cache-control") == "no-store"
    status = fields(answer)
    record = fields(await desk.ask("GET", "record"))
    assert status == {
        "initialised": True,
        "sealed": True,
        "state": "sealed",
        "seal_id": record["seal_id"],
        "epoch": 1,
        "node_id": NODE.hex(),
        "identifier": record["slots"][0]["params"]["identifier"],
        "progress": 0,
        "required": 2,
        "shares": 3,
        "reason": None,
        "opens_itself": False,
        "boot_id": "boot-1",
        "replica": "boot-1",
        "version": "1",
    }


async def test_the_record_is_all_but_the_keys(desk: SealDesk) -> None:
    record = fields(await desk.ask("GET", "record"))
    assert "wrapped_root" not in json.dumps(record)
    assert record["node_id"] == NODE.hex()
    assert len(record["slots"][0]["params"]["commitments"][0]) == 3


async def test_shares_open(desk: SealDesk) -> None:
    first = await desk.give(desk.shares[0])
    assert (first.status, fields(first)) == (
        200,
        {
            "sealed": True,
            "accepted": True,
            "reason": None,
            "progress": 1,
            "required": 2,
            "members": [0],
        },
    )
    again = fields(await desk.give(words_of(desk.shares[0]).upper()))
    assert (again["accepted"], again["reason"], again["progress"]) == (False, "duplicate", 1)
    assert fields(await desk.ask("GET", "status"))["state"] == "unsealing"
    last = fields(await desk.give(" ".join(w[:4] for w in words_of(desk.shares[2]).split())))
    assert (last["sealed"], last["accepted"]) == (False, True)
    assert fields(await desk.ask("GET", "status"))["state"] == "unsealed"
    late = fields(await desk.give(desk.shares[1]))
    assert (late["accepted"], late["reason"]) == (False, "already_unsealed")


async def test_ones_own_share_can_be_taken_back(desk: SealDesk) -> None:
    await desk.give(desk.shares[0])
    answer = await desk.ask("POST", "unseal", {"share": desk.shares[0], "withdraw": True})
    assert fields(answer)["progress"] == 0
    with unchanged(desk):
        await desk.ask("POST", "unseal", {"share": desk.shares[1], "withdraw": True})


async def test_a_wrong_share_is_named_at_once_and_changes_nothing(desk: SealDesk) -> None:
    await desk.give(desk.shares[0])
    good = words_of(desk.shares[1]).split()
    foreign = await foreign_shares()
    cases: list[tuple[str, str, dict[str, object]]] = [
        (" ".join(good[:32]), "SHARE_MALFORMED", {"words": 32}),
        (" ".join([*good[:6], "zzzz", *good[7:]]), "SHARE_MALFORMED", {"word": 7}),
        (" ".join([good[1], good[0], *good[2:]]), "SHARE_MALFORMED", {}),
        ("", "SHARE_MALFORMED", {"words": 0}),
        ("{}", "SHARE_MALFORMED", {}),
        (foreign[0], "SHARE_WRONG_SET", {}),
        (words_of(foreign[0]), "SHARE_WRONG_SET", {}),
    ]
    for share, code, details in cases:
        with unchanged(desk):
            answer = await desk.give(share, client=f"192.0.2.{cases.index((share, code, details))}")
        error = fields(answer)["error"]
        assert (answer.status, error["code"]) == (400, code)
        assert {name: error.get(name) for name in details} == details
        assert error["retriable"] is False
    assert fields(await desk.give(desk.shares[2]))["sealed"] is False


async def test_a_good_share_is_never_refused_by_a_limit(desk: SealDesk) -> None:
    bad = (await foreign_shares())[0]
    for _ in range(MOST_OF_ONE):
        assert (await desk.give(bad)).status == 400
    limited = await desk.give(bad)
    assert refusal(limited) == (429, "RATE_LIMITED")
    assert limited.header("retry-after") == "600"
    for number in range(MOST_OF_ALL - MOST_OF_ONE):
        await desk.give(bad, client=f"198.51.100.{number // 5}")
    assert refusal(await desk.give(bad, client="203.0.113.1")) == (429, "RATE_LIMITED")
    assert fields(await desk.give(desk.shares[0]))["accepted"]
    assert fields(await desk.give(desk.shares[1]))["sealed"] is False


async def test_a_flood_is_one_line_of_the_log(desk: SealDesk) -> None:
    bad = (await foreign_shares())[0]
    for _ in range(MOST_OF_ONE + 90):
        await desk.give(bad)
    assert desk.audit.actions() == ["seal.unseal.share"] * MOST_OF_ONE
    await desk.bad_shares.write_sums()
    assert desk.audit.entries[-1] == (
        "seal.unseal.share",
        AuditOutcome.REFUSED,
        SYSTEM,
        {"code": "SHARE_WRONG_SET", "count": 90},
    )


async def test_one_operator_cannot_fill_the_log(desk: SealDesk) -> None:
    """With a good share: given again and again, or given and taken back in turns."""
    for _ in range(MOST_OF_ONE + 200):
        assert (await desk.give(desk.shares[0])).status == 200
    for _ in range(200):
        answer = await desk.ask("POST", "unseal", {"share": desk.shares[0], "withdraw": True})
        assert answer.status in (200, 429)
        assert (await desk.give(desk.shares[0])).status == 200, "a good share is taken all the same"
    assert refusal(
        await desk.ask("POST", "unseal", {"share": desk.shares[0], "withdraw": True})
    ) == (429, "RATE_LIMITED")
    await desk.bad_shares.write_sums()
    assert len(desk.audit.entries) < 5 * MOST_OF_ONE
    assert fields(await desk.give(desk.shares[1]))["sealed"] is False


@pytest.mark.parametrize("is_open", [False, True])
async def test_junk_does_not_keep_a_share_from_being_taken_back(
    desk: SealDesk, is_open: bool
) -> None:
    """It counts as refused shares do; while the node is open it counts as nothing."""
    if is_open:
        await desk.open()
    else:
        await desk.give(desk.shares[0])
    foreign = (await foreign_shares())[0]
    for number in range(MOST_OF_ALL + 5):
        share = foreign if number % 2 else desk.shares[1]
        junk = {"share": share, "withdraw": True}
        await desk.ask("POST", "unseal", junk, client=f"198.51.100.{number}")
    if is_open:
        desk.vault.shut("requested")
        await desk.give(desk.shares[0])
    assert fields(await desk.ask("GET", "status"))["progress"] == 1
    own = {"share": desk.shares[0], "withdraw": True}
    answer = await desk.ask("POST", "unseal", own, client="192.0.2.1")
    assert fields(answer)["progress"] == 0


async def test_junk_to_take_back_is_limited_as_other_junk(desk: SealDesk) -> None:
    junk = {"share": (await foreign_shares())[0], "withdraw": True}
    for _ in range(MOST_OF_ONE):
        assert refusal(await desk.ask("POST", "unseal", junk)) == (400, "SHARE_WRONG_SET")
    assert refusal(await desk.ask("POST", "unseal", junk)) == (429, "RATE_LIMITED")
    assert refusal(await desk.give("junk")) == (429, "RATE_LIMITED")


async def test_what_is_no_request_is_refused(desk: SealDesk) -> None:
    for number, body in enumerate([b"", b"{", b"[]", b'{"share":1}', b'{"share":"x","more":1}']):
        answer = await desk.ask("POST", "unseal", body, client=f"192.0.2.{number}")
        assert refusal(answer) == (400, "BAD_REQUEST"), body
    too_long = json.dumps({"share": "x" * 4096}).encode()
    assert (await desk.ask("POST", "unseal", too_long)).status == 413


async def test_trouble_with_the_database_keeps_the_shares(desk: SealDesk) -> None:
    await desk.give(desk.shares[0])
    desk.store.fails = True
    assert refusal(await desk.give(desk.shares[1])) == (503, "STORAGE_UNAVAILABLE")
    desk.store.fails = False
    assert fields(await desk.give(desk.shares[1]))["sealed"] is False


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.one_of(st.text(max_size=300), st.binary(max_size=300).map(repr)), data=st.data())
async def test_no_text_is_too_odd(desk: SealDesk, text: str, data: Any) -> None:
    """Whatever comes as a share is answered, and changes nothing; the answer does not repeat it."""
    good = words_of(desk.shares[0]).split()
    place = data.draw(st.integers(0, 32))
    for share in (text, " ".join([*good[:place], text, *good[place + 1 :]])):
        with unchanged(desk):
            answer = await desk.give(share)
        assert answer.status in (400, 429)
        if len(text) > 20:
            assert text not in fields(answer)["error"]["message"]


# --- orders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ADMIN_ONLY)
async def test_orders_are_for_administrators(method: str, path: str) -> None:
    desk = await (await SealDesk(admins=[ADMIN]).started()).open()
    with unchanged(desk):
        assert refusal(await desk.ask(method, path)) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "rotate"),
        ("POST", "rewrap"),
        ("POST", "terms/1/retire"),
        ("POST", "rekey"),
    ],
)
async def test_what_needs_keys_waits_for_the_unsealing(
    desk: SealDesk, method: str, path: str
) -> None:
    body = {"threshold": 2, "shares": 3} if path == "rekey" else None
    answer = await desk.ask(method, path, body)
    assert refusal(answer) == (503, "SEALED")
    assert answer.header("retry-after") == "5"


async def test_an_administrator_drops_all_shares(desk: SealDesk) -> None:
    await desk.give(desk.shares[0])
    assert fields(await desk.ask("DELETE", "unseal")) == {"dropped": 1}
    assert fields(await desk.ask("GET", "status"))["progress"] == 0


async def test_sealing_is_asked_for(desk: SealDesk) -> None:
    await desk.open()
    answer = await desk.ask("POST", "seal")
    assert (answer.status, fields(answer)) == (202, {"sealing": True})
    assert await desk.vault.must_shut() == "requested"


async def test_the_list_of_replicas(desk: SealDesk) -> None:
    desk.replicas = [
        replica("r1", SealState.SEALED),
        replica("r2", SealState.UNSEALED),
        replica("r3", SealState.SEALED, live=False),
        replica("r4", SealState.UNSEALING),
    ]
    desk.peers = [PeerLine(OTHER_NODE, False)]
    found = fields(await desk.ask("GET", "replicas"))
    assert found["sealed"] == ["r1", "r4"]
    assert [each["replica_id"] for each in found["replicas"]] == ["r1", "r2", "r3", "r4"]
    assert found["replicas"][0]["state"] == "sealed"
    assert found["peers"] == [{"node_id": OTHER_NODE.hex(), "state": "unreachable"}]


async def test_the_process_that_is_asked_shows_itself_as_it_is(desk: SealDesk) -> None:
    desk.replicas = [replica("boot-1", SealState.SEALED), replica("r2", SealState.SEALED)]
    await desk.open()
    found = fields(await desk.ask("GET", "replicas"))
    assert found["sealed"] == ["r2"]
    assert (found["replicas"][0]["state"], found["replicas"][0]["term"]) == ("unsealed", 1)


ORDERS_WITHOUT_FIELDS = (
    ("DELETE", "unseal"),
    ("POST", "seal"),
    ("POST", "rotate"),
    ("POST", "rewrap"),
    ("POST", "terms/1/retire"),
    ("DELETE", "rekey/0123456789abcdef"),
    ("POST", "rekey/0123456789abcdef/commit"),
)


@pytest.mark.parametrize(("method", "path"), ORDERS_WITHOUT_FIELDS)
async def test_an_order_with_a_field_that_it_does_not_know_is_not_followed(
    desk: SealDesk, method: str, path: str
) -> None:
    await desk.open()
    answer = await desk.ask(method, path, {"delay_s": 5})
    assert refusal(answer) == (400, "BAD_REQUEST")
    message = json.loads(answer.body)["error"]["message"]
    assert message == "the body has an unknown field; known are: none"
    assert desk.vault.is_open
    assert desk.vault.status().term == 1


async def test_rotate_rewrap_retire(desk: SealDesk) -> None:
    await desk.open()
    assert fields(await desk.ask("POST", "rotate")) == {"term": 2}
    assert refusal(await desk.ask("POST", "terms/2/retire")) == (409, "TERM_IN_USE")
    answer = await desk.ask("POST", "rewrap")
    assert (answer.status, fields(answer)["rewrap"]["running"]) == (202, True)
    for odd in ("0", "-1", "x", "4294967296", "99999999999999"):
        assert refusal(await desk.ask("POST", f"terms/{odd}/retire"))[0] == 400
    assert refusal(await desk.ask("POST", "terms/9/retire"))[0] in (400, 404)


# --- rekey ------------------------------------------------------------------------------------


async def begin(desk: SealDesk, **body: object) -> dict[str, Any]:
    answer = await desk.ask("POST", "rekey", {"threshold": 2, "shares": 3, **body})
    assert answer.status == 201, answer.body
    found: dict[str, Any] = fields(answer)
    return found


async def show(desk: SealDesk, rekey: dict[str, Any], step: str, share: str) -> Answer:
    return await desk.ask("POST", f"rekey/{rekey['rekey']}/{step}", {"share": share})


async def test_a_whole_rekey(desk: SealDesk) -> None:
    await desk.open()
    rekey = await begin(desk, shares=4, threshold=3)
    assert (rekey["state"], rekey["progress"], rekey["required"]) == ("proving", 0, 2)
    assert refusal(await desk.ask("POST", "rekey", {"threshold": 2, "shares": 3})) == (
        409,
        "REKEY_IN_PROGRESS",
    )
    first = fields(await show(desk, rekey, "share", desk.shares[0]))
    assert "shares" not in first
    assert fields(await show(desk, rekey, "share", desk.shares[0]))["reason"] == "duplicate"
    made = fields(await show(desk, rekey, "share", desk.shares[1]))
    assert (made["state"], made["required"], made["threshold"], made["epoch"]) == (
        "verifying",
        3,
        3,
        2,
    )
    new = [share["document"] for share in made["shares"]]
    assert desk.vault.status().epoch == 1, "nothing has changed yet"
    assert refusal(await show(desk, rekey, "verify", desk.shares[0])) == (400, "SHARE_WRONG_SET")
    for share in new[1:]:
        done = fields(await show(desk, rekey, "verify", share))
    assert done["state"] == "done"
    status = desk.vault.status()
    assert (status.epoch, status.required, status.shares) == (2, 3, 4)
    assert refusal(await desk.ask("GET", f"rekey/{rekey['rekey']}")) == (404, "REKEY_NOT_FOUND")


async def test_wrong_shares_of_a_rekey_are_written_down(desk: SealDesk) -> None:
    await desk.open()
    rekey = await begin(desk)
    desk.audit.entries.clear()
    foreign = (await foreign_shares())[0]
    for _ in range(MOST_OF_ONE + 2):
        with unchanged(desk):
            assert refusal(await show(desk, rekey, "share", foreign)) == (400, "SHARE_WRONG_SET")
    assert desk.audit.entries[0][:2] == ("seal.rekey.share", AuditOutcome.REFUSED)
    assert len(desk.audit.entries) == MOST_OF_ONE
    await desk.bad_shares.write_sums()
    assert desk.audit.entries[-1][0] == "seal.rekey.share"
    assert desk.audit.entries[-1][3] == {"code": "SHARE_WRONG_SET", "count": 2}


async def test_new_shares_go_to_recipients_encrypted(desk: SealDesk) -> None:
    await desk.open()
    keys = [pyrage.x25519.Identity.generate() for _ in range(3)]
    rekey = await begin(desk, recipients=[str(key.to_public()) for key in keys], verify=False)
    await show(desk, rekey, "share", desk.shares[0])
    made = fields(await show(desk, rekey, "share", desk.shares[2]))
    assert made["state"] == "staged"
    assert "document" not in made["shares"][0]
    for key, share in zip(keys, made["shares"], strict=True):
        opened = json.loads(pyrage.decrypt(base64.b64decode(share["age"]), [key]))
        assert (opened["epoch"], opened["member"]) == (2, share["member"])


async def test_new_shares_are_in_force_once_somebody_has_them(desk: SealDesk) -> None:
    await desk.open()
    rekey = await begin(desk, verify=False)
    path = f"rekey/{rekey['rekey']}/commit"
    assert refusal(await desk.ask("POST", path)) == (404, "REKEY_NOT_FOUND")
    for share in desk.shares[:2]:
        made = fields(await show(desk, rekey, "share", share))
    assert (made["state"], made["epoch"], len(made["shares"])) == ("staged", 2, 3)
    assert desk.vault.status().epoch == 1
    done = fields(await desk.ask("POST", path))
    assert (done["state"], done["rekey"]) == ("done", rekey["rekey"])
    assert desk.vault.status().epoch == 2


async def test_a_rekey_can_be_watched_and_cancelled(desk: SealDesk) -> None:
    await desk.open()
    rekey = await begin(desk)
    path = f"rekey/{rekey['rekey']}"
    with unchanged(desk):
        assert fields(await desk.ask("GET", path))["state"] == "proving"
        assert fields(await desk.ask("DELETE", path)) == {"cancelled": True}
    assert refusal(await desk.ask("DELETE", path)) == (404, "REKEY_NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"threshold": 4},
        {"threshold": 0},
        {"shares": 17},
        {"threshold": 1, "shares": 2},
        {"recipients": ["age1x", "age1y", "age1z"]},
        {"recipients": ["-----BEGIN PGP PUBLIC KEY BLOCK-----"]},
        {"groups": []},
    ],
)
async def test_sharings_that_cannot_be(desk: SealDesk, body: dict[str, object]) -> None:
    await desk.open()
    whole = {"threshold": 2, "shares": 3, **body} if body else {}
    with unchanged(desk):
        assert refusal(await desk.ask("POST", "rekey", whole)) == (400, "BAD_REQUEST")
