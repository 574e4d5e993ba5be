"""Replaces the process by a fresh one: only that certainly frees its memory (sealing, C10)."""

import os
import signal
import sys
from typing import Final, NoReturn

SEALED_BECAUSE: Final = "_KEYSERVER_SEALED_BECAUSE"
"""The variable that tells the fresh process why it is sealed."""


def sealed_because() -> str | None:
    """Why this process was put in place of another one, if it was: then no slot opens by itself."""
    return os.environ.get(SEALED_BECAUSE) or None


def replace_process(reason: str) -> NoReturn:
    """Run the same command in this process's place; its sockets and files are closed by that."""
    environment = {**os.environ, SEALED_BECAUSE: reason}
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until the fresh process listens to it
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606
