"""Files that a command makes for what it gets from elsewhere once, such as a token."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from keyserver.cli.output import USAGE, CommandError


@contextmanager
def new_private_file(file: Path) -> Iterator[IO[bytes]]:
    """A new file of `--out` that only its owner can read, on disk at the end.

    It is made first, so that nothing is asked for that could not be kept; and removed if what
    follows fails. Raises `CommandError` if it is there or cannot be made.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandError(f"--out: {file} is there already", exit_code=USAGE) from None
    except OSError as error:
        text = f"--out: {file} cannot be made: {error.strerror}"
        raise CommandError(text, exit_code=USAGE) from None
    try:
        with os.fdopen(descriptor, "wb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
    except BaseException:
        file.unlink(missing_ok=True)
        raise
