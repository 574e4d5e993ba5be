"""`keyserver backup`, as a person types it."""

import asyncio
import json
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest
from rich.console import Console
from rich.status import Status

from keyserver.app.clock import SystemClock
from keyserver.app.config import load
from keyserver.app.store import opened_store
from keyserver.cli.main import main
from keyserver.cli.output import FAILED, USAGE, WRONG_SHARE
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit import parse_line
from keyserver.sealing.ports import SYSTEM, AuditOutcome
from keyserver.sessions.writes import PutPrepared
from keyserver.storage.audit_file import AuditFiles
from keyserver.storage.database import opened
from tests.support.backups import BOXES, Filled, all_rows, fill
from tests.support.stored_values import digest, record, share


@dataclass
class Place:
    """A stopped node's directory."""

    folder: Path

    @property
    def config(self) -> str:
        return str(self.folder / "node.toml")

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/data/keyserver.sqlite"

    @property
    def log(self) -> Path:
        return self.folder / "data" / "audit.jsonl"

    @classmethod
    def make(cls, folder: Path) -> "Place":
        (folder / "data").mkdir(parents=True)
        place = cls(folder)
        Path(place.config).write_text(
            f'[secretstore]\npath = "{folder}/data"\nacl_contract = "none"\n'
            'server_set_contract = "none"\n'
        )
        return place

    def fill(self) -> Filled:
        async def work() -> Filled:
            async with opened(self.url) as database:
                return await fill(database)

        return asyncio.run(work())

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        async def work() -> dict[str, list[tuple[object, ...]]]:
            async with opened(self.url, read_only=True) as database:
                return await all_rows(database)

        return asyncio.run(work())

    def write_down(
        self, *entries: tuple[str, dict[str, int | str]], outcome: AuditOutcome = AuditOutcome.OK
    ) -> None:
        async def work() -> None:
            log = AuditFiles([self.log], replica_id="r", clock=SystemClock())
            await log.open()
            for action, details in entries:
                await log.record(action, outcome, SYSTEM, details)
            await log.close()

        asyncio.run(work())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("keyserver.app.memory.forbid_dumps", lambda: None)  # not this process
    return Place.make(tmp_path / "node")


