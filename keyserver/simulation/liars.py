"""How a malicious node is played: it runs the honest code and alters what leaves it.

A lie has everything at hand that the node knows: its phase, its keys, its node key. What liars say
stands in `keyserver.simulation.adversary`; here is how it gets onto the network of a `Cluster`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.links import AnyLink, pack_link, unpack_link
from keyserver.model.identifiers import NodeId, SessionId, Signature
from keyserver.sessions.core import Context, Failed, Signer
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.wire import HEADER_SIZE, LINK_TYPES, message_type, pack

if TYPE_CHECKING:
    from keyserver.simulation.cluster import Cluster, SimulatedNode

OTHER_POINT: Point = mul_base(SecretScalar.from_int(77))
UNSIGNED = Signature(bytes(65))


@dataclass(frozen=True)
class Place:
    """Where a lie is told."""

    ctx: Context
    phase: Any
    to: NodeId
    coordinator_phase: Any
    """What the coordinator would tell whoever investigates."""
    remembered: Any = None
    """The liar's one-time key in this session, which an honest node has erased when it leaves."""

    @property
    def group(self) -> Any:
        """Who takes part in a sharing; a dealer that is to hold no share goes without it."""
        own = getattr(self.phase, "group", None)
        return self.coordinator_phase.group if own is None else own

    @property
    def one_time(self) -> Any:
        """The liar's own one-time key."""
        return getattr(self.phase, "one_time", self.remembered)

    @property
    def signer(self) -> Signer:
        """The liar's node key."""
        return self.ctx.signer

    @property
    def random(self) -> SeededRandom:
        """The same at every repetition of this place: runs are replayed."""
        return SeededRandom(b"liar" + self.ctx.sid + self.ctx.me)


Lie = Callable[[Place, Any], Any]
"""(where, the honest message) → another one, raw bytes, or `None` for silence."""


def while_in(phase: type) -> Callable[[Lie], Lie]:
    """Tell a lie only while the coordinator is in this phase.

    Before it the lie would lack what it is made of; after it nobody listens any more.
    """

    def bound(lie: Lie) -> Lie:
        @wraps(lie)
        def told(place: Place, message: Any) -> Any:
            return lie(place, message) if isinstance(place.coordinator_phase, phase) else message

        return told

    return bound


@dataclass(frozen=True)
class LinkPlace:
    """Where a lie outside of sessions is told."""

    me: NodeId
    signer: Signer
    to: NodeId


LinkLie = Callable[[LinkPlace, Any], Any]
"""The same for link messages."""


def honest(_: Any, message: Any) -> Any:
    """Say what the protocol says."""
    return message


def silent(_: Any, __: Any) -> None:
    """Say nothing."""
    return


Where = TypeVar("Where")


def at(name: str, lie: Callable[[Where, Any], Any]) -> Callable[[Where, Any], Any]:
    """Lie with messages of one type only."""
    return lambda place, message: lie(place, message) if type(message).__name__ == name else message


def to_some(targets: Callable[[Place], frozenset[NodeId]], lie: Lie) -> Lie:
    """Lie to some nodes only."""
    return lambda place, message: lie(place, message) if place.to in targets(place) else message


def garbage(place: Place, message: Any) -> bytes:
    """The header of a message, and nothing that parses behind it."""
    return pack(place.ctx.sid, message)[:HEADER_SIZE] + b"\xff" * 70


def with_bytes(old: Callable[[Any], bytes], new: bytes) -> Lie:
    """Put bytes in place of others in the encoded message: what no honest codec would write."""

    def altered(place: Place, message: Any) -> bytes:
        return pack(place.ctx.sid, message).replace(old(message), new)

    return altered


def with_field(name: str, value: Callable[[Any], Any]) -> Lie:
    """Change one field, leaving signatures as they were."""
    return lambda _, message: replace(message, **{name: value(getattr(message, name))})


def unsigned(_: Any, message: Any) -> Any:
    """Leave the signature out."""
    return replace(message, signature=UNSIGNED)


# --- on the network of a cluster -----------------------------------------------------------------


def in_cluster(
    cluster: "Cluster", node: "SimulatedNode", lie: Lie, link_lie: LinkLie = honest
) -> None:
    """Make a simulated node a liar; what it sends to itself stays honest."""
    one_time: dict[SessionId, Any] = {}

    def tamper(_: NodeId, to: NodeId, data: bytes) -> bytes | None:
        if message_type(data) in LINK_TYPES:
            return _on_link(node, to, data, link_lie)
        return _in_session(cluster, node, to, data, lie, one_time)

    cluster.network.corrupt(node.id, tamper)


def _on_link(node: "SimulatedNode", to: NodeId, data: bytes, lie: LinkLie) -> bytes | None:
    if lie is honest:
        return data
    message: AnyLink = unpack_link(data)
    told = lie(LinkPlace(node.id, node._signer, to), message)
    return told if told is None or isinstance(told, bytes) else pack_link(told)


def _in_session(
    cluster: "Cluster",
    node: "SimulatedNode",
    to: NodeId,
    data: bytes,
    lie: Lie,
    one_time: dict[SessionId, Any],
) -> bytes | None:
    sid, message = MESSAGE_TABLE.unpack(data)
    runner = _runner(node, sid, role_of(message))
    if runner is None or isinstance(runner.phase, Failed):
        return data
    coordinator = _runner(cluster.node(runner.ctx.coordinator), sid, Role.COORDINATOR)
    phase = None if coordinator is None else coordinator.phase
    own = getattr(runner.phase, "one_time", None)
    remembered = one_time.get(sid) if own is None else one_time.setdefault(sid, own)
    told = lie(Place(runner.ctx, runner.phase, to, phase, remembered), message)
    return told if told is None or isinstance(told, bytes) else pack(sid, told)


def role_of(message: Any) -> Role:
    """Which part of a session sends a message."""
    return Role.PARTICIPANT if message.TO_COORDINATOR else Role.COORDINATOR


def _runner(node: "SimulatedNode", sid: SessionId, role: Role) -> Runner | None:
    return node.session_of(sid, role) if node.is_up else None
