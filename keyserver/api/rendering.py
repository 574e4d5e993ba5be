"""Values as JSON: the place where bytes become hexadecimal."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

MOST_EXACT = 2**53
"""Greater integers are written as decimal strings: many readers of JSON would round them."""


def to_json(value: object) -> Json:
    """A value of frozen dataclasses, mappings and sequences, ready for `json`.

    Bytes and identifiers become `0x…`. Raises `TypeError` for anything it has no form for.
    """
    match value:
        case None | bool() | float() | str():
            return value
        case Enum():
            return to_json(value.value)
        case int():
            return value if abs(value) <= MOST_EXACT else str(value)
        case bytes():
            return f"0x{value.hex()}"
        case Mapping():
            return {_name(key): to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _name(key: object) -> str:
    return f"0x{key.hex()}" if isinstance(key, bytes) else str(key)
