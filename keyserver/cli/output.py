"""What all commands share: exit codes, how facts are printed, how errors are told.

Facts go to standard output, as one JSON value with `--json` or as text for people; everything else
goes to standard error. A command returns normally (exit code 0) or raises:

| code | meaning |
|---|---|
| 0 | done |
| 1 | failed: what was asked for did not happen |
| 2 | wrong use: an option, an argument or the configuration must be changed |
| 3 | unreachable: no answer from the node or the Ethereum node |
| 4 | wrong share: malformed, of another set, or unknown |
| 5 | sealed: the node has to be unsealed first |
| 70 | a mistake in this program |
| 130 | interrupted |
"""

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from keyserver.errors import ChainError, ConfigError, KeyServerError

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
WRONG_SHARE = 4
SEALED = 5
INTERNAL = 70
INTERRUPTED = 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
"""The type of the parameter `as_json` of every command that prints facts."""


class CommandError(KeyServerError):
    """A command that cannot do what it was asked; tells why and what to do about it."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.exit_code = exit_code


def exit_code_of(error: BaseException) -> int:
    """The exit code that stands for an error."""
    match error:
        case CommandError():
            return error.exit_code
        case ConfigError():
            return USAGE
        case ChainError():
            return UNREACHABLE
        case KeyboardInterrupt():
            return INTERRUPTED
        case KeyServerError() | OSError() | ExceptionGroup():
            return FAILED
    return INTERNAL


def report_error(error: BaseException) -> int:
    """Tell an error on standard error and return its exit code; a trace only in dev mode."""
    if sys.flags.dev_mode:
        traceback.print_exception(error)
    for line in _lines_of(error):
        print(line, file=sys.stderr)
    return exit_code_of(error)


def _lines_of(error: BaseException) -> list[str]:
    match error:
        case KeyServerError():
            first, *more = (str(error) or type(error).__name__).splitlines()
            return [f"keyserver: {first}", *more]
        case ExceptionGroup():
            return [line for inner in error.exceptions for line in _lines_of(inner)]
        case OSError() if error.strerror:
            name = f"{error.filename}: " if error.filename else ""
            return [f"keyserver: {name}{error.strerror}"]
        case KeyboardInterrupt():
            return ["keyserver: interrupted"]
    return [
        f"keyserver: a mistake in this program: {type(error).__name__}: {error}",
        "Please report it, with what this command prints when PYTHONDEVMODE=1 is set.",
    ]


def print_json(value: object) -> None:
    """Print one JSON value."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_facts(facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print names with values, one below the other; `facts` must be ready for JSON."""
    if as_json:
        print_json(dict(facts))
        return
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {cell(value)}")


def print_rows(
    rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str = "nothing"
) -> None:
    """Print rows with the same names as a table; `empty` is said when there are none."""
    if as_json:
        print_json([dict(row) for row in rows])
        return
    if not rows:
        print(empty)
        return
    # Deferred: rich takes 40 ms, which only this needs.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row.values()))
    # Not cut to a width where nobody looks: files and pipes get whole lines.
    width = None if sys.stdout.isatty() else 1000
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def cell(value: object) -> str:
    """One value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(cell(item) for item in value) or "-"
        case dict():
            return ", ".join(f"{name}: {cell(item)}" for name, item in value.items()) or "-"
        case "":
            return '""'
    return str(value)


def time_text(unix: int) -> str:
    """A moment as people read it, in UTC."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
