"""The kinds of values a configuration key may take.

A `Kind` stands in the annotation of each field of the model: `Annotated[int, integer(0, 65535)]`.
It says how the value is written (for the reference page and for messages), how a TOML value is
checked and turned into the typed one, and how the text of an environment variable or a command
line option becomes a TOML value first.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MAX_INTEGER: Final = 2**63 - 1
"""What the database takes, and more than anything counts."""

MAX_NUMBER: Final = 10**9
"""Seconds or days: longer than anything lasts, and nothing overflows."""


class WrongTypeError(ValueError):
    """A TOML value of another type than the key takes, such as a string for a number."""


@dataclass(frozen=True, slots=True)
class Places:
    """What the variables in paths stand for."""

    home: str
    """`$HOME` and a leading `~`."""
    base: str
    """`$BASE`: `[parity] base_path`."""
    data: str
    """`$DATA`: `[secretstore] path`; only for defaults of this program."""

    def expand(self, text: str) -> str:
        """Put the variables' values in and turn a leading `~` into the home directory."""
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        for name, value in (("$HOME", self.home), ("$BASE", self.base), ("$DATA", self.data)):
            text = text.replace(name, value)
        return text


@dataclass(frozen=True, slots=True)
class Kind:
    """How one configuration key is written, checked and decoded."""

    name: str
    """What the value is, as the reference page and messages call it."""
    check: Callable[[object, Places], object]
    """Turns a TOML value into the typed one; raises `ValueError`."""
    from_text: Callable[[str], object]
    """Turns text of the environment or the command line into a TOML value; raises `ValueError`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let pydantic validate the field with `check` alone; the context holds the places."""
        return core_schema.with_info_plain_validator_function(
            lambda value, info: self.check(value, info.context)
        )


def _as_is(text: str) -> object:
    return text


def _split(text: str) -> object:
    return [part.strip() for part in text.split(",") if part.strip()]


def _boolean_text(text: str) -> object:
    match text.strip().lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise ValueError("must be true or false")


def _check_boolean(value: object, places: Places) -> object:
    if not isinstance(value, bool):
        raise WrongTypeError("must be true or false")
    return value


BOOLEAN = Kind("boolean", _check_boolean, _boolean_text)


def integer(
    lowest: int, highest: int | None = None, *, name: str = "integer", limit: int = MAX_INTEGER
) -> Kind:
    """A whole number in `lowest`…`highest`; `limit`: where it is not worth a word, `highest`."""
    span = f"{lowest} or more" if highest is None else f"in {lowest}…{highest}"

    def check(value: object, places: Places) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongTypeError(f"must be a whole number {span}, without quotes")
        if value > limit:  # not shown: Python refuses to write out the very long ones
            raise ValueError(f"must be a whole number {span}, at most {highest or limit}")
        if value < lowest or (highest is not None and value > highest):
            raise ValueError(f"must be a whole number {span}, not {value}")
        return value

    def from_text(text: str) -> object:
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"must be a whole number {span}") from None

    return Kind(name if highest is None else f"{name} {lowest}…{highest}", check, from_text)


def _number_text(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _number(*, or_zero: bool) -> Kind:
    span = "above 0, or 0" if or_zero else "above 0"

    def check(value: object, places: Places) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WrongTypeError(f"must be a number {span}, without quotes")
        if value > MAX_NUMBER:
            raise ValueError(f"must be a number {span}, at most {MAX_NUMBER}")
        if not (value > 0 or (or_zero and value == 0)):
            raise ValueError(f"must be a number {span}, not {value}")
        return float(value)

    return Kind("number", check, _number_text)


POSITIVE_NUMBER = _number(or_zero=False)
NUMBER_OR_ZERO = _number(or_zero=True)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise WrongTypeError("must be a string in quotes")
    return _text(value)


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise WrongTypeError("must be an array of strings")
    return [_text(item) for item in value]


def _text(value: str) -> str:
    """The string, if it is one everywhere: in paths, in the database, in logs."""
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes of the environment that are no text
        raise ValueError("must be UTF-8") from None
    return value


def string(name: str, parse: Callable[[str], object]) -> Kind:
    """A string that `parse` decodes."""
    return Kind(name, lambda value, places: parse(_string(value)), _as_is)


def expanded(name: str, parse: Callable[[str], object]) -> Kind:
    """A string that may hold path variables, decoded by `parse`."""
    return Kind(name, lambda value, places: parse(_text(places.expand(_string(value)))), _as_is)


def strings(name: str, parse: Callable[[str], object]) -> Kind:
    """An array of strings of which `parse` decodes each; the value is a tuple."""

    def check(value: object, places: Places) -> object:
        return tuple(parse(item) for item in _strings(value))

    return Kind(f"array of {name}", check, _split)


def listed(name: str, parse: Callable[[str], object]) -> Kind:
    """An array of strings each of which may hold several items, separated by commas."""

    def check(value: object, places: Places) -> object:
        texts = (part.strip() for item in _strings(value) for part in item.split(","))
        return tuple(parse(text) for text in texts if text)

    return Kind(f"array of {name}", check, _split)


def word_of(options: tuple[str, ...]) -> Callable[[str], str]:
    """A parser that takes only one of a few words and suggests the nearest for another."""

    def parse(text: str) -> str:
        if text in options:
            return text
        near = difflib.get_close_matches(text, options, n=1)
        meant = f'; did you mean "{near[0]}"?' if near else ""
        raise ValueError(f'must be {one_of(options)}, not "{text}"{meant}')

    return parse


def choice(*options: str) -> Kind:
    """One of a few words."""
    return string(one_of(options), word_of(options))


def one_of(options: tuple[str, ...]) -> str:
    """The options in quotes, as a sentence needs them."""
    *first, last = (f'"{option}"' for option in options)
    return f"{', '.join(first)} or {last}" if first else last


def _path(text: str, places: Places) -> Path:
    if not text:
        raise ValueError("must name a path")
    return Path(places.expand(text))


TEXT = string("string", str)
TEXTS = strings("strings", str)
PATH = Kind("path", lambda value, places: _path(_string(value), places), _as_is)
PATHS = Kind(
    "array of paths",
    lambda value, places: tuple(_path(item, places) for item in _strings(value)),
    _split,
)


def _check_quorum(value: object, places: Places) -> object:
    if value == "all":
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongTypeError('must be "all" or a whole number, without quotes')
    if value > MAX_INTEGER:
        raise ValueError(f'must be "all" or a whole number 1 or more, at most {MAX_INTEGER}')
    if value < 1:
        raise ValueError(f'must be "all" or a whole number 1 or more, not {value}')
    return value


def _quorum_text(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() else text


QUORUM = Kind('"all" or integer', _check_quorum, _quorum_text)
