"""Owners, tokens and grants on the operator listener."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pyrage
import pytest
import pytest_asyncio
from sqlalchemy import select

from keyserver.sealing.service_keys.model import StoredVersion
from keyserver.storage.schema import API_TOKENS, SERVICE_KEYS
from keyserver.storage.service_keys import SqlServiceKeyStore
from tests.support.asgi import call
from tests.support.raw_http import Answer
from tests.support.service_key_desk import (
    ADMIN,
    ALICE,
    Desk,
    code_of,
    fields_of,
    opened_store,
    owner_of_key,
    owner_path,
    service_path,
)

DAY_S = 24 * 60 * 60
OWNER = "imicros:größe/~1%"
IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_store(tmp_path) as database:
        yield Desk(database)


async def make_keys(desk: Desk, *services: str, owner: str = OWNER) -> list[dict[str, Any]]:
    token = await desk.token(owner)
    answers = [
        await desk.ask("POST", service_path(service, "/current"), token=token)
        for service in services
    ]
    return [fields_of(answer) for answer in answers]


async def exported(desk: Desk, owner: str = OWNER) -> dict[str, Any]:
    body = {"recipients": [RECIPIENT]}
    return fields_of(await desk.order("POST", owner_path(owner, "/export"), body))


def document_of(export: dict[str, Any]) -> dict[str, Any]:
    sealed = base64.b64decode(export["document"])
    document: dict[str, Any] = json.loads(pyrage.decrypt(sealed, [IDENTITY]))
    return document


def deletion(made: dict[str, Any], owner: str = OWNER, **changes: str) -> str:
    query = {"export": made["export"], "sha256": made["sha256"], **changes}
    return owner_path(owner, "?" + "&".join(f"{name}={text}" for name, text in query.items()))


async def test_owners_are_listed_by_their_bytes_with_counts(desk: Desk) -> None:
    for owner in ("svc:b", "svc:a", "größe", "owners", "Z"):
        await make_keys(desk, "mail", "post", owner=owner)
    desk.clock.advance(31 * DAY_S)
    await make_keys(desk, "mail", owner="svc:a")
    first = fields_of(await desk.order("GET", "/v1/admin/owners?limit=3"))
    assert [line["owner"] for line in first["owners"]] == ["Z", "größe", "owners"]
    assert first["next_after"] == "owners"
    rest = fields_of(await desk.order("GET", "/v1/admin/owners?after=owners&limit=3"))
    assert rest == {
        "owners": [
            {"owner": "svc:a", "services": 2, "keys": 3, "deleted_at": None},
            {"owner": "svc:b", "services": 2, "keys": 2, "deleted_at": None},
        ],
        "next_after": None,
    }
    for limit in ("0", "000000001000000000", "000000001" + 5000 * "0"):
        answer = await desk.order("GET", f"/v1/admin/owners?limit={limit}")
        assert code_of(answer) == "BAD_REQUEST", limit[:20]


async def test_only_administrators_get_in(desk: Desk) -> None:
    await make_keys(desk, "mail")
    for method, target, body in (
        ("GET", "/v1/admin/owners", None),
        ("POST", owner_path(OWNER, "/export"), {"recipients": [RECIPIENT]}),
        ("POST", owner_path(OWNER, "/restore"), {}),
        ("DELETE", owner_path(OWNER), None),
        ("GET", "/v1/admin/tokens", None),
        ("POST", "/v1/admin/tokens", {}),
        ("DELETE", "/v1/admin/tokens/x", None),
        ("GET", "/v1/admin/grants", None),
        ("POST", "/v1/admin/grants", {}),
        ("DELETE", "/v1/admin/grants/x", None),
    ):
        assert code_of(await desk.order(method, target, body, key=ALICE)) == "FORBIDDEN"
        assert code_of(await desk.order(method, target, body, key=None)) == "UNAUTHENTICATED"
    assert "keys.owner.export" not in desk.audit.actions


async def unreadable() -> Any:
    raise AssertionError("nobody may read this body")


@pytest.mark.parametrize("credential", [None, "Bearer kst1_x", "Basic YTpi"])
async def test_a_large_body_is_not_read_without_a_credential(
    desk: Desk, credential: str | None
) -> None:
    headers = [] if credential is None else [("Authorization", credential)]
    target = owner_path(OWNER, "/restore")
    answer = await call(desk.operators, "POST", target, headers, receive=unreadable)
    assert (answer.status, code_of(answer)) == (401, "UNAUTHENTICATED")
    assert desk.audit.actions == ["auth.denied"]


async def test_a_body_is_not_parsed_for_others(desk: Desk) -> None:
    answer = await desk.order("POST", owner_path(OWNER, "/restore"), b"no JSON", key=ALICE)
    assert (answer.status, code_of(answer)) == (403, "FORBIDDEN")
    answer = await desk.order("POST", owner_path(OWNER, "/restore"), b"no JSON")
    assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")


async def test_one_large_body_at_a_time(desk: Desk) -> None:
    await make_keys(desk, "mail")
    body = json.dumps(document_of(await exported(desk))).encode()
    target = owner_path(OWNER, "/restore")
    reading, waiting = asyncio.Event(), asyncio.Event()
    read: list[int] = []

    async def restore(number: int) -> Answer:
        async def receive() -> Any:
            read.append(number)
            reading.set()
            await waiting.wait()
            return {"type": "http.request", "body": body, "more_body": False}

        headers = desk.signed(ADMIN, "POST", target, body)
        return await call(desk.operators, "POST", target, headers, receive=receive)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(restore(1))
        await reading.wait()
        second = group.create_task(restore(2))
        listed = await desk.order("GET", "/v1/admin/owners")
        assert (listed.status, read) == (200, [1])
        waiting.set()
    assert (first.result().status, second.result().status, read) == (200, 200, [1, 2])


async def test_an_export_holds_every_key_and_only_its_recipient_reads_it(desk: Desk) -> None:
    await make_keys(desk, "mail")
    desk.clock.advance(31 * DAY_S)
    keys = await make_keys(desk, "mail", "größe")
    export = await exported(desk)
    sealed = base64.b64decode(export["document"])
    assert hashlib.sha256(sealed).hexdigest() == export["sha256"]
    assert export["keys"] == 3
    document = document_of(export)
    assert (document["format"], document["kind"], document["owner"]) == (1, "owner-export", OWNER)
    listed = [(entry["service"], entry["seq"]) for entry in document["keys"]]
    assert listed == [("größe", 1), ("mail", 1), ("mail", 2)]
    assert {key["key"] for key in keys} <= {entry["key"] for entry in document["keys"]}
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed, [pyrage.x25519.Identity.generate()])
    answer = json.dumps(export)
    assert not any(entry["key"] in answer for entry in document["keys"])


async def test_an_owner_is_deleted_and_comes_back(desk: Desk) -> None:
    keys = await make_keys(desk, "mail", "post")
    await make_keys(desk, "mail", owner="svc:other")
    export = await exported(desk)
    assert fields_of(await desk.order("DELETE", deletion(export))) == {"deleted": 2}
    token = await desk.token(OWNER)
    for method, end in (
        ("POST", "/current"),
        ("GET", f"/{keys[0]['id']}"),
        ("POST", "/encrypt"),
    ):
        body = {"plaintext": ""} if end == "/encrypt" else None
        answer = await desk.ask(method, service_path("mail", end), body, token=token)
        assert (answer.status, code_of(answer)) == (410, "OWNER_DELETED")
    lines = fields_of(await desk.order("GET", "/v1/admin/owners"))["owners"]
    deleted_at = desk.clock.unix() * 1000
    assert lines == [
        {"owner": OWNER, "services": 0, "keys": 0, "deleted_at": deleted_at},
        {"owner": "svc:other", "services": 1, "keys": 1, "deleted_at": None},
    ]
    again = await desk.order("DELETE", deletion(export))
    assert (again.status, code_of(again)) == (410, "OWNER_DELETED")
    restored = await desk.order("POST", owner_path(OWNER, "/restore"), document_of(export))
    assert fields_of(restored) == {"restored": 2, "present": 0}
    assert await make_keys(desk, "mail", "post") == keys
    restored = await desk.order("POST", owner_path(OWNER, "/restore"), document_of(export))
    assert fields_of(restored) == {"restored": 0, "present": 2}
    owners = [entry for entry in desk.audit.entries if entry[0].startswith("keys.owner")]
    told = [(action, outcome, details["keys"]) for action, outcome, _, details in owners]
    assert told == [
        ("keys.owner.export", "ok", 2),
        ("keys.owner.delete", "ok", 2),
        ("keys.owner.delete", "ok", 0),
        ("keys.owner.delete", "refused", 0),
        ("keys.owner.restore", "ok", 2),
        ("keys.owner.restore", "ok", 0),
    ]
    assert {details["principal"] for *_, details in owners} == {owner_of_key(ADMIN)}


async def test_nothing_is_deleted_without_a_fresh_and_complete_export(desk: Desk) -> None:
    await make_keys(desk, "mail")
    await make_keys(desk, "mail", owner="svc:other")
    export, foreign = await exported(desk), await exported(desk, "svc:other")
    stale = [
        deletion(export, sha256="0" * 64),
        deletion(export, export="00000000-0000-4000-8000-000000000000"),
        deletion(foreign),
    ]
    for target in stale:
        answer = await desk.order("DELETE", target)
        assert (answer.status, code_of(answer)) == (409, "EXPORT_STALE")
    for target in (
        owner_path(OWNER),
        deletion(export, sha256="x"),
        deletion(export, export="x"),
    ):
        assert code_of(await desk.order("DELETE", target)) == "BAD_REQUEST"
    await make_keys(desk, "post")
    answer = await desk.order("DELETE", deletion(export))
    assert (answer.status, code_of(answer)) == (409, "EXPORT_STALE")
    export = await exported(desk)
    desk.clock.advance(DAY_S)
    assert code_of(await desk.order("DELETE", deletion(export))) == "EXPORT_STALE"
    assert len(await desk.store.all_of(OWNER)) == 2


async def test_nothing_is_changed_that_cannot_be_written_down(desk: Desk) -> None:
    await make_keys(desk, "mail")
    export = await exported(desk)
    document = document_of(export)
    document["keys"][0]["service"] = "post"
    token = fields_of(await desk.order("POST", "/v1/admin/tokens", TOKEN))["token_id"]
    grant = fields_of(await desk.order("POST", "/v1/admin/grants", GRANT))["grant"]
    desk.audit.is_broken = True
    for method, target, body in (
        ("POST", owner_path(OWNER, "/export"), {"recipients": [RECIPIENT]}),
        ("DELETE", deletion(export), None),
        ("POST", owner_path(OWNER, "/restore"), document),
        ("POST", "/v1/admin/tokens", TOKEN),
        ("POST", "/v1/admin/grants", GRANT),
        ("DELETE", f"/v1/admin/tokens/{token}", None),
        ("DELETE", f"/v1/admin/grants/{grant}", None),
    ):
        answer = await desk.order(method, target, body)
        assert (answer.status, code_of(answer)) == (503, "AUDIT_UNAVAILABLE")
    desk.audit.is_broken = False
    assert len(await desk.store.all_of(OWNER)) == 1
    tokens = await desk.tokens.page("", 10)
    assert token in [each.token_id for each in tokens]
    assert [each.grant_id for each in await desk.grants.page("", 10)] == [grant]


async def test_what_was_refused_in_the_end_is_written_down_as_such(desk: Desk) -> None:
    await make_keys(desk, "mail")
    export = await exported(desk)
    await make_keys(desk, "post")
    assert code_of(await desk.order("DELETE", deletion(export))) == "EXPORT_STALE"
    told = [entry for entry in desk.audit.entries if entry[0] == "keys.owner.delete"]
    assert [outcome for _, outcome, *_ in told] == ["ok", "refused"]
    assert told[1][3]["code"] == "EXPORT_STALE"


async def test_erased_boxes_are_not_in_the_files(desk: Desk, tmp_path: Path) -> None:
    await make_keys(desk, "mail")
    [stored] = await desk.store.all_of(OWNER)
    files = [tmp_path / "store.sqlite", tmp_path / "store.sqlite-wal"]
    assert any(stored.key_box in file.read_bytes() for file in files)
    await desk.order("DELETE", deletion(await exported(desk)))
    assert not any(stored.key_box in file.read_bytes() for file in files if file.exists())


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "backup"},
        {"owner": "svc:other"},
        {"more": 1},
        {"keys": []},
        {"keys": {}},
        {"keys": [1]},
    ],
)
async def test_a_document_of_another_form_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    await make_keys(desk, "mail")
    document = document_of(await exported(desk)) | change
    answer = await desk.order("POST", owner_path(OWNER, "/restore"), document)
    assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")
    assert "document" in answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "default"),
        ("service", ""),
        ("service", "a\n"),
        ("seq", 0),
        ("seq", True),
        ("seq", 1.5),
        ("key", "00" * 31),
        ("key", "0X" * 32),
        ("created_at", -1),
        ("expires_at", 1 << 53),
        ("expires_at", "1"),
        ("origin", "Made by me"),
        ("origin", None),
        ("more", 1),
    ],
)
async def test_a_key_of_another_form_is_refused(desk: Desk, field: str, value: object) -> None:
    await make_keys(desk, "mail")
    document = document_of(await exported(desk))
    secret = document["keys"][0]["key"]
    document["keys"][0][field] = value
    answer = await desk.order("POST", owner_path(OWNER, "/restore"), document)
    assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")
    assert secret not in answer.text


async def test_restoring_never_changes_a_key(desk: Desk) -> None:
    [key] = await make_keys(desk, "mail")
    document = document_of(await exported(desk))
    desk.clock.advance(31 * DAY_S)
    await make_keys(desk, "mail")
    other_key = {**document["keys"][0], "key": "11" * 32}
    taken_number = {**other_key, "id": "00000000-0000-4000-8000-000000000000", "seq": 2}
    free = {**taken_number, "seq": 3}
    for entries in ([other_key], [taken_number], [free, taken_number | {"service": "mail"}]):
        answer = await desk.order(
            "POST", owner_path(OWNER, "/restore"), document | {"keys": entries}
        )
        assert answer.status in (400, 409), answer.text
    assert len(await desk.store.all_of(OWNER)) == 2
    twice = document | {"keys": [free, free]}
    answer = await desk.order("POST", owner_path(OWNER, "/restore"), twice)
    assert code_of(answer) == "BAD_REQUEST"
    answer = await desk.order("POST", owner_path(OWNER, "/restore"), document | {"keys": [free]})
    assert fields_of(answer) == {"restored": 1, "present": 0}
    token = await desk.token(OWNER)
    found = await desk.ask("GET", service_path("mail", f"/{key['id']}"), token=token)
    assert fields_of(found)["key"] == key["key"]


async def test_a_conflict_leaves_everything_as_it_was(desk: Desk) -> None:
    await make_keys(desk, "mail")
    document = document_of(await exported(desk))
    entry = document["keys"][0]
    fresh = {**entry, "service": "a", "id": "00000000-0000-4000-8000-000000000000"}
    taken = {**entry, "id": "00000000-0000-4000-8000-000000000001"}
    answer = await desk.order(
        "POST", owner_path(OWNER, "/restore"), document | {"keys": [fresh, taken]}
    )
    assert (answer.status, code_of(answer)) == (409, "CONFLICT")
    assert len(await desk.store.all_of(OWNER)) == 1


async def test_a_deletion_in_the_middle_of_a_restoration_loses_no_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there when the document is compared may be gone when it is stored."""
    keys = await make_keys(desk, "mail", "post")
    export = await exported(desk)
    document, target = document_of(export), owner_path(OWNER, "/restore")
    all_of = SqlServiceKeyStore.all_of

    async def overtaken(*asked: Any) -> Sequence[StoredVersion]:
        found = await all_of(*asked)
        with monkeypatch.context() as patch:
            patch.setattr(SqlServiceKeyStore, "all_of", all_of)
            assert fields_of(await desk.order("DELETE", deletion(export))) == {"deleted": 2}
        return found

    with monkeypatch.context() as patch:
        patch.setattr(SqlServiceKeyStore, "all_of", overtaken)
        answer = await desk.order("POST", target, document)
    assert (answer.status, code_of(answer)) == (409, "CONFLICT")
    token = await desk.token(OWNER)
    answer = await desk.ask("POST", service_path("mail", "/current"), token=token)
    assert code_of(answer) == "OWNER_DELETED", "no other key is made meanwhile"
    answer = await desk.order("POST", target, document)
    assert fields_of(answer) == {"restored": 2, "present": 0}
    assert await make_keys(desk, "mail", "post") == keys


