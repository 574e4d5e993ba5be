"""What imicros-keys does with keys, and what this project does instead (sealing, A6, A7 and B).

Each test names the row it answers.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from keyserver.api.rate_limit import RateLimiter
from keyserver.app.config.kinds import Places
from keyserver.app.config.model import ServiceKeys
from keyserver.errors import StorageError
from keyserver.sealing.ports import Scope
from tests.support.service_key_desk import (
    ALICE,
    BOB,
    Desk,
    code_of,
    fields_of,
    opened_store,
    owner_of_key,
    service_path,
)

CURRENT = service_path("mail", "/current")
PLACES = Places(home="/", base="/", data="/")


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_store(tmp_path) as database:
        yield Desk(database)


async def test_a7_ten_first_calls_at_once_make_one_key(desk: Desk) -> None:
    """A7 and B10: the original makes ten keys and hands out ten ids."""
    for turn in (1, 2):
        answers = await asyncio.gather(*(desk.ask("POST", CURRENT, key=ALICE) for _ in range(10)))
        assert len({fields_of(answer)["id"] for answer in answers}) == 1
        assert [answer.status for answer in answers].count(201) == 1
        assert len(await desk.store.all_of(owner_of_key(ALICE))) == turn
        desk.clock.advance(31 * 24 * 60 * 60)


async def test_a7_naming_an_owner_opens_nothing(desk: Desk) -> None:
    """A7 and B1: the original gives any caller the keys of the owner it names."""
    key = fields_of(await desk.ask("POST", CURRENT, key=ALICE))
    owner = owner_of_key(ALICE)
    token = await desk.token("svc:mail", scopes=tuple(Scope))
    for answer in (
        await desk.ask("POST", CURRENT, key=BOB, owner=owner),
        await desk.ask("POST", CURRENT, token=token, owner=owner),
        await desk.ask("GET", service_path("mail", f"/{key['id']}"), token=token, owner=owner),
        await desk.ask("GET", "/v1/keys", token=token, owner=owner),
    ):
        assert (answer.status, code_of(answer)) == (403, "OWNER_NOT_PROVEN")
    # nor does the body, nor the query
    answer = await desk.ask("POST", CURRENT, {"owner": owner}, key=BOB)
    assert code_of(answer) == "BAD_REQUEST"
    answer = await desk.ask("POST", f"{CURRENT}?owner={owner}", key=BOB)
    assert fields_of(answer)["owner"] == owner_of_key(BOB)


async def test_a7_names_do_not_run_together(desk: Desk) -> None:
    """A7 and B11: in the original `a` with `b~c` and `a~b` with `c` share one entry."""
    first = fields_of(
        await desk.ask("POST", service_path("b~c", "/current"), token=await desk.token("a"))
    )
    token = await desk.token("a~b")
    answer = await desk.ask("GET", service_path("c", f"/{first['id']}"), token=token)
    assert code_of(answer) == "KEY_NOT_FOUND"
    second = fields_of(await desk.ask("POST", service_path("c", "/current"), token=token))
    assert first["id"] != second["id"]
    assert first["key"] != second["key"]
    owners = [line.owner for line in await desk.store.owners("", 10)]
    assert owners == ["a", "a~b"]


async def test_a7_an_owner_may_be_called_owners_or_like_a_pair(desk: Desk) -> None:
    """A7: the original mixes the services of `owners` into the list, and fails for the other."""
    names = ("owners", "YX5i", "api_tokens", "default")
    for name in names:
        key = fields_of(await desk.ask("POST", CURRENT, token=await desk.token(name)))
        assert key["owner"] == name
    listed = fields_of(await desk.order("GET", "/v1/admin/owners"))["owners"]
    assert [line["owner"] for line in listed] == sorted(names)
    assert all((line["services"], line["keys"]) == (1, 1) for line in listed)


async def test_a6_trouble_with_the_store_leaves_nothing_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6, A7 and B15: the original lists the owner and answers `failed to write new key`."""

    async def full(*_: object) -> bool:
        raise StorageError("database: no room left")

    with monkeypatch.context() as broken:
        broken.setattr(desk.parts.client_needs.keys._store, "add", full)
        answer = await desk.ask("POST", CURRENT, key=ALICE)
        assert (answer.status, code_of(answer)) == (503, "STORAGE_UNAVAILABLE")
    assert await desk.store.owners("", 10) == []
    assert (await desk.ask("POST", CURRENT, key=ALICE)).status == 201


async def test_a7_asking_a_sealed_node_says_that_it_is_sealed(desk: Desk) -> None:
    """A7: in the original the service does not exist, as if it had never been there."""
    desk.vault.is_open = False
    answer = await desk.ask("POST", CURRENT, key=ALICE)
    assert (answer.status, code_of(answer)) == (503, "SEALED")
    assert answer.header("retry-after") is not None


async def test_a6_default_is_no_id(desk: Desk) -> None:
    """A6: the original returns the default key for it, even when it has expired."""
    await desk.ask("POST", CURRENT, key=ALICE)
    for name in ("default", "current", ""):
        answer = await desk.ask("GET", service_path("mail", f"/{name}"), key=ALICE)
        assert code_of(answer) in ("BAD_REQUEST", "NOT_FOUND")


