"""An imicros-keys deployment moves over: real Redis, real sockets, the real store of a node."""

import asyncio
import base64
import hashlib
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from keyserver.api.listening import tcp_socket
from keyserver.app.accounts import write_key_file
from keyserver.cli.main import main
from keyserver.cli.output import FAILED, SEALED, UNREACHABLE, USAGE, WRONG_SHARE
from keyserver.sealing.imicros.plan import PREFIX
from keyserver.storage.database import opened
from tests.support.imicros import DEPLOYMENT, SHARES, UNLISTED, VERIFY_HASH, answers
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import RedisServer, RedisUnavailableError
from tests.support.service_key_desk import ADMIN, NODE, Desk, code_of, fields_of, service_path

pytestmark = pytest.mark.usefixtures("dumps_forbidden")
Output = pytest.CaptureFixture[str]
PAIR = ("--pair", json.dumps(UNLISTED))


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    try:
        server = RedisServer()
    except RedisUnavailableError as reason:
        pytest.skip(str(reason))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    redis_server.fill(DEPLOYMENT["redis"])
    return redis_server


@dataclass
class Node:
    """A node behind a socket, and an administrator's key file."""

    desk: Desk
    url: str
    key_file: Path
    password_file: Path

    @property
    def options(self) -> list[str]:
        return [
            *("--url", self.url, "--node-id", NODE.hex()),
            *("--admin-key", str(self.key_file), "--password-file", str(self.password_file)),
        ]


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    password_file = private(tmp_path / "password", "p\n")
    key_file = write_key_file(tmp_path, ADMIN, "p", iterations=1)
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite'}") as database:
        desk = Desk(database, clock=ManualClock(unix=int(time.time())))

        async def status(_: Request) -> JSONResponse:
            return JSONResponse({"sealed": not desk.vault.is_open})

        routes = [Route("/v1/seal/status", status), Mount("/", app=desk.operators)]
        listener = tcp_socket("test", "127.0.0.1", 0)
        settings = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off")
        server = uvicorn.Server(settings)
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        yield Node(desk, f"http://127.0.0.1:{listener.getsockname()[1]}", key_file, password_file)
        server.should_exit = True
        await serving


def private(file: Path, text: str) -> Path:
    file.touch(0o600)
    file.write_text(text)
    return file


@pytest.fixture
def shares(tmp_path: Path) -> list[str]:
    """Three shares in two files."""
    first = private(tmp_path / "first", f"{SHARES[0]}\n\n{SHARES[2].upper()}\n")
    second = private(tmp_path / "second", SHARES[4])
    return ["--share-file", str(first), "--share-file", str(second)]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(DEPLOYMENT["redis"]))
    return file


async def import_imicros(*arguments: object) -> int:
    line = ["service-keys", "import-imicros", "--verify-hash", VERIFY_HASH]
    return await asyncio.to_thread(main, [*line, *map(str, arguments)])


def dump_imicros(*arguments: object) -> int:
    return main(["service-keys", "dump-imicros", *map(str, arguments)])


async def served(desk: Desk) -> dict[tuple[str, str, str], str]:
    """Every answer of the original, asked by id over HTTP."""
    found = {}
    for owner, service, key_id in answers():
        token = await desk.token(PREFIX + owner)
        answer = fields_of(await desk.ask("GET", service_path(service, f"/{key_id}"), token=token))
        assert (answer["id"], answer["owner"]) == (key_id, PREFIX + owner)
        found[owner, service, key_id] = answer["key"]
    return found


async def test_a_deployment_comes_over_from_redis(
    redis: RedisServer, node: Node, shares: list[str], capsys: Output
) -> None:
    before = sorted(redis.client.scan_iter())
    arguments = ["--redis", redis.url, *shares, *PAIR, *node.options]
    assert await import_imicros(*arguments) == 0
    out = capsys.readouterr().out
    assert "8 came over, 0 were there already." in out
    assert await served(node.desk) == answers()
    assert sorted(redis.client.scan_iter()) == before, "nothing changes there"
    assert await import_imicros(*arguments) == 0, "and again"
    assert "0 came over, 8 were there already." in capsys.readouterr().out
    assert await served(node.desk) == answers()


