"""`keyserver seal rekey` against the routes of a seal, over a socket."""

import asyncio
import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from keyserver.cli import seal_rekey
from keyserver.cli.operator_client import OperatorClient
from keyserver.cli.output import (
    FAILED,
    INTERRUPTED,
    OK,
    UNREACHABLE,
    USAGE,
    WRONG_SHARE,
    CommandError,
)
from tests.support.operator_shares import (
    key_of_age,
    private_file,
    words_of,
)
from tests.support.seal_commands import Typed, desk_of, listening
from tests.support.seal_desk import SealDesk

Output = pytest.CaptureFixture[str]


def test_a_rekey_with_files(tmp_path: Path, capsys: Output) -> None:
    desk = desk_of(is_open=True)
    keys = [key_of_age(tmp_path / f"key{number}") for number in range(3)]
    old = [private_file(tmp_path / f"old{n}", share) for n, share in enumerate(desk.shares)]
    out = tmp_path / "new"
    options: list[object] = ["--shares", 3, "--threshold", 2, "--out-dir", out]
    for identity, recipient in keys:
        options += ["--recipient", recipient, "--age-identity", identity]
    for number in (0, 2):
        options += ["--file", old[number], "--new-file", out / f"share-{number + 1}-of-set-2.age"]
    with listening(desk) as (_, run):
        assert run("rekey", *options, "--json") == OK
        done = json.loads(capsys.readouterr().out)
        assert (done["epoch"], done["threshold"], len(done["files"])) == (2, 2, 3)
        assert desk.vault.status().epoch == 2
        assert [path.stat().st_mode & 0o777 for path in sorted(out.iterdir())] == [0o600] * 3
        # the same files again: nothing is overwritten, and the rekey is broken off
        again = [str(option).replace("of-set-2", "of-set-3") for option in options]
        assert run("rekey", *again) == WRONG_SHARE
        assert "broken off" in capsys.readouterr().err
        assert desk.vault.status().epoch == 2


