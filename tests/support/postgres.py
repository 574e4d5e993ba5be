"""A PostgreSQL server of this test run alone, where its programs are installed."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from tests.support.ports import free_port

_USER = "ks"


class PostgresUnavailableError(Exception):
    """The programs are missing, or this user cannot run them."""


@dataclass
class PostgresServer:
    """A running server; its databases vanish with it."""

    programs: Path
    folder: Path
    port: int
    _created: int = 0

    @classmethod
    def start(cls) -> "PostgresServer":
        """Initialise and start a server on a free port of this machine."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        on_path = shutil.which("initdb")
        if not found and on_path is None:
            raise PostgresUnavailableError("initdb is not installed")
        programs = found[-1].parent if found else Path(str(on_path)).parent
        folder = Path(tempfile.mkdtemp(prefix="keyserver-pg-"))
        server = cls(programs, folder, free_port())
        try:
            server._hand_over()
            server._run(
                "initdb", "-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"
            )
            options = f"-p {server.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
            server._run("pg_ctl", "-o", options, "-l", str(folder / "log"), "-w", "start")
        except (OSError, subprocess.SubprocessError) as problem:
            shutil.rmtree(folder, ignore_errors=True)
            raise PostgresUnavailableError(str(problem)) from problem
        return server

    async def new_database(self) -> str:
        """Create an empty database; returns its URL."""
        self._created += 1
        name = f"store_{self._created}"
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user=_USER, database="postgres"
        )
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        """Stop the server and delete its files."""
        self._run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def _hand_over(self) -> None:
        # the server refuses to run as root: give the folder to a user that it will run as
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        if os.geteuid() == 0:
            drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
            command = [*drop, *command]
        subprocess.run(
            command,
            check=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
