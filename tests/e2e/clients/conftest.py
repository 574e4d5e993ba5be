"""The same scenarios in front of nodes in this process and of nodes as processes.

The processes are started from files in the original's form, and only once for all tests.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from keyserver.api.json_rpc_accounts import DevelopmentKey
from tests.e2e.clients.guarded import ANNA, BEN, Guarded, GuardedByContract, GuardedInProcess
from tests.e2e.clients.processes import Cluster, copy_config, rpc_of, write_accounts
from tests.support.client_node import client_network
from tests.support.node_processes import NodeProcess
from tests.support.ports import free_ports
from tests.support.rpc_listener import Rpc, known_accounts, rpc_listener
from tests.support.scenario_clients import ALICE, BOB, CHARLIE, PEOPLE, VECTORS, Servers

OLD = Path(__file__).parent / "old"
PAGE = "http://app.example"
"""The origin that may use the cluster of one."""

PROCESSES = pytest.param("processes", marks=pytest.mark.e2e)


@pytest.fixture(scope="session", params=["in_process", PROCESSES])
def kind(request: pytest.FixtureRequest) -> str:
    """Where the nodes run."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def three(kind: str, request: pytest.FixtureRequest) -> Servers:
    """Three nodes that serve everybody; a test that stops one starts it again."""
    servers: Servers = request.getfixturevalue(f"three_{kind}")
    return servers


@pytest.fixture(scope="session")
def lone(kind: str, request: pytest.FixtureRequest) -> Servers:
    """A cluster of one, open to the pages of one origin, that counts no requests."""
    servers: Servers = request.getfixturevalue(f"lone_{kind}")
    return servers


@pytest.fixture(scope="session")
def guarded(kind: str, request: pytest.FixtureRequest) -> Guarded:
    """Three nodes that serve only who has permission."""
    nodes: Guarded = request.getfixturevalue(f"guarded_{kind}")
    return nodes


@pytest.fixture(scope="session")
def rpc(kind: str, request: pytest.FixtureRequest) -> Rpc:
    """The JSON-RPC module with the accounts of the vectors."""
    listener: Rpc = request.getfixturevalue(f"rpc_{kind}")
    return listener


@pytest.fixture(scope="session")
async def three_in_process() -> AsyncIterator[Servers]:
    async with client_network(3, seed=31) as network:
        yield network


@pytest.fixture(scope="session")
async def lone_in_process() -> AsyncIterator[Servers]:
    async with client_network(1, seed=32, cors=[PAGE]) as network:
        yield network


@pytest.fixture(scope="session")
async def rpc_in_process() -> AsyncIterator[Rpc]:
    async with rpc_listener([DevelopmentKey(), *known_accounts(VECTORS["accounts"])]) as listener:
        yield listener


@pytest.fixture(scope="session")
async def three_processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Alice, Bob and Charlie run a node each."""
    directory = tmp_path_factory.mktemp("three")
    usual = [8083, 8085, 8087, 8090, 8091, 8092, 8545, 8547, 8549]
    ports = dict(zip(usual, free_ports(len(usual)), strict=True))
    servers = []
    for who in (ALICE, BOB, CHARLIE):
        write_accounts(directory / f"db.{who.name}" / "keys", [who])
        (directory / f"{who.name}.pwd").write_text(who.password)
        servers.append(NodeProcess(copy_config(OLD / f"{who.name}.toml", directory, ports)))
    cluster = Cluster(servers)
    try:
        await cluster.start_all()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture(scope="session")
async def lone_processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    peers, clients = free_ports(2)
    config = copy_config(
        OLD / "lone.toml", tmp_path_factory.mktemp("lone"), {12000: peers, 12001: clients}
    )
    cluster = Cluster([NodeProcess(config, {"KEYSERVER_RATE_LIMIT": "0"})])
    try:
        await cluster.start_all()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture(scope="session")
async def rpc_processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rpc]:
    """The process of a user, who runs no key server."""
    directory = tmp_path_factory.mktemp("user")
    people = [who for who in (*PEOPLE.values(), ANNA, BEN) if who.name != "dev"]
    write_accounts(directory / "db.user" / "keys", people)
    (port,) = free_ports(1)
    server = NodeProcess(copy_config(OLD / "user.toml", directory, {8545: port}))
    try:
        server.start()
        server.wait_ready()
        yield rpc_of(server)
    finally:
        server.kill()


@pytest.fixture(scope="session")
async def guarded_in_process() -> AsyncIterator[Guarded]:
    async with client_network(3, seed=33) as network:
        yield GuardedInProcess(network)


@pytest.fixture(scope="session")
def guarded_processes(chain: GuardedByContract) -> Guarded:
    return chain


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedByContract]:
    """A chain with the contracts, and nodes that follow it."""
    started = GuardedByContract.start(tmp_path_factory.mktemp("chain"))
    try:
        yield started
    finally:
        started.close()