def test_a_rekey_at_a_terminal(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    shown: list[str] = []
    give = desk.rekeys.prove

    async def watching(rekey_id: str, text: str) -> Any:
        answer = await give(rekey_id, text)
        if answer.new_shares is not None:
            shown.extend(share.content.decode() for share in answer.new_shares.shares)
            typed.extend([words_of(shown[0]), "no share", words_of(shown[0]), words_of(shown[1])])
        return answer

    monkeypatch.setattr(desk.rekeys, "prove", watching)
    typed += ["one two three", desk.shares[0], desk.shares[1]]
    with listening(desk) as (_, run):
        assert run("rekey", "--plain-shares", "--shares", 3, "--threshold", 2) == OK
    out, err = capsys.readouterr()
    assert desk.vault.status().epoch == 2
    assert "3 words" in err, "a wrong share is asked for again"
    asked = ["present set 1, 1 of 2", "present set 1, 1 of 2", "present set 1, 2 of 2"]
    asked += [f"new set 2, {number} of 2" for number in (1, 2, 2, 2)]
    ways = "33 words, or the first four letters of each (not shown)"
    assert typed.questions == [f"A share of the {which}: {ways}" for which in asked]
    assert "was there already" in err
    for number, share in enumerate(shown, start=1):
        page = out.split("Share ")[number]
        assert page.startswith(f"{number} of 3.")
        assert [word for word in page.split() if word in words_of(share).split()]
        assert "\x1b[2J\x1b[3J" in page, "the screen is emptied, also of what was scrolled away"
    assert "in force" in out


def test_a_rekey_with_recipients_says_who_gets_which_file_and_leaves_no_void_ones(
    tmp_path: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    del typed  # somebody sits there, and gives up

    def leave(text: str, **how: Any) -> str:
        raise typer.Abort

    monkeypatch.setattr(typer, "prompt", leave)
    desk = desk_of(is_open=True)
    recipients = [key_of_age(tmp_path / f"key{number}")[1] for number in range(2)]
    out = tmp_path / "new"
    options: list[object] = ["--shares", 2, "--threshold", 2, "--out-dir", out]
    for recipient in recipients:
        options += ["--recipient", recipient]
    old = [private_file(tmp_path / f"old{n}", share) for n, share in enumerate(desk.shares)]
    options += ["--file", old[0], "--file", old[1]]
    wrong = private_file(tmp_path / "wrong", "one two three")
    with listening(desk) as (_, run):
        assert run("rekey", *options, "--new-file", wrong) == WRONG_SHARE
        assert "broken off" in capsys.readouterr().err
        assert list(out.iterdir()) == [], "its shares are void"
        assert run("rekey", *options) == INTERRUPTED
        asked = capsys.readouterr().err
        for number, recipient in enumerate(recipients, start=1):
            assert f"{out}/share-{number}-of-set-2.age  for {recipient}\n" in asked
        assert list(out.iterdir()) == []
        private_file(out / "share-2-of-set-2.age", "left over")
        assert run("rekey", *options, "--no-verify") == USAGE
        assert "share-2-of-set-2.age is there already" in capsys.readouterr().err
        assert desk.vault.status().epoch == 1
        (out / "share-2-of-set-2.age").unlink()
        assert run("rekey", *options, "--no-verify") == OK
        assert f"share-2-of-set-2.age  for {recipients[1]}\n" in capsys.readouterr().out


def test_a_rekey_that_is_broken_off(tmp_path: Path, typed: list[str], capsys: Output) -> None:
    desk = desk_of(is_open=True)
    wrong = private_file(tmp_path / "wrong", "one two three")
    with listening(desk) as (_, run):
        assert run("rekey", "--plain-shares", "--file", wrong) == WRONG_SHARE
        assert "broken off" in capsys.readouterr().err
        few = private_file(tmp_path / "few", desk.shares[0])
        assert run("rekey", "--plain-shares", "--file", few) == USAGE
        assert "present shares: 2 are needed" in capsys.readouterr().err
        started = asyncio.run(desk.ask("POST", "rekey", {"threshold": 2, "shares": 3}))
        rekey = json.loads(started.body)["rekey"]
        assert run("rekey", "--plain-shares", "--file", few) == FAILED
        assert "keyserver seal rekey cancel" in capsys.readouterr().err
        assert run(f"rekey status {rekey}") == OK
        assert run(f"rekey cancel {rekey}") == OK
        assert run(f"rekey cancel {rekey}") == FAILED
        assert run("rekey cancel ../seal") == USAGE
    assert desk.vault.status().epoch == 1


def test_whoever_leaves_the_terminal_breaks_the_rekey_off(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    typed += [desk.shares[0]]

    def prompt(text: str, **_: Any) -> str:
        if not typed:
            raise typer.Abort
        return typed.pop(0)

    monkeypatch.setattr(typer, "prompt", prompt)
    with listening(desk) as (_, run):
        assert run("rekey", "--plain-shares", "--shares", 3, "--threshold", 2) == INTERRUPTED
        assert "present shares stay in force" in capsys.readouterr().err
        started = asyncio.run(desk.ask("POST", "rekey", {"threshold": 2, "shares": 3}))
        assert started.status == 201, "there is room for the next one"


def test_an_interrupted_rekey_says_once_which_set_is_in_force(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    del typed  # somebody is there, and leaves at the first question

    def leave(text: str, **_: Any) -> str:
        raise typer.Abort

    monkeypatch.setattr(typer, "prompt", leave)
    options = ["--plain-shares", "--shares", 3, "--threshold", 2]
    with listening(desk) as (_, run):
        assert run("rekey", *options) == INTERRUPTED
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("keyserver: rekey ")
    assert rest == [
        "keyserver: the rekey was broken off: the present shares stay in force (set 1), "
        "new ones are void"
    ]


@pytest.mark.parametrize("twice", [False, True], ids=["unreachable", "interrupted again"])
def test_a_rekey_that_could_not_be_broken_off_says_how_to_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, twice: bool
) -> None:
    desk = desk_of(is_open=True)
    options, out = options_with_files(desk, tmp_path)
    private_file(tmp_path / "old2", "one two three")

    def fail(*_: object) -> None:
        if twice:
            raise KeyboardInterrupt
        raise CommandError("no answer from the node", exit_code=UNREACHABLE)

    with listening(desk) as (_, run):
        with monkeypatch.context() as patch:
            patch.setattr(OperatorClient, "delete", fail)
            assert run("rekey", *options) == WRONG_SHARE
        err = capsys.readouterr().err
        rekey_id = err.partition("rekey ")[2].split()[0]
        assert "the present shares stay in force (set 1)" in err
        assert f"keyserver seal rekey cancel {rekey_id}" in err
        assert run("rekey", *options) == FAILED
        err = capsys.readouterr().err
        assert f"end it first: keyserver seal rekey cancel {rekey_id}\n" in err
        assert err.count("cancel") == 1
        assert run(f"rekey cancel {rekey_id}") == OK
    assert not list(out.iterdir())


def test_a_rekey_whose_time_has_run_out(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    typed += [desk.shares[0]]

    def prompt(text: str, **_: Any) -> str:
        desk.rekeys.forget()
        return typed.pop(0)

    monkeypatch.setattr(typer, "prompt", prompt)
    with listening(desk) as (_, run):
        assert run("rekey", "--plain-shares", "--shares", 3, "--threshold", 2) == FAILED
    err = capsys.readouterr().err
    assert "is over: the present shares stay in force (set 1), new ones are void" in err


def options_with_files(desk: SealDesk, folder: Path) -> tuple[list[object], Path]:
    """Of a rekey that asks nobody, and where its new shares go."""
    out = folder / "new"
    options: list[object] = ["--shares", 3, "--threshold", 2, "--out-dir", out]
    for number in range(3):
        identity, recipient = key_of_age(folder / f"key{number}")
        options += ["--recipient", recipient, "--age-identity", identity]
    for number in (0, 2):
        old = private_file(folder / f"old{number}", desk.shares[number])
        options += ["--file", old, "--new-file", out / f"share-{number + 1}-of-set-2.age"]
    return options, out


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the command has waited; it does not wait."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("verify", [True, False])
def test_a_commit_whose_answer_is_lost_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, verify: bool
) -> None:
    desk = desk_of(is_open=True)
    options, out = options_with_files(desk, tmp_path)
    desk.store.dies_at, desk.store.dies_done = desk.store.writes + 1, True
    monkeypatch.setattr(time, "sleep", lambda _: setattr(desk.store, "fails", False))
    with listening(desk) as (_, run):
        assert run("rekey", *options, *([] if verify else ["--no-verify"])) == OK
    assert "trying again" in capsys.readouterr().err
    assert desk.vault.status().epoch == 2
    assert len(list(out.iterdir())) == 3


# --- without reading back ---------------------------------------------------------------------


def test_new_shares_that_cannot_be_written_are_never_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    options, out = options_with_files(desk, tmp_path)
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 4:  # the second file: each one is synced with its directory
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    with listening(desk) as (_, run):
        assert run("rekey", *options, "--no-verify") == FAILED
        err = capsys.readouterr().err
        assert "No space left on device" in err
        assert "the present shares stay in force" in err
        assert list(out.iterdir()) == []
        assert desk.vault.status().epoch == 1
        assert asyncio.run(desk.ask("POST", "rekey", {"threshold": 2, "shares": 3})).status == 201


class FullOutput:
    """Standard output on a disk that is full: it is noticed when the buffer is written."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("output", [FullOutput(), None], ids=["full", "closed"])
def test_new_shares_that_cannot_be_printed_are_never_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, output: FullOutput | None
) -> None:
    desk = desk_of(is_open=True)
    old = [private_file(tmp_path / f"old{n}", share) for n, share in enumerate(desk.shares[:2])]
    options = ["--shares", 3, "--threshold", 2, "--file", old[0], "--file", old[1]]
    with listening(desk) as (_, run):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", output)
            assert run("rekey", *options, "--plain-shares", "--json", "--no-verify") == FAILED
        assert "the present shares stay in force" in capsys.readouterr().err
        assert desk.vault.status().epoch == 1
        assert run("rekey", *options, "--plain-shares", "--json", "--no-verify") == OK
    made = json.loads(capsys.readouterr().out)
    assert (made["epoch"], len(made["shares"])) == (2, 3)
    assert desk.vault.status().epoch == 2


@pytest.mark.parametrize("options", [[], ["--no-verify"], ["--json"]], ids=" ".join)
@pytest.mark.parametrize("output", [FullOutput(), None], ids=["full", "closed"])
def test_what_is_in_force_is_said_where_the_result_cannot_be_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    options: list[str],
    output: FullOutput | None,
) -> None:
    desk = desk_of(is_open=True)
    with_files, out = options_with_files(desk, tmp_path)
    with listening(desk) as (_, run), monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        assert run("rekey", *with_files, *options) == FAILED
    told = f"keyserver: the new shares are in force (set 2), and are in {out}; standard output: "
    assert told in capsys.readouterr().err
    assert desk.vault.status().epoch == 2
    assert len(list(out.iterdir())) == 3


def test_new_shares_that_nobody_has_confirmed_are_never_in_force(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    typed += desk.shares[:2]

    def prompt(text: str, **_: Any) -> str:
        if not typed:
            raise typer.Abort  # at the first "Press Enter"
        return typed.pop(0)

    monkeypatch.setattr(typer, "prompt", prompt)
    options = ["--plain-shares", "--shares", 3, "--threshold", 2, "--no-verify"]
    with listening(desk) as (_, run):
        assert run("rekey", *options) == INTERRUPTED
    out, err = capsys.readouterr()
    assert "the present shares stay in force" in err
    assert out.endswith("\x1b[H\x1b[2J\x1b[3J"), "the share is not left on the screen"
    assert desk.vault.status().epoch == 1


def test_new_shares_stay_while_it_is_not_known_which_are_in_force(
    tmp_path: Path, pauses: list[float], capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    options, out = options_with_files(desk, tmp_path)
    desk.store.dies_at, desk.store.dies_done = desk.store.writes + 1, True
    with listening(desk) as (_, run):
        assert run("rekey", *options) == UNREACHABLE
        told = capsys.readouterr().err
        assert "not known which shares are in force: keep the present and the new" in told
        assert "`keyserver seal status` shows epoch 2 if the new ones are, else 1" in told
        assert "broken off" not in told
        assert len(pauses) == seal_rekey.TRIES - 1
        assert len(list(out.iterdir())) == 3
        desk.store.fails = False
        rekey_id = told.partition("rekey ")[2].split()[0]
        assert run(f"rekey cancel {rekey_id}") == FAILED
        assert "the new shares are in force" in capsys.readouterr().err


def test_new_shares_stay_where_they_are_found_to_be_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    options, out = options_with_files(desk, tmp_path)
    desk.store.dies_at, desk.store.dies_done = desk.store.writes + 1, True
    monkeypatch.setattr(seal_rekey, "TRIES", 1)
    cancel = desk.rekeys.cancel

    async def back(rekey_id: str, actor: Any) -> None:
        desk.store.fails = False
        await cancel(rekey_id, actor)

    monkeypatch.setattr(desk.rekeys, "cancel", back)
    with listening(desk) as (_, run):
        assert run("rekey", *options) == UNREACHABLE
    assert "the new shares are in force" in capsys.readouterr().err
    assert len(list(out.iterdir())) == 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "Who gets the shares?"),
        (["--recipient", "age1x"], "1 for 5 shares"),
        (["--recipient", "age1x", "--plain-shares"], "--recipient, --plain-shares: only one of"),
        (["--plain-shares", "--threshold", "6"], "6 of 5"),
        (["--plain-shares", "--out-dir", "x"], "not written to files"),
        (["--plain-shares"], "no terminal"),
        (["--plain-shares", "--json"], "asked for before"),
        (["--recipient", "age1x", "--shares", "1", "--threshold", "1"], "--out-dir"),
    ],
)
def test_options_that_cannot_be(options: list[str], why: str, capsys: Output) -> None:
    with listening(desk_of(is_open=True)) as (server, run):
        assert run("rekey", *options) == USAGE
        assert why in capsys.readouterr().err
        assert server.asked == []
