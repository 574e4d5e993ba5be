"""`keyserver seal init`: on the machine, with the node stopped."""

import asyncio
import getpass
import json
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from keyserver.app.clock import SystemClock
from keyserver.app.config import load
from keyserver.app.offline_sealing import stopped_store
from keyserver.app.store import opened_store
from keyserver.cli import seal_handing_out
from keyserver.cli.main import main
from keyserver.cli.output import FAILED, INTERRUPTED, OK, USAGE, WRONG_SHARE
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import AlreadyInitialisedError
from keyserver.sealing.making import PreparedSeal
from keyserver.sealing.record import SealRecord
from keyserver.sealing.shares import check_share
from keyserver.sealing.vault import Vault
from keyserver.storage.database import opened
from keyserver.storage.sealing import SqlSealStore
from tests.support.operator_shares import key_file, key_of_age, private_file, words_of
from tests.support.seal_commands import Typed
from tests.support.sealing import AuditList

Output = pytest.CaptureFixture[str]

NODE_KEY = SecretScalar.from_int(7)
NODE = NodeId.of(NODE_KEY.public())
PLAIN = ["--plain-shares", "--json", "--shares", "3", "--threshold", "2"]


def configured(
    directory: Path, *, with_key: bool = True, keyserver: str = "", secretstore: str = ""
) -> Path:
    """A configuration for a node without a chain, and its directory."""
    key = f'self_secret = "{NODE_KEY.expose().hex()}"' if with_key else ""
    file = directory / "config.toml"
    file.write_text(
        f'[parity]\nbase_path = "{directory}"\n[secretstore]\n{key}\npath = "{directory}/data"\n'
        f'server_set_contract = "none"\nacl_contract = "none"\n{secretstore}\n'
        f"[keyserver]\n{keyserver}\n"
    )
    return file


def run_once(config: Path) -> None:
    """Let the node have a store that its key file opens."""

    async def start() -> None:
        loaded, random, clock = load(config), SystemRandom(), SystemClock()
        async with opened_store(loaded, NODE, random=random, clock=clock):
            pass

    asyncio.run(start())


def init(config: Path, *arguments: object) -> int:
    return main(["seal", "init", "--config", str(config), *map(str, arguments)])


def answer(capsys: Output) -> Any:
    return json.loads(capsys.readouterr().out)


def record_of(directory: Path) -> SealRecord | None:
    async def read() -> SealRecord | None:
        async with opened(f"sqlite:///{directory}/data/keyserver.sqlite") as database:
            stored = await SqlSealStore(database).load()
            return None if stored is None else SealRecord.from_json(stored.record)

    return asyncio.run(read())


def opens_with(directory: Path, shares: list[str]) -> SecretScalar | None:
    """The node's key, after shares have opened the store."""

    async def open_it() -> SecretScalar | None:
        async with opened(f"sqlite:///{directory}/data/keyserver.sqlite") as database:
            store = SqlSealStore(database)
            vault = Vault(store, AuditList(), random=SystemRandom(), clock=SystemClock())
            await vault.load()
            for share in shares:
                await vault.submit(share)
            assert vault.is_open
            return vault.node_secret

    return asyncio.run(open_it())


# --- an empty store ---------------------------------------------------------------------------