async def test_clients_go_on_where_they_were(node: Node, dump: Path, shares: list[str]) -> None:
    """The current keys of the deployment expired long ago: the next one follows them."""
    assert await import_imicros("--dump", dump, *shares, *PAIR, *node.options) == 0
    token = await node.desk.token(f"{PREFIX}g1")
    path = service_path("my.service")
    before = fields_of(await node.desk.ask("GET", path, token=token))["versions"]
    assert [version["seq"] for version in before] == [3, 2, 1]
    assert before[0]["id"] == "bd1843dc-7bee-4e09-8e34-a3c47f31079d"
    current = fields_of(await node.desk.ask("POST", f"{path}/current", token=token))
    after = fields_of(await node.desk.ask("GET", path, token=token))["versions"]
    assert [version["id"] for version in after] == [current["id"], *(v["id"] for v in before)]
    assert await served(node.desk) == answers()


async def test_nothing_shows_a_secret(
    node: Node, dump: Path, shares: list[str], capsys: Output
) -> None:
    assert await import_imicros("--dump", dump, *shares, *PAIR, *node.options) == 0
    assert await import_imicros("--dump", dump, *shares, *PAIR, "--dry-run", "--json") == 0
    output = capsys.readouterr()
    told = output.out + output.err + repr(node.desk.audit.entries)
    secrets = [*SHARES, DEPLOYMENT["master_key"], *answers().values()]
    assert not [secret for secret in secrets if secret[:32].lower() in told.lower()]


async def test_a_dry_run_asks_no_node(dump: Path, shares: list[str], capsys: Output) -> None:
    assert await import_imicros("--dump", dump, *shares, *PAIR, "--dry-run", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["keys"], facts["restored"], facts["left"], facts["unlisted"]) == (8, None, [], [])
    pair = next(one for one in facts["pairs"] if one["service"] == "my.second")
    assert pair["owner"] == "imicros:g1"
    # SHA-256 of the 32 bytes e9296710…; the original can be asked for the same.
    assert pair["keys"][0]["sha256"] == fingerprint_of("g1", "my.second")


def fingerprint_of(owner: str, service: str) -> str:
    (key,) = (key for (o, s, _), key in answers().items() if (o, s) == (owner, service))
    return hashlib.sha256(bytes.fromhex(key)).hexdigest()[:8]


async def test_what_may_be_missing_is_asked(dump: Path, shares: list[str], capsys: Output) -> None:
    assert await import_imicros("--dump", dump, *shares, "--dry-run") == FAILED
    output = capsys.readouterr()
    assert """YX5ifmM=: this hash may have keys of --pair '["a~b", "c"]'""" in output.err
    assert "not everything would come over" in output.err
    assert "7 keys of 4 pairs" in output.out
    assert await import_imicros("--dump", dump, *shares, "--dry-run", "--only-listed") == 0


async def test_odd_things_are_listed_and_the_rest_comes_over(
    redis: RedisServer, node: Node, shares: list[str], capsys: Output
) -> None:
    redis.client.sadd("owners", "strange", "YX5ifmM=", "nobody", b"\xff")
    redis.client.set("strange", "text")
    redis.client.hset("ZzF+bXkuc2Vjb25k", "default", "!")
    redis.client.set("unrelated", "of somebody else")
    arguments = ["--redis", redis.url, *shares, *PAIR, *node.options]
    assert await import_imicros(*arguments) == FAILED
    err = capsys.readouterr().err
    assert "owner 'strange': is no set but a string" in err
    assert "owner 'YX5ifmM=': is no set but a hash" in err
    assert "owner 'nobody': has no set of services" in err
    assert "service 'my.second', current key: is not JSON" in err
    assert "unrelated" not in err
    assert await served(node.desk) == answers()


