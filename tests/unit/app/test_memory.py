"""No core of a process that forbids it, and a node that runs where the system refuses."""

import ctypes
import resource
import subprocess
import sys

import pytest
import structlog
from structlog.testing import capture_logs

from keyserver.app import memory

PROGRAM = """
import resource
from keyserver.app.memory import forbid_dumps
forbid_dumps()
print(resource.getrlimit(resource.RLIMIT_CORE), __import__("ctypes").CDLL(None).prctl(3))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_process_is_not_dumpable() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout
    assert said.split() == [b"(0,", b"0)", b"0"]


def test_a_system_that_refuses_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(resource, "setrlimit", refuses)
    structlog.reset_defaults()
    with capture_logs() as logs:
        memory.forbid_dumps()
    assert [entry["event"] for entry in logs] == ["core_dumps_possible"]


def test_a_kernel_that_refuses_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def prctl(self, *_: int) -> int:
            return -1

    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
    structlog.reset_defaults()
    with capture_logs() as logs:
        memory.forbid_dumps()
    assert [entry["event"] for entry in logs] == ["core_dumps_possible"]
    assert logs[0]["reason"].startswith("[Errno")
