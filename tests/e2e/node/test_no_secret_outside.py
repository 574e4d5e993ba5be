"""A full run of real processes, some of them killed: no secret is in anything they leave behind."""

import asyncio
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyserver.app.clock import SystemClock
from keyserver.app.config import load
from keyserver.app.store import opened_store
from keyserver.client.doors import DoorKind
from keyserver.client.http import connect_nodes
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import KeyId
from keyserver.model.keys import KeyShare
from tests.support.known_secrets import KnownSecrets
from tests.support.node_processes import (
    ConfiguredNode,
    kill_all,
    set_members,
    start_all,
    static_node,
    wait_connected,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NODES, THRESHOLD, KEYS = 4, 1, 3


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ConfiguredNode]]:
    """Connected processes; only they themselves could forbid that their cores are written."""
    directory = tmp_path_factory.mktemp("secrets")
    made = [
        static_node(directory / f"node{number}", SecretScalar.random(SystemRandom()))
        for number in range(NODES)
    ]
    set_members(made)
    for node in made:
        node.set("misc", logging="keyserver=trace")
    try:
        with cores_allowed():
            start_all(made)
            wait_connected(made)
            yield made
    finally:
        kill_all(made)


@contextmanager
def cores_allowed() -> Iterator[None]:
    """Processes that are started meanwhile may write cores as large as the system allows."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


async def share_a_key(nodes: list[ConfiguredNode], wallet: Wallet, key_id: KeyId) -> bytes:
    """Generate, store and retrieve over both doors; the document key, 64 bytes."""
    urls, random = [str(node.ready["http"]) for node in nodes], SystemRandom()
    document_key = SecretScalar.random(random).public()
    async with connect_nodes(urls[:1], wallet) as servers:
        generated = await servers.generate_server_key(key_id, THRESHOLD)
        encrypted = encrypt_document_key(generated.value.public, document_key, random)
        await servers.store_document_key(key_id, encrypted)
        assert (await servers.retrieve_document_key(key_id)).value == document_key
    async with connect_nodes(urls[1:2], wallet, door=DoorKind.ORIGINAL) as servers:
        assert (await servers.retrieve_document_key(key_id)).value == document_key
    return document_key.raw64


def files_of(nodes: list[ConfiguredNode]) -> list[bytes]:
    """All that is in the nodes' directories now, but what holds keys by its nature."""
    keys = {"config.toml", "seal.key"}
    return [
        file.read_bytes()
        for node in nodes
        for file in node.directory.rglob("*")
        if file.is_file() and file.name not in keys
    ]


async def secrets_at_rest(node: ConfiguredNode, key_ids: list[KeyId]) -> dict[KeyId, KeyShare]:
    """What only the node's sealing key opens."""
    loaded = load(node.config, environ={"HOME": str(node.directory)})
    random, clock = SystemRandom(), SystemClock()
    async with opened_store(loaded, node.id, random=random, clock=clock) as store:
        states = {key_id: await store.records.load(key_id) for key_id in key_ids}
    return {key_id: state.share for key_id, state in states.items() if state.share is not None}


def restarted(node: ConfiguredNode) -> None:
    node.kill()
    node.start()
    node.wait_ready()


async def test_no_secret_is_in_what_nodes_write(nodes: list[ConfiguredNode]) -> None:
    alice, written = SecretScalar.random(SystemRandom()), []
    wallet = Wallet(alice)
    known = KnownSecrets([alice.expose(), *(node.secret.expose() for node in nodes)])
    key_ids = []
    for number in range(KEYS):
        key_id = wallet.new_key_id(SystemRandom())
        document_key = await share_a_key(nodes, wallet, key_id)
        known.values |= {document_key[:32], document_key[32:]}
        key_ids.append(key_id)
        written += files_of(nodes)  # with the write-ahead logs of databases in use
        await asyncio.to_thread(restarted, nodes[2 + number % 2])
        await asyncio.to_thread(wait_connected, nodes)
    assert not cores_of(nodes[0], signal.SIGSEGV), "a core was written"
    kill_all(nodes)
    written += files_of(nodes)
    shares = [await secrets_at_rest(node, key_ids) for node in nodes]
    for key_id in key_ids:
        held = [by_key[key_id] for by_key in shares if key_id in by_key]
        assert len(held) > THRESHOLD
        joint = interpolate_secret([s.x for s in held], [s.value for s in held])
        known.values |= {joint.expose(), *(share.value.expose() for share in held)}
    known.values |= {bytes.fromhex((node.data / "seal.key").read_text()) for node in nodes}
    assert not known.found_in(b"|".join(written))


def cores_of(node: ConfiguredNode, number: signal.Signals) -> list[str]:
    """End the process by a signal for which cores are written; the files that came of it."""
    process = node.process
    process.send_signal(number)
    assert process.wait(30) == -number
    return [str(file) for file in node.directory.rglob("core*")]


def test_cores_would_be_written_here_otherwise(tmp_path: Path) -> None:
    """The same signal on a program that does not forbid it: else the test above says nothing."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if hard == 0 or not pattern.startswith("core"):
        pytest.skip("this machine writes no cores, or elsewhere")
    with cores_allowed():
        sleeper = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    sleeper.send_signal(signal.SIGSEGV)
    assert sleeper.wait(30) == -signal.SIGSEGV
    assert list(tmp_path.glob("core*"))