async def test_an_owner_without_keys_cannot_be_exported(desk: Desk) -> None:
    body = {"recipients": [RECIPIENT]}
    answer = await desk.order("POST", owner_path("svc:none", "/export"), body)
    assert (answer.status, code_of(answer)) == (404, "KEY_NOT_FOUND")


async def test_recipients_must_be_age_recipients(desk: Desk) -> None:
    await make_keys(desk, "mail")
    for recipients in ([], ["x"], [RECIPIENT, str(IDENTITY)], [5], RECIPIENT):
        answer = await desk.order("POST", owner_path(OWNER, "/export"), {"recipients": recipients})
        assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")
        assert str(IDENTITY) not in answer.text


async def test_a_sealed_node_has_nothing_for_administrators_of_keys(desk: Desk) -> None:
    await make_keys(desk, "mail")
    export = await exported(desk)
    token = fields_of(await desk.order("POST", "/v1/admin/tokens", TOKEN))["token_id"]
    grant = fields_of(await desk.order("POST", "/v1/admin/grants", GRANT))["grant"]
    done = list(desk.audit.actions)
    desk.vault.is_open = False
    for method, target, body in (
        ("GET", "/v1/admin/owners", None),
        ("POST", owner_path(OWNER, "/export"), {"recipients": [RECIPIENT]}),
        ("POST", owner_path(OWNER, "/restore"), document_of(export)),
        ("DELETE", deletion(export), None),
        ("GET", "/v1/admin/tokens", None),
        ("POST", "/v1/admin/tokens", TOKEN),
        ("DELETE", f"/v1/admin/tokens/{token}", None),
        ("GET", "/v1/admin/grants", None),
        ("POST", "/v1/admin/grants", GRANT),
        ("DELETE", f"/v1/admin/grants/{grant}", None),
    ):
        for key in (ADMIN, None):
            answer = await desk.order(method, target, body, key=key)
            assert (answer.status, code_of(answer)) == (503, "SEALED"), (method, target)
            assert answer.header("retry-after") == "5"
    assert desk.audit.actions == done


