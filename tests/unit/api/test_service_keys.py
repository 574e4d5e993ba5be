"""`/v1/keys` on the client listener: who gets which key, and what everybody else is told."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import update

from keyserver.api.ports import Availability
from keyserver.api.rate_limit import RateLimiter
from keyserver.errors import StorageError
from keyserver.sealing.ports import Scope
from keyserver.storage.schema import SERVICE_KEYS
from tests.support.asgi import call
from tests.support.service_key_desk import (
    ADMIN,
    ALICE,
    BOB,
    OTHER_NODE,
    Desk,
    code_of,
    fields_of,
    opened_store,
    owner_of_key,
    service_path,
)

CURRENT = service_path("mail", "/current")
DAY_S = 24 * 60 * 60


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_store(tmp_path) as database:
        yield Desk(database)


async def test_an_account_gets_a_key_of_its_own(desk: Desk) -> None:
    made = await desk.ask("POST", CURRENT, key=ALICE)
    assert made.status == 201
    again = await desk.ask("POST", CURRENT, key=ALICE)
    assert again.status == 200
    key = fields_of(again)
    assert key == fields_of(made)
    assert key["owner"] == owner_of_key(ALICE)
    assert key["service"] == "mail"
    assert key["current"] is True
    assert len(bytes.fromhex(key["key"])) == 32
    assert set(key) == {"id", "key", "service", "owner", "created_at", "expires_at", "current"}
    by_id = await desk.ask("GET", service_path("mail", f"/{key['id']}"), key=ALICE)
    assert fields_of(by_id) == key


async def test_a_token_gets_the_keys_of_its_principal(desk: Desk) -> None:
    token = await desk.token("svc:mail")
    key = fields_of(await desk.ask("POST", CURRENT, token=token))
    assert key["owner"] == "svc:mail"
    other = fields_of(await desk.ask("POST", CURRENT, token=await desk.token("svc:mail")))
    assert other == key


@pytest.mark.parametrize("name", ["größe", "a/b", "a~b", "a%2Fb", "..", "x y+z", "current", "{}"])
async def test_any_name_can_be_in_a_path(desk: Desk, name: str) -> None:
    key = fields_of(await desk.ask("POST", service_path(name, "/current"), key=ALICE))
    assert key["service"] == name
    listed = fields_of(await desk.ask("GET", "/v1/keys", key=ALICE))
    assert [line["service"] for line in listed["services"]] == [name]
    versions = fields_of(await desk.ask("GET", service_path(name), key=ALICE))
    assert [version["id"] for version in versions["versions"]] == [key["id"]]
    assert "key" not in versions["versions"][0]


@pytest.mark.parametrize("name", ["%ff", "a%00b", "%0A", "%", "%2", "%zz", "x" * 257, "%C2%85"])
async def test_what_is_no_name_is_refused_by_its_rule(desk: Desk, name: str) -> None:
    target = f"/v1/keys/{name}/current"
    answer = await desk.ask("POST", target, key=ALICE)
    assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")
    assert "service: " in answer.text


@pytest.mark.parametrize("key_id", ["default", "1", "g" * 36, "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d"])
async def test_what_is_no_id_is_refused_by_its_rule(desk: Desk, key_id: str) -> None:
    answer = await desk.ask("GET", service_path("mail", f"/{key_id}"), key=ALICE)
    assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")
    assert "id: must be a UUID" in answer.text


async def test_another_owners_id_is_as_unknown_as_none(desk: Desk) -> None:
    key_id = fields_of(await desk.ask("POST", CURRENT, key=ALICE))["id"]
    answers = [
        await desk.ask("GET", service_path("mail", f"/{asked}"), key=BOB)
        for asked in (key_id, "00000000-0000-4000-8000-000000000000")
    ]
    assert [answer.status for answer in answers] == [404, 404]
    assert code_of(answers[0]) == "KEY_NOT_FOUND"
    assert answers[0].body == answers[1].body


# --- credentials ------------------------------------------------------------------------------


async def refused(desk: Desk, headers: list[tuple[str, str]], target: str = CURRENT) -> str:
    """The code with which a request without a body is refused, as one that is not known."""
    before = len(await desk.store.owners("", 100))
    answer = await desk.ask("POST", target, headers=headers)
    assert answer.status == 401
    assert answer.header("www-authenticate") == "Keyserver-Eth, Bearer"
    assert len(await desk.store.owners("", 100)) == before
    return code_of(answer)


async def test_a_request_is_good_once(desk: Desk) -> None:
    headers = desk.signed(ALICE, "POST", CURRENT)
    assert (await desk.ask("POST", CURRENT, headers=headers)).status == 201
    assert await refused(desk, headers) == "NONCE_USED"
    desk.clock.advance(119)
    assert await refused(desk, headers) == "SIGNATURE_EXPIRED"


async def test_a_request_is_good_for_a_minute(desk: Desk) -> None:
    for late_s in (61, -61, 10**6):
        headers = desk.signed(ALICE, "POST", CURRENT, late_s=late_s)
        assert await refused(desk, headers) == "SIGNATURE_EXPIRED"
    for late_s in (60, -60):
        headers = desk.signed(ALICE, "POST", CURRENT, late_s=late_s)
        assert (await desk.ask("POST", CURRENT, headers=headers)).status < 300


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", CURRENT, b""),
        ("POST", service_path("post", "/current"), b""),
        ("POST", f"{CURRENT}?x=1", b""),
        ("POST", "/v1/keys/mai%6C/current", b""),
        ("POST", CURRENT, b"{}"),
    ],
)
async def test_a_signature_of_something_else_is_of_somebody_else(
    desk: Desk, method: str, target: str, body: bytes
) -> None:
    key = fields_of(await desk.ask("POST", CURRENT, key=ALICE))
    headers = desk.signed(ALICE, method, target, body)
    other = fields_of(await desk.ask("POST", CURRENT, headers=headers))
    # the recovered account is one whose key nobody has, with keys of its own
    assert other["owner"] != owner_of_key(ALICE)
    assert other["key"] != key["key"]


async def test_a_request_to_another_node_opens_nothing_here(desk: Desk) -> None:
    key = fields_of(await desk.ask("POST", CURRENT, key=ALICE))
    headers = desk.signed(ALICE, "POST", CURRENT, node=OTHER_NODE)
    other = fields_of(await desk.ask("POST", CURRENT, headers=headers))
    assert other["owner"] != owner_of_key(ALICE)
    assert other["key"] != key["key"]


async def test_no_credential_or_a_broken_one_is_refused(desk: Desk) -> None:
    good = desk.signed(ALICE, "POST", CURRENT)[0][1]
    token = await desk.token("svc:mail")
    for headers in (
        [],
        [("Authorization", "")],
        [("Authorization", "Basic eDp5")],
        [("Authorization", "Keyserver-Eth")],
        [("Authorization", good + " ,x=1")],
        [("Authorization", good.replace("nonce=", "nonce=0"))],
        [("Authorization", good.upper())],
        [("Authorization", f"Bearer {token[:-1]}")],
        [("Authorization", f"Bearer {token[:-5]}AAAAA")],
        [("Authorization", f"Bearer kst1_{'a' * 16}_{token[22:]}")],
        [("Authorization", good), ("Authorization", f"Bearer {token}")],
        [("Authorization", f"Bearer {token}")] * 2,
    ):
        assert await refused(desk, headers) == "UNAUTHENTICATED"


async def test_a_token_is_refused_once_it_has_expired_or_is_revoked(desk: Desk) -> None:
    token = await desk.token("svc:mail", days=1)
    assert (await desk.ask("POST", CURRENT, token=token)).status == 201
    desk.clock.advance(DAY_S)
    headers = [("Authorization", f"Bearer {token}")]
    assert await refused(desk, headers) == "UNAUTHENTICATED"
    token = await desk.token("svc:mail")
    assert (await desk.ask("POST", CURRENT, token=token)).status == 200
    assert (await desk.order("DELETE", f"/v1/admin/tokens/{token[5:21]}")).status == 200
    assert await refused(desk, [("Authorization", f"Bearer {token}")]) == "UNAUTHENTICATED"


async def test_a_token_of_another_service_is_forbidden(desk: Desk) -> None:
    token = await desk.token("svc:mail", services=("post", "mail.*"))
    answer = await desk.ask("POST", CURRENT, token=token)
    assert (answer.status, code_of(answer)) == (403, "FORBIDDEN")
    assert (await desk.ask("POST", service_path("mail.in", "/current"), token=token)).status == 201


async def test_a_token_without_the_scope_is_forbidden(desk: Desk) -> None:
    token = await desk.token("svc:mail", scopes=(Scope.AUDIT_READ,))
    for method, target in (("POST", CURRENT), ("GET", "/v1/keys")):
        answer = await desk.ask(method, target, token=token)
        assert (answer.status, code_of(answer)) == (403, "FORBIDDEN")


# --- owners -----------------------------------------------------------------------------------


async def grant(desk: Desk, principal: str, owner: str, service: str, days: int = 1) -> str:
    body = {"principal": principal, "owner": owner, "service": service, "days": days}
    answer = await desk.order("POST", "/v1/admin/grants", body)
    assert answer.status == 201
    return str(fields_of(answer)["grant"])


async def test_an_owner_in_a_header_counts_with_a_grant_only(desk: Desk) -> None:
    token = await desk.token("svc:mail")
    for caller in ({"token": token}, {"key": BOB}, {"key": ADMIN}):
        answer = await desk.ask("POST", CURRENT, owner="imicros:größe", **caller)
        assert (answer.status, code_of(answer)) == (403, "OWNER_NOT_PROVEN")
    assert await desk.store.owners("", 10) == []
    name = await grant(desk, "svc:mail", "imicros:*", "mail")
    key = fields_of(await desk.ask("POST", CURRENT, owner="imicros:größe", token=token))
    assert key["owner"] == "imicros:größe"
    entry = desk.audit.entries[-1][3]
    assert (entry["owner"], entry["principal"]) == ("imicros:größe", "svc:mail")
    for owner, service in (("imicro", "mail"), ("svc:mai", "mail")):
        answer = await desk.ask("POST", service_path(service, "/current"), owner=owner, token=token)
        assert code_of(answer) == "OWNER_NOT_PROVEN"
    answer = await desk.ask(
        "POST", service_path("post", "/current"), owner="imicros:x", token=token
    )
    assert code_of(answer) == "FORBIDDEN"
    assert (await desk.order("DELETE", f"/v1/admin/grants/{name}")).status == 200
    answer = await desk.ask("POST", CURRENT, owner="imicros:größe", token=token)
    assert code_of(answer) == "OWNER_NOT_PROVEN"


async def test_a_grant_ends(desk: Desk) -> None:
    token = await desk.token("svc:mail")
    await grant(desk, "svc:mail", "imicros:a", "*")
    assert (await desk.ask("POST", CURRENT, owner="imicros:a", token=token)).status == 201
    desk.clock.advance(DAY_S)
    answer = await desk.ask("POST", CURRENT, owner="imicros:a", token=token)
    assert code_of(answer) == "OWNER_NOT_PROVEN"


async def test_naming_oneself_needs_no_grant(desk: Desk) -> None:
    key = fields_of(await desk.ask("POST", CURRENT, key=ALICE, owner=owner_of_key(ALICE)))
    assert key["owner"] == owner_of_key(ALICE)


async def test_a_name_that_is_none_or_stands_there_twice(desk: Desk) -> None:
    for header in ("", "%ff", "a b", "é", "x" * 300):
        headers = [("Keyserver-Owner", header)]
        answer = await desk.ask("POST", CURRENT, key=ALICE, headers=headers)
        assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")
    headers = [("Keyserver-Owner", "a"), ("Keyserver-Owner", owner_of_key(ALICE))]
    answer = await desk.ask("POST", CURRENT, key=ALICE, headers=headers)
    assert answer.status == 401


async def test_who_was_turned_away_is_written_down(desk: Desk) -> None:
    await desk.ask("POST", CURRENT)
    await desk.ask("POST", CURRENT, key=ALICE, owner="svc:other")
    denied = [entry for entry in desk.audit.entries if entry[0] == "auth.denied"]
    assert [details["code"] for *_, details in denied] == ["UNAUTHENTICATED", "OWNER_NOT_PROVEN"]
    assert denied[1][2].name == owner_of_key(ALICE).removeprefix("eth:")


# --- data -------------------------------------------------------------------------------------


async def test_data_goes_there_and_back(desk: Desk) -> None:
    data = bytes(range(256)) * 256
    body = {"plaintext": base64.b64encode(data).decode(), "aad": base64.b64encode(data).decode()}
    encrypted = fields_of(await desk.ask("POST", service_path("mail", "/encrypt"), body, key=ALICE))
    assert encrypted["ciphertext"].startswith("ksb1.")
    opened_again = await desk.ask(
        "POST", service_path("mail", "/decrypt"), {**encrypted, "aad": body["aad"]}, key=ALICE
    )
    assert base64.b64decode(fields_of(opened_again)["plaintext"]) == data
    for body_of, key in (({**encrypted}, ALICE), ({**encrypted, "aad": body["aad"]}, BOB)):
        answer = await desk.ask("POST", service_path("mail", "/decrypt"), body_of, key=key)
        assert answer.status == (400 if key is ALICE else 404)


@pytest.mark.parametrize(
    ("end", "body"),
    [
        ("/encrypt", {}),
        ("/encrypt", {"plaintext": "???"}),
        ("/encrypt", {"plaintext": "aGVsbG8"}),
        ("/encrypt", {"plaintext": 5}),
        ("/encrypt", {"plaintext": "", "more": 1}),
        ("/encrypt", {"plaintext": base64.b64encode(bytes(65537)).decode()}),
        ("/decrypt", {"ciphertext": "x"}),
        ("/decrypt", {"ciphertext": f"ksb1.{'0' * 36}.AAAA"}),
        ("/decrypt", {"ciphertext": "ksb1.9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.A"}),
        ("/current", {"owner": "svc:other"}),
        ("/current", [1]),
    ],
)
async def test_a_body_of_another_form_is_refused(desk: Desk, end: str, body: object) -> None:
    answer = await desk.ask("POST", service_path("mail", end), body, key=ALICE)
    assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")


async def test_a_body_may_be_large_here_and_nowhere_else(desk: Desk) -> None:
    too_much = b'{"plaintext":"' + b"A" * 192 * 1024 + b'"}'
    answer = await desk.ask("POST", service_path("mail", "/encrypt"), too_much, key=ALICE)
    assert (answer.status, code_of(answer)) == (413, "BODY_TOO_LARGE")
    assert "192 KiB" in answer.text
    elsewhere = await desk.ask("POST", "/v1/node", too_much)
    assert "64 KiB" in elsewhere.text


# --- troubles ---------------------------------------------------------------------------------


async def test_a_sealed_node_says_so_before_anything_else(desk: Desk) -> None:
    desk.vault.is_open = False
    for headers in ([], desk.signed(ALICE, "POST", CURRENT)):
        answer = await desk.ask("POST", CURRENT, headers=headers)
        assert (answer.status, code_of(answer)) == (503, "SEALED")
        assert answer.header("retry-after") == "5"
    assert desk.audit.entries == []


async def test_a_replica_on_standby_hands_out_keys(desk: Desk) -> None:
    desk.node.availability = Availability.STANDBY
    assert (await desk.ask("POST", CURRENT, key=ALICE)).status == 201
    answer = await desk.ask("GET", "/v1/node")
    assert (answer.status, code_of(answer)) == (503, "STANDBY")


async def test_an_audit_log_that_cannot_be_written_stops_it(desk: Desk) -> None:
    desk.audit.is_broken = True
    answer = await desk.ask("POST", CURRENT, key=ALICE)
    assert (answer.status, code_of(answer)) == (503, "AUDIT_UNAVAILABLE")
    answer = await desk.ask("POST", CURRENT)
    assert (answer.status, code_of(answer)) == (503, "AUDIT_UNAVAILABLE")


async def test_trouble_with_the_database_is_told_without_its_words(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StorageError("database postgresql://ks@10.0.0.1/x: no route to host")

    monkeypatch.setattr(desk.database, "read", broken)
    answer = await desk.ask("POST", CURRENT, key=ALICE)
    assert (answer.status, code_of(answer)) == (503, "STORAGE_UNAVAILABLE")
    assert "10.0.0.1" not in answer.text


async def test_a_key_that_does_not_open_is_told_without_its_place(desk: Desk) -> None:
    await desk.ask("POST", CURRENT, key=ALICE)
    broken = update(SERVICE_KEYS).values(key_box=b"x")
    await desk.database.write_shared(lambda connection: connection.execute(broken))
    answer = await desk.ask("POST", CURRENT, key=ALICE)
    assert (answer.status, code_of(answer)) == (500, "STORAGE_CORRUPT")
    assert "see the log" in answer.text
    assert (await desk.ask("POST", CURRENT, key=BOB)).status == 201


async def test_a_caller_has_one_rate_wherever_it_asks_from(desk: Desk) -> None:
    limited = Desk(desk.database, clock=desk.clock, limiter=RateLimiter(1, desk.clock.monotonic))
    statuses = []
    for number in range(11):
        headers = limited.signed(ALICE, "POST", CURRENT)
        client = (f"10.0.0.{number}", 5000)
        answer = await call(limited.clients, "POST", CURRENT, headers, client=client)
        statuses.append(answer.status)
    assert statuses == [201] + [200] * 9 + [429]


async def test_answers_are_described(desk: Desk) -> None:
    described = json.loads((await desk.ask("GET", "/v1/openapi.json")).body)
    paths = {path for path in described["paths"] if path.startswith("/v1/keys")}
    assert paths == {
        "/v1/keys",
        "/v1/keys/{service}",
        "/v1/keys/{service}/current",
        "/v1/keys/{service}/{id}",
        "/v1/keys/{service}/encrypt",
        "/v1/keys/{service}/decrypt",
    }
    current = described["paths"]["/v1/keys/{service}/current"]["post"]
    assert {"200", "201", "401", "403", "410", "503"} <= set(current["responses"])
    assert (await desk.ask("GET", "/v1/docs")).status == 200
