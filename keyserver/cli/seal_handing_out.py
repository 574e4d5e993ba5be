"""Giving new shares to those who keep them: encrypted files, or one at a time on the screen."""

import base64
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keyserver.cli.asking import wait_for_enter
from keyserver.cli.output import FAILED, USAGE, CommandError

SharesOption = Annotated[int, typer.Option(min=1, max=16, help="How many shares are handed out.")]
ThresholdOption = Annotated[int, typer.Option(min=1, max=16, help="How many of them open.")]
RecipientOption = Annotated[
    list[str] | None,
    typer.Option("--recipient", metavar="age1…", help="Who gets a share; once for each share."),
]
OutDirOption = Annotated[
    Path | None,
    typer.Option(
        "--out-dir",
        metavar="DIR",
        help="Where the encrypted shares are written: share-1-of-set-2.age and so on, in the order "
        "of the recipients, where 2 is the new epoch. Nothing is overwritten.",
    ),
]
PlainOption = Annotated[
    bool, typer.Option("--plain-shares", help="Show the shares themselves, one at a time.")
]

_CLEAR: Final = "\x1b[H\x1b[2J\x1b[3J"
"""Empties a terminal, and what can be scrolled back to (ECMA-48, and the usual addition)."""


@dataclass(frozen=True, slots=True)
class HandingOut:
    """The way the shares take; the options are checked before any share is made."""

    recipients: Sequence[str]
    out_dir: Path | None
    as_json: bool

    def give(self, shares: Sequence[Mapping[str, Any]], epoch: int) -> list[str]:
        """Hand the shares out; the files that were written.

        `shares`: as the node tells them, with `member` and either `document` or `age`. With
        `as_json` and no directory nothing is done: they are in what is printed. Raises
        `CommandError` if one cannot be written; none is there then.
        """
        if self.out_dir is not None:
            written: list[str] = []
            try:
                # one by one: what was written before one that cannot be is in the list
                written.extend(str(self._write(share, epoch)) for share in shares)
            except BaseException:
                take_back(written)
                raise
            return written
        if not self.as_json:
            _show(shares)
        return []

    def lines(self, files: Sequence[str]) -> list[str]:
        """Which file is whose."""
        return [f"{file}  for {who}" for file, who in zip(files, self.recipients, strict=True)]

    def in_force(self, epoch: int) -> str:
        """What is to be said of shares that count now."""
        where = "" if self.out_dir is None else f", and are in {self.out_dir}"
        return f"the new shares are in force (set {epoch}){where}"

    def refuse_old_files(self, epoch: int) -> None:
        """Raise `CommandError` if a file of this set is there: before people type their shares."""
        if self.out_dir is None:
            return
        for member in range(len(self.recipients)):
            path = self.out_dir / file_name(member, epoch)
            if path.exists():
                raise CommandError(
                    f"{path} is there already",
                    hint="Unless it is of a set in force, it is void. Take another --out-dir.",
                    exit_code=USAGE,
                )

    def _write(self, share: Mapping[str, Any], epoch: int) -> Path:
        """One encrypted share in a new file, durably."""
        assert self.out_dir is not None
        path = self.out_dir / file_name(share["member"], epoch)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _fill(descriptor, base64.b64decode(share["age"]))
                _sync_directory(self.out_dir)
            except BaseException:
                path.unlink()
                raise
        except OSError as error:
            raise CommandError(
                f"{path}: cannot be written: {error.strerror}", exit_code=FAILED
            ) from None
        return path


def _fill(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def print_handed_out(way: HandingOut, files: Sequence[str]) -> None:
    """Say who gets which file, before enough of the shares are asked for again.

    To standard error, as all that is said on the way to a result.
    """
    print("Give each operator their file, to be opened with their own key:", file=sys.stderr)
    for line in way.lines(files):
        print(f"  {line}", file=sys.stderr)
    print("Now they type what is in it: the words, or the whole document.", file=sys.stderr)


def take_back(files: Sequence[str]) -> None:
    """Remove files with shares that never came into force, so that nobody keeps them."""
    for file in files:
        Path(file).unlink(missing_ok=True)


def file_name(member: int, epoch: int) -> str:
    """The name of the file with an encrypted share; people count members from 1."""
    return f"share-{member + 1}-of-set-{epoch}.age"


def handing_out(
    recipients: Sequence[str] | None,
    out_dir: Path | None,
    *,
    plain: bool,
    shares: int,
    threshold: int,
    as_json: bool,
) -> HandingOut:
    """Put the options together; raises `CommandError`."""
    recipients = tuple(recipients or ())
    if threshold > shares:
        raise CommandError(
            f"--threshold: {threshold} of {shares} shares can never be", exit_code=USAGE
        )
    if recipients and plain:
        raise CommandError(
            "--recipient, --plain-shares: only one of the two",
            hint="Shares are either encrypted to recipients, or shown here.",
            exit_code=USAGE,
        )
    if not recipients and not plain:
        raise CommandError(
            "Who gets the shares?",
            hint="Give --recipient age1… for each share, or --plain-shares to see them here.",
            exit_code=USAGE,
        )
    if recipients and len(recipients) != shares:
        raise CommandError(
            f"--recipient: {len(recipients)} for {shares} shares; one for each is needed",
            exit_code=USAGE,
        )
    if recipients and out_dir is None and not as_json:
        raise CommandError("--out-dir: where shall the encrypted shares go?", exit_code=USAGE)
    if plain and out_dir is not None:
        raise CommandError(
            "--out-dir: plain shares are not written to files; name recipients", exit_code=USAGE
        )
    if plain and not as_json and not at_terminal():
        raise CommandError(
            "--plain-shares: there is no terminal to show them at",
            hint="Use a terminal, --recipient, or --json (which prints all of them at once).",
            exit_code=USAGE,
        )
    if out_dir is not None:
        _prepare(out_dir)
    return HandingOut(recipients, out_dir, as_json)


def at_terminal() -> bool:
    """Whether a person sits there who reads and types."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _prepare(directory: Path) -> None:
    """Make the directory and see that it can be written."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{directory}: {error.strerror}", exit_code=USAGE) from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise CommandError(f"{directory}: cannot be written", exit_code=USAGE)


def _show(shares: Sequence[Mapping[str, Any]]) -> None:
    """Each share alone on the screen, for the one who keeps it."""
    for number, share in enumerate(shares, start=1):
        print(_CLEAR, end="", flush=True)
        try:
            print(
                f"Share {number} of {len(shares)}. Its keeper writes it down; nobody else looks.\n"
            )
            print(_columns(json.loads(share["document"])["mnemonic"].split()), flush=True)
            wait_for_enter("\nPress Enter when it is written down; the screen is cleared then")
        finally:
            print(_CLEAR, end="", flush=True)


def _columns(words: Sequence[str]) -> str:
    """The words with their numbers, four in a row."""
    cells = [f"{place:>2} {word:<10}" for place, word in enumerate(words, start=1)]
    rows = [cells[start : start + 4] for start in range(0, len(cells), 4)]
    return "\n".join("  ".join(row).rstrip() for row in rows)