async def test_a_sealed_node_does_not_read_a_large_body(desk: Desk) -> None:
    desk.vault.is_open = False
    target = owner_path(OWNER, "/restore")
    answer = await call(desk.operators, "POST", target, receive=unreadable)
    assert (answer.status, code_of(answer)) == (503, "SEALED")


async def test_slashes_in_a_path_must_be_encoded(desk: Desk) -> None:
    for method, target in (
        ("POST", "/v1/admin/owners/a/b/export"),
        ("DELETE", "/v1/admin/owners/a/b?export=x&sha256=" + "0" * 64),
        ("POST", "/v1/admin/owners/%ff/restore"),
    ):
        body = {"recipients": [RECIPIENT]} if target.endswith("export") else None
        answer = await desk.order(method, target, body)
        assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")


# --- tokens and grants ------------------------------------------------------------------------

TOKEN = {"principal": "svc:mail", "scopes": ["keys:use"], "services": ["*"], "days": 7}
GRANT = {"principal": "svc:mail", "owner": "imicros:*", "service": "*", "days": 7}


async def test_a_token_is_shown_once(desk: Desk) -> None:
    answer = await desk.order("POST", "/v1/admin/tokens", TOKEN)
    assert answer.status == 201
    assert answer.header("cache-control") == "no-store"
    made = fields_of(answer)
    token = made.pop("token")
    listed = fields_of(await desk.order("GET", "/v1/admin/tokens"))
    assert listed == {"tokens": [made], "next_after": None}
    assert made["expires_at"] - made["created_at"] == 7 * DAY_S * 1000
    rows = await desk.database.read(lambda connection: connection.execute(select(API_TOKENS)).all())
    secret = base64.urlsafe_b64decode(token[22:] + "=")
    assert secret not in repr(rows).encode()
    assert all(secret not in value for value in rows[0] if isinstance(value, bytes))
    assert token[22:] not in repr(desk.audit.entries)
    await desk.ask("POST", service_path("mail", "/current"), token=token)
    [line] = fields_of(await desk.order("GET", "/v1/admin/tokens"))["tokens"]
    assert line["last_used_at"] == desk.clock.unix() * 1000


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"principal": "eth:0x" + "0" * 40}, "BAD_REQUEST"),
        ({"principal": ""}, "BAD_REQUEST"),
        ({"principal": "a\tb"}, "BAD_REQUEST"),
        ({"principal": "\ud800"}, "BAD_REQUEST"),
        ({"principal": 1}, "BAD_REQUEST"),
        ({"scopes": []}, "FORBIDDEN"),
        ({"scopes": ["keys:all"]}, "BAD_REQUEST"),
        ({"services": []}, "BAD_REQUEST"),
        ({"services": ["*"] * 65}, "BAD_REQUEST"),
        ({"services": ["a*b"]}, "BAD_REQUEST"),
        ({"services": ["mail"], "scopes": ["keys:admin"]}, "BAD_REQUEST"),
        ({"services": ["*", "mail"], "scopes": ["keys:use", "seal:admin"]}, "BAD_REQUEST"),
        ({"days": 0}, "BAD_REQUEST"),
        ({"days": 367}, "BAD_REQUEST"),
        ({"days": "7"}, "BAD_REQUEST"),
        ({"more": 1}, "BAD_REQUEST"),
    ],
)
async def test_a_token_must_keep_its_rules(desk: Desk, change: dict[str, Any], code: str) -> None:
    answer = await desk.order("POST", "/v1/admin/tokens", TOKEN | change)
    assert code_of(answer) == code