async def test_a6_an_unknown_id_is_named_as_such(desk: Desk) -> None:
    """A6 and B15: the original swallows what it knows and says `failed to read value`."""
    unknown = service_path("mail", "/00000000-0000-4000-8000-000000000000")
    answer = await desk.ask("GET", unknown, key=ALICE)
    assert (answer.status, code_of(answer)) == (404, "KEY_NOT_FOUND")


async def test_a6_owners_are_told_to_administrators_only(desk: Desk) -> None:
    """A6: the original tells whoever calls itself `admin`."""
    await desk.ask("POST", CURRENT, key=ALICE)
    assert code_of(await desk.order("GET", "/v1/admin/owners", key=BOB)) == "FORBIDDEN"
    token = await desk.token("admin", scopes=(Scope.KEYS_USE,))
    answer = await desk.order("GET", "/v1/admin/owners", token=token)
    assert code_of(answer) == "FORBIDDEN"


def test_a6_less_than_a_day_is_a_mistake() -> None:
    """A6: the original replaces it by thirty days without a word."""
    for days in (0, -1, 3651, 0.5):
        with pytest.raises(ValueError):
            ServiceKeys.model_validate({"rotation_days": days}, context=PLACES)
    assert ServiceKeys.model_validate({"rotation_days": 1}, context=PLACES).rotation_days == 1


async def test_b18_encrypting_needs_a_credential(desk: Desk) -> None:
    """B18: 0.1.5 compares the token of `encrypt` and `decrypt` with nothing."""
    for end, body in (
        ("/encrypt", {"plaintext": "aGVsbG8="}),
        ("/decrypt", {"ciphertext": "ksb1.9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.AQEA"}),
    ):
        answer = await desk.ask("POST", service_path("mail", end), body)
        assert (answer.status, code_of(answer)) == (401, "UNAUTHENTICATED")
    token = await desk.token("svc:mail", scopes=(Scope.AUDIT_READ,))
    answer = await desk.ask(
        "POST", service_path("mail", "/encrypt"), {"plaintext": ""}, token=token
    )
    assert code_of(answer) == "FORBIDDEN"


async def test_b18_decrypted_text_is_never_run(
    desk: Desk, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """B18: 0.1.5 runs what begins with `function `, and writes plaintext to its log."""
    text = "ZnVuY3Rpb24gKCkgeyB0aHJvdyAxIH0="  # function () { throw 1 }
    encrypted = fields_of(
        await desk.ask("POST", service_path("mail", "/encrypt"), {"plaintext": text}, key=ALICE)
    )
    answer = await desk.ask("POST", service_path("mail", "/decrypt"), encrypted, key=ALICE)
    assert fields_of(answer) == {"plaintext": text}
    printed = capsys.readouterr()
    logged = caplog.text + printed.out + printed.err + repr(desk.audit.entries)
    assert "throw 1" not in logged
    assert text not in logged


async def test_b18_ciphertext_is_authenticated(desk: Desk) -> None:
    """B18: 0.1.5 uses AES-CBC alone, so ciphertext can be changed unseen."""
    encrypted = fields_of(
        await desk.ask("POST", service_path("mail", "/encrypt"), {"plaintext": "AAAA"}, key=ALICE)
    )
    whole = encrypted["ciphertext"]
    for place in range(len("ksb1.") + 37, len(whole)):
        changed = whole[:place] + ("A" if whole[place] != "A" else "B") + whole[place + 1 :]
        answer = await desk.ask(
            "POST", service_path("mail", "/decrypt"), {"ciphertext": changed}, key=ALICE
        )
        assert (answer.status, code_of(answer)) == (400, "BAD_REQUEST")


async def test_b18_a_service_and_an_owner_of_one_name_are_two(desk: Desk) -> None:
    """A8 and B18: in 0.1.5 the key of a service is that of an owner of the same name."""
    service = fields_of(await desk.ask("POST", CURRENT, token=await desk.token("svc:mail")))
    owner = fields_of(await desk.ask("POST", CURRENT, token=await desk.token("imicros:mail")))
    assert service["key"] != owner["key"]
    body = {
        "principal": owner_of_key(ALICE),
        "scopes": ["keys:use"],
        "services": ["*"],
        "days": 1,
    }
    answer = await desk.order("POST", "/v1/admin/tokens", body)
    assert code_of(answer) == "BAD_REQUEST"


async def test_b16_who_asks_is_written_down_and_kept_in_bounds(desk: Desk) -> None:
    """B16: the original has neither a limit nor a trail."""
    await desk.ask("POST", CURRENT, key=ALICE)
    await desk.ask("POST", CURRENT)
    assert desk.audit.actions == ["keys.create", "keys.get", "auth.denied"]
    limited = Desk(desk.database, clock=desk.clock, limiter=RateLimiter(1, desk.clock.monotonic))
    statuses = [(await limited.ask("POST", CURRENT, key=ALICE)).status for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
