"""`keyserver client` without contracts, against real nodes."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

import keyserver.cli.client_curl
import keyserver.client.http
from keyserver.cli.main import main
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.model.requests import Operation
from keyserver.simulation.clock import EPOCH
from tests.integration.client.network import ALICE, BOB, fresh_id, urls
from tests.support.client_node import ClientNetwork, client_network
from tests.support.ports import free_port
from tests.support.raw_http import ask

DOORS = pytest.mark.parametrize("door", ["v1", "original"])


@pytest.fixture(scope="module")
async def network() -> AsyncIterator[ClientNetwork]:
    async with client_network(3, seed=79) as running:
        yield running


@pytest.fixture(autouse=True)
async def simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes' clock is that of the simulation, and it runs in another thread's loop."""
    loop = asyncio.get_running_loop()
    connect = partial(keyserver.client.http.connect_nodes, unix_time=lambda: _now(loop))
    monkeypatch.setattr(keyserver.client.http, "connect_nodes", connect)
    monkeypatch.setattr(keyserver.cli.client_curl, "time", Clock(lambda: _now(loop)))


@dataclass
class Clock:
    """Stands for the module of that name."""

    time: Callable[[], float]


def _now(loop: asyncio.AbstractEventLoop) -> float:
    return EPOCH + loop.time()


def who(directory: Path, name: str) -> list[str]:
    """The options of an account."""
    key, password = directory / f"{name}.json", directory / "password"
    if not key.exists():
        encrypted = Account.encrypt(keccak256(name.encode()), "pass", iterations=1)
        key.write_text(json.dumps(encrypted))
        password.write_text("pass\n")
    return ["--key-file", str(key), "--password-file", str(password)]


