"""Connections between simulated nodes, with every fault a network has."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from math import inf, nextafter
from random import Random

from keyserver.engine.ports import TransportListener
from keyserver.model.identifiers import NodeId, Nonce32
from keyserver.simulation.process import Process


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad the network is; times in virtual seconds, the rest are probabilities."""

    least_delay_s: float = 0.001
    most_delay_s: float = 0.02
    reorder: bool = False
    """Whether messages of one connection may overtake each other."""
    duplicate: float = 0.0
    lose: float = 0.0
    """A message vanishes without a trace (worse than TCP, where the connection breaks)."""
    break_connection: float = 0.0
    """A message takes its connection down; both ends notice and reconnect."""
    reconnect_s: float = 0.5


Tamper = Callable[[NodeId, NodeId, bytes], bytes | None]
"""Alters what a liar sends: (sender, receiver, message) → what arrives; `None`: nothing."""

Witness = Callable[[NodeId, NodeId, bytes], None]
"""Sees what nodes send, or what they get: (sender, receiver, message)."""

TRACE: ContextVar[Callable[[bytes], object] | None] = ContextVar("TRACE", default=None)
"""Takes down everything that is delivered, and when: two runs of one seed must be the same."""


class Network:
    """All connections of a cluster; full mesh between the nodes that are up."""

    def __init__(self, random: Random, faults: Faults) -> None:
        self._random = random
        self.faults = faults
        self._listeners: dict[NodeId, TransportListener] = {}
        self._boot_nonces: dict[NodeId, Nonce32] = {}
        self._links: set[frozenset[NodeId]] = set()
        self._cut: Counter[frozenset[NodeId]] = Counter()
        self._last_delivery: dict[tuple[NodeId, NodeId], float] = {}
        self._tampers: dict[NodeId, Tamper] = {}
        self._witnesses: list[Witness] = []
        self._hearers: list[Witness] = []
        self._trace = TRACE.get()
        self.delivered = 0

    def heal(self) -> None:
        """From now on nothing is lost, and all cuts are mended."""
        self.faults = replace(self.faults, duplicate=0, lose=0, break_connection=0)
        self._cut.clear()
        for node in list(self._listeners):
            self._connect_all(node)

    def corrupt(self, node: NodeId, tamper: Tamper) -> None:
        """Make a node a liar: all it sends passes `tamper`."""
        self._tampers[node] = tamper

    def redeem(self, node: NodeId) -> None:
        """Take back `corrupt`."""
        self._tampers.pop(node, None)

    def is_corrupt(self, node: NodeId) -> bool:
        """Whether what a node sends is altered."""
        return node in self._tampers

    def watch(self, witness: Witness) -> None:
        """Show somebody everything that nodes send, in order, before anybody alters it."""
        self._witnesses.append(witness)

    def overhear(self, hearer: Witness) -> None:
        """Show somebody everything that arrives, in order, as it arrives."""
        self._hearers.append(hearer)

    def inject(self, sender: NodeId, to: NodeId, message: bytes) -> None:
        """Put a message of a liar's making on its way, if it has a connection."""
        if frozenset({sender, to}) in self._links:
            self._schedule(sender, to, message)

    def attach(self, node: NodeId, boot_nonce: Nonce32, listener: TransportListener) -> None:
        """A node comes up."""
        self._listeners[node] = listener
        self._boot_nonces[node] = boot_nonce
        self._connect_all(node)

    def detach(self, node: NodeId) -> None:
        """A node goes down: its connections break."""
        self._listeners.pop(node, None)
        for link in [link for link in self._links if node in link]:
            self._break(link)

    def cut(self, a: NodeId, b: NodeId) -> None:
        """Separate two nodes until `mend`, called as often, or `heal`."""
        link = frozenset({a, b})
        self._cut[link] += 1
        self._break(link)

    def mend(self, a: NodeId, b: NodeId) -> None:
        """Take back one `cut`."""
        link = frozenset({a, b})
        self._cut -= Counter([link])
        self._connect(link)

    def is_linked(self, a: NodeId, b: NodeId) -> bool:
        """Whether two nodes have a connection."""
        return frozenset({a, b}) in self._links

    def peers(self, node: NodeId) -> frozenset[NodeId]:
        """Whom a node is connected to."""
        return frozenset(peer for link in self._links if node in link for peer in link - {node})

    def boot_nonce(self, peer: NodeId) -> Nonce32 | None:
        """Of the process that runs now."""
        return self._boot_nonces.get(peer)

    def send(self, sender: NodeId, to: NodeId, message: bytes) -> bool:
        """Put a message on its way; false without a connection."""
        link = frozenset({sender, to})
        if link not in self._links:
            return False
        for witness in self._witnesses:
            witness(sender, to, message)
        tamper = self._tampers.get(sender)
        altered = message if tamper is None else tamper(sender, to, message)
        if altered is None:
            return True
        chance = self._random.random
        if chance() < self.faults.break_connection:
            self._break(link)
            return True
        if chance() < self.faults.lose:
            return True
        self._schedule(sender, to, altered)
        if chance() < self.faults.duplicate:
            self._schedule(sender, to, altered)
        return True

    def _schedule(self, sender: NodeId, to: NodeId, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        delay = self._random.uniform(self.faults.least_delay_s, self.faults.most_delay_s)
        at = loop.time() + delay
        if not self.faults.reorder:
            last = self._last_delivery.get((sender, to), 0.0)
            at = max(at, nextafter(last, inf))  # the loop keeps no order of the same moment
            self._last_delivery[sender, to] = at
        nonce = self._boot_nonces[sender], self._boot_nonces.get(to)
        loop.call_at(at, self._arrive, sender, to, message, nonce)

    def _arrive(
        self, sender: NodeId, to: NodeId, message: bytes, nonce: tuple[Nonce32, Nonce32 | None]
    ) -> None:
        """Deliver, unless the connection it was sent on is gone."""
        same = nonce == (self._boot_nonces.get(sender), self._boot_nonces.get(to))
        if not same or not self.is_linked(sender, to):
            return
        self.delivered += 1
        if self._trace is not None:
            self._trace(repr(asyncio.get_running_loop().time()).encode() + sender + to + message)
        for hearer in self._hearers:
            hearer(sender, to, message)
        if not self._listeners[to].on_message(sender, message):
            self._break(frozenset({sender, to}))

    def _connect_all(self, node: NodeId) -> None:
        for peer in sorted(self._listeners):
            self._connect(frozenset({node, peer}))

    def _connect(self, link: frozenset[NodeId]) -> None:
        up = all(node in self._listeners for node in link)
        if len(link) != 2 or link in self._links or link in self._cut or not up:
            return
        self._links.add(link)
        a, b = sorted(link)
        self._listeners[a].on_connected(b)
        self._listeners[b].on_connected(a)

    def _break(self, link: frozenset[NodeId]) -> None:
        if link not in self._links:
            return
        self._links.discard(link)
        a, b = sorted(link)
        for node, peer in ((a, b), (b, a)):
            listener = self._listeners.get(node)
            if listener is not None:
                listener.on_disconnected(peer)
        asyncio.get_running_loop().call_later(self.faults.reconnect_s, self._connect, link)


class SimulatedTransport:
    """One node's view of the network."""

    def __init__(self, network: Network, me: NodeId, process: Process | None = None) -> None:
        self._network = network
        self._me = me
        self._process = process

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with a connection."""
        return self._network.peers(self._me)

    def send(self, to: NodeId, message: bytes) -> bool:
        """Put a message on its way; one of a process that has ended vanishes."""
        if self._process is not None and not self._process.acts():
            return True
        return self._network.send(self._me, to, message)

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        """Of a connected peer's process."""
        return self._network.boot_nonce(peer) if peer in self.connected else None