@pytest.fixture
def new_place(tmp_path: Path) -> Place:
    return Place.make(tmp_path / "other")


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON that a command prints, or what it says of its failure."""
    capsys.readouterr()
    assert main(["backup", *arguments, "--json"]) == code
    said = capsys.readouterr()
    return json.loads(said.out) if code == 0 else said.err


def share_files(folder: Path, filled: Filled) -> list[str]:
    arguments = []
    for number, words in enumerate(filled.words[:2]):
        file = folder / f"share-{number}"
        file.touch(0o600)
        file.write_text(words)
        arguments += ["--share-file", str(file)]
    return arguments


def test_made_tried_and_put_back(
    place: Place, new_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = place.fill()
    place.write_down(("seal.unsealed", {"epoch": 1, "version": 1}))
    out = tmp_path / "backup"
    made = run(capsys, "create", "-c", place.config, "--out", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert made["bytes"] == out.stat().st_size
    assert (made["epoch"], made["terms"], made["opens_with"]) == (1, [1], ["shamir"])
    (entry,) = [parse_line(line) for line in place.log.read_bytes().splitlines()]
    assert made["audit"] == [f"audit.jsonl 1 {entry.head.digest.hex()}"]
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []

    facts = run(capsys, "verify", str(out))
    assert (facts["boxes"], facts["opened"], facts["damaged"]) == (BOXES, False, [])
    facts = run(capsys, "verify", str(out), *share_files(tmp_path, filled))
    assert facts["opened"] is True

    restored = run(capsys, "restore", str(out), "-c", new_place.config)
    assert (restored["replaced"], restored["warnings"]) == (False, [])
    assert restored["seal_id"] == made["seal_id"]
    assert new_place.rows() == place.rows()
    (entry,) = [parse_line(line) for line in new_place.log.read_bytes().splitlines()]
    assert (entry.fields["action"], entry.fields["outcome"]) == ("backup.restore", "ok")
    assert entry.fields["details"]["rows"] == made["rows"]


def test_nothing_is_drawn_over_the_question_for_a_share(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filled = place.fill()
    out = tmp_path / "backup"
    run(capsys, "create", "-c", place.config, "--out", str(out))
    drawn: list[str] = []
    drawing: list[str] = []

    @contextmanager
    def status(_: Console, text: str) -> Iterator[Status]:
        drawn.append(text)
        drawing.append(text)
        yield Status(text)
        drawing.pop()

    def ask(question: str) -> str:
        assert drawing == []
        return filled.words[int(question.split()[1]) - 1]

    monkeypatch.setattr(Console, "status", status)
    monkeypatch.setattr("keyserver.cli.seal_shares.ask_hidden", ask)
    with monkeypatch.context() as at_a_terminal:
        for stream in ("stdin", "stderr"):
            at_a_terminal.setattr(f"sys.{stream}.isatty", lambda: True)
        assert main(["backup", "verify", str(out), "--shares"]) == 0
    assert drawn == ["trying …", "opening boxes …"]
    assert drawing == []


def test_an_interrupt_while_a_share_is_asked_for_ends_it_at_once(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filled = place.fill()
    out = tmp_path / "backup"
    run(capsys, "create", "-c", place.config, "--out", str(out))
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        signal.raise_signal(signal.SIGINT)
        return filled.words[0]

    monkeypatch.setattr("keyserver.cli.seal_shares.ask_hidden", ask)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert main(["backup", "verify", str(out), "--shares"]) == 130
    assert len(asked) == 1


def test_one_that_a_key_file_opens(
    place: Place, new_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        owner = NodeId.of(SecretScalar.from_int(3).public())
        loaded, random = load(Path(place.config)), SystemRandom()
        async with opened_store(loaded, owner, random=random, clock=SystemClock()) as store:
            await store.records.commit([PutPrepared(record(), share(1), digest("t"))])

    asyncio.run(work())
    out = tmp_path / "backup"
    assert run(capsys, "create", "-c", place.config, "--out", str(out))["opens_with"] == ["static"]
    facts = run(capsys, "verify", str(out), "-c", place.config)
    assert (facts["boxes"], facts["opened"], facts["damaged"]) == (1, True, [])
    (new_place.folder / "data" / "seal.key").touch(0o600)
    (new_place.folder / "data" / "seal.key").write_text("11" * 32)
    said = run(capsys, "verify", str(out), "-c", new_place.config, code=USAGE)
    assert "does not open slot 1 (static)" in said


def test_what_was_done_since_is_told(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place.fill()
    out = tmp_path / "backup"
    with monkeypatch.context() as patch:
        patch.setattr(SystemClock, "unix", lambda _: 1_800_000_000)
        run(capsys, "create", "-c", place.config, "--out", str(out))
        patch.setattr(SystemClock, "unix", lambda _: 1_800_000_001)
        place.write_down(
            ("seal.unsealed", {"epoch": 1, "version": 4}),
            ("keys.create", {}),
            ("keys.owner.restore", {"owner": "imicros:a", "keys": 40}),
            ("keys.owner.restore", {"owner": "imicros:a", "keys": 0}),
            ("token.revoke", {}),
        )
    said = run(capsys, "restore", str(out), "-c", place.config, code=FAILED)
    assert "--replace" in said
    restored = run(capsys, "restore", str(out), "-c", place.config, "--replace")
    keyring, keys, tokens = restored["warnings"]
    assert "are there again (1)" in tokens
    assert "the keyring had version 4; it is back at 1" in keyring
    assert "imported or restored since the backup are gone (41)" in keys
    outcomes = [parse_line(line).fields["outcome"] for line in place.log.read_bytes().splitlines()]
    assert outcomes == [*["ok"] * 6, "error", "ok"]

    place.write_down(("seal.unsealed", {"epoch": 3, "version": 5}))
    assert main(["backup", "restore", str(out), "-c", place.config, "--replace"]) == 0
    told = capsys.readouterr().out
    assert "Start the node; it opens with the shares of set 1." in told
    assert "warning: the store had shares of set 3; it is back at set 1" in told


def test_new_shares_that_have_opened_nothing_yet_are_told(
    place: Place, new_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.fill()
    out = tmp_path / "backup"
    run(capsys, "create", "-c", place.config, "--out", str(out))
    commit = "seal.rekey.commit"
    new_place.write_down(("seal.unsealed", {"epoch": 1, "version": 1}))
    new_place.write_down((commit, {"rekey": "0" * 8, "epoch": 2}))
    failed: dict[str, int | str] = {"rekey": "0" * 8, "code": "SEAL_CONFLICT"}
    new_place.write_down((commit, failed), outcome=AuditOutcome.ERROR)
    assert run(capsys, "restore", str(out), "-c", new_place.config)["warnings"] == []
    new_place.write_down((commit, {"rekey": "1" * 8, "epoch": 2}))
    replaced = run(capsys, "restore", str(out), "-c", new_place.config, "--replace")
    (warning,) = replaced["warnings"]
    assert "the store had shares of set 2; it is back at set 1" in warning


def test_encrypted_to_somebody(
    place: Place, new_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.fill()
    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "age.key"
    key.touch(0o600)
    key.write_text(f"# made for a test\n{identity}\n")
    out = tmp_path / "backup"
    recipient = str(identity.to_public())
    run(capsys, "create", "-c", place.config, "--out", str(out), "--recipient", recipient)
    assert b"mail" not in out.read_bytes()
    assert "is encrypted with age" in run(capsys, "verify", str(out), code=USAGE)
    said = run(capsys, "restore", str(out), "-c", new_place.config, code=USAGE)
    assert "is encrypted with age" in said
    assert run(capsys, "verify", str(out), "--age-identity", str(key))["boxes"] == BOXES
    arguments = ["-c", new_place.config, "--age-identity", str(key)]
    run(capsys, "restore", str(out), *arguments)
    assert new_place.rows() == place.rows()
    other = tmp_path / "other.key"
    other.touch(0o600)
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    said = run(capsys, "verify", str(out), "--age-identity", str(other), code=USAGE)
    assert "does not open with this key of age" in said
    data = out.read_bytes()
    for damaged in (data[:60], data[:-1], data[:-9] + bytes(9)):
        out.write_bytes(damaged)
        said = run(capsys, "verify", str(out), "--age-identity", str(key), code=FAILED)
        assert "is damaged" in said


def test_what_is_there_is_never_overwritten(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.fill()
    out = tmp_path / "backup"
    out.write_text("mine")
    said = run(capsys, "create", "-c", place.config, "--out", str(out), code=FAILED)
    assert "is there already" in said
    assert out.read_text() == "mine"
    missing = str(tmp_path / "no" / "backup")
    said = run(capsys, "create", "-c", place.config, "--out", missing, code=FAILED)
    assert "there is no folder" in said
    bad = ["create", "-c", place.config, "--out", str(tmp_path / "x"), "--recipient", "age1no"]
    assert "no age recipient" in run(capsys, *bad, code=FAILED)


def test_a_damaged_file_is_told(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.fill()
    out = tmp_path / "backup"
    run(capsys, "create", "-c", place.config, "--out", str(out))
    data = out.read_bytes()
    out.write_bytes(data.replace(b"svc:mail", b"svc:evil"))
    assert "tables/api_tokens.jsonl: was altered" in run(capsys, "verify", str(out), code=FAILED)
    said = run(capsys, "restore", str(out), "-c", place.config, "--replace", code=FAILED)
    assert "was altered" in said


def test_shares_that_do_not_fit_have_a_code_of_their_own(
    place: Place, new_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.fill()
    foreign = new_place.fill()
    out = tmp_path / "backup"
    run(capsys, "create", "-c", place.config, "--out", str(out))
    run(capsys, "verify", str(out), *share_files(tmp_path, foreign), code=WRONG_SHARE)
    both = [*share_files(tmp_path, foreign), "--shares"]
    run(capsys, "verify", str(out), *both, code=USAGE)


def test_what_cannot_be_looked_at_is_not_damaged(
    place: Place, new_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = place.fill()
    out = tmp_path / "backup"
    made = run(capsys, "create", "-c", place.config, "--out", str(out))
    for path in (tmp_path / "none", tmp_path):
        assert str(path) in run(capsys, "verify", str(path), code=USAGE)
    too_few = share_files(tmp_path, filled)[:2]
    said = run(capsys, "verify", str(out), *too_few, code=USAGE)
    assert "2 shares open the backup, 1 were given" in said
    said = run(capsys, "verify", str(out), "-c", new_place.config, code=USAGE)
    assert "no slot" in said
    other = NodeId.of(SecretScalar.from_int(9).public()).hex()
    with Path(new_place.config).open("a") as config:
        config.write(f'[keyserver.seal]\nexpect_node_id = "{other}"\n')
    shares = share_files(tmp_path, filled)
    said = run(capsys, "verify", str(out), *shares, "-c", new_place.config, code=USAGE)
    assert f"the backup is of node {made['node']}, but expect_node_id in" in said
    assert f"is 0x{other}\nTake that node's backup" in said
