"""Service keys through sockets: what clients and commands ask is what the node reads."""

import asyncio
import errno
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest
import pytest_asyncio

from keyserver.api.listening import tcp_socket
from keyserver.api.public_server import serve_public
from keyserver.cli.main import main
from keyserver.cli.output import FAILED, SEALED, UNREACHABLE, USAGE
from keyserver.client.errors import (
    BadAnswerError,
    NodeFailedError,
    NodeNotReadyError,
    RefusedOverHttpError,
)
from keyserver.client.node_http import HttpAnswer, HttpRequest
from keyserver.client.service_keys import (
    AccountCredential,
    ServiceKeysClient,
    TokenCredential,
    connect_service_keys,
)
from keyserver.errors import ConfigError
from tests.support.manual_clock import ManualClock
from tests.support.ports import free_port
from tests.support.service_key_desk import (
    ADMIN,
    ALICE,
    BOB,
    NODE,
    OTHER_NODE,
    Desk,
    opened_store,
    owner_of_key,
)

SERVICE = "größe/~1%"


@dataclass
class Served:
    """A desk with both listeners."""

    desk: Desk
    node: str
    operator: str


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with opened_store(tmp_path) as database:
        desk = Desk(database, clock=ManualClock(int(time.time())))
        sockets = [tcp_socket("http_port", "127.0.0.1", 0) for _ in range(2)]
        urls = [f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets]
        servers = [
            asyncio.ensure_future(serve_public(app, listener))
            for app, listener in zip((desk.clients, desk.operators), sockets, strict=True)
        ]
        try:
            yield Served(desk, *urls)
        finally:
            for server in servers:
                server.cancel()
            await asyncio.gather(*servers, return_exceptions=True)


# --- the client -------------------------------------------------------------------------------


async def test_an_account_gets_keys_and_uses_them(served: Served) -> None:
    async with connect_service_keys(served.node, AccountCredential(ALICE, NODE)) as keys:
        key = await keys.current(SERVICE)
        assert (key.service, key.owner, key.current) == (SERVICE, owner_of_key(ALICE), True)
        assert await keys.current(SERVICE) == key
        assert await keys.by_id(SERVICE, key.id) == key
        assert (await keys.services())["services"][0]["service"] == SERVICE
        assert (await keys.versions(SERVICE))["versions"][0]["id"] == key.id
        ciphertext = await keys.encrypt(SERVICE, b"\x00hello", b"row 7")
        assert await keys.decrypt(SERVICE, ciphertext, b"row 7") == b"\x00hello"
        with pytest.raises(RefusedOverHttpError) as refused:
            await keys.decrypt(SERVICE, ciphertext, b"row 8")
        assert refused.value.error_code == "BAD_REQUEST"
        assert key.key.expose().hex() not in repr(key)


async def test_a_service_acts_for_an_owner(served: Served) -> None:
    credential = TokenCredential(await served.desk.token("svc:mail"))
    async with connect_service_keys(served.node, credential, owner="imicros:größe") as keys:
        with pytest.raises(RefusedOverHttpError) as refused:
            await keys.current("mail")
        assert refused.value.error_code == "OWNER_NOT_PROVEN"
        grant = {"principal": "svc:mail", "owner": "imicros:*", "service": "*", "days": 1}
        assert (await served.desk.order("POST", "/v1/admin/grants", grant)).status == 201
        assert (await keys.current("mail")).owner == "imicros:größe"


async def test_a_signature_for_another_node_gets_a_key_that_is_noticed(served: Served) -> None:
    async with connect_service_keys(served.node, AccountCredential(ALICE, OTHER_NODE)) as keys:
        with pytest.raises(BadAnswerError, match="another owner"):
            await keys.current("mail")


async def test_a_sealed_node_is_not_ready(served: Served) -> None:
    served.desk.vault.is_open = False
    async with connect_service_keys(served.node, AccountCredential(ALICE, NODE)) as keys:
        with pytest.raises(NodeNotReadyError) as refused:
            await keys.current("mail")
        assert (refused.value.error_code, refused.value.retry_after_s) == ("SEALED", 5.0)


