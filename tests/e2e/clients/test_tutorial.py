"""The tutorial for the original: files, commands and outcomes, with other ports.

Alice keeps a document with three key servers, Bob reads it, and a contract keeps Charlie out. What
the reader of the tutorial does with an editor and a browser, the test does: entering the node ids
seen in the logs, deploying a contract, entering where it stands.
"""

import asyncio
import hashlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import pytest
from web3 import AsyncWeb3, Web3

from keyserver.client.http_provider import HttpProvider
from keyserver.devnet.local_chain import LocalChain, start_embedded
from tests.e2e.clients.processes import (
    Cluster,
    copy_config,
    with_ports,
    write_accounts,
)
from tests.e2e.node.foreign import NAME_PRICE, SIMPLE_REGISTRY, Deployer, published
from tests.support.chain_network import CHAIN_ID
from tests.support.node_processes import NodeProcess, wait_until_used
from tests.support.ports import free_ports
from tests.support.scenario_clients import ALICE, BOB, CHARLIE, VECTORS, Person
from tests.vectors.files import secret

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial is written for curl"),
]

FILES = Path(__file__).parent / "tutorial"
NAMES = ("ss1", "ss2", "ss3")
PEER_PORTS = (8011, 8013, 8015)
OTHER_PORTS = (8010, 8545)
TEXT = "mySecretDocument"
DOCUMENT = hashlib.sha256(TEXT.encode()).hexdigest()
HEXED = f"0x{TEXT.encode().hex()}"
STARTING = re.compile("Starting SecretStore node: 0x([0-9a-f]{128})")
LENIENT = "Running SecretStore with disabled ACL check"
CURL_S = 60

RPC = Template(
    """curl --data-binary '{"jsonrpc": "2.0", "method": "secretstore_$method", """
    """"params": $params, "id":1 }' -H 'content-type: application/json' http://127.0.0.1:8545/"""
)
GENERATE = Template("curl -X POST http://localhost:8010/shadow/$document/$signature/1")
STORE = Template(
    "curl -X POST http://localhost:8010/shadow/$document/$signature/$common/$encrypted"
)
RETRIEVE = Template("curl http://localhost:8010/shadow/$document/$signature")
RETRIEVE_WITH_HEADERS = Template("curl -i http://localhost:8010/shadow/$document/$signature")

UNREACHABLE = '"\\"Consensus unreachable\\""'


class Reader:
    """Who works through the tutorial in one directory."""

    def __init__(self, directory: Path) -> None:
        usual = (*PEER_PORTS, *OTHER_PORTS)
        self.ports: Mapping[int, int] = dict(zip(usual, free_ports(len(usual)), strict=True))
        self.nodes = []
        for name, described in zip(NAMES, VECTORS["nodes"], strict=False):
            node = Person(name, "", f"{name}pwd", secret(described["private_key"]))
            write_accounts(directory / f"db.{name}" / "keys", [node])
            (directory / f"{name}.pwd").write_text(f"{node.password}\n")
            self.nodes.append(
                NodeProcess(copy_config(FILES / f"{name}.toml", directory, self.ports))
            )
        self.cluster = Cluster(self.nodes)
        write_accounts(directory / "db.users" / "keys", [ALICE, BOB, CHARLIE])
        self.users = NodeProcess(copy_config(FILES / "users.toml", directory, self.ports))

    def close(self) -> None:
        for server in (*self.nodes, self.users):
            server.kill()

    def run(self, command: Template, **values: str) -> str:
        """A command of the tutorial; what it prints."""
        words = shlex.split(with_ports(command.substitute(values), self.ports))
        done = subprocess.run(words, capture_output=True, timeout=CURL_S, check=True)
        return done.stdout.decode()

    def rpc(self, method: str, who: Person, *params: object) -> Any:
        """A call to the users' node."""
        listed = json.dumps([who.address, who.password, *params])
        answer = json.loads(self.run(RPC, method=method, params=listed))
        assert "error" not in answer, answer
        return answer["result"]

    def signed(self, who: Person) -> str:
        """The id of the document, signed; without 0x, for a path."""
        return str(self.rpc("signRawHash", who, f"0x{DOCUMENT}")[2:])

    def retrieve(self, who: Person, command: Template = RETRIEVE) -> str:
        return self.run(command, document=DOCUMENT, signature=self.signed(who))

    def decrypt(self, who: Person, triple: dict[str, Any], encrypted: str) -> Any:
        fields = ("decrypted_secret", "common_point", "decrypt_shadows")
        return self.rpc("shadowDecrypt", who, *(triple[name] for name in fields), encrypted)

    async def restart(self) -> None:
        self.cluster.stop_all()
        await self.cluster.start_all()

    def edit(self, line: str, instead: str, *nodes: NodeProcess, added: str = "") -> None:
        """Replace a line in the files of these nodes, and add something at their ends."""
        for node in nodes:
            text = node.config.read_text()
            assert text.count(line) == 1
            node.config.write_text(text.replace(line, instead) + added)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reading = Reader(tmp_path)
    try:
        yield reading
    finally:
        reading.close()


@pytest.fixture
def local_chain(tmp_path: Path) -> Iterator[LocalChain]:
    chain = start_embedded(chain_id=CHAIN_ID, block_time_s=0.5, log_path=tmp_path / "chain.log")
    try:
        yield chain
    finally:
        chain.stop()


async def test_tutorial(reader: Reader, local_chain: LocalChain) -> None:
    await set_up(reader)
    encrypted = publish(reader)
    retrieve_by_bob(reader, encrypted)
    await retrieve_with_nodes_away(reader, encrypted)
    retrieve_by_charlie(reader, encrypted)
    await introduce_permissions(reader, local_chain)
    await retrieve_with_permissions(reader, encrypted)


