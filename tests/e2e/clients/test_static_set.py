"""A set of nodes that stands in their files and needs no chain, over restarts of processes."""

import asyncio
from collections.abc import Iterator
from random import SystemRandom

import pytest

from keyserver.devnet.ports import is_free
from tests.e2e.clients.conftest import OLD
from tests.e2e.clients.processes import (
    Cluster,
    copy_config,
    http_of,
    rpc_of,
    write_accounts,
)
from tests.support.node_processes import NodeProcess
from tests.support.ports import free_ports
from tests.support.scenario_clients import (
    ALICE,
    ALREADY_GENERATED,
    BOB,
    REQUESTS,
    VECTORS,
    Client,
    error,
    fresh_id,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SHIFTED = (8083, 8082, 8545)
"""Ports of the first node before its `ports_shift`."""
SHIFT_IN_FILE = 10_000
LENIENT = "Running SecretStore with disabled ACL check: everyone has access to stored keys"


def free_shift() -> int:
    """A shift that makes all ports of the first node free ones."""
    shifts = range(12_000, 22_000)
    start = SystemRandom().randrange(len(shifts))
    for offset in range(len(shifts)):
        shift = shifts[(start + offset) % len(shifts)]
        if all(is_free(port + shift) for port in SHIFTED):
            return shift
    raise AssertionError("no shift is free")


@pytest.fixture(scope="module")
def shift() -> int:
    return free_shift()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, shift: int) -> Iterator[Cluster]:
    """Three nodes that do not run yet; only the first serves clients."""
    directory = tmp_path_factory.mktemp("static")
    ports = dict(zip((8085, 8087), free_ports(2), strict=True))
    ports |= {SHIFT_IN_FILE: shift, 8083 + SHIFT_IN_FILE: 8083 + shift}
    names = [f"ss{number}.toml" for number in (1, 2, 3)]
    servers = [NodeProcess(copy_config(OLD / name, directory, ports)) for name in names]
    write_accounts(directory / "db.ss1" / "keys", [ALICE, BOB])
    cluster = Cluster(servers)
    try:
        yield cluster
    finally:
        cluster.kill()


def assert_said_at_start(servers: list[NodeProcess]) -> None:
    """The last start told the node's id in full, and that everybody has access; nothing failed."""
    for server, node in zip(servers, VECTORS["nodes"], strict=False):
        texts = [event.get("text") for event in server.events()]
        assert texts.count(f"Starting SecretStore node: {node['public']}") == 1
        assert texts.count(LENIENT) == 1
        assert not [event for event in server.events() if event["level"] == "error"]


async def test_a_set_that_stands_in_files(three: Cluster, shift: int) -> None:
    first = three.servers[0]
    first.start()
    await asyncio.to_thread(first.wait_ready)
    assert (http_of(first).port, rpc_of(first).address.port) == (8082 + shift, 8545 + shift)
    assert first.ready["peer"] == f"127.0.0.1:{8083 + shift}"
    acting = Client(rpc_of(first), [http_of(first)], REQUESTS)
    await refuses_alone(acting)
    await three.start(1, 2)
    assert not any({"http", "json_rpc"} & other.ready.keys() for other in three.servers[1:])
    await knows_nothing_yet(acting)
    encrypted = {
        (key_id := fresh_id()): await acting.publish(ALICE, key_id, b"kept", threshold)
        for threshold in (0, 1, 2)
    }
    three.stop_all()
    assert_said_at_start(three.servers)
    await three.start_all()
    for key_id, document in encrypted.items():
        assert await acting.consume(BOB, key_id, document) == b"kept"
        again = await acting.generate(ALICE, key_id, 0)
        assert (again.status, again.body) == (400, ALREADY_GENERATED)
    assert (await acting.generate(ALICE, fresh_id(), 2)).status == 200
    three.stop_all()
    assert_said_at_start(three.servers)


async def refuses_alone(acting: Client) -> None:
    """A node whose set is not there refuses at once; it needs no restart when the others come."""
    alone = await acting.generate(ALICE, fresh_id(), 1)
    disconnected = error("node required for this operation is currently disconnected")
    assert (alone.status, alone.body) == (500, disconnected)


async def knows_nothing_yet(acting: Client) -> None:
    """C7.1 at a node that holds no share of anything."""
    key_id = fresh_id()
    answer = await acting.http("GET", f"/{key_id}/{await acting.sign(BOB, key_id)}")
    assert (answer.status, answer.body) == (404, error("Server key with this ID is not found"))