async def test_keys_do_not_travel_in_the_open() -> None:
    with pytest.raises(ConfigError, match="without encryption"):
        async with connect_service_keys("http://10.0.0.1:8082", AccountCredential(ALICE, NODE)):
            pass
    with pytest.raises(ConfigError) as refused:
        TokenCredential("kst1_secret")
    assert "secret" not in str(refused.value).replace("<secret>", "")


class Answering:
    """`Transport` that answers the same to everything."""

    def __init__(self, status: int, body: object) -> None:
        self._status = status
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def exchange(self, node: str, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer(node, self._status, self._body)


GOOD = {
    "id": "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d",
    "key": "11" * 32,
    "service": "mail",
    "owner": owner_of_key(ALICE),
    "created_at": 1,
    "expires_at": 2,
    "current": True,
}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        GOOD | {"key": "11"},
        GOOD | {"key": 5},
        GOOD | {"owner": owner_of_key(BOB)},
        GOOD | {"owner": None},
        GOOD | {"service": "post"},
        GOOD | {"id": 5},
        GOOD | {"created_at": "1"},
        GOOD | {"current": 1},
    ],
)
async def test_an_answer_that_is_none_is_named(body: object) -> None:
    credential = AccountCredential(ALICE, NODE)
    keys = ServiceKeysClient(Answering(200, body), "http://localhost:1", credential)
    with pytest.raises(BadAnswerError):
        await keys.current("mail")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, {"error": {"code": "KEY_NOT_FOUND", "message": "no\x1b[2J"}}, RefusedOverHttpError),
        (400, b"", RefusedOverHttpError),
        (403, {"error": 5}, RefusedOverHttpError),
        (302, b"", RefusedOverHttpError),
        (429, {"error": {"code": "RATE_LIMITED"}}, NodeNotReadyError),
        (500, {"error": {"code": "a\nb"}}, NodeFailedError),
    ],
)
async def test_refusals_are_told_apart(
    status: int, body: object, error: type[RefusedOverHttpError]
) -> None:
    credential = AccountCredential(ALICE, NODE)
    keys = ServiceKeysClient(Answering(status, body), "http://localhost:1", credential)
    with pytest.raises(error) as refused:
        await keys.current("mail")
    assert str(refused.value).isprintable()


async def test_data_that_is_none_is_named() -> None:
    keys = ServiceKeysClient(
        Answering(200, {"plaintext": "???"}), "http://localhost:1", AccountCredential(ALICE, NODE)
    )
    with pytest.raises(BadAnswerError, match="base64"):
        await keys.decrypt("mail", "ksb1")


# --- the commands -----------------------------------------------------------------------------


