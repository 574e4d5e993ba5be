"""How the liars of a game cheat, and who has got which of their lies."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from keyserver.engine.links import pack_link
from keyserver.model.identifiers import NodeId, SessionId
from keyserver.sessions.runner import Role
from keyserver.sessions.wire import LINK_TYPES, message_type, pack
from keyserver.simulation.adversary.rows import (
    Acts,
    Crashes,
    Protocol,
    Replays,
    Row,
    Tells,
    TellsOnLinks,
)
from keyserver.simulation.cluster import Cluster, SimulatedNode
from keyserver.simulation.liars import (
    Lie,
    LinkLie,
    LinkPlace,
    Place,
    at,
    honest,
    in_cluster,
    silent,
)
from tests.adversary.view import View

AGREEMENTS = {Protocol.AGREEMENT: "Cert", Protocol.DOCUMENT_AGREEMENT: "StoreCert"}
"""Decided in rounds, and what a liar has withheld so that it comes to that."""
LATE = frozenset({Protocol.CATALOGUE, Protocol.ADDITION})
"""Where a node returns that has missed the making of a key."""


@dataclass
class Cheating:
    """What the liars of one game do and know."""

    row: Row
    cluster: Cluster
    view: View
    told: dict[NodeId, set[NodeId]] = field(default_factory=dict)
    """By honest node: the liars whose lies one of its sessions has got while it lived."""
    lies: int = 0
    """How often a liar has said something else than it should, or nothing."""
    tellers: set[NodeId] = field(default_factory=set)
    """Who has lied inside a session: who was not chosen before has nothing to repeat."""
    rehearsing: bool = False
    _told: dict[bytes, NodeId] = field(default_factory=dict)

    @property
    def liars(self) -> list[SimulatedNode]:
        return [node for node in self.cluster.nodes if node.id in self.view.liars]

    @property
    def honest(self) -> list[SimulatedNode]:
        return [node for node in self.cluster.nodes if node.id not in self.view.liars]

    @property
    def named(self) -> dict[NodeId, set[NodeId]]:
        """Whom each honest node has named."""
        return {node.id: set(node.recorder.culprits) for node in self.honest}

    @property
    def has_lied(self) -> bool:
        """Whether the liars have done what the row is about."""
        return self.lies > 0 or isinstance(self.row.deed, Acts)

    async def corrupt(self) -> None:
        """From now on the liars cheat."""
        for node in self.liars:
            lie, link_lie = self._deed(node)
            session_lie = self._spied(lie)
            withheld = AGREEMENTS.get(self.row.protocol)
            if withheld is not None:
                session_lie = at(withheld, silent)
            in_cluster(self.cluster, node, session_lie, self._spied_links(link_lie))

    async def act(self) -> None:
        """What liars do by themselves."""
        if isinstance(self.row.deed, Acts):
            for node in self.liars:
                await self.row.deed.act(self.cluster, node)

    def begin(self) -> None:
        """What was said before does not count."""
        self.view.received.clear()
        self.lies = 0
        self.tellers.clear()

    def repent(self) -> None:
        """From now on the liars tell what they should, as far as they are there."""
        for node in self.liars:
            self.cluster.network.redeem(node.id)

    def _deed(self, node: SimulatedNode) -> tuple[Lie, Any]:
        match self.row.deed:
            case Tells():
                return self.row.deed.lie, honest
            case TellsOnLinks(message, told):
                return honest, at(message, told)
            case Crashes(message):
                return _crashing(node, message), _crashing(node, message)
            case Replays(whole):
                return self._replaying(whole=whole), self._replaying_links()
            case Acts():
                return honest, honest

    def _replaying(self, *, whole: bool) -> Lie:
        """After the rehearsal, what was said in it: to the same node if to that one, too."""
        earlier: dict[tuple[str, NodeId | None], Any] = {}

        sids: dict[str, SessionId] = {}

        def lie(place: Place, message: Any) -> Any:
            name = type(message).__name__
            first = sids.setdefault(name, place.ctx.sid) == place.ctx.sid
            if self.rehearsing or (self.row.protocol in LATE and first):
                told = pack(place.ctx.sid, message) if whole else message
                earlier[name, place.to] = told
                earlier.setdefault((name, None), told)
                return message
            return earlier.get((name, place.to)) or earlier.get((name, None)) or message

        return lie

    def _spied(self, lie: Lie) -> Lie:
        """Take down what the liars know, and which messages are lies."""

        def told(place: Place, message: Any) -> Any:
            self.view.note(place.ctx.sid, place.ctx.me, place.phase)
            instead = lie(place, message)
            self.lies += instead is not message
            if instead is not message:
                self.tellers.add(place.ctx.me)
            if instead is not message and instead is not None:
                data = instead if isinstance(instead, bytes) else pack(place.ctx.sid, instead)
                self._told[data] = place.ctx.me
            return instead

        return told

    def _spied_links(self, lie: LinkLie) -> LinkLie:
        """Take down which link messages are lies."""

        def told(place: LinkPlace, message: Any) -> Any:
            instead = lie(place, message)
            self.lies += instead is not message
            if instead is not message and instead is not None:
                data = instead if isinstance(instead, bytes) else pack_link(instead)
                self._told[data] = place.me
            return instead

        return told

    def _replaying_links(self) -> LinkLie:
        """After the rehearsal, the votes that were cast in it."""
        if self.row.protocol not in AGREEMENTS:
            return honest
        earlier: dict[str, Any] = {}

        def lie(_: LinkPlace, message: Any) -> Any:
            name = type(message).__name__
            if self.rehearsing:
                earlier[name] = message
            return earlier.get(name, message) if hasattr(message, "subject") else message

        return lie

    def hear(self, sender: NodeId, to: NodeId, message: bytes) -> None:
        """A message has arrived."""
        self.view.hear(sender, to, message)
        if message in self._told and to not in self.view.liars and self._lives(to, message):
            self.told.setdefault(to, set()).add(sender)

    def _lives(self, node: NodeId, message: bytes) -> bool:
        if message_type(message) in LINK_TYPES:
            return True
        sid = SessionId(message[2:34])
        told = self.cluster.node(node)
        return any(told.session_of(sid, role) is not None for role in Role)


def _crashing(node: SimulatedNode, at: str) -> Lie:
    def lie(_: Place, message: Any) -> Any:
        if type(message).__name__ != at or not node.is_up:
            return message
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(node.crash()))
        return None

    return lie