async def set_up(reader: Reader) -> None:
    """Part 1: every node tells its id when it starts alone; the ids go into all files."""
    for node in reader.nodes:
        node.start()
    entries = []
    for node, port in zip(reader.nodes, PEER_PORTS, strict=True):
        node.wait_ready()
        (node_id,) = STARTING.findall(node.log)
        entries.append(f"{node_id}@127.0.0.1:{reader.ports[port]}")
    reader.edit("nodes = []", f"nodes = {json.dumps(entries)}", *reader.nodes)
    reader.users.start()
    await reader.restart()
    reader.users.wait_ready()
    assert set(reader.users.ready) == {"json_rpc", "pid"}
    assert [("http" in node.ready) for node in reader.nodes] == [True, False, False]
    for node in reader.nodes:
        assert LENIENT in node.log


def publish(reader: Reader) -> str:
    """Part 2: Alice has a key made, encrypts her document and stores its key."""
    signature = reader.signed(ALICE)
    server_key = reader.run(GENERATE, document=DOCUMENT, signature=signature)
    assert re.fullmatch('"0x[0-9a-f]{128}"', server_key)
    made = reader.rpc("generateDocumentKey", ALICE, json.loads(server_key))
    encrypted: str = reader.rpc("encrypt", ALICE, made["encrypted_key"], HEXED)
    stored = reader.run(
        STORE,
        document=DOCUMENT,
        signature=signature,
        common=made["common_point"][2:],
        encrypted=made["encrypted_point"][2:],
    )
    assert stored == ""
    return encrypted


def retrieve_by_bob(reader: Reader, encrypted: str) -> None:
    """Part 3: Bob gets the triple, and opens the document with it."""
    triple = json.loads(reader.retrieve(BOB))
    assert list(triple) == ["decrypted_secret", "common_point", "decrypt_shadows"]
    assert len(triple["decrypt_shadows"]) == 2
    assert reader.decrypt(BOB, triple, encrypted) == HEXED == "0x6d79536563726574446f63756d656e74"


async def retrieve_with_nodes_away(reader: Reader, encrypted: str) -> None:
    """Part 3: it works without the second node, and not without the second and the third."""
    assert reader.nodes[1].stop()[0] == 0
    assert reader.decrypt(BOB, json.loads(reader.retrieve(BOB)), encrypted) == HEXED
    assert reader.nodes[2].stop()[0] == 0
    assert reader.retrieve(BOB) == UNREACHABLE
    assert reader.retrieve(BOB, RETRIEVE_WITH_HEADERS).startswith("HTTP/1.1 403 Forbidden\r\n")
    await reader.cluster.start(1, 2)


def retrieve_by_charlie(reader: Reader, encrypted: str) -> None:
    """Part 4: so far anybody may read."""
    assert reader.decrypt(CHARLIE, json.loads(reader.retrieve(CHARLIE)), encrypted) == HEXED


async def introduce_permissions(reader: Reader, chain: LocalChain) -> None:
    """Part 4: a contract lets Alice and Bob pass; the nodes are told where it stands.

    The first node gets its address, the others find it in a registry. What the original knew as
    an Ethereum node itself, where the chain is, stands in a section of its own.
    """
    contract, registry = await deploy(chain.rpc_url)
    connection = (
        f'\n[keyserver]\nrpc_endpoints = ["{chain.ws_url}"]\nchain_id = {CHAIN_ID}\n'
        f'registry_address = "{registry}"\n'
    )
    first, *others = reader.nodes
    old = 'acl_contract = "none"'
    address = contract.removeprefix("0x")
    reader.edit(old, f'acl_contract = "{address}"', first, added=connection)
    reader.edit(old, 'acl_contract = "registry"', *others, added=connection)
    before = [node.log.count(LENIENT) for node in reader.nodes]
    await reader.restart()
    for node in reader.nodes:
        await asyncio.to_thread(wait_until_used, node, {"acl_contract": contract.lower()})
    assert [node.log.count(LENIENT) for node in reader.nodes] == before


async def deploy(url: str) -> tuple[str, str]:
    """The contract that lets Alice and Bob pass for the document, and a registry that names it."""
    provider = HttpProvider(url)
    try:
        deployer = Deployer(AsyncWeb3(provider))
        people = [Web3.to_checksum_address(who.address) for who in (ALICE, BOB)]
        contract = await deployer.create(
            published("PermissioningFireAndForget"), bytes.fromhex(DOCUMENT), people
        )
        registry = await deployer.create(published(SIMPLE_REGISTRY))
        entry = bytes(Web3.keccak(text="secretstore_acl_checker"))
        await deployer.call(registry.functions.reserve(entry), NAME_PRICE)
        await deployer.call(registry.functions.setAddress(entry, "A", contract.address))
        await deployer.mined()
        return str(contract.address), str(registry.address)
    finally:
        await provider.disconnect()


async def retrieve_with_permissions(reader: Reader, encrypted: str) -> None:
    """Part 4: Alice and Bob still can, Charlie can no more, and two nodes are enough for both."""
    for who in (ALICE, BOB):
        assert reader.decrypt(who, json.loads(reader.retrieve(who)), encrypted) == HEXED
    assert_denied(reader)
    assert reader.nodes[2].stop()[0] == 0
    assert reader.decrypt(BOB, json.loads(reader.retrieve(BOB)), encrypted) == HEXED
    assert_denied(reader)


def assert_denied(reader: Reader) -> None:
    head, body = reader.retrieve(CHARLIE, RETRIEVE_WITH_HEADERS).split("\r\n\r\n")
    assert head.startswith("HTTP/1.1 403 Forbidden\r\n")
    assert "content-type: application/json" in head.lower()
    assert body == UNREACHABLE
    assert reader.retrieve(CHARLIE) == UNREACHABLE
