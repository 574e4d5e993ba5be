"""What a planted bug is, and the two ways to plant one."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

Plant = Callable[[ExitStack], None]


@dataclass(frozen=True)
class Bug:
    """A rule that is not kept any more."""

    name: str
    rule: str
    """What is missing, for people."""
    plant: Plant
    """Takes the rule away until the stack is closed."""


def replacing(*places: tuple[Any, str, Any]) -> Plant:
    """Put other things in these places: (module or class, name, replacement)."""

    def plant(stack: ExitStack) -> None:
        for owner, name, replacement in places:
            assert hasattr(owner, name), f"{owner} has no {name}"
            stack.enter_context(patch.object(owner, name, replacement))

    return plant


def nothing(*_: Any, **__: Any) -> None:
    """Stands for a check that is not made."""


async def nothing_later(*_: Any, **__: Any) -> None:
    """The same of a coroutine."""
