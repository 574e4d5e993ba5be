"""Processes that outlive the command that started them: found again, checked and stopped.

A process is known by its id and by a text that must be in its command line, so that another
process which got the same id later is never touched.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_TIMEOUT_S = 6.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours."""

    pid: int
    marker: str
    """A text that only its command line contains."""

    @property
    def is_running(self) -> bool:
        """Whether it is still there; a process that has ended and was not collected is not."""
        return self.marker in _command_line(self.pid)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; false if it does not run."""
        if not self.is_running:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def stop(processes: Sequence[Process], *, timeout_s: float = STOP_TIMEOUT_S) -> list[Process]:
    """End processes: asked first, all at once, and killed if they do not go in time.

    Returns those that had to be killed.
    """
    asked = [process for process in processes if process.signal(signal.SIGTERM)]
    stubborn = _wait(asked, timeout_s)
    for process in stubborn:
        process.signal(signal.SIGKILL)
    _wait(stubborn, timeout_s)
    return stubborn


def kill(process: Process) -> bool:
    """Kill a process and wait until it is gone; false if it did not run."""
    was_running = process.signal(signal.SIGKILL)
    _wait([process], STOP_TIMEOUT_S)
    return was_running


def last_lines(path: Path, count: int = 12) -> str:
    """The end of a log file, for an error message."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-count:])


def _wait(processes: Sequence[Process], timeout_s: float) -> list[Process]:
    """Wait for processes to end; returns those that did not."""
    deadline = time.monotonic() + timeout_s
    left = [process for process in processes if process.is_running]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [process for process in left if process.is_running]
    return left


def _command_line(pid: int) -> str:
    """The command line of a process, its words parted by spaces; empty if there is none."""
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return words.replace(b"\0", b" ").decode(errors="replace")
    ps = shutil.which("ps")
    if ps is None:
        return ""
    command = [ps, "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603
