"""A published client in a process of its own, which is told what to call line by line."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
JAVASCRIPT = HERE / "js"


class ClientRaisedError(Exception):
    """The client raised: what it says, and the answer it says it about, if it tells."""

    def __init__(self, text: str, status: int | None = None, body: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.body = body


class Driver:
    """Calls functions of the client."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def __call__(self, name: str, *arguments: object) -> Any:
        """Call a function and return its result; raises `ClientRaisedError` if it raises."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([name, *arguments]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, f"the client ended:\n{self._log.read_text()}"
        answer = json.loads(line)
        if "raised" in answer:
            raise ClientRaisedError(**answer["raised"])
        return answer["value"]


def needs_python(variable: str) -> pytest.MarkDecorator:
    """Skip unless the variable names an interpreter that has the client."""
    missing = not os.environ.get(variable)
    return pytest.mark.skipif(missing, reason=f"{variable} names no Python with that client")


def needs_package(name: str) -> pytest.MarkDecorator:
    """Skip unless the JavaScript package is installed."""
    missing = not (JAVASCRIPT / "node_modules" / name).is_dir()
    reason = f"{name} is not installed: `npm ci --ignore-scripts` in {JAVASCRIPT.name}"
    return pytest.mark.skipif(missing, reason=reason)


@contextmanager
def driving(command: Sequence[str], settings: Mapping[str, object], log: Path) -> Iterator[Driver]:
    """Run a driver program with these settings until the end of the block."""
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [*command, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Driver(process, log)
        finally:
            process.kill()
