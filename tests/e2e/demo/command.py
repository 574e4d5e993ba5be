"""Running the program as people do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 150.0


def keyserver(
    *words: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that takes too long is asked to stop, not killed."""
    command = [sys.executable, "-m", "keyserver.cli", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=os.environ | (env or {})
    ) as child:
        try:
            out, err = child.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.terminate()
            out, err = child.communicate()
            err += f"\nstopped after {TIMEOUT_S:.0f} s"
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def facts(*words: str | Path, env: dict[str, str] | None = None) -> Any:
    """Run a command with `--json`; it must succeed."""
    done = keyserver(*words, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def processes_of(text: str | Path) -> list[str]:
    """The command lines of running processes that contain a text, but for this one's."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended meanwhile
        if str(text) in line:
            found.append(line)
    return found
