"""A node that operators open is used and sealed again; nothing it leaves behind holds a secret.

What it holds is known by a copy of its database, which is opened with the shares.
"""

import asyncio
import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyrage
import pytest

from keyserver.app.clock import SystemClock
from keyserver.app.sealed_stores import secrets_of
from keyserver.cli.main import main
from keyserver.client.http import connect_nodes
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.slip39 import parse_mnemonic
from keyserver.devnet.secret_search import search
from keyserver.sealing.service_keys.proofs import COLUMN as PROOF_COLUMN
from keyserver.storage.schema import SEALED_COLUMNS
from tests.support.node_processes import ConfiguredNode, set_members, static_node
from tests.support.process_memory import found_in_memory
from tests.support.sealed_nodes import ask_operator, seal_node, unseal, wait_state
from tests.support.waiting import wait_for
from tests.support.wire import ask, request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

RANDOM = SystemRandom()
TYPO = 7
"""Place of a word that an operator mistypes."""


@dataclass
class Life:
    """What happened, and what there is to know of it."""

    node: ConfiguredNode
    shares: list[str]
    foreign: list[str]
    secrets: dict[str, bytes] = field(default_factory=dict)
    open_memory: set[str] | None = None
    """Which secrets stood in the memory of the open node; `None` where it cannot be read."""
    sealed_memory: set[str] | None = None
    answers: list[tuple[int, str]] = field(default_factory=list)
    """Of the sealed node to clients."""
    restarts: list[int] = field(default_factory=list)
    """Process ids before and after it was sealed."""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    directory = tmp_path_factory.mktemp("sealed")
    node = made_node(directory / "node")
    stranger = static_node(directory / "stranger", SecretScalar.random(RANDOM))
    lived = Life(node, seal_node(node), seal_node(stranger))
    try:
        live(lived)
        yield lived
    finally:
        node.kill()


def made_node(directory: Path) -> ConfiguredNode:
    node = static_node(directory, SecretScalar.random(RANDOM))
    set_members([node])
    node.set("misc", logging="keyserver=trace")
    node.set("keyserver.service_keys", enabled=True)
    return node


def live(lived: Life) -> None:
    node = lived.node
    node.start()
    wait_state(node, "sealed")
    give_wrong_shares(lived)
    unseal(node, lived.shares)
    wait_state(node, "ready")
    asyncio.run(use_server_key(node))
    use_service_keys(lived)
    assert ask_operator(node, "POST", "/v1/seal/rotate", {})[0] == 200
    use_service_keys(lived)
    export_keys(node)
    assert main(["backup", "create", *where(node), "--out", str(node.directory / "backup")]) == 0
    keep_answers(node)
    lived.secrets |= asyncio.run(secrets_of_copy(lived))
    lived.open_memory = memory(lived)
    seal(lived)
    lived.sealed_memory = memory(lived)
    node.stop()


def export_keys(node: ConfiguredNode) -> None:
    """An owner's keys, encrypted to somebody."""
    to = str(pyrage.x25519.Identity.generate().to_public())
    status, page = ask_operator(node, "GET", "/v1/admin/owners")
    assert status == 200, page
    owner = quote(page["owners"][0]["owner"], safe="")
    path = f"/v1/admin/owners/{owner}/export"
    status, exported = ask_operator(node, "POST", path, {"recipients": [to]})
    assert status == 200, exported
    (node.directory / "export").write_bytes(base64.b64decode(exported["document"]))


def keep_answers(node: ConfiguredNode) -> None:
    """What the node says to everybody who reaches the operator listener."""
    paths = ["/metrics", "/health/ready", "/v1/status", "/v1/keys", "/v1/admin/tokens"]
    paths += [f"/v1/seal/{name}" for name in ("status", "record", "replicas")]
    answers = [request(node.ready["operator"], "GET", path) for path in paths]
    assert {answer.status for answer in answers} == {200}
    (node.directory / "answers").write_bytes(b"\n".join(answer.body for answer in answers))


def where(node: ConfiguredNode) -> list[str]:
    return ["--config", str(node.config)]


def give_wrong_shares(lived: Life) -> None:
    words = lived.shares[0].split()
    words[TYPO - 1] = "keyserver"
    for share, code in (
        (" ".join(words), "SHARE_MALFORMED"),
        (lived.foreign[0], "SHARE_WRONG_SET"),
    ):
        status, answer = ask_operator(lived.node, "POST", "/v1/seal/unseal", {"share": share})
        assert (status, answer["error"]["code"]) == (400, code)
        with (lived.node.directory / "refusals").open("a") as kept:
            kept.write(json.dumps(answer))


async def use_server_key(node: ConfiguredNode) -> None:
    wallet, document_key = Wallet(SecretScalar.random(RANDOM)), SecretScalar.random(RANDOM).public()
    key_id = wallet.new_key_id(RANDOM)
    async with connect_nodes([str(node.ready["http"])], wallet) as servers:
        generated = await servers.generate_server_key(key_id, 0)
        encrypted = encrypt_document_key(generated.value.public, document_key, RANDOM)
        await servers.store_document_key(key_id, encrypted)
        assert (await servers.retrieve_document_key(key_id)).value == document_key


