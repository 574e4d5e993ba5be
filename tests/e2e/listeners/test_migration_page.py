"""What `docs/migrating-from-openethereum.md` tells people to do, done."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyserver.app.accounts import write_key_file
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.documents import decrypt_document, encrypt_document
from keyserver.crypto.ecies import decrypt
from keyserver.crypto.elgamal import encrypt_document_key, recover_document_key
from keyserver.crypto.randomness import SystemRandom
from tests.e2e.listeners.nodes import lone_node
from tests.support.certificates import write_certificate
from tests.support.client_node import sign_id
from tests.support.node_processes import ConfiguredNode, kill_all, start_all
from tests.support.ports import free_ports
from tests.support.wire import ask
from tests.unit.app.samples import SECRETS, address, public, secret

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "migrating-from-openethereum.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

AUTHOR = SecretScalar.from_int(0xA0)
KEY_IDS = [bytes([number]) * 32 for number in (1, 2)]


def block(language: str, containing: str) -> str:
    """The one block of a language that contains a text."""
    (found,) = [text for name, text in BLOCKS if name == language and containing in text]
    return str(found)


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(cwd)} | environment,
    )


def keyserver(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run("-m", "keyserver.cli", *arguments, cwd=cwd)


def old_file(directory: Path) -> Path:
    """A file as operators of the original have it, with almost everything to be told about."""
    file = directory / "old.toml"
    file.write_text(
        '[parity]\nchain = "volta"\nidentity = "node"\n[network]\nport = 30303\n'
        f'[secretstore]\nself_secret = "{SECRETS["a"]}"\ndisable_acl_check = true\n'
        f'disable_auto_migrate = true\nadmin_public = "{public("admin")}"\n'
        f'nodes = ["{public("b")}@10.0.0.1:8083"]\nhttp_interface = "all"\n'
    )
    return file


def test_step_1_the_check_says_what_the_page_says(tmp_path: Path) -> None:
    command = block("sh", "config check").split()
    assert command[0] == "keyserver"
    old_file(tmp_path)
    done = keyserver(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| `(.*?)` \| .* \|$", PAGE.partition("## Step 1")[2], re.MULTILINE)
    messages = [row for row in rows if " " in row][:8]
    assert len(messages) == 8
    text = done.stdout + not_started(tmp_path)
    for message in messages:
        pattern = ".*".join(re.escape(part) for part in message.split("…"))
        assert re.search(pattern, text), message


def not_started(directory: Path) -> str:
    """What is said where an administrator and automatic migration exclude each other."""
    file = old_file(directory)
    file.write_text(file.read_text().replace("disable_auto_migrate = true\n", ""))
    done = keyserver("config", "check", file.name, cwd=directory)
    assert done.returncode == 2
    return done.stderr


@pytest.mark.parametrize("containing", ["rpc_endpoints", "base_path", "apis", "tls_cert"], ids=str)
def test_each_piece_of_a_file_is_one(tmp_path: Path, containing: str) -> None:
    text = block("toml", containing).replace("0x…", f"0x{address('b')}")
    for key in ("tls_cert", "tls_key"):
        text = re.sub(rf'{key} = ".*"', f'{key} = "{tmp_path}/{key}"', text)
    text = text.replace("/var/lib/openethereum", str(tmp_path))
    (tmp_path / "node.pwd").write_text("x\n")
    write_certificate(tmp_path / "tls_cert", tmp_path / "tls_key")
    tables = tomllib.loads(text)
    if "secretstore" not in tables:
        text += f'\n[secretstore]\nself_secret = "{SECRETS["a"]}"\n'
    (tmp_path / "file.toml").write_text(text)
    done = keyserver("config", "check", "file.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_step_3_a_private_key_becomes_a_key_file(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "node.pwd").write_text("pässword\n")
    (tmp_path / "private.hex").write_text(SECRETS["a"] + "\n")
    made = run("-c", block("python", "private.hex"), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    file = old_file(tmp_path)
    more = f'[account]\npassword = ["{tmp_path}/node.pwd"]\n'
    text = file.read_text().replace(SECRETS["a"], made.stdout.strip()) + more
    file.write_text(text.replace("[parity]\n", f'[parity]\nbase_path = "{tmp_path}"\n'))
    done = keyserver("config", "check", "old.toml", "--json", cwd=tmp_path)
    checked = json.loads(done.stdout)
    assert checked["node_id"] == f"0x{public('a')}"
    assert "private_key_in_clear" not in {each["event"] for each in checked["warnings"]}


def test_step_4_all_ports_move(tmp_path: Path) -> None:
    """The command of the page, with a port that is free."""
    command = block("sh", "--ports-shift").split()
    assert command[:3] == ["keyserver", "run", "--config"]
    assert command[-2] == "--ports-shift"
    node = lone_node(tmp_path, accounts=True)
    node.write_config()
    ports = free_ports(3)
    low = min(ports) - 1
    node.set("secretstore", port=ports[0] - low, http_port=ports[1] - low)
    node.set("rpc", port=ports[2] - low)
    node.set("misc", ports_shift=low)
    try:
        node.start()
        told = node.wait_ready()
    finally:
        node.kill()
    assert [told[name].rpartition(":")[2] for name in ("peer", "http", "json_rpc")] == [
        str(port) for port in ports
    ]


class Published:
    """A document of the old network."""

    def __init__(self, url: str, key_id: bytes) -> None:
        self.key_id = key_id
        random = SystemRandom()
        document_key = SecretScalar.random(random).public()
        self.encrypted = encrypt_document(document_key, b"text", random)
        made = self._ask(url, "POST", AUTHOR, "/0")
        sealed = encrypt_document_key(
            Point.from_raw64(bytes.fromhex(made[2:])), document_key, random
        )
        self._ask(
            url, "POST", AUTHOR, f"/{sealed.common.raw64.hex()}/{sealed.encrypted.raw64.hex()}"
        )

    def _ask(self, url: str, method: str, key: SecretScalar, more: str = "") -> str:
        path = f"/shadow/{self.key_id.hex()}/{sign_id(key, self.key_id)}{more}"
        answer = ask(url, f"{method} {path} HTTP/1.1\nHost: n")
        assert answer.status == 200, answer
        return (
            str(json.loads(answer.body)) if answer.body.startswith(b'"') else answer.body.decode()
        )

    def read(self, url: str, reader: SecretScalar) -> bytes:
        found = json.loads(self._ask(url, "GET", reader))
        shadows = [
            SecretScalar(decrypt(reader, bytes.fromhex(each[2:])))
            for each in found["decrypt_shadows"]
        ]
        decrypted_secret, common = (
            Point.from_raw64(bytes.fromhex(found[name][2:]))
            for name in ("decrypted_secret", "common_point")
        )
        document_key = recover_document_key(decrypted_secret, common, shadows)
        return decrypt_document(document_key, self.encrypted)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[list[ConfiguredNode]]:
    """Two networks of one node each, the one in the place of the old one."""
    nodes = [lone_node(tmp_path / name) for name in ("old", "new")]
    try:
        start_all(nodes)
        yield nodes
    finally:
        kill_all(nodes)


def test_step_6_documents_are_read_from_the_new_network(
    both: list[ConfiguredNode], tmp_path: Path
) -> None:
    old, new = (node.ready["http"] for node in both)
    documents = [Published(old, key_id) for key_id in KEY_IDS]
    (tmp_path / "copy_keys.py").write_text(block("python", "copy_keys.py OLD_URL"))
    (tmp_path / "pw").write_text("pw\n")
    key_file = write_key_file(tmp_path / "keys", AUTHOR, "pw", iterations=1024)
    ids = [f"0x{KEY_IDS[0].hex()}", KEY_IDS[1].hex()]
    arguments = ["copy_keys.py", f"{old}/", new, "0", str(key_file), "pw", *ids]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{key_id.hex()} copied" for key_id in KEY_IDS]
    for document in documents:
        for reader in (AUTHOR, secret("bob")):
            assert document.read(new, reader) == b"text"
    again = run(*arguments, cwd=tmp_path)
    assert again.returncode == 1
    assert "400" in again.stderr
    assert "already generated" in again.stderr