def test_a_new_store_with_the_configured_key(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    assert init(config, *PLAIN) == OK
    made = answer(capsys)
    assert (made["node_id"], made["epoch"], made["threshold"]) == (NODE.hex(), 1, 2)
    assert made["remove"] == ["[secretstore] self_secret"]
    assert made["files"] == []
    shares = [share["document"] for share in made["shares"]]
    assert opens_with(tmp_path, shares[1:]) == NODE_KEY
    log = (tmp_path / "data" / "audit.jsonl").read_text()
    assert '"seal.init"' in log
    assert not any(word in log for word in ("mnemonic", NODE_KEY.expose().hex()))


def test_a_new_store_makes_its_own_key(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path, with_key=False)
    assert init(config, *PLAIN) == OK
    made = answer(capsys)
    assert made["remove"] == made["destroy"] == []
    found = opens_with(tmp_path, [share["document"] for share in made["shares"][:2]])
    assert found is not None
    assert NodeId.of(found.public()).hex() == made["node_id"]


def test_a_key_is_imported(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path, with_key=False)
    other = key_file(tmp_path / "key", SecretScalar.from_int(9))
    assert init(config, *PLAIN, "--import-node-key", other) == OK
    expected = NodeId.of(SecretScalar.from_int(9).public()).hex()
    assert answer(capsys)["node_id"] == expected


def test_two_keys_are_one_too_many(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    other = key_file(tmp_path / "key", SecretScalar.from_int(9))
    assert init(config, *PLAIN, "--import-node-key", other) == USAGE
    assert "which one is right?" in capsys.readouterr().err
    same = key_file(tmp_path / "same", NODE_KEY)
    assert init(config, *PLAIN, "--import-node-key", same) == OK


def test_shares_for_recipients_are_files(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    keys = [key_of_age(tmp_path / f"key{number}") for number in range(3)]
    recipients = [word for _, to in keys for word in ("--recipient", to)]
    out = tmp_path / "out"
    options = ["--shares", 3, "--threshold", 2, "--out-dir", out, *recipients]
    assert init(config, *options) == OK
    told = capsys.readouterr().out
    names = [f"share-{number}-of-set-1.age" for number in (1, 2, 3)]
    assert sorted(path.name for path in out.iterdir()) == names
    assert all((out / name).stat().st_mode & 0o777 == 0o600 for name in names)
    assert all(name in told for name in names)
    assert "Remove from the configuration:\n  [secretstore] self_secret" in told
    assert "keyserver seal unseal" in told
    record = record_of(tmp_path)
    assert record is not None
    assert record.epoch == 1


def test_what_cannot_be_written_changes_nothing(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    _, recipient = key_of_age(tmp_path / "key")
    out = tmp_path / "out"
    out.mkdir()
    (out / "share-1-of-set-1.age").write_text("somebody's share")
    one = ["--shares", 1, "--threshold", 1, "--recipient", recipient]
    assert init(config, *one, "--out-dir", out) == FAILED
    assert "nothing has changed" in capsys.readouterr().err
    assert (out / "share-1-of-set-1.age").read_text() == "somebody's share"
    assert record_of(tmp_path) is None
    blocked = private_file(tmp_path / "file", "x")
    assert init(config, *one, "--out-dir", blocked / "below") == USAGE


def test_shares_that_cannot_be_printed_are_never_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert init(config, *PLAIN) == FAILED
    assert record_of(tmp_path) is None


def test_what_is_in_force_is_said_where_the_result_cannot_be_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    _, recipient = key_of_age(tmp_path / "key")
    one = ["--shares", 1, "--threshold", 1, "--recipient", recipient]
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert init(configured(tmp_path), *one, "--out-dir", out) == FAILED
    err = capsys.readouterr().err
    assert err.startswith(f"keyserver: the new shares are in force (set 1), and are in {out}; ")
    assert record_of(tmp_path) is not None
    assert len(list(out.iterdir())) == 1


# --- interrupted ------------------------------------------------------------------------------


def press_ctrl_c(*_: Any, **__: Any) -> str:
    signal.raise_signal(signal.SIGINT)
    return ""  # only where nothing heeds it


@pytest.fixture
def interrupted(typed: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody at the terminal who presses Ctrl-C once, at the first question."""
    monkeypatch.setattr(typer, "prompt", press_ctrl_c)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupted")
def test_the_first_ctrl_c_while_shares_are_shown_ends_it(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    assert init(config, "--plain-shares", "--shares", 3, "--threshold", 2) == INTERRUPTED
    out, err = capsys.readouterr()
    assert "Share 1 of 3" in out
    assert out.endswith("\x1b[H\x1b[2J\x1b[3J"), "the share is not left on the screen"
    assert err == "keyserver: nothing has changed: the new shares are void\n"
    assert record_of(tmp_path) is None


@pytest.mark.usefixtures("interrupted")
def test_the_first_ctrl_c_while_shares_are_read_back_ends_it(
    tmp_path: Path, capsys: Output
) -> None:
    config = configured(tmp_path)
    run_once(config)
    before = record_of(tmp_path)
    _, recipient = key_of_age(tmp_path / "key")
    one = ["--shares", 1, "--threshold", 1, "--recipient", recipient]
    assert init(config, *one, "--out-dir", tmp_path / "out") == INTERRUPTED
    assert "nothing has changed: the new shares are void" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    assert record_of(tmp_path) == before


def test_the_first_ctrl_c_at_the_passphrase_ends_it(
    tmp_path: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    passphrase = private_file(tmp_path / "passphrase", "correct horse\n")
    run_once(configured(tmp_path, keyserver=f'seal.passphrase_file = "{passphrase}"'))
    monkeypatch.setattr(getpass, "getpass", press_ctrl_c)
    config = configured(tmp_path)
    assert init(config, "--plain-shares", "--shares", 3, "--threshold", 2) == INTERRUPTED
    assert capsys.readouterr().err == "keyserver: nothing has changed\n"


@pytest.mark.parametrize("is_known", [True, False])
def test_a_last_step_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, is_known: bool
) -> None:
    """New shares are removed only where it is sure that they are not in force."""

    async def fail(*_: Any) -> None:
        if is_known:
            raise AlreadyInitialisedError("the store has shares already")
        raise StorageError("the database does not answer")

    monkeypatch.setattr(PreparedSeal, "commit", fail)
    _, recipient = key_of_age(tmp_path / "key")
    one = ["--shares", 1, "--threshold", 1, "--recipient", recipient]
    assert init(configured(tmp_path), *one, "--out-dir", tmp_path / "out") == FAILED
    err = capsys.readouterr().err
    assert ("nothing has changed: the new shares are void" in err) is is_known
    assert ("not known whether the new shares are in force: keep them" in err) is not is_known
    assert len(list((tmp_path / "out").iterdir())) == (0 if is_known else 1)


# --- a store in use ---------------------------------------------------------------------------


def test_shares_in_place_of_a_key_file(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    run_once(config)
    before = record_of(tmp_path)
    assert init(config, *PLAIN) == USAGE, "new shares are read back first"
    assert "--no-verify" in capsys.readouterr().err
    assert record_of(tmp_path) == before
    assert init(config, *PLAIN, "--no-verify") == OK
    made = answer(capsys)
    assert made["epoch"] == 2
    assert made["destroy"][-1] == f"{tmp_path}/data/seal.key"
    shares = [share["document"] for share in made["shares"]]
    assert opens_with(tmp_path, shares[:2]) == NODE_KEY
    after = record_of(tmp_path)
    assert after is not None
    assert [slot.kind for slot in after.slots] == ["shamir"]
    for options in ([], ["--no-verify"]):
        assert init(config, *PLAIN, *options) == FAILED
        out, err = capsys.readouterr()
        assert (out, err) == (
            "",
            "keyserver: the store has shares already; run: keyserver seal rekey\n",
        )
    assert record_of(tmp_path) == after


def test_the_key_file_may_stay_beside_the_shares(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    run_once(config)
    assert init(config, *PLAIN, "--no-verify", "--keep-slot") == OK
    made = answer(capsys)
    assert not any("seal.key" in line for line in made["destroy"])
    record = record_of(tmp_path)
    assert record is not None
    assert [slot.kind for slot in record.slots] == ["shamir", "static"]

    async def source_opens() -> bool:
        random, clock = SystemRandom(), SystemClock()
        async with stopped_store(load(config), random=random, clock=clock) as stopped:
            vault = Vault(stopped.seal, stopped.audit, random=random, clock=clock)
            await vault.load()
            assert stopped.source is not None
            await vault.open_with(stopped.source)
            return vault.is_open

    assert asyncio.run(source_opens())


def test_new_shares_are_read_back(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    run_once(config)
    before = record_of(tmp_path)
    keys = [key_of_age(tmp_path / f"key{number}") for number in range(3)]
    recipients = [word for _, to in keys for word in ("--recipient", to)]
    identities = [word for path, _ in keys for word in ("--age-identity", path)]
    out = tmp_path / "out"
    common = ["--shares", 3, "--threshold", 2, "--out-dir", out, *recipients, *identities]
    files = [out / f"share-{number}-of-set-2.age" for number in (1, 2, 3)]
    too_few = [word for file in (files[0], files[0]) for word in ("--new-file", file)]
    assert init(config, *common, *too_few) == USAGE
    assert "2 different shares" in capsys.readouterr().err
    assert record_of(tmp_path) == before
    shutil.rmtree(out)
    wrong = private_file(tmp_path / "wrong", "one two three")
    assert init(config, *common, "--new-file", wrong) == WRONG_SHARE
    assert record_of(tmp_path) == before
    shutil.rmtree(out)
    good = [word for file in (files[2], files[0]) for word in ("--new-file", file)]
    assert init(config, *common, *good, "--json") == OK
    after = record_of(tmp_path)
    assert after is not None
    assert after.epoch == 2
    assert answer(capsys)["files"] == [str(file) for file in files]


def test_a_new_share_that_was_mistyped_is_asked_for_again(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    config = configured(tmp_path)
    run_once(config)
    show = seal_handing_out._show

    def watching(shares: Sequence[Mapping[str, Any]]) -> None:
        first, second = (words_of(share["document"]) for share in shares)
        typed.extend(["one two", first, first, second])
        show(shares)

    monkeypatch.setattr(seal_handing_out, "_show", watching)
    assert init(config, "--plain-shares", "--shares", 2, "--threshold", 2) == OK
    assert "2 words, need 33" in capsys.readouterr().err
    ways = "33 words, or the first four letters of each (not shown)"
    asked = [f"A share of the new set 2, {number} of 2: {ways}" for number in (1, 1, 2, 2)]
    assert typed.questions == asked


def test_the_node_must_be_stopped(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    run_once(config)

    async def while_it_runs() -> None:
        async with opened(f"sqlite:///{tmp_path}/data/keyserver.sqlite"):
            code = await asyncio.to_thread(init, config, *PLAIN, "--no-verify")
            assert code == FAILED

    asyncio.run(while_it_runs())
    assert "in use" in capsys.readouterr().err


def test_the_key_of_another_node_stops_it(tmp_path: Path, capsys: Output) -> None:
    config = configured(tmp_path)
    run_once(config)
    bare = configured(tmp_path, with_key=False)
    other = key_file(tmp_path / "key", SecretScalar.from_int(9))
    assert init(bare, *PLAIN, "--no-verify", "--import-node-key", other) == FAILED
    assert "belongs to node" in capsys.readouterr().err
    assert init(bare, *PLAIN, "--no-verify") == FAILED
    assert "node key" in capsys.readouterr().err
    same = key_file(tmp_path / "same", NODE_KEY)
    assert init(bare, *PLAIN, "--no-verify", "--import-node-key", same) == OK


def test_where_the_old_key_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    key = private_file(tmp_path / "own.key", "ab" * 32)
    config = configured(tmp_path, keyserver=f'seal.key_file = "{key}"')
    run_once(config)
    assert init(config, *PLAIN, "--no-verify") == OK
    made = answer(capsys)
    assert "[keyserver.seal] key_file" in made["remove"]
    assert str(key) in made["destroy"]
    shutil.rmtree(tmp_path / "data")
    monkeypatch.setenv("SEAL_KEY", "cd" * 32)
    config = configured(tmp_path, keyserver='seal.key_env = "SEAL_KEY"')
    run_once(config)
    assert init(config, *PLAIN, "--no-verify") == OK
    made = answer(capsys)
    assert "[keyserver.seal] key_env" in made["remove"]
    assert "the environment variable SEAL_KEY" in made["destroy"]


def test_a_key_file_of_an_account_is_named(tmp_path: Path, capsys: Output) -> None:
    assert (
        main(
            [
                "init",
                "--dir",
                str(tmp_path / "node"),
                "--password-file",
                str(private_file(tmp_path / "password", "x\n")),
                "--acl-contract",
                "none",
                "--server-set-contract",
                "none",
                "--set",
                "account.keys_iterations=1",
            ]
        )
        == OK
    )
    capsys.readouterr()
    config = tmp_path / "node" / "config.toml"
    assert init(config, *PLAIN) == OK
    made = answer(capsys)
    assert made["remove"] == ["[secretstore] self_secret", "[account] password"]
    (account,) = (tmp_path / "node" / "keys").iterdir()
    assert made["destroy"] == [str(account), str(tmp_path / "password")]


def test_a_share_is_good_for_its_record(tmp_path: Path, capsys: Output) -> None:
    assert init(configured(tmp_path), *PLAIN) == OK
    made = answer(capsys)
    record = record_of(tmp_path)
    assert record is not None
    members = [
        check_share(share["document"], SealRecord.from_public(record.public())).member_index
        for share in made["shares"]
    ]
    assert members == [0, 1, 2]