async def test_nobody_gives_scopes_that_they_do_not_have(desk: Desk) -> None:
    made = await desk.order("POST", "/v1/admin/tokens", TOKEN | {"scopes": ["keys:admin"]})
    token = fields_of(made)["token"]

    async def with_token(body: dict[str, Any]) -> str:
        return code_of(await desk.order("POST", "/v1/admin/tokens", body, token=token))

    assert await with_token(TOKEN | {"scopes": ["seal:admin"]}) == "FORBIDDEN"
    assert await with_token(TOKEN | {"scopes": ["keys:admin", "keys:use"]}) == "FORBIDDEN"
    answer = await desk.order(
        "POST", "/v1/admin/tokens", TOKEN | {"scopes": ["keys:admin"]}, token=token
    )
    assert answer.status == 201


async def test_a_token_makes_none_that_lives_longer(desk: Desk) -> None:
    admin = TOKEN | {"scopes": ["keys:admin"]}
    made = fields_of(await desk.order("POST", "/v1/admin/tokens", admin))
    desk.clock.advance(DAY_S)
    for days, end in ((366, made["expires_at"]), (2, made["expires_at"] - 4 * DAY_S * 1000)):
        body = admin | {"days": days}
        answer = await desk.order("POST", "/v1/admin/tokens", body, token=made["token"])
        assert fields_of(answer)["expires_at"] == end
        assert desk.audit.entries[-1][3]["expires_at"] == end


