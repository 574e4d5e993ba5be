"""Which fault happens when, and to whom: drawn from a seed, pure.

The kinds come in rounds: each round has all of them once, in another order. At any time the nodes
that are down, hang or are isolated are at most as many as the threshold, except when the whole
network is killed; and of a node's two endpoints at most one is bad.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from random import Random

from tests.chaos.chain import Fate
from tests.chaos.endpoints import Manner

MOST_DEPTH = 8


class FaultKind(StrEnum):
    KILL = "node killed"
    KILL_ALL = "all nodes killed"
    PAUSE = "node hangs"
    CUT = "link cut"
    HOLD = "link holds everything up"
    DELAY = "link slow"
    ISOLATE = "node cut off from all"
    SPLIT = "network split"
    REORGANISE = "blocks reorganised"
    DROP = "transactions dropped from the pool"
    FEE_SPIKE = "base fee spike"
    FEE_ABOVE_LIMIT = "base fee above the nodes' limit"
    ENDPOINT = "endpoint bad"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    at_s: float
    """Since the beginning of the faults."""
    kind: FaultKind
    lasts_s: float = 0.0
    nodes: tuple[int, ...] = ()
    """Whom it hits; of a cut or slow link its two ends, of a split network the one side."""
    manner: Manner = Manner.HONEST
    """Of a bad endpoint."""
    endpoint: int = 0
    """Which one of the node's two."""
    depth: int = 0
    """Of a reorganisation, in blocks."""
    fate: Fate = Fate.DROPPED
    delay_s: float = 0.0

    @property
    def name(self) -> str:
        """The kind, and of a bad endpoint its manner."""
        return f"{self.kind}: {self.manner}" if self.kind is FaultKind.ENDPOINT else str(self.kind)


LASTS_S = {
    FaultKind.KILL: (0.2, 5.0),
    FaultKind.KILL_ALL: (0.2, 2.0),
    FaultKind.PAUSE: (1.0, 5.0),
    FaultKind.CUT: (2.0, 8.0),
    FaultKind.HOLD: (2.0, 7.0),
    FaultKind.DELAY: (5.0, 15.0),
    FaultKind.ISOLATE: (2.0, 7.0),
    FaultKind.SPLIT: (2.0, 6.0),
    FaultKind.REORGANISE: (0.0, 0.0),
    FaultKind.DROP: (5.0, 10.0),
    FaultKind.FEE_SPIKE: (5.0, 12.0),
    FaultKind.FEE_ABOVE_LIMIT: (4.0, 9.0),
    FaultKind.ENDPOINT: (6.0, 20.0),
}

HURTS = {FaultKind.KILL, FaultKind.PAUSE, FaultKind.ISOLATE}
"""Kinds that take a node out of the network."""

MOST_WAITING = 6
"""Faults that must wait for nodes to be well again."""

REORGANISATIONS_IN_A_ROUND = 5
"""They last no time, and there are so many depths and fates."""


@dataclass
class _Busy:
    """Until when what is taken."""

    until: dict[object, float] = field(default_factory=dict)

    def take(self, what: object, until: float) -> None:
        self.until[what] = max(until, self.until.get(what, 0.0))

    def free(self, candidates: Collection[object], now: float) -> list[object]:
        return [each for each in candidates if self.until.get(each, 0.0) <= now]


def rounds(random: Random) -> Iterator[tuple[FaultKind, Manner]]:
    """Kinds of faults without end, every one once in a round."""
    bad = [manner for manner in Manner if manner is not Manner.HONEST]
    once = [(kind, Manner.HONEST) for kind in FaultKind if kind is not FaultKind.ENDPOINT]
    more = [(FaultKind.REORGANISE, Manner.HONEST)] * (REORGANISATIONS_IN_A_ROUND - 1)
    while True:
        bag = [*once, *more, *((FaultKind.ENDPOINT, manner) for manner in bad)]
        random.shuffle(bag)
        yield from bag


ROUND = len(FaultKind) - 1 + REORGANISATIONS_IN_A_ROUND - 1 + len(Manner) - 1
"""How many faults a round has."""

EVERY_NAME = frozenset(
    {Fault(0, kind).name for kind in FaultKind if kind is not FaultKind.ENDPOINT}
    | {
        Fault(0, FaultKind.ENDPOINT, manner=manner).name
        for manner in Manner
        if manner is not Manner.HONEST
    }
)


def draw(seed: int, *, nodes: int, threshold: int, seconds: float, gap_s: float) -> list[Fault]:
    """The faults of so many seconds, on average one every `gap_s`."""
    random, busy = Random(seed), _Busy()
    to_come, waiting = rounds(random), list[tuple[FaultKind, Manner]]()
    faults: list[Fault] = []
    now = 0.0
    while (now := now + random.uniform(0.5, 1.5) * gap_s) < seconds:
        if len(waiting) < MOST_WAITING:
            waiting.append(next(to_come))
        for kind, manner in waiting:
            fault = _draw_one(random, busy, now, kind, manner, range(nodes), threshold)
            if fault is not None:
                faults.append(fault)
                waiting.remove((kind, manner))
                break
    return faults


def _draw_one(
    random: Random,
    busy: _Busy,
    now: float,
    kind: FaultKind,
    manner: Manner,
    nodes: Sequence[int],
    threshold: int,
) -> Fault | None:
    lasts = round(random.uniform(*LASTS_S[kind]), 1)
    at = now = round(now, 1)
    until = at + lasts
    match kind:
        case FaultKind.KILL | FaultKind.PAUSE | FaultKind.ISOLATE:
            free = [node for node in nodes if busy.free([node], now)]
            if len(nodes) - len(free) >= threshold:
                return None
            node = random.choice(free)
            busy.take(node, until)
            return Fault(at, kind, lasts, (node,))
        case FaultKind.KILL_ALL:
            if len(busy.free(nodes, now)) < len(nodes):
                return None
            for node in nodes:
                busy.take(node, until)
            return Fault(at, kind, lasts, tuple(nodes))
        case FaultKind.CUT | FaultKind.HOLD | FaultKind.DELAY:
            pair = tuple(random.sample(nodes, 2))
            delay = round(random.uniform(0.1, 0.8), 2)
            return Fault(at, kind, lasts, pair, delay_s=delay)
        case FaultKind.SPLIT:
            side = random.choice(list(combinations(nodes, threshold)))
            return Fault(at, kind, lasts, side)
        case FaultKind.ENDPOINT:
            node = random.choice(nodes)
            if not busy.free([("endpoint", node)], now):
                return None
            busy.take(("endpoint", node), until)
            which = random.randrange(2)
            return Fault(at, kind, lasts, (node,), manner=manner, endpoint=which)
        case FaultKind.REORGANISE:
            depth, fate = random.randint(1, MOST_DEPTH), random.choice(list(Fate))
            return Fault(at, kind, depth=depth, fate=fate)
    return Fault(at, kind, lasts)
