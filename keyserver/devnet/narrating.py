"""What a story consists of, and who tells it to the reader."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from keyserver.client.requests import Progress
from keyserver.errors import KeyServerError

Step = tuple[str, str, Callable[[], Awaitable[None]]]
"""A name, what the reader is told, and what is done."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step as it went."""

    name: str
    ok: bool
    seconds: float
    gas: int


class Narrator(Protocol):
    """Tells the reader what happens while it happens."""

    def begin(self, name: str, text: str) -> None:
        """A step begins."""
        ...

    def say(self, line: str) -> None:
        """Something happened within the step."""
        ...

    def wait(self, progress: Progress) -> None:
        """A block passed."""
        ...

    def end(self, result: StepResult, error: str) -> None:
        """The step is over; `error` is why it failed, if it did."""
        ...


class DemoError(KeyServerError):
    """Something in the story was not as it should be."""
