"""Printing shares, which must have arrived before they count, and what is done already."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from keyserver.cli.output import FAILED, CommandError, print_json

_NO_FILES: frozenset[int] = frozenset({errno.EINVAL, errno.ENOTSUP})
"""What terminals and pipes answer where they are to be written to a disk."""


def print_for_good(facts: dict[str, object]) -> None:
    """Print one JSON value, and return once it has left; raises `CommandError` if it cannot."""
    with _raising(""):
        print_json(facts)
        _sync()


@contextmanager
def telling(done: str) -> Iterator[None]:
    """Print the result of what is done; where that fails, `CommandError` says that it is done."""
    try:
        with _raising(f"{done}; "):
            yield
    except KeyboardInterrupt:
        print(f"keyserver: {done}", file=sys.stderr)
        raise


@contextmanager
def _raising(before: str) -> Iterator[None]:
    """Turn what goes wrong with the output into a `CommandError`."""
    if sys.stdout is None:
        raise CommandError(f"{before}standard output: is closed", exit_code=FAILED)
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        reason = error.strerror or str(error)
        _print_no_more()
        raise CommandError(
            f"{before}standard output: cannot be written: {reason}", exit_code=FAILED
        ) from None


def _sync() -> None:
    """Have a file that is printed to on its disk."""
    sys.stdout.flush()
    try:
        os.fsync(sys.stdout.fileno())
    except io.UnsupportedOperation:
        return  # nothing of the system's
    except OSError as error:
        if error.errno not in _NO_FILES:
            raise


def _print_no_more() -> None:
    """Drop what could not be printed: else Python fails at it once more as it ends."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
