"""Keeps the process's memory out of files: a core dump of a node would hold its keys.

The limit stops core files, also in programs that the process starts. Where the kernel hands cores
to a program (`core_pattern` with a pipe), or another process of the same user attaches to this one,
the limit means nothing: on Linux the process is marked as not dumpable, which stops both.
"""

import ctypes
import os
import resource
import sys
from typing import Final

import structlog

_PR_SET_DUMPABLE: Final = 4

log = structlog.get_logger(__name__)


def forbid_dumps() -> None:
    """Let no core of this process be written; to be called before any secret is read.

    Where the system refuses, the node runs all the same and says so in the log.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":
            _forbid_attaching()
    except OSError as problem:
        log.warning("core_dumps_possible", reason=str(problem))


def _forbid_attaching() -> None:
    """`prctl(PR_SET_DUMPABLE, 0)`: the standard library has no name for it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
