"""Client listeners on the nodes of a cluster in this process, and requests to them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from keyserver.api.cors import OriginPolicy
from keyserver.api.listening import tcp_socket
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.ports import Availability, ClientOperations
from keyserver.api.public_server import serve_public
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.v1 import v1_routes
from keyserver.api.v1_admission import NodeIdentity, V1Dependencies
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.node_set import NodeAddress
from keyserver.sessions.core import Policy
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import Cluster, SimulatedNode
from keyserver.simulation.network import Faults

FAST = Faults(least_delay_s=0.0, most_delay_s=0.0005)


class SimulatedState:
    """`NodeState` of a simulated node."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.availability = Availability.OPEN
        self.chain_is_silent = False

    @property
    def operations(self) -> ClientOperations:
        return self.node.api

    @property
    def policy(self) -> Policy:
        return self.node.policy

    @property
    def signing_domain(self) -> SigningDomain:
        return self.node.policy.signing_domain


def app_of(state: SimulatedState, cors: Sequence[str] = ()) -> ASGIApp:
    """Both doors of a simulated node; its time is that of the simulation."""
    random, limiter = SystemRandom(), RateLimiter(0, lambda: 0.0)
    identity = NodeIdentity(state.node.id, "0.0.0-simulated")
    modern = V1Dependencies(state, identity, random, limiter, VirtualClock().unix)
    needs = ClientDependencies(state, random, OriginPolicy(cors), limiter)
    return client_app(needs, v1_routes(modern))


@dataclass
class ClientNode:
    """A node with its client listener."""

    node: SimulatedNode
    state: SimulatedState
    address: NodeAddress


@dataclass
class ClientNetwork:
    """All nodes of a cluster."""

    cluster: Cluster
    nodes: list[ClientNode]

    def __getitem__(self, index: int) -> ClientNode:
        return self.nodes[index % len(self.nodes)]

    @property
    def addresses(self) -> Sequence[NodeAddress]:
        return [node.address for node in self.nodes]

    async def stop(self, index: int) -> None:
        await self.nodes[index].node.crash()

    async def start(self, *indices: int) -> None:
        for index in indices:
            self.nodes[index].node.boot()
        running = [node for node in self.cluster.nodes if node.is_up]
        while any(len(node.api.connected) < len(running) for node in running):
            await asyncio.sleep(0)


@asynccontextmanager
async def client_network(
    nodes: int, *, seed: int = 1, cors: Sequence[str] = (), policy: Policy | None = None
) -> AsyncIterator[ClientNetwork]:
    """A cluster whose nodes serve clients on real sockets."""
    async with Cluster(nodes, seed=seed, faults=FAST, policy=policy) as cluster:
        made, servers = [], []
        for node in cluster.nodes:
            state = SimulatedState(node)
            listener = tcp_socket("http_port", "127.0.0.1", 0)
            made.append(ClientNode(node, state, NodeAddress(*listener.getsockname()[:2])))
            servers.append(asyncio.ensure_future(serve_public(app_of(state, cors), listener)))
        try:
            yield ClientNetwork(cluster, made)
        finally:
            for server in servers:
                server.cancel()
            await asyncio.gather(*servers, return_exceptions=True)


def sign_id(key: SecretScalar, key_id: bytes) -> str:
    """What `secretstore_signRawHash` gives, without 0x."""
    return sign_digest(key, key_id).hex()
