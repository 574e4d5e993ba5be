"""A Redis server of this test run alone, where its program is installed."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import redis

from tests.support.ports import free_port
from tests.support.waiting import wait_for


class RedisUnavailableError(Exception):
    """The program is not installed."""


class RedisServer:
    """A running server that keeps nothing on disk."""

    def __init__(self, password: str | None = None) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RedisUnavailableError("redis-server is not installed")
        self.port = free_port()
        self._password = password
        self._folder = Path(tempfile.mkdtemp(prefix="keyserver-redis-"))
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        options |= {"requirepass": password} if password else {}
        settings = self._folder / "redis.conf"
        settings.write_text("".join(f'{name} "{value}"\n' for name, value in options.items()))
        self._process = subprocess.Popen(
            [program, str(settings)],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.client = redis.Redis(port=self.port, password=password, protocol=2)
        wait_for(self._answers, timeout_s=20, doing="starting redis-server")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def fill(self, stored: Mapping[str, Mapping[str, object]]) -> None:
        """Empty the database; then put sets (`sets`) and hashes (`hashes`) into it."""
        self.client.flushall()
        for name, members in stored["sets"].items():
            assert isinstance(members, list)
            self.client.sadd(name, *members)
        for name, fields in stored["hashes"].items():
            assert isinstance(fields, dict)
            self.client.hset(name, mapping=fields)

    def stop(self) -> None:
        """Stop the server and delete its files."""
        self.client.close()
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._folder)

    def _answers(self) -> bool | None:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return None
