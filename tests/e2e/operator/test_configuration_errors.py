"""Configuration errors end the program: a status, one clear line, no socket (section 8, O11).

All ports of the file are taken by the test: a program that opened one before it knew the whole
configuration to be good would complain about that instead. What is wrong in the file itself is
told without a process of its own, for speed.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyserver.cli.main import main
from tests.unit.app.samples import SECRETS, address, public, write_account

pytestmark = pytest.mark.e2e

USAGE = 2
INVALID_FILE = "You might have supplied invalid parameters in config file."

FILE = """
[parity]
keys_path = "DIRECTORY/keys"

[account]
password = ["DIRECTORY/passwords"]

[secretstore]
self_secret = "SECRET"
server_set_contract = "none"
acl_contract = "none"
nodes = ["OTHER@127.0.0.1:8085"]
port = PORT
http_port = 1PORT
path = "DIRECTORY/data"

[rpc]
apis = ["secretstore"]
port = 2PORT

[keyserver]
operator_listen = "127.0.0.1:3PORT"
"""


@dataclass
class Place:
    """A directory with a good file, whose ports are taken."""

    directory: Path
    text: str

    def file(self, good: str, bad: str) -> str:
        """Write the file with `bad` in place of `good`; its path."""
        assert good in self.text
        path = self.directory / "node.toml"
        path.write_text(self.text.replace(good, bad, 1))
        return str(path)


def run(*words: str) -> tuple[int, list[str]]:
    """Run the program; its status, and what it said besides its log."""
    done = subprocess.run(
        [sys.executable, "-m", "keyserver.cli", "run", "--config", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, [line for line in done.stderr.splitlines() if line[:1] != "{"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    try:
        text = FILE
        for name, listener in zip(("3PORT", "2PORT", "1PORT", "PORT"), taken, strict=True):
            text = text.replace(name, str(listener.getsockname()[1]))
        text = text.replace("DIRECTORY", str(tmp_path)).replace("SECRET", address("alice"))
        text = text.replace("OTHER", public("b"))
        write_account(tmp_path / "keys", "alice", "alicepwd")
        (tmp_path / "passwords").write_text("alicepwd\n")
        yield Place(tmp_path, text)
    finally:
        for listener in taken:
            listener.close()


def key(value: str) -> tuple[str, str]:
    return f'self_secret = "{address("alice")}"', f'self_secret = "{value}"'


def node(entry: str) -> tuple[str, str]:
    return f'"{public("b")}@127.0.0.1:8085"', f'"{entry}"'


def more(line: str) -> tuple[str, str]:
    return "[secretstore]\n", f"[secretstore]\n{line}\n"


WRONG_VALUES = {
    "63 digits": (*key(SECRETS["a"][1:]), "Invalid secret store secret. Must be either existing"),
    "zero key": (*key("0" * 64), "invalid secret: "),
    "big port": ("http_port = ", "http_port = 7", "http_port: must be a whole number in 0…65535"),
    "node without @": (*node("nobody"), "Invalid secret store node: nobody"),
    "node with bad hex": (*node(f"{'g' * 128}@h:1"), "Invalid public key in secret store node: "),
    "node with port http": (
        *node(f"{public('b')}@127.0.0.1:http"),
        "Invalid port in secret store node: http",
    ),
    "contract nobody": ('acl_contract = "none"', 'acl_contract = "nobody"', '"nobody" is no'),
    "empty contract": ('acl_contract = "none"', 'acl_contract = ""', '"" is no contract'),
    "administrator of 127 digits": (
        *more(f'admin_public = "{public("b")[1:]}"'),
        "Invalid secret store admin public: ",
    ),
}

WRONG_ACCOUNTS = {
    "unknown account": (
        *key("ab" * 20),
        f"Account 0x{'ab' * 20} passed as secret store node key is not found",
    ),
    "wrong password": (
        "passwords",
        "others",
        f"No valid password for the secret store node account 0x{address('alice')}",
    ),
    "no password file": ("passwords", "nothing", "Unable to read password file. Ensure it exists"),
}

WRONG_FORMS = {
    "quoted port": ("http_port = ", 'http_port = "8083" # ', "http_port: must be a whole number"),
    "nodes no array": ("nodes = [", 'nodes = "x" # [', "nodes: must be an array"),
    "misspelt key": ("acl_contract", "acl_contrat", 'did you mean "acl_contract"?'),
    "misspelt section": ("[secretstore]", "[secretstor]", 'did you mean "secretstore"?'),
    "syntax": ("[secretstore]", "[secretstore", "line "),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_wrong_value(place: Place, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, expected = WRONG_VALUES[case]
    assert main(["run", "--config", place.file(good, bad)]) == USAGE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert expected in lines[0]


@pytest.mark.parametrize("case", WRONG_FORMS)
def test_a_wrong_form(place: Place, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, expected = WRONG_FORMS[case]
    assert main(["run", "--config", place.file(good, bad)]) == USAGE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    assert lines[0].endswith(INVALID_FILE)
    assert expected in lines[1]


@pytest.mark.parametrize("case", WRONG_ACCOUNTS)
def test_a_wrong_account(place: Place, case: str) -> None:
    good, bad, expected = WRONG_ACCOUNTS[case]
    (place.directory / "others").write_text("bobpwd\n")
    status, lines = run(place.file(good, bad))
    assert status == USAGE
    assert len(lines) == 1, lines
    assert expected in lines[0]
    assert not (place.directory / "data").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "nothing.toml"
    told = f"There was an error reading your config file at: {missing}"
    expected = f"keyserver: {told} (No such file or directory)"
    assert run(str(missing)) == (USAGE, [expected])


def test_a_port_in_use(place: Place) -> None:
    """The last case; and it shows that the good file gets as far as the ports."""
    status, lines = run(place.file("[rpc]", "[rpc]"))
    assert status == USAGE
    assert len(lines) == 1, lines
    assert "in use" in lines[0]
