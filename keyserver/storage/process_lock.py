"""One process per SQLite file."""

import fcntl
import os
from pathlib import Path

from keyserver.errors import StorageError


class ProcessLock:
    """A lock file beside the database, held as long as the process lives or until `release`.

    The operating system lets go of it when the process dies, however it dies; the file stays and
    means nothing. It is not the database file itself: closing that would drop SQLite's own locks.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock of `database`; raises `StorageError` if another process has it."""
        self.path = database.with_name(database.name + ".lock")
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StorageError(
                f"database_url: cannot create {self.path}: {problem.strerror}"
            ) from problem
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StorageError(
                f"database_url: {database} is in use by another process"
                f"{f' (process id {holder})' if holder else ''}; one database serves one node"
            ) from problem
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())

    def release(self) -> None:
        """Let the next process have the database."""
        os.close(self._descriptor)