class Shell:
    """Runs `keyserver service-keys` beside the node, with an account's and an admin's key."""

    def __init__(
        self, served: Served, folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        self._served = served
        self._capture = capfdbinary
        self.folder = folder
        for name, key in (("alice", ALICE), ("admin", ADMIN)):
            (folder / name).write_text(key.expose().hex())

    async def run(self, *arguments: str, given: bytes = b"") -> tuple[int, bytes, str]:
        """Exit code, standard output and standard error."""
        stdin, sys.stdin = (
            sys.stdin,
            SimpleNamespace(buffer=io.BytesIO(given), isatty=lambda: False),
        )
        try:
            code = await asyncio.to_thread(main, ["service-keys", *arguments])
        finally:
            sys.stdin = stdin
        out, err = self._capture.readouterr()
        return code, out, err.decode()

    async def ask(self, *arguments: str, given: bytes = b"") -> tuple[int, bytes, str]:
        """As the account."""
        signed = ["--key-file", str(self.folder / "alice"), "--node-id", NODE.hex()]
        return await self.run(*arguments, "--node", self._served.node, *signed, given=given)

    async def order(self, *arguments: str, code: int = 0) -> Any:
        """As the administrator; what was printed as JSON."""
        signed = ["--admin-key", str(self.folder / "admin"), "--node-id", NODE.hex()]
        place = ["--url", self._served.operator, *signed]
        got, out, err = await self.run(*arguments, *place)
        assert got == code, err
        return json.loads(out) if out.startswith((b"{", b"[")) else out.decode()


@pytest.fixture
def shell(
    served: Served,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    dumps_forbidden: Sequence[str],
) -> Shell:
    return Shell(served, tmp_path, capfdbinary)


async def test_commands_of_a_service(
    shell: Shell, served: Served, dumps_forbidden: Sequence[str]
) -> None:
    code, out, err = await shell.ask("get", SERVICE, "--json")
    assert code == 0, err
    assert dumps_forbidden, "no core of a process that has held a key"
    key = json.loads(out)
    assert (key["service"], key["owner"]) == (SERVICE, owner_of_key(ALICE))
    code, out, _ = await shell.ask("get", SERVICE, key["id"])
    assert code == 0
    assert key["key"].encode() in out
    for arguments in (("list", "--json"), ("list", SERVICE, "--json")):
        code, out, _ = await shell.ask(*arguments)
        assert (code, len(json.loads(out))) == (0, 1)
    code, out, _ = await shell.ask("list")
    assert "größe" in out.decode()
    code, ciphertext, _ = await shell.ask(
        "encrypt", SERVICE, "--aad", "row 7", given=b"\x00\xffbytes"
    )
    assert (code, ciphertext[:5]) == (0, b"ksb1.")
    code, plain, _ = await shell.ask("decrypt", SERVICE, "--aad", "row 7", given=ciphertext)
    assert (code, plain) == (0, b"\x00\xffbytes")
    code, out, _ = await shell.ask("encrypt", SERVICE, "--json", given=b"\x00\xffbytes")
    shown = json.loads(out)
    assert (code, shown.keys()) == (0, {"ciphertext"})
    again = shown["ciphertext"].encode()
    code, out, _ = await shell.ask("decrypt", SERVICE, "--json", given=again)
    assert (code, json.loads(out)) == (0, {"plaintext": "AP9ieXRlcw=="})
    code, _, err = await shell.ask("decrypt", SERVICE, given=ciphertext)
    assert code == FAILED
    assert "does not open" in err
    served.desk.vault.is_open = False
    code, _, err = await shell.ask("get", SERVICE)
    assert (code, "Traceback" in err) == (SEALED, False)


async def test_who_asks_must_be_said(shell: Shell, served: Served, tmp_path: Path) -> None:
    node = ["--node", served.node]
    token = tmp_path / "token"
    token.write_text("kst1_x\n")
    alice = str(tmp_path / "alice")
    wrong: Sequence[Sequence[str]] = (
        [],
        ["--token-file", str(token)],
        ["--token-file", str(token), "--key-file", alice],
        ["--key-file", alice],
        ["--key-file", alice, "--node-id", "12"],
    )
    for options in wrong:
        code, _, err = await shell.run("get", "mail", *node, *options)
        assert code == USAGE, err
    gone = ["--node", f"http://127.0.0.1:{free_port()}", "--key-file", alice]
    code, _, err = await shell.run("get", "mail", *gone, "--node-id", NODE.hex())
    assert code == UNREACHABLE, err
    code, _, err = await shell.ask("encrypt", "mail", given=bytes(200_000))
    assert (code, "too long" in err) == (USAGE, True)


@pytest.mark.parametrize("arguments", [["get", "mail"], ["encrypt", "mail"], ["list"]])
async def test_nothing_is_signed_for_a_node_that_is_another(
    shell: Shell, served: Served, tmp_path: Path, arguments: list[str]
) -> None:
    place = ["--node", served.node, "--key-file", str(tmp_path / "alice")]
    code, _, err = await shell.run(*arguments, *place, "--node-id", OTHER_NODE.hex(), given=b"x")
    assert code == USAGE
    assert f"signed for 0x{OTHER_NODE.hex()}, but the node at {served.node}" in err
    assert f"says that it is 0x{NODE.hex()}" in err
    assert served.desk.audit.actions == []


async def test_commands_of_an_administrator(shell: Shell, served: Served, tmp_path: Path) -> None:
    token = tmp_path / "token"
    made = await shell.order("token", "make", "svc:mail", "--out", str(token), "--json")
    assert made["file"] == str(token)
    assert token.stat().st_mode & 0o777 == 0o600
    await shell.order("grant", "make", "svc:mail", "--owner", "imicros:*", "--json")
    code, out, err = await shell.run(
        *("get", "mail", "--node", served.node, "--token-file", str(token)),
        *("--owner", "imicros:a/b", "--json"),
    )
    assert code == 0, err
    key = json.loads(out)
    [owner] = await shell.order("owners", "--json")
    assert (owner["owner"], owner["keys"]) == ("imicros:a/b", 1)

    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(str(identity))
    (tmp_path / "identity").chmod(0o600)
    file = tmp_path / "export.age"
    recipient = str(identity.to_public())
    written = await shell.order(
        "export", "imicros:a/b", "--recipient", recipient, "--out", str(file), "--json"
    )
    await shell.order(
        "export", "imicros:a/b", "--recipient", recipient, "--out", str(file), code=USAGE
    )
    deleted = await shell.order(
        "delete", "imicros:a/b", "--export", written["export"], "--file", str(file), "--json"
    )
    assert deleted == {"deleted": 1}
    assert "imicros:a/b" in await shell.order("owners")
    restored = await shell.order(
        "restore", str(file), "--age-identity", str(tmp_path / "identity"), "--json"
    )
    assert restored == {"owner": "imicros:a/b", "restored": 1, "present": 0}
    found = await served.desk.store.all_of("imicros:a/b")
    assert [stored.version.key_id for stored in found] == [key["id"]]
    await shell.order("restore", str(token), "--age-identity", str(tmp_path / "identity"), code=2)

    [listed] = await shell.order("token", "list", "--json")
    assert (listed["token_id"], "token" in listed) == (made["token_id"], False)
    [grant] = await shell.order("grant", "list", "--json")
    assert "imicros:*" in await shell.order("grant", "list")
    assert "svc:mail" in await shell.order("token", "list")
    for what, name in (("token", made["token_id"]), ("grant", grant["grant"])):
        assert "revoked" in await shell.order(what, "revoke", name)
        await shell.order(what, "revoke", name, code=FAILED)
        await shell.order(what, "revoke", "../x", code=FAILED)
    shown = await shell.order("token", "make", "svc:mail", "--json")
    assert shown["token"].startswith("kst1_")
    assert await shell.order("token", "revoke", shown["token_id"], "--json") == {"revoked": True}


async def test_no_token_is_made_that_cannot_be_kept(shell: Shell, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    for out in (there, tmp_path / "no" / "folder"):
        await shell.order("token", "make", "svc:mail", "--out", str(out), code=USAGE)
    assert there.read_text() == "mine"
    assert await shell.order("token", "list", "--json") == []


async def test_no_file_stays_of_a_token_that_was_not_made(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "token"
    scope = ["--scope", "no:such"]
    await shell.order("token", "make", "svc:mail", *scope, "--out", str(out), code=USAGE)
    assert not out.exists()


async def test_a_token_that_could_not_be_written_is_named(
    shell: Shell, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def full(_: Path) -> Iterator[io.BytesIO]:
        yield io.BytesIO()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("keyserver.cli.service_keys_credentials.new_private_file", full)
    place = ["--url", served.operator, "--admin-key", str(tmp_path / "admin")]
    made = ["token", "make", "svc:mail", "--out", str(tmp_path / "token")]
    code, _, err = await shell.run(*made, *place, "--node-id", NODE.hex())
    [listed] = await shell.order("token", "list", "--json")
    assert code == FAILED
    assert "No space left on device; the token was made, and is lost" in err
    assert f"token revoke {listed['token_id']}`" in err
