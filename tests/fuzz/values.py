"""Alters parsed messages: every part by its type, so that the result parses, too."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from random import Random
from typing import Any

from keyserver.model.identifiers import FixedBytes


class Values:
    """Parts of valid messages by type, to be put in each other's place."""

    def __init__(self, messages: Iterable[Any]) -> None:
        self._by_type: dict[type, list[Any]] = defaultdict(list)
        for message in messages:
            self._collect(message)

    def _collect(self, value: Any) -> None:
        known = self._by_type[type(value)]
        if len(known) < 200:
            known.append(value)
        for part in _parts(value):
            self._collect(part)

    def altered(self, random: Random, value: Any) -> Any:
        """The value with one part, somewhere in it, made another one."""
        if is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in fields(value) if field.init]
            if names and random.random() < 0.9:
                name = random.choice(names)
                return _try(value, name, self.altered(random, getattr(value, name)))
        elif isinstance(value, tuple):
            return self._altered_tuple(random, value)
        elif isinstance(value, bool):
            return not value
        elif isinstance(value, int):
            return random.choice((0, 1, value + 1, max(0, value - 1), 255, 2**16 - 1, 2**31))
        elif isinstance(value, FixedBytes) and random.random() < 0.5:
            raw = bytearray(value)
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
            return type(value)(bytes(raw))
        elif isinstance(value, bytes) and not isinstance(value, FixedBytes):
            return value[: random.randrange(len(value) + 1)] + random.randbytes(random.randrange(9))
        return random.choice(self._by_type[type(value)] or [value])

    def _altered_tuple(self, random: Random, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            return value  # nothing tells of what it could be made
        at = random.randrange(len(value))
        match random.randrange(5):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return (*value, value[at])
            case 2:
                return value[at:] + value[:at]
        return (*value[:at], self.altered(random, value[at]), *value[at + 1 :])


def _parts(value: Any) -> Iterable[Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    return value if isinstance(value, tuple) else ()


def _try(value: Any, name: str, part: Any) -> Any:
    """With another part, unless the class refuses it."""
    try:
        return replace(value, **{name: part})
    except ValueError:
        return value