@pytest.mark.parametrize(
    "change",
    [
        {"principal": ""},
        {"owner": "*x"},
        {"owner": ""},
        {"service": "a**"},
        {"days": 0},
        {"more": 1},
    ],
)
async def test_a_grant_must_keep_its_rules(desk: Desk, change: dict[str, Any]) -> None:
    answer = await desk.order("POST", "/v1/admin/grants", GRANT | change)
    assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")


async def test_grants_are_listed_in_pages_and_revoked(desk: Desk) -> None:
    made = [fields_of(await desk.order("POST", "/v1/admin/grants", GRANT)) for _ in range(3)]
    names = sorted(grant["grant"] for grant in made)
    first = fields_of(await desk.order("GET", "/v1/admin/grants?limit=2"))
    assert [grant["grant"] for grant in first["grants"]] == names[:2]
    rest = fields_of(await desk.order("GET", f"/v1/admin/grants?after={first['next_after']}"))
    assert [grant["grant"] for grant in rest["grants"]] == names[2:]
    assert made[0]["granted_by"] == owner_of_key(ADMIN)
    for was_there in (True, False):
        answer = await desk.order("DELETE", f"/v1/admin/grants/{names[0]}")
        assert fields_of(answer) == {"revoked": was_there}
    answer = await desk.order("DELETE", f"/v1/admin/tokens/{'a' * 16}")
    assert fields_of(answer) == {"revoked": False}
    assert desk.audit.actions.count("grant.revoke") == 1


async def test_names_are_stored_as_they_are(desk: Desk) -> None:
    await make_keys(desk, "größe", "GRÖSSE", "gro\u0308ße")
    rows = await desk.database.read(
        lambda connection: [
            tuple(row)
            for row in connection.execute(select(SERVICE_KEYS.c.owner, SERVICE_KEYS.c.service))
        ]
    )
    assert {owner for owner, _ in rows} == {OWNER}
    assert {service for _, service in rows} == {"größe", "GRÖSSE", "gro\u0308ße"}
