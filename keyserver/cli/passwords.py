"""Asking for passwords: of a new key file, and of one that is there."""

import sys
from pathlib import Path

from keyserver.app.accounts import read_passwords
from keyserver.cli.asking import ask_hidden
from keyserver.cli.output import USAGE, CommandError


def choose_password(file: Path | None) -> str:
    """Return the first line of `file`, or what is typed twice at the terminal.

    Raises `ConfigError` when the file cannot be read and `CommandError` when it is empty, or when
    there is neither a file nor a terminal.
    """
    if file is not None:
        passwords = read_passwords([file])
        if not passwords or not passwords[0]:
            raise CommandError(f"{file}: the first line must be the password", exit_code=USAGE)
        return passwords[0]
    if not sys.stdin.isatty():
        raise CommandError(
            "A password for the key file is needed and there is no terminal to ask at.",
            hint="Write it to a file that only you can read and give --password-file FILE.",
            exit_code=USAGE,
        )
    password = ask_hidden("Password of the key file")
    again = ask_hidden("The same again")
    if password.strip() != again.strip():
        raise CommandError("The two passwords differ; nothing was written.", exit_code=USAGE)
    if not password.strip():
        raise CommandError("The password must not be empty.", exit_code=USAGE)
    return password.strip()


def ask_password(prompt: str, file: Path | None) -> str:
    """Return the first line of `file`, or what is typed at the terminal.

    Raises `ConfigError` when the file cannot be read and `CommandError` when it is empty, or when
    there is neither a file nor a terminal.
    """
    if file is not None:
        passwords = read_passwords([file])
        if not passwords:
            raise CommandError(f"{file}: the first line must be the password", exit_code=USAGE)
        return passwords[0]
    if not sys.stdin.isatty():
        raise CommandError(
            "A password is needed and there is no terminal to ask at.",
            hint="Write it to a file that only you can read and give --password-file FILE.",
            exit_code=USAGE,
        )
    return ask_hidden(prompt).strip()
