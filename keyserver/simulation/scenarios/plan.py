"""What goes wrong in a run, as a list of values: printed as JSON, replayed, shrunk.

A scenario makes its plan from a seed and then plays it; the seed still drives everything that is
not in the plan (delays of messages, keys, nonces). Nodes are named by their place in canonical
order, times are virtual seconds after the beginning. What a plan says about a node that it has not
is skipped, so that a plan can be made smaller piece by piece.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, get_args, get_origin, get_type_hints

from keyserver.errors import KeyServerError


class PlanError(KeyServerError):
    """A plan that cannot be read; tells the field and the rule."""


class FaultEvent(Protocol):
    """Something that happens at a time; a frozen dataclass of plain values."""

    @property
    def at(self) -> float:
        """Virtual seconds after the beginning."""
        ...


# --- processes -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Crash:
    """The process of a node ends at once, and starts again `down_s` later."""

    at: float
    node: int
    down_s: float


@dataclass(frozen=True, slots=True)
class CrashAtEffect:
    """From `at` on, the node ends with the `nth` thing it does to the outside (from 1).

    A message sent, a timer set, a question to the chain, a write: each of them is prevented.
    """

    at: float
    node: int
    nth: int
    down_s: float


@dataclass(frozen=True, slots=True)
class CrashAtCommit:
    """From `at` on, the node ends in its `nth` commit (from 1), before or after it is on disk."""

    at: float
    node: int
    nth: int
    written: bool
    down_s: float


@dataclass(frozen=True, slots=True)
class CrashAtMessage:
    """From `at` on, the node is silenced at its `nth` message (from 1) of a type.

    It ends `linger_s` later: what it sent before is lost with it, or arrives.
    """

    at: float
    node: int
    message: str
    nth: int
    linger_s: float
    down_s: float


@dataclass(frozen=True, slots=True)
class Restored:
    """The process of a node ends, and starts `down_s` later with the disk of an older backup."""

    at: float
    node: int
    down_s: float


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """The node's idea of the date is wrong by so much; its timers are right."""

    at: float
    node: int
    seconds: int
    for_s: float


# --- network -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Partition:
    """These nodes can reach each other, and all others each other, and nobody across."""

    at: float
    group: tuple[int, ...]
    for_s: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How bad the network is for a while (`keyserver.simulation.network.Faults`)."""

    at: float
    for_s: float
    most_delay_s: float = 0.02
    reorder: bool = False
    duplicate: float = 0.0
    lose: float = 0.0
    break_connection: float = 0.0


# --- disk and chain of a node --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskFull:
    """The node's writes fail for a while; with `reads`, it cannot be read either."""

    at: float
    node: int
    for_s: float
    reads: bool = False


@dataclass(frozen=True, slots=True)
class CommitFails:
    """From `at` on, the `nth` commit (from 1) fails, whether it is on disk all the same or not."""

    at: float
    node: int
    nth: int
    written: bool


@dataclass(frozen=True, slots=True)
class SlowDisk:
    """Commits of the node take up to so long for a while."""

    at: float
    node: int
    for_s: float
    most_s: float


@dataclass(frozen=True, slots=True)
class ChainSilent:
    """The node cannot ask the chain for a while."""

    at: float
    node: int
    for_s: float


# --- people --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Liar:
    """From `at` on, the node tells these lies (`keyserver.simulation.scenarios.lies`)."""

    at: float
    node: int
    lies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lead:
    """A liar asks itself for this, and coordinates it with its lies."""

    at: float
    node: int
    what: str


@dataclass(frozen=True, slots=True)
class Attack:
    """A liar does this on its own (`keyserver.simulation.scenarios.intruders`)."""

    at: float
    node: int
    what: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody asks this node for an operation; `what` says which (scenarios name their own)."""

    at: float
    node: int
    what: str


EVENTS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Crash,
        CrashAtEffect,
        CrashAtCommit,
        CrashAtMessage,
        Restored,
        ClockSkew,
        Partition,
        Quality,
        DiskFull,
        CommitFails,
        SlowDisk,
        ChainSilent,
        Liar,
        Lead,
        Attack,
        Ask,
    )
}
"""All kinds of events by the name they have in JSON (`register` adds those of other modules)."""


def register(*kinds: type[Any]) -> None:
    """Make further events known: frozen dataclasses of plain values with a field `at`."""
    for kind in kinds:
        EVENTS[kind.__name__] = kind


@dataclass(frozen=True, slots=True)
class Plan:
    """The cluster of a run, and what happens to it."""

    nodes: int
    threshold: int
    quorum: int | None = None
    """How many nodes have to take part in a generation; `None`: all."""
    events: tuple[Any, ...] = ()
    """`FaultEvent`s in no particular order."""

    def of_kind(self, *kinds: type[Any]) -> list[Any]:
        """The events of these kinds, by time."""
        chosen = [event for event in self.events if isinstance(event, kinds)]
        return sorted(chosen, key=lambda event: event.at)

    @property
    def liars(self) -> frozenset[int]:
        """Places of the nodes that lie."""
        return frozenset(event.node for event in self.of_kind(Liar) if event.node < self.nodes)

    def without(self, gone: Iterable[int]) -> "Plan":
        """The plan without the events at these places."""
        left = set(gone)
        kept = tuple(event for place, event in enumerate(self.events) if place not in left)
        return replace(self, events=kept)

    def to_json(self) -> dict[str, Any]:
        """A value ready for JSON."""
        return {
            "nodes": self.nodes,
            "threshold": self.threshold,
            "quorum": self.quorum,
            "events": [
                {"kind": type(event).__name__, **dataclasses.asdict(event)} for event in self.events
            ],
        }

    @classmethod
    def from_json(cls, value: object) -> "Plan":
        """The plan that `to_json` told; raises `PlanError`."""
        fields = _mapping(value, "plan")
        told = fields.get("events")
        if not isinstance(told, list):
            raise PlanError("plan: events must be a list")
        quorum = fields.get("quorum")
        return cls(
            nodes=_convert(int, fields.get("nodes"), "plan: nodes"),
            threshold=_convert(int, fields.get("threshold"), "plan: threshold"),
            quorum=None if quorum is None else _convert(int, quorum, "plan: quorum"),
            events=tuple(_event(item) for item in told),
        )

    def __str__(self) -> str:
        return json.dumps(self.to_json())


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PlanError(f"{what}: must be an object")
    return value


def _event(value: object) -> Any:
    fields = dict(_mapping(value, "event"))
    name = fields.pop("kind", None)
    kind = EVENTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise PlanError(f"event: there is no kind {name!r}")
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    if not fields.keys() <= known:
        raise PlanError(f"{name}: unknown fields {sorted(fields.keys() - known)}")
    given = {key: _convert(hints[key], told, f"{name}: {key}") for key, told in fields.items()}
    try:
        return kind(**given)
    except TypeError as problem:
        raise PlanError(f"{name}: {problem}") from problem


def _convert(hint: Any, value: Any, what: str) -> Any:
    """A value of JSON as the plain type that a field is made for."""
    origin = get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise PlanError(f"{what}: must be a list")
        return tuple(_convert(get_args(hint)[0], item, what) for item in value)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (hint,) = [part for part in get_args(hint) if part is not type(None)]
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise PlanError(f"{what}: must be a {hint.__name__}")
    return value
