"""The program in processes of its own that need not import it first.

That takes two seconds of work, and a run of all tests starts hundreds of nodes. So these processes
are forked by the standard library's fork server, which has imported the program and done nothing
else. From there on they are what `python -m keyserver.cli` is: arguments, environment, working
directory, standard streams, signals and exit code are their own. Networks that the program itself
starts (`keyserver devnet`, `keyserver demo`) are made of ordinary processes.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from keyserver.cli.main import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["keyserver.cli.run", "alembic.command", __name__])


class ForkedProgram:
    """A command that runs; the methods are those of `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """Start it; what it prints is added to `log`."""
        become = (tuple(arguments), directory, dict(environment), log)
        # A daemon in the sense of `multiprocessing`: it ends with the tests.
        self._process = _FORKS.Process(target=_run, args=become, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, minus the number of a signal; `None` while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """The exit code, when it has ended; raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("keyserver", timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without warning."""
        self.send_signal(signal.SIGKILL)


def _run(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str], log: Path
) -> NoReturn:
    gc.freeze()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    _redirect(Path(os.devnull), os.O_RDONLY, 0)
    _redirect(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 1, 2)
    sys.argv = ["keyserver", *arguments]
    sys.orig_argv = [sys.executable, "-m", "keyserver.cli", *arguments]
    sys.exit(main())


def _redirect(path: Path, flags: int, *descriptors: int) -> None:
    opened = os.open(path, flags, 0o644)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    os.close(opened)
