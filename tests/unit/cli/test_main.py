"""The tree of commands, its start-up cost, and how errors are told."""

import json
import subprocess
import sys

import pytest
import typer

from keyserver.cli import main as cli_main
from keyserver.cli.main import COMMANDS, Lazy, main
from keyserver.cli.output import (
    CommandError,
    cell,
    exit_code_of,
    print_facts,
    print_rows,
    report_error,
)
from keyserver.errors import ChainError, ConfigError, KeyServerError, StorageError

HEAVY = (
    "web3",
    "eth_account",
    "sqlalchemy",
    "pydantic",
    "structlog",
    "rich",
    "coincurve",
    "asyncio",
)


def test_help_names_all_commands_and_imports_none() -> None:
    script = (
        "import sys; from keyserver.cli.main import main; code = main(['--help']); "
        f"print([name for name in {HEAVY} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *help_lines, last = done.stdout.splitlines()
    assert last == "[] 0"
    for name, lazy in COMMANDS.items():
        assert any(name in line and lazy.help[:20] in line for line in help_lines)


def test_without_a_command_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in "".join(capsys.readouterr())


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("keyserver 0.")


@pytest.mark.parametrize("arguments", [["stauts"], ["init", "--dri", "x"], ["config", "chek"]])
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "No such" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["config", "check", "\udcff"], "argument 3"),
        (["run", "--secretstore-secret=k\udcff"], "--secretstore-secret"),
        (["run", "--\udcff=x"], "argument 2"),
    ],
)
def test_an_argument_that_is_no_text(
    arguments: list[str], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"keyserver: {where}: must be UTF-8\n"


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999", "http://h:x", "h:1"])
def test_an_address_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", url]) == 2
    assert f"--url: {url} is neither http(s)://HOST:PORT nor" in capsys.readouterr().err


class OopsError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (ConfigError("first\nsecond"), 2, "keyserver: first\nsecond\n"),
        (ChainError("http://h: refused"), 3, "keyserver: http://h: refused\n"),
        (StorageError("row 5"), 1, "keyserver: row 5\n"),
        (KeyServerError(), 1, "keyserver: KeyServerError\n"),
        (
            CommandError("no node", hint="Start it.", exit_code=3),
            3,
            "keyserver: no node\nStart it.\n",
        ),
        (FileNotFoundError(2, "No such file", "x"), 1, "keyserver: x: No such file\n"),
        (KeyboardInterrupt(), 130, "keyserver: interrupted\n"),
        (
            ExceptionGroup("", [StorageError("a"), ChainError("b")]),
            1,
            "keyserver: a\nkeyserver: b\n",
        ),
    ],
)
def test_errors_are_told_in_words(
    error: BaseException, code: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error) == code
    assert report_error(error) == code
    assert capsys.readouterr().err == expected


def test_a_mistake_of_the_program_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(OopsError("oops")) == 70
    error = capsys.readouterr().err
    assert "a mistake in this program: OopsError: oops" in error
    assert "Traceback" not in error


def test_dev_mode_shows_the_trace() -> None:
    script = (
        "import sys; from keyserver.cli.output import report_error\n"
        "try: 1 / 0\nexcept ZeroDivisionError as error: sys.exit(report_error(error))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 70
    assert "Traceback" in done.stderr


def failing(what: str) -> None:
    raise CommandError(f"no {what}", exit_code=3)


def with_rest(context: typer.Context, own: bool = False) -> None:
    print(own, context.args)


def test_functions_become_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = __name__
    monkeypatch.setattr(
        cli_main,
        "COMMANDS",
        {
            "failing": Lazy(f"{here}:failing", "Fails."),
            "rest": Lazy(f"{here}:with_rest", "Takes all.", takes_rest=True),
            "gone": Lazy(f"{here}.gone:x", "Not there.", hidden=True),
        },
    )
    assert main(["failing", "luck"]) == 3
    assert capsys.readouterr().err == "keyserver: no luck\n"
    assert main(["rest", "--own", "--secretstore-port=1", "--no-secretstore", "x"]) == 0
    expected = "True ['--secretstore-port=1', '--no-secretstore', 'x']\n"
    assert capsys.readouterr().out == expected
    assert main(["failing", "--help"]) == 0
    assert "Fails." in capsys.readouterr().out
    assert main(["gone"]) == 70
    assert main(["--help"]) == 0
    assert "Not there." not in capsys.readouterr().out


def test_facts_as_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"node_id": "0x1", "ready": True, "peers": ["a", "b"], "last_block": None}
    print_facts(facts, as_json=False)
    assert capsys.readouterr().out == (
        "node id     0x1\nready       yes\npeers       a, b\nlast block  -\n"
    )
    print_facts(facts, as_json=True)
    assert json.loads(capsys.readouterr().out) == facts


def test_rows_as_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"key_id": "0x" + "ab" * 100, "state": "[bold]"}, {"key_id": "0x2", "state": ""}]
    print_rows(rows, as_json=False)
    text = capsys.readouterr().out
    assert "key id" in text
    assert "ab" * 100 in text  # a pipe gets whole lines
    assert "[bold]" in text
    print_rows(rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    print_rows([], as_json=False, empty="no keys")
    assert capsys.readouterr().out == "no keys\n"
    print_rows([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_cells() -> None:
    values: list[object] = [None, False, [], {}, "", 1.5, {"a": None}]
    assert [cell(value) for value in values] == ["-", "no", "-", "-", '""', "1.5", "a: -"]