def use_service_keys(lived: Life) -> None:
    """A new owner's token, key, and a text that is encrypted with it."""
    number = len(lived.secrets)
    body = {
        "principal": f"svc:billing-{number}",
        "scopes": ["keys:use"],
        "services": ["*"],
        "days": 1,
    }
    status, made = ask_operator(lived.node, "POST", "/v1/admin/tokens", body)
    assert status == 201, made
    token = made["token"]
    status, key = ask_client(lived.node, "POST", "/v1/keys/billing/current", token)
    assert status == 201, key
    text = RANDOM.bytes(32)
    status, sealed = ask_client(
        lived.node,
        "POST",
        "/v1/keys/billing/encrypt",
        token,
        {"plaintext": base64.b64encode(text).decode()},
    )
    assert status == 200, sealed
    lived.secrets |= {
        f"token {number}": token.encode(),
        f"secret of token {number}": base64.urlsafe_b64decode(token.split("_", 2)[2] + "="),
        f"service key {number}": bytes.fromhex(key["key"]),
        f"text {number}": text,
    }


def ask_client(
    node: ConfiguredNode, method: str, path: str, token: str, body: Any = None
) -> tuple[int, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: node",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(data)}",
    ]
    answer = ask(str(node.ready["http"]), "\n".join(head), data)
    return answer.status, json.loads(answer.body)


async def secrets_of_copy(lived: Life) -> dict[str, bytes]:
    copied = lived.node.directory.with_name("opened")
    shutil.copytree(lived.node.data, copied)
    (database,) = copied.glob("*.sqlite")
    shares = lived.shares[:2]
    url = f"sqlite:///{database}"
    held = await secrets_of(url, shares, random=RANDOM, clock=SystemClock())
    values = {f"share {n}": parse_mnemonic(share).value for n, share in enumerate(lived.shares)}
    return {**held, **values}


def memory(lived: Life) -> set[str] | None:
    keys = {name: value for name, value in lived.secrets.items() if len(value) == 32}
    keys |= {f"words of share {n}": words.encode() for n, words in enumerate(lived.shares)}
    try:
        return found_in_memory(lived.node.process.pid, keys)
    except PermissionError:
        return None


def seal(lived: Life) -> None:
    node = lived.node
    before = boot_id(node)
    lived.restarts.append(node.process.pid)
    node.ready_file.unlink()
    assert ask_operator(node, "POST", "/v1/seal/seal", {})[0] == 202
    wait_state(node, "sealed")
    wait_for(lambda: True if boot_id(node) != before else None, timeout_s=30, doing="a new start")
    lived.restarts.append(int(node.ready["pid"]))
    token = next(value for name, value in lived.secrets.items() if name.startswith("token"))
    for method, path in (("POST", "/v1/keys/billing/current"), ("GET", "/v1/keys")):
        status, answer = ask_client(node, method, path, token.decode())
        lived.answers.append((status, answer["error"]["code"]))


def boot_id(node: ConfiguredNode) -> str:
    return str(ask_operator(node, "GET", "/v1/seal/status")[1]["boot_id"])


def shares_of(lived: Life) -> dict[str, str]:
    named = {f"share {number}": words for number, words in enumerate(lived.shares)}
    return named | {"a stranger's share": lived.foreign[0]}


def test_no_secret_is_in_what_a_node_leaves_behind(life: Life, tmp_path: Path) -> None:
    """Configuration, database with its journal, audit log, process log, backup, and answers."""
    directory = life.node.directory
    names = {file.name for file in directory.rglob("*") if file.is_file()}
    assert {"config.toml", "config.log", "keyserver.sqlite", "audit.jsonl"} <= names
    assert {"backup", "export", "answers", "refusals"} <= names
    kinds = {name.split(" ")[0] for name in life.secrets}
    assert {"root", "unseal", "key", "share", "token", "service", "text"} <= kinds
    assert "key of term 2" in life.secrets
    columns = {f"{one.table}.{one.column}" for one in SEALED_COLUMNS if one.column != PROOF_COLUMN}
    boxes = {name.split(" ")[0] for name in life.secrets if "_box" in name}
    assert boxes == columns, "each column that holds secrets has one"
    assert search(directory, life.secrets, shares_of(life)) == []


def test_the_audit_log_tells_of_all_of_it(life: Life) -> None:
    log = life.node.data / "audit.jsonl"
    assert main(["audit", "verify", str(log)]) == 0
    actions = [json.loads(line)["action"] for line in log.read_text().splitlines()]
    assert actions[0] == "seal.unseal.share"
    wanted = {"seal.unsealed", "seal.rotate", "seal.sealed", "token.create", "keys.create"}
    assert wanted | {"keys.encrypt", "keys.owner.export", "audit.checkpoint"} <= set(actions)


def test_the_search_finds_what_is_planted(life: Life, tmp_path: Path) -> None:
    """The same search, in a copy with one line more: else the test above says nothing."""
    stolen = tmp_path / "stolen"
    shutil.copytree(life.node.directory, stolen)
    planted = [life.secrets["root key"].hex(), life.shares[2]]
    with (stolen / "config.log").open("a") as log:
        log.write(" and ".join(planted))
    found = search(stolen, life.secrets, shares_of(life))
    assert {each.secret for each in found} == {"root key", "share 2"}
    assert {each.file.name for each in found} == {"config.log"}
    public = {"node id": bytes(life.node.id)}
    assert {each.file.name for each in search(stolen, public, {})} >= {"keyserver.sqlite"}


def test_a_sealed_node_hands_out_nothing(life: Life) -> None:
    assert life.answers == [(503, "SEALED")] * 2


def test_sealing_replaces_the_process(life: Life) -> None:
    """Nothing of its memory is left, as the same process runs another program image."""
    assert len(set(life.restarts)) == 1


def test_sealing_empties_the_memory(life: Life) -> None:
    if life.open_memory is None or life.sealed_memory is None:
        pytest.skip("this user may not read the memory of processes that forbid dumps")
    kept = {"root key", "key of term 1", "key of term 2"}
    assert kept <= life.open_memory, "the search finds the keys of an open node"
    assert life.sealed_memory == set()