async def test_a_dump_of_redis_is_as_good_as_redis(
    redis: RedisServer, node: Node, shares: list[str], tmp_path: Path, capsys: Output
) -> None:
    redis.client.set("unrelated", "of somebody else")
    redis.client.hset("aGVsbG8=", "of", "somebody else")
    out = tmp_path / "out.json"
    assert dump_imicros("--redis", redis.url, "--out", out) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    content = json.loads(out.read_text())
    assert {name: content[name] for name in ("sets", "hashes")} == DEPLOYMENT["redis"]
    assert content["others"] == {}
    assert await import_imicros("--dump", out, *shares, *PAIR, *node.options) == 0
    assert await served(node.desk) == answers()
    assert dump_imicros("--redis", redis.url, "--out", out) == USAGE
    assert "is there already" in capsys.readouterr().err


def test_redis_with_a_password(tmp_path: Path, capsys: Output) -> None:
    try:
        server = RedisServer("s3cret")
    except RedisUnavailableError as reason:
        pytest.skip(str(reason))
    try:
        server.fill(DEPLOYMENT["redis"])
        out = tmp_path / "out.json"
        assert dump_imicros("--redis", server.url, "--out", out) == UNREACHABLE
        with_password = server.url.replace("//", "//:s3cret@")
        assert dump_imicros("--redis", with_password, "--out", out) == USAGE
        assert "s3cret" not in capsys.readouterr().err
        file = private(tmp_path / "redis-password", "s3cret\n")
        arguments = ["--redis", server.url, "--redis-password-file", file, "--out", out]
        assert dump_imicros(*arguments) == 0
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("url", "code"), [("redis://127.0.0.1:1/0", UNREACHABLE), ("mysql://here", USAGE)]
)
def test_no_redis(url: str, code: int, tmp_path: Path, capsys: Output) -> None:
    assert dump_imicros("--redis", url, "--out", tmp_path / "out.json") == code
    assert "--redis: " in capsys.readouterr().err


async def test_a_sealed_node_takes_nothing_and_no_share_is_asked_for(
    node: Node, dump: Path, capsys: Output
) -> None:
    node.desk.vault.is_open = False
    missing = ["--share-file", "/does/not/exist"]
    assert await import_imicros("--dump", dump, *missing, *node.options) == SEALED
    assert "keyserver seal unseal" in capsys.readouterr().err


async def test_only_administrators_may(node: Node, dump: Path, shares: list[str]) -> None:
    unsigned = ["--url", node.url]
    assert await import_imicros("--dump", dump, *shares, *PAIR, *unsigned) == FAILED
    answer = await node.desk.order("GET", "/v1/admin/owners")
    assert fields_of(answer)["owners"] == []
    assert code_of(await node.desk.order("GET", "/v1/admin/owners", key=None)) == "UNAUTHENTICATED"


async def test_a_key_that_is_there_with_other_content_stops_the_import(
    node: Node, dump: Path, shares: list[str], capsys: Output
) -> None:
    assert await import_imicros("--dump", dump, *shares, *PAIR, *node.options) == 0
    stored: Any = json.loads(dump.read_text())
    fields = stored["hashes"]["ZzJ+bXkuc2VydmljZQ=="]
    name = "0214297a-462e-4615-9649-337dc1505cbe"
    changed = json.loads(base64.b64decode(fields[name]))
    changed["exp"] += 1
    fields[name] = base64.b64encode(json.dumps(changed).encode()).decode()
    dump.write_text(json.dumps(stored))
    assert await import_imicros("--dump", dump, *shares, *PAIR, *node.options) == FAILED
    assert "is there with other content" in capsys.readouterr().err
    assert await served(node.desk) == answers(), "what is there stays as it is"


# --- shares -----------------------------------------------------------------------------------