class Shell:
    """Runs commands beside the nodes, whose loop goes on."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def run(self, *words: str | Path, code: int = 0) -> tuple[str, str]:
        status = await asyncio.to_thread(main, ["client", *(str(word) for word in words)])
        out, err = self._capsys.readouterr()
        assert status == code, err
        assert "Traceback" not in err
        return out, err

    async def facts(self, *words: str | Path) -> dict[str, Any]:
        out, _ = await self.run(*words, "--json")
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def asking(*nodes: str, door: str) -> list[str]:
    return [word for node in nodes for word in ("--node", node)] + ["--door", door]


@DOORS
async def test_a_file_goes_from_alice_to_bob(
    network: ClientNetwork, shell: Shell, tmp_path: Path, door: str
) -> None:
    nodes = urls(network)
    source, copy = tmp_path / "plan", tmp_path / "copy"
    source.write_bytes(b"attack at dawn")
    alice = [*who(tmp_path, "alice"), *asking(nodes[0], door=door)]
    made = await shell.facts("generate", "--threshold", "1", *alice, "--confirm-with", nodes[1])
    assert made["confirmed_by"] == [nodes[1]]
    assert made["node"] == nodes[0]
    shown = await shell.facts("show", made["key_id"], *alice)
    assert shown["public"] == made["public"]
    if door == "v1":
        assert shown["author"] == "0x" + ALICE.address.hex()
        assert shown["threshold"] == 1
    await shell.facts("encrypt", source, "--key-id", made["key_id"], *alice)
    bob = [*who(tmp_path, "bob"), *asking(*nodes[1:], door=door)]
    opened = await shell.facts("decrypt", f"{source}.encrypted", "-o", copy, *bob)
    assert opened == {"decrypted": str(copy), "checked": True, "node": nodes[1]}
    assert copy.read_bytes() == source.read_bytes()


async def test_v1_is_what_is_asked_when_nothing_is_said(
    network: ClientNetwork, shell: Shell, tmp_path: Path
) -> None:
    key_id, nodes = f"0x{fresh_id().hex()}", urls(network)
    made = ["generate", key_id, "--threshold", "0", *who(tmp_path, "alice"), "--node", nodes[0]]
    assert (await shell.facts(*made))["key_id"] == key_id
    _, err = await shell.run(*made, code=1)
    assert "SERVER_KEY_ALREADY_GENERATED" in err
    shown = ["show", key_id, *who(tmp_path, "bob"), "--node", nodes[0]]
    _, err = await shell.run(*shown, code=1)
    assert "ACCESS_DENIED" in err
    assert BOB.address.hex() not in err


async def test_a_node_that_is_not_there(shell: Shell, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    asked = ["show", f"0x{fresh_id().hex()}", *who(tmp_path, "alice"), "--node", nowhere]
    _, err = await shell.run(*asked, code=3)
    assert f"{nowhere}: cannot be connected to" in err
    assert err.count("trying again") == 3
    _, err = await shell.run("node", "--node", nowhere, code=3)
    assert "Is it running" in err


async def test_nodes_tell_who_they_are(network: ClientNetwork, shell: Shell) -> None:
    nodes = urls(network)
    out, _ = await shell.run("node", "--node", nodes[0], "--node", nodes[1], "--json")
    told = json.loads(out)
    assert [each["node"] for each in told] == nodes[:2]
    assert [each["node_id"] for each in told] == [
        f"0x{node.node.id.hex()}" for node in network.nodes[:2]
    ]
    out, _ = await shell.run("node", "--node", nodes[0])
    assert "verifying contract" in out


async def test_a_network_that_is_known_is_not_mixed_up(
    network: ClientNetwork, shell: Shell, tmp_path: Path
) -> None:
    contracts = tmp_path / "contracts.json"
    addresses = {"OwnedKeyServerSetWithMigration": "0x" + "42" * 20}
    contracts.write_text(json.dumps({"contracts": addresses, "chain_id": 99}))
    known: list[str | Path] = [
        "--contracts",
        contracts,
        "--node",
        urls(network)[0],
        *who(tmp_path, "alice"),
    ]
    _, err = await shell.run("show", f"0x{fresh_id().hex()}", *known, code=1)
    assert "is in another network" in err
    assert "chain 99" in err


@DOORS
async def test_a_request_can_be_sent_by_other_means(
    network: ClientNetwork, shell: Shell, tmp_path: Path, door: str
) -> None:
    node, key_id = network[0].address, f"0x{fresh_id().hex()}"
    options = [*who(tmp_path, "alice"), *asking(urls(network)[0], door=door)]
    sent = []
    for words in (["generate-server-key", key_id, "--threshold", "1"], ["retrieve-shadow", key_id]):
        made = await shell.facts("curl", *words, *options)
        path = made["url"].removeprefix(urls(network)[0])
        body = (made["body"] or "").encode()
        headers = [*made["headers"].items(), ("Content-Length", str(len(body)))]
        sent.append(await ask(node, made["method"], path, headers, body))
    assert [answer.status for answer in sent] == [200, 404]


async def test_the_command_for_curl_is_whole(
    network: ClientNetwork, shell: Shell, tmp_path: Path
) -> None:
    node, key_id = urls(network)[0], f"0x{fresh_id().hex()}"
    options = [*who(tmp_path, "alice"), "--node", node]
    out, _ = await shell.run("curl", "generate-both", key_id, "--threshold", "2", *options)
    words = shlex.split(out)
    assert words[:3] == ["curl", "-X", "POST"]
    assert words[3] == "-H"
    assert words[4].startswith("Secretstore-Auth: v1 ")
    assert words[-3:-1] == ["--data", '{"threshold": 2}']
    assert words[-1] == f"{node}/v1/server-keys/{key_id[2:]}/document-key/generate"
    for wrong in (
        ["generate-both", key_id],
        ["retrieve-plain", key_id, "--threshold", "1"],
        ["generate-server-key", key_id, "--threshold", "65536"],
    ):
        _, err = await shell.run("curl", *wrong, *options, code=2)
        assert "--threshold" in err


async def test_a_request_for_a_signature_is_printed(
    network: ClientNetwork, shell: Shell, tmp_path: Path
) -> None:
    node, key_id = urls(network)[0], f"0x{fresh_id().hex()}"
    options = [*who(tmp_path, "alice"), "--node", node]
    words = ["curl", "sign", key_id, "--hash", "4d" * 32, "--scheme", "frost"]
    made = await shell.facts(*words, *options)
    assert (made["method"], made["url"]) == (
        "POST",
        f"{node}/v1/server-keys/{key_id[2:]}/signature",
    )
    assert json.loads(made["body"]) == {"scheme": "frost", "message_hash": f"0x{'4d' * 32}"}
    _, err = await shell.run("curl", "sign", key_id, *options, code=2)
    assert "--hash" in err
    _, err = await shell.run(*words, *options, "--door", "original", code=2)
    assert "no FROST" in err
    ecdsa = await shell.facts("curl", "sign", key_id, "--hash", "4d" * 32, *options)
    assert json.loads(ecdsa["body"])["scheme"] == "ecdsa"


async def test_a_signature_that_is_switched_off_is_had_through_v1(
    network: ClientNetwork, shell: Shell, tmp_path: Path
) -> None:
    node, url = network[0].node, urls(network)[0]
    public = SecretScalar.from_int(1).public().raw64.hex()
    words = [fresh_id().hex(), "--hash", "4d" * 32, "--public", public, "--node", url]
    asked = ["sign", *words, *who(tmp_path, "alice"), "--door", "original"]
    before = node.policy
    node.policy = replace(before, strict_credentials=frozenset({Operation.SIGN_ECDSA}))
    try:
        _, err = await shell.run(*asked, code=1)
    finally:
        node.policy = before
    assert "strict_credentials" in err
    assert "--door v1" in err
    assert "retrieve_document_key" not in err


@DOORS
@pytest.mark.parametrize("scheme", ["ecdsa", "schnorr", "frost"])
async def test_a_file_is_signed(
    network: ClientNetwork, shell: Shell, tmp_path: Path, door: str, scheme: str
) -> None:
    nodes, file = urls(network), tmp_path / "agreement"
    file.write_bytes(b"agreed")
    alice, bob = (
        [*who(tmp_path, name), *asking(nodes[place], door=door)]
        for place, name in enumerate(("alice", "bob"))
    )
    made = await shell.facts("generate", "--threshold", "1", *alice)
    words = [made["key_id"], "--file", file, "--scheme", scheme]
    if (door, scheme) == ("original", "frost"):
        _, said = await shell.run("sign", *words, *alice, code=2)
        assert "no FROST" in said
        assert "--door v1" in said
        return
    signed = await shell.facts("sign", *words, *alice)
    assert (signed["public"], signed["scheme"]) == (made["public"], scheme)
    assert signed["node"] == nodes[0]
    _, said = await shell.run("sign", *words, *bob, code=1)
    assert "--public" in said, "only the author is told the key"
    signed = await shell.facts("sign", *words, *bob, "--public", made["public"])
    checks = ["--public", made["public"], "--file", file, "--scheme", scheme]
    assert (await shell.facts("verify", signed["signature"], *checks))["holds"] is True
    other = SecretScalar.from_int(1).public().raw64.hex()
    _, said = await shell.run("sign", *words, *bob, "--public", other, code=1)
    assert nodes[1] in said
