"""Feeds a target with inputs, and watches what becomes of the process."""

import gc
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol

GROWTH = 64 << 20
"""Bytes that a process may grow after its first tenth of inputs, caches filled by then."""


class FindingError(AssertionError):
    """An input that does what no input may."""


class Target(Protocol):
    """A place where bytes of others come in."""

    def feed(self, random: Random) -> str:
        """Make one input and take it in; what became of it, in a word. Raises what is wrong."""
        ...

    def close(self) -> None:
        """Release what the target holds; raises what is wrong in the end."""
        ...


@dataclass(frozen=True)
class Report:
    """What became of the inputs of one target."""

    target: str
    seed: int
    inputs: int
    seconds: float
    outcomes: Counter[str]
    grown_bytes: int


def inputs(seed: int, first: int, count: int) -> Iterator[Random]:
    """A random source per input, so that each is repeated alone."""
    for number in range(first, first + count):
        yield Random(f"{seed}/{number}")


def run(
    name: str,
    make: Callable[[], Target],
    *,
    seed: int,
    first: int,
    count: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Feed inputs; raises `FindingError` with the number of the input to repeat it with."""
    target, outcomes = make(), Counter[str]()
    began, settled = time.monotonic(), 0
    for number, random in enumerate(inputs(seed, first, count), first):
        try:
            outcomes[target.feed(random)] += 1
        except Exception as problem:
            again = f"python -m tests.fuzz {name} --seed {seed} --first {number} --inputs 1"
            raise FindingError(
                f"{name}: input {number}: {problem!r}; repeat it: {again}"
            ) from problem
        done = number - first + 1
        if done == max(1, count // 10):
            settled = _resident()
        if done % 1000 == 0:
            progress(done)
    target.close()
    grown = max(0, _resident() - settled)
    if grown > GROWTH:
        raise FindingError(f"{name}: the process grew by {grown >> 20} MiB in {count} inputs")
    return Report(name, seed, count, time.monotonic() - began, outcomes, grown)


def _resident() -> int:
    """The most memory that the process had so far, in bytes."""
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
