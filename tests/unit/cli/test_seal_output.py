"""Printing what counts only once it has arrived."""

import json
import os
import sys
from pathlib import Path

import pytest

from keyserver.cli.output import CommandError
from keyserver.cli.seal_output import print_for_good, telling


def test_what_is_printed_to_a_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    with path.open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        print_for_good({"a": 1})
        assert json.loads(path.read_text()) == {"a": 1}


def test_a_pipe_that_somebody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        print_for_good({"a": 1})
    with os.fdopen(reader) as read:
        assert json.load(read) == {"a": 1}


def test_a_pipe_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(CommandError, match="standard output: cannot be written: Broken pipe"):
            print_for_good({"a": 1})
        # closed as Python closes it at the end: without a second error


def test_a_disk_that_fails_when_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(_: int) -> None:
        raise OSError(5, "Input/output error")

    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(os, "fsync", sync)
        with pytest.raises(CommandError, match="Input/output error"):
            print_for_good({"a": 1})


def test_an_output_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(CommandError, match="standard output: is closed"):
        print_for_good({"a": 1})


def test_what_is_done_is_said_where_its_result_cannot_be_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(CommandError, match="Broken pipe") as caught, telling("it is done"):
            print("how")
    assert str(caught.value).startswith("it is done; standard output: cannot be written")


def test_what_is_done_is_said_to_whoever_interrupts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), telling("it is done"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "keyserver: it is done\n"
