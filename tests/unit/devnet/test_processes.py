"""Finding, checking and stopping processes."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyserver.devnet import ports, processes
from keyserver.devnet.processes import Process

Start = Callable[[str, str], tuple[subprocess.Popen[bytes], Process]]
WAIT = "import sys; print(flush=True); sys.stdin.read()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[subprocess.Popen[bytes]] = []

    def begin(code: str, marker: str) -> tuple[subprocess.Popen[bytes], Process]:
        pipe = subprocess.PIPE
        child = subprocess.Popen([sys.executable, "-c", code, marker], stdin=pipe, stdout=pipe)
        children.append(child)
        assert child.stdout is not None
        child.stdout.readline()  # it is past what it sets up
        return child, Process(child.pid, marker)

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def test_a_process_is_known_by_id_and_command_line(start: Start) -> None:
    _, process = start(WAIT, "marker-one")
    assert process.is_running
    other = Process(process.pid, "marker-two")
    assert not other.is_running
    assert not other.signal(signal.SIGKILL)
    assert process.is_running


def test_a_number_that_is_no_process_is_not_running() -> None:
    assert not Process(2**22 + 1, "python").is_running


def test_a_dead_child_that_was_not_collected_is_not_running(start: Start) -> None:
    child, process = start(WAIT, "marker-one")
    assert processes.kill(process)
    assert not process.is_running
    assert not processes.kill(process)
    assert child.wait() == -signal.SIGKILL


def test_all_are_asked_and_the_stubborn_one_is_killed(start: Start) -> None:
    obedient, first = start(WAIT, "marker-one")
    stubborn, second = start(STUBBORN, "marker-two")
    assert processes.stop([first, second], timeout_s=0.5) == [second]
    assert obedient.wait() == -signal.SIGTERM
    assert stubborn.wait() == -signal.SIGKILL


def test_without_proc_the_system_is_asked(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    _, process = start(WAIT, "marker-one")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 0, stdout="python marker-one"),
    )
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert process.is_running
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not process.is_running


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    assert processes.last_lines(log) == ""
    log.write_text("\n".join(str(number) for number in range(100)))
    assert processes.last_lines(log, 3) == "97\n98\n99"


def test_free_ports_are_free_and_different() -> None:
    found = ports.free_ports(30)
    assert len(set(found)) == 30
    assert all(ports.is_free(port) for port in found)


def test_a_taken_port_is_not_free() -> None:

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not ports.is_free(taken.getsockname()[1])
