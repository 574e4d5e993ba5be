"""The operator's test bed in one process: nodes and administrator of the published vectors."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from keyserver.api.cors import OriginPolicy
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.rate_limit import RateLimiter
from keyserver.app.set_changes import AdministratorsChanges
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.keys import KeyShare
from keyserver.model.node_set import NodeAddress, NodeSet, NodeSetSnapshot
from keyserver.model.set_change import set_hash
from keyserver.simulation.cluster import Cluster, FixedSets, SimulatedNode
from tests.support.asgi import call
from tests.support.changing_cluster import ChangingCluster
from tests.support.client_node import SimulatedState, sign_id
from tests.support.raw_http import Answer
from tests.support.set_changes import sign
from tests.unit.app.samples import node_id, secret
from tests.vectors.files import load

ADMIN = node_id("admin")
CHANGES: Mapping[str, Any] = {case["name"]: case for case in load("http-api")["servers_set_change"]}
"""The published requests: `identity-change` of a, b, c; `replace-one`; and
`mission-document-example`."""


class OperatorBed:
    """Named nodes; all of them are configured, the current ones hold the keys.

    Requests are the original's and go straight into the application of a node.
    """

    def __init__(self, configured: str, current: str) -> None:
        cluster = _cluster_of(configured)
        self.world = ChangingCluster(len(configured), len(current), cluster=cluster)
        self.world.admins = dict.fromkeys(self.world.admins, ADMIN)
        self.names, self.current = configured, current
        self.be_current(current)

    async def __aenter__(self) -> "OperatorBed":
        await self.world.__aenter__()
        await self.world.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.__aexit__()

    def place(self, name: str) -> int:
        """Where the world has this node."""
        return [node.id for node in self.world.nodes].index(node_id(name))

    def node(self, name: str) -> SimulatedNode:
        return self.world.nodes[self.place(name)]

    def be_current(self, names: str) -> None:
        self.world.be_current(self.world.set_of(self.places(names)))

    def places(self, names: str) -> list[int]:
        return [self.place(name) for name in names]

    async def keys(self, number: int = 1, *, threshold: int | None = 1) -> list[KeyId]:
        """Keys of the current nodes with document keys; from then on all configured ones count.

        Without a threshold: 0 and 1 by turns, and every other pair without a document key.
        """
        made = []
        for each in range(number):
            t = each % 2 if threshold is None else threshold
            has_document = threshold is not None or each % 4 < 2
            by = self.world.nodes.index(self.node(self.current[0]))
            made.append(await self.world.generate(t, by=by, document=has_document))
        await self.world.settle()
        self.be_current(self.names)
        await self.world.settle()
        return made

    async def lose(self, names: str) -> str:
        """Nodes die, and all others are configured without them; the names of those."""
        for name in names:
            await self.node(name).crash()
        left = "".join(name for name in self.names if name not in names)
        self.world.configured = self.world.set_of(self.places(left))
        self.be_current(left)
        await self.world.settle()
        return left

    async def restart(self, name: str, *, administrator: NodeId | None) -> None:
        """Start a node again with another `admin_public`."""
        node = self.node(name)
        await node.crash()
        self.world.admins[node.id] = administrator
        node.boot()
        await self.world.settle()

    # --- requests ---------------------------------------------------------------------------------

    async def ask(self, name: str, method: str, path: str, body: str = "") -> Answer:
        """One request to a node."""
        node = self.node(name)
        limiter = RateLimiter(0, lambda: 0.0)
        needs = ClientDependencies(
            SimulatedState(node), SystemRandom(), OriginPolicy(()), limiter, self._changes(name)
        )
        return await call(client_app(needs), method, path, body=body.encode())

    async def change(self, name: str, published: str) -> Answer:
        """A published request, as it was published."""
        request = CHANGES[published]["request"]
        return await self.ask(name, request["method"], request["path"], request["body"])

    async def order(
        self, name: str, old: str, new: str, *, signed: tuple[str, str] | None = None, **key: Any
    ) -> Answer:
        """A request to have `new` hold the keys; `signed`: names whose sets are signed instead."""
        request = order_of(old, new, signed=signed, **key)
        return await self.ask(name, "POST", *request)

    def _changes(self, name: str) -> AdministratorsChanges | None:
        """As the program has it: a node without an administrator takes no orders."""
        node = self.node(name)
        if self.world.admins[node.id] is None:
            return None
        orders = self.world.orders[node.id].administrator
        changes = self.world.changes(self.place(name))
        return AdministratorsChanges(orders, changes, lambda: node.api.connected)

    # --- keys -------------------------------------------------------------------------------------

    async def read(self, name: str, key_id: bytes, reader: SecretScalar) -> Answer:
        """Operation 6 at a node."""
        return await self.ask(name, "GET", f"/shadow/{key_id.hex()}/{sign_id(reader, key_id)}")

    async def holders(self, key_id: bytes) -> str:
        """Names of the nodes that have a share of the version in force."""
        found = ""
        for name in self.names:
            found += name if await self.share(name, key_id) is not None else ""
        return found

    async def share(self, name: str, key_id: Any) -> KeyShare | None:
        """A node's share."""
        return (await self.node(name).store.load(key_id)).share


def order_of(
    old: str,
    new: str,
    *,
    signed: tuple[str, str] | None = None,
    key: SecretScalar | None = None,
) -> tuple[str, str]:
    """Path and body of a request of the original's form, signed by the administrator or `key`."""
    signatures = [
        sign(set_hash(ids(names)), key or secret("admin")).hex() for names in signed or (old, new)
    ]
    body = json.dumps([f"0x{node.hex()}" for node in ids(new)])
    return "/".join(("/admin/servers_set_change", *signatures)), body


def ids(names: Iterable[str]) -> list[NodeId]:
    return [node_id(name) for name in names]


def _cluster_of(names: str) -> Cluster:
    cluster = Cluster(len(names), seed=1)
    made = [SimulatedNode(cluster, secret(name)) for name in names]
    cluster.nodes = sorted(made, key=lambda node: node.id)
    nodes = NodeSet(1, Address(bytes(20)), tuple(node.id for node in cluster.nodes))
    addresses = tuple((node.id, NodeAddress("sim", 1)) for node in cluster.nodes)
    cluster.sets = FixedSets(NodeSetSnapshot(nodes, nodes, None, addresses, 0, 0))
    return cluster
