"""Files as they are in use start unchanged but for their ports (configuration, section 7).

`old_files` has one for each row of that table that says something new to a process; what the rows
mean, value by value, is told by the tests of the configuration itself. Published private keys are
those of the original's own tests; accounts, whose keys were not published, are sample accounts.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyserver.cli.main import main
from tests.e2e.operator.keys import path_of
from tests.e2e.operator.static_network import ask
from tests.support.node_processes import NodeProcess
from tests.support.ports import free_port
from tests.support.raw_http import Answer
from tests.support.wire import json_rpc
from tests.unit.app.samples import public, write_account

pytestmark = pytest.mark.e2e

USAGE = 2
FILES = Path(__file__).with_name("old_files")
PORTS = re.compile(r"\b(80[0-9]{2}|8545|1200[01])\b")
ID = bytes([7]) * 32

Place = Callable[..., "OldFile"]


@dataclass
class OldFile:
    """A file in a directory of its own, which is also the home directory, and its node."""

    node: NodeProcess
    ports: dict[str, int]
    """Those in use now, by what stands in the original."""

    @classmethod
    def place(cls, directory: Path, row: str, more: str) -> "OldFile":
        text = (FILES / f"{row}.toml").read_text()
        ports = {port: free_port() for port in sorted(set(PORTS.findall(text)))}
        text = PORTS.sub(lambda found: str(ports[found[0]]), text)
        for name, password in (("alice", "alicepwd"), ("bob", "password")):
            write_account(directory / "keys" / "DevelopmentChain", name, password)
        (directory / "alice.pwd").write_text("alicepwd")  # no newline, as in the original
        (directory / "password.file").write_text("password\n")
        config = directory / "config.toml"
        config.write_text(text + more)
        return cls(NodeProcess(config), ports)

    def check(self, capsys: pytest.CaptureFixture[str]) -> Any:
        """What `keyserver config check` says."""
        assert main(["config", "check", str(self.node.config), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    @contextmanager
    def running(self) -> Iterator[NodeProcess]:
        """Run the program with it until the end of the block; it must end well."""
        try:
            self.node.start()
            yield self.node
            assert self.node.stop()[0] == 0, self.node.log_tail()
        finally:
            self.node.kill()

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{self.ports[str(port)]}"


def wait_alive(node: NodeProcess) -> None:
    """Wait until the node serves its operator: from then on it ends as it is asked to."""
    assert node.operator("/health/live")[0] == 200


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts the file of a row where both working directory and home are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return lambda row, more="": OldFile.place(tmp_path, row, more)


@pytest.mark.parametrize(
    ("row", "node", "http", "peer"),
    [
        ("row_01", "d01355a9", 8082, 12000),
        ("row_03", public("bob")[:8], 8082, 8083),
        ("row_06", public("alice")[:8], 8090, 8083),
        ("row_07", "cf5586ac", 8082, 8083),
        ("row_09", public("alice")[:8], None, 8010),
        ("row_12", "62d53d5d", 8082, 8083),
    ],
)
def test_a_node_is_what_its_file_says(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    row: str,
    node: str,
    http: int | None,
    peer: int,
) -> None:
    old = place(row)
    checked = old.check(capsys)
    assert checked["node_id"].startswith(f"0x{node}")
    listeners = checked["listeners"]
    assert listeners["other_nodes"].endswith(f":{old.ports[str(peer)]}")
    assert ("clients" in listeners) == (http is not None)
    if http is not None:
        assert listeners["clients"].endswith(f":{old.ports[str(http)]}")


@pytest.mark.parametrize(
    ("row", "node", "http"),
    [
        ("row_01", "d01355a9", 8082),  # a key in the file, other nodes
        ("row_06", public("alice")[:8], 8090),  # a key in the keystore, all sections
        ("row_09", public("alice")[:8], None),  # no listener for clients
    ],
)
def test_a_node_starts(place: Place, row: str, node: str, http: int | None) -> None:
    """One process for each kind of file; the other rows differ in values only."""
    old = place(row)
    with old.running() as running:
        text = f"Starting SecretStore node: 0x{node}"
        assert text in json.dumps(running.wait_event("node_starting"))
        urls = running.wait_event("clients_listening")
        wait_alive(running)
        assert ("http" in urls) == (http is not None)
        if http is not None:
            assert ask(old.url(http), "GET", "/nothing") == Answer(400, "Bad Request", (), b"")


@pytest.mark.parametrize(
    ("row", "node", "http"), [("row_08", public("alice"), 8011), ("row_11", public("a"), 12001)]
)
def test_a_cluster_of_one_serves(place: Place, row: str, node: str, http: int) -> None:
    old = place(row)
    with old.running() as running:
        assert node in json.dumps(running.wait_event("node_starting"))
        running.wait_event("node_ready")
        made = ask(old.url(http), "POST", f"/shadow/{path_of(ID)}/0")
        assert made.status == 200
        assert ask(old.url(http), "GET", f"/server/{path_of(ID)}") == made
        assert (old.node.config.parent / "data").is_dir()


def test_row_4_is_refused_as_it_stands(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    old = place("row_04")
    assert main(["run", "--config", str(old.node.config)]) == USAGE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "secret store admininstrator public key is specified with auto-migration" in lines[0]


def test_row_4_starts_with_a_line_more(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    old = place("row_04", more='server_set_contract = "none"\n')
    checked = old.check(capsys)
    assert checked["node_id"].startswith("0xa7cc7a8e")
    with old.running() as running:
        wait_alive(running)
        texts = [warning["event"] for warning in checked["warnings"]]
        assert {"old_key", "auto_migrate_without_effect", "acl_check_disabled"} <= set(texts)


def test_row_10_serves_json_rpc_alone(place: Place) -> None:
    old = place("row_10")
    with old.running() as running:
        ready = running.wait_event("node_ready")
        assert ready["json_rpc"] == old.url(8545)
        assert "http" not in ready
        empty_set = json_rpc(old.url(8545), "secretstore_serversSetHash", [])
        assert empty_set == "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
