"""Replaces the process by a fresh one: only that certainly frees its memory (sealing, C10)."""

import os
import signal
import sys
from dataclasses import dataclass
from typing import Final, NoReturn

from keyserver.sealing.seen import SeenSeal

SEALED_BECAUSE: Final = "_KEYSERVER_SEALED_BECAUSE"
"""The variable that tells the fresh process why it is sealed."""


SEEN: Final = "_KEYSERVER_SEEN_SEAL"
"""The variable that tells it which seal was open."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """Why a process ends for another one, and what that one has to know."""

    reason: str
    seen: SeenSeal | None


def sealed_because() -> str | None:
    """Why this process was put in place of another one, if it was: then no slot opens by itself."""
    return os.environ.get(SEALED_BECAUSE) or None


def seen_before() -> SeenSeal | None:
    """The seal that was open in the process whose place this one took."""
    text = os.environ.get(SEEN)
    return SeenSeal.from_text(text) if text else None


def replace_process(sealing: Sealing) -> NoReturn:
    """Run the same command in this process's place; its sockets and files are closed by that."""
    seen = "" if sealing.seen is None else sealing.seen.to_text()
    environment = {**os.environ, SEALED_BECAUSE: sealing.reason, SEEN: seen}
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until the fresh process listens to it
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606