async def test_a_wrong_share_file(dump: Path, tmp_path: Path, capsys: Output) -> None:
    file = private(tmp_path / "shares", f"{SHARES[0]}\n8x\n")
    arguments = ["--dump", dump, "--dry-run", "--share-file", file]
    assert await import_imicros(*arguments) == WRONG_SHARE
    assert f"{file}, line 2: share: need 163" in capsys.readouterr().err
    file.write_text("\n".join([*SHARES[:2], SHARES[2][:-1] + "0", SHARES[3]]))
    assert await import_imicros(*arguments) == WRONG_SHARE
    assert "number 3 (" in capsys.readouterr().err
    file.chmod(0o644)
    assert await import_imicros(*arguments) == USAGE
    assert "readable by others" in capsys.readouterr().err


async def test_shares_on_standard_input(
    dump: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    given(monkeypatch, "\n".join(SHARES).encode())
    assert await import_imicros("--dump", dump, *PAIR, "--dry-run") == 0
    assert "8 keys of 5 pairs" in capsys.readouterr().out


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Standard input that is no terminal."""
    file = SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(data))
    monkeypatch.setattr(sys, "stdin", file)


async def test_a_name_too_long_is_told_in_short(
    dump: Path, shares: list[str], capsys: Output
) -> None:
    content = json.loads(dump.read_text())
    name = base64.b64encode(b"~" * 30_000).decode()
    dump.write_text(json.dumps(content | {"hashes": {**content["hashes"], name: {}}}))
    arguments = ["--dump", dump, *shares, *PAIR, "--dry-run"]
    assert await import_imicros(*arguments) == FAILED
    said = capsys.readouterr().err
    assert f"{name[:40]}…: the name of this hash is too long (40000 characters)" in said
    assert len(said) < 1000
    assert await import_imicros(*arguments, "--only-listed") == 0


async def test_standard_input_that_is_no_text(
    dump: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    given(monkeypatch, b"\xff\n")
    assert await import_imicros("--dump", dump, *PAIR, "--dry-run") == WRONG_SHARE
    assert "standard input, line 1: share: " in capsys.readouterr().err


def test_a_password_of_redis_that_is_no_text(tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_bytes(b"\xff\n")
    arguments = ["--redis-password-file", str(file), "--out", tmp_path / "out.json"]
    assert dump_imicros("--redis", "redis://127.0.0.1:1/0", *arguments) == USAGE
    assert f"--redis-password-file: {file} is no UTF-8 text" in capsys.readouterr().err


async def test_shares_are_typed_without_echo(
    dump: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    typed = iter(["", "nonsense", SHARES[0], SHARES[0], SHARES[1], SHARES[2], ""])

    def prompt(text: str, **options: object) -> str:
        assert options["hide_input"]
        return next(typed)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "prompt", prompt)
    assert await import_imicros("--dump", dump, *PAIR, "--dry-run") == 0
    err = capsys.readouterr().err
    assert "That is none: share: need 163" in err
    assert "Share number 1 was given already." in err
    assert next(typed, None) is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "--redis, --dump: give one of the two"),
        (["--dump", "a", "--redis", "b"], "--redis, --dump: give one of the two"),
        (["--pair", "a b"], "--pair: must be two texts"),
        (["--pair", '["a"]'], "--pair: must be two texts"),
        (["--verify-hash", "00"], "--verify-hash: verify hash: need 112"),
    ],
)
async def test_wrong_use(arguments: list[str], problem: str, capsys: Output) -> None:
    assert await import_imicros("--dry-run", *arguments) == USAGE
    assert problem in capsys.readouterr().err


async def test_a_file_that_is_no_dump(tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "dump"
    file.write_bytes(b"\xff")
    assert await import_imicros("--dry-run", "--dump", file) == FAILED
    assert "is no text" in capsys.readouterr().err
    file.write_text("{}")
    assert await import_imicros("--dry-run", "--dump", file) == FAILED
    assert "no set `owners`" in capsys.readouterr().err
