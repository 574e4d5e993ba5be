"""A member of a simulated cluster in the hands of an attacker.

It has the node key, runs the honest code where that helps, hears everything that reaches the node
and may say what it likes: alter what its own process sends, or send messages made by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from keyserver.crypto.curve import SecretScalar
from keyserver.engine.links import AnyLink, PrepareVote, pack_link, unpack_link
from keyserver.model.codec import encode
from keyserver.model.identifiers import Hash32, NodeId, Nonce32, SessionId, Signature
from keyserver.model.requests import Request
from keyserver.sessions.core import SessionKind
from keyserver.sessions.identity import session_id
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.wire import LINK_TYPES, message_type, pack
from keyserver.simulation.cluster import Cluster, SimulatedNode

M = TypeVar("M")

Rewrite = Callable[[NodeId, Any], Any]
"""(receiver, honest message) → what is sent instead: a message, bytes, or `None` for nothing."""


@dataclass(frozen=True)
class Heard:
    """What reached the intruder."""

    sender: NodeId
    sid: SessionId | None
    """`None` for a link message."""
    message: Any


class Intruder:
    """Takes the place of a node's listener; the node's own code hears what the attacker lets it."""

    def __init__(self, cluster: Cluster, node: SimulatedNode) -> None:
        self.cluster = cluster
        self.node = node
        self.id = node.id
        self.inbox: list[Heard] = []
        self.rewrite: Rewrite = lambda _, message: message
        self.rewrite_link: Rewrite = lambda _, message: message
        """The same for what is said outside sessions."""
        self.keeps: Callable[[Heard], bool] = lambda _: False
        """What its own code does not get to hear."""
        self.reply: Callable[[AnyLink], AnyLink | None] = lambda _: None
        """What it answers itself when peers ask outside sessions."""
        self.mistake: Exception | None = None
        """What went wrong in a test's own `rewrite`; raised where the test waits next."""
        self.sid = SessionId(bytes(32))
        """The session of the message that `rewrite` is about to alter."""
        self._counter = 1_000_000
        self._by_hand = False
        self._take_over()

    def _take_over(self) -> None:
        network = self.cluster.network
        self._own = network._listeners[self.id]
        network.attach(self.id, self.boot_nonce, self)
        network.corrupt(self.id, self._tamper)

    async def restart(self) -> None:
        """Start the node's process anew, with another boot nonce."""
        await self.node.crash()
        self.node.boot()
        self._take_over()

    @property
    def boot_nonce(self) -> Nonce32:
        known = self.cluster.network.boot_nonce(self.id)
        assert known is not None
        return known

    @property
    def honest(self) -> list[SimulatedNode]:
        """Everybody else."""
        return [node for node in self.cluster.nodes if node.id != self.id]

    def sign(self, digest: Hash32) -> Signature:
        return self.node._signer.sign(digest)

    @property
    def secret(self) -> SecretScalar:
        return self.node._signer._secret

    # --- what it hears ----------------------------------------------------------------------------

    def on_connected(self, peer: NodeId) -> None:
        self._own.on_connected(peer)

    def on_disconnected(self, peer: NodeId) -> None:
        self._own.on_disconnected(peer)

    def on_message(self, peer: NodeId, message: bytes) -> bool:
        if message_type(message) in LINK_TYPES:
            heard = Heard(peer, None, unpack_link(message))
            answer = self.reply(heard.message)
            if answer is not None:
                return self.send_link(peer, answer)
        else:
            heard = Heard(peer, *MESSAGE_TABLE.unpack(message))
        self.inbox.append(heard)
        return True if self.keeps(heard) else self._own.on_message(peer, message)

    def heard(self, *kinds: type[M], sid: SessionId | None = None) -> list[tuple[NodeId, M]]:
        """Messages of these kinds with their senders, in order."""
        return [
            (one.sender, one.message)
            for one in self.inbox
            if isinstance(one.message, kinds) and sid in (None, one.sid)
        ]

    def prepare_votes(self) -> list[tuple[NodeId, Hash32]]:
        """The values that others have prepared in rounds of the agreement."""
        return [(sender, vote.value) for sender, vote in self.heard(PrepareVote)]

    def heard_from(self, sender: NodeId) -> bytes:
        """Everything that a node has sent, in canonical encoding."""
        return b"|".join(encode(one.message) for one in self.inbox if one.sender == sender)

    # --- what it says -----------------------------------------------------------------------------

    def _tamper(self, _: NodeId, to: NodeId, data: bytes) -> bytes | None:
        if self._by_hand:
            return data
        try:
            if message_type(data) in LINK_TYPES:
                link = self.rewrite_link(to, unpack_link(data))
                return None if link is None else pack_link(link)
            self.sid, message = MESSAGE_TABLE.unpack(data)
            told = self.rewrite(to, message)
        except Exception as mistake:
            self.mistake = self.mistake or mistake
            return None
        return told if told is None or isinstance(told, bytes) else pack(self.sid, told)

    def send_bytes(self, to: NodeId, data: bytes) -> bool:
        """Send what it likes; false without a connection."""
        self._by_hand = True
        try:
            return self.cluster.network.send(self.id, to, data)
        finally:
            self._by_hand = False

    def send(self, to: NodeId, sid: SessionId, message: Any) -> bool:
        return self.send_bytes(to, pack(sid, message))

    def send_link(self, to: NodeId, message: AnyLink) -> bool:
        return self.send_bytes(to, pack_link(message))

    def next_counter(self) -> int:
        self._counter += 1
        return self._counter

    def session(self, kind: SessionKind, counter: int, request: Request) -> SessionId:
        """The id that an honest node expects of such a session."""
        return session_id(kind, self.id, self.boot_nonce, counter, request.hash)


def rewriting(**by_type: Callable[[NodeId, Any], Any]) -> Rewrite:
    """Alter messages by the name of their type."""

    def rewrite(to: NodeId, message: Any) -> Any:
        change = by_type.get(type(message).__name__)
        return message if change is None else change(to, message)

    return rewrite
