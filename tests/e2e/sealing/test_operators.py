"""A new operator's way: make shares, run, open, close, exchange the shares, open again.

The node is a process, and so is the unseal daemon; the commands are those of the manual.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyserver.cli.main import main
from keyserver.cli.output import FAILED, OK, SEALED, WRONG_SHARE
from keyserver.crypto.curve import SecretScalar
from tests.support.node_processes import ConfiguredNode, static_node
from tests.support.operator_shares import key_file, key_of_age
from tests.support.seal_desk import ADMIN, STRANGER, address_of_key
from tests.support.sealed_nodes import wait_state

Output = pytest.CaptureFixture[str]


class Operators:
    """Three operators with keys of age, and an administrator, at one node."""

    def __init__(self, directory: Path, node: ConfiguredNode) -> None:
        self.directory, self.node = directory, node
        self.keys = [key_of_age(directory / f"key{number}") for number in range(3)]
        self.admin = key_file(directory / "admin", ADMIN)
        self.stranger = key_file(directory / "stranger", STRANGER)

    def run(self, command: str, *arguments: object) -> int:
        """A command about the node."""
        words = [*command.split(), "--config", str(self.node.config)]
        return main(["seal", *words, *map(str, arguments)])

    def order(self, command: str, *arguments: object) -> int:
        """One that an administrator signs."""
        return self.run(command, "--admin-key", self.admin, *arguments)

    def share(self, number: int, epoch: int) -> Path:
        return self.directory / f"set{epoch}" / f"share-{number + 1}-of-set-{epoch}.age"

    def unseal(self, number: int, epoch: int) -> int:
        share, key = self.share(number, epoch), self.keys[number][0]
        return self.run("unseal", "--file", share, "--age-identity", key)

    def sharing(self, epoch: int) -> list[object]:
        """The options that make 2 of 3 shares, one for each operator."""
        to = [word for _, recipient in self.keys for word in ("--recipient", recipient)]
        out = self.directory / f"set{epoch}"
        return ["--shares", 3, "--threshold", 2, "--out-dir", out, *to]

    def daemon(self, number: int, epoch: int) -> "subprocess.Popen[bytes]":
        """The unseal daemon of one operator, as a process."""
        config = self.directory / "daemon.toml"
        config.write_text(
            f'share_file = "{self.share(number, epoch)}"\n'
            f'age_identity = "{self.keys[number][0]}"\n'
            f'[[nodes]]\nurl = "{self.node.ready["operator"]}"\n'
        )
        words = [sys.executable, "-m", "keyserver.cli", "unseal-daemon", "--config", str(config)]
        log = (self.directory / "daemon.log").open("wb")
        with log:
            return subprocess.Popen(words, stderr=log)


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[Operators]:
    node = static_node(tmp_path / "node", SecretScalar.from_int(31))
    admins = [f"0x{address_of_key(ADMIN).hex()}"]
    node.set("keyserver", operator_listen="127.0.0.1:0", log_format="json")
    node.set("keyserver.seal", admins=admins)
    node.data.mkdir(parents=True)
    node.write_config()
    try:
        yield Operators(tmp_path, node)
    finally:
        node.kill()


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in it: it is not theirs."""
    monkeypatch.setattr("keyserver.app.memory.forbid_dumps", lambda: None)


@pytest.mark.e2e
def test_from_the_first_share_to_the_next_set(operators: Operators, capsys: Output) -> None:
    node = operators.node
    assert operators.run("init", *operators.sharing(1)) == OK
    assert "[secretstore] self_secret" in capsys.readouterr().out
    node.values["secretstore"].pop("self_secret")
    node.write_config()
    node.start()
    wait_state(node, "sealed")

    assert operators.run("status") == OK
    assert "0 of 2 shares; 2 more are needed" in capsys.readouterr().out
    assert operators.order("rotate") == SEALED
    assert operators.unseal(0, 1) == OK
    assert "1 of 2 shares; one more is needed" in capsys.readouterr().out
    daemon = operators.daemon(2, 1)
    try:
        ready = wait_state(node, "ready")
        assert ready["node_id"] == f"0x{node.id.hex()}"
    finally:
        daemon.terminate()
        daemon.wait()

    assert operators.run("rotate") == FAILED, "only administrators may"
    assert operators.run("rotate", "--admin-key", operators.stranger) == FAILED
    assert operators.order("rotate") == OK
    assert operators.order("rewrap", "--wait", "0") == OK
    exchange(operators)
    capsys.readouterr()

    assert operators.order("seal") == OK
    wait_state(node, "sealed")
    assert operators.run("status") == OK
    assert "sealed because  requested" in capsys.readouterr().out
    assert operators.unseal(0, 1) == WRONG_SHARE
    assert "of set 1, but set 2 is in force" in capsys.readouterr().err
    assert operators.unseal(1, 2) == OK
    assert operators.unseal(2, 2) == OK
    wait_state(node, "ready")
    assert operators.order("replicas", "--json") == OK
    (replica,) = json.loads(capsys.readouterr().out.partition("the node is open\n")[2])["replicas"]
    assert (replica["state"], replica["epoch"], replica["term"]) == ("unsealed", 2, 2)
    assert node.stop()[0] == 0
    nothing_told(operators)


def exchange(operators: Operators) -> None:
    """A rekey with two present shares, and two new ones read back."""
    options = operators.sharing(2)
    for number in (0, 1):
        options += ["--file", operators.share(number, 1)]
        options += ["--new-file", operators.share(number + 1, 2)]
    for key, _ in operators.keys:
        options += ["--age-identity", key]
    assert operators.order("rekey", *options) == OK


def nothing_told(operators: Operators) -> None:
    """The log verifies, and neither it nor what the processes printed holds a share."""
    audit = operators.node.data / "audit.jsonl"
    assert main(["audit", "verify", str(audit)]) == OK
    told = audit.read_text() + operators.node.log + (operators.directory / "daemon.log").read_text()
    assert "mnemonic" not in told
    actions = [json.loads(line)["action"] for line in audit.read_text().splitlines()]
    for action in ("seal.init", "seal.unsealed", "seal.rotate", "seal.rekey.commit", "auth.denied"):
        assert action in actions
