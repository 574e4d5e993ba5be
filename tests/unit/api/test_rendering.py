"""What values look like in JSON."""

from dataclasses import dataclass
from enum import Enum

import pytest

from keyserver.api.rendering import MOST_EXACT, to_json
from keyserver.model.identifiers import Address


class State(Enum):
    OPEN = "open"


@dataclass(frozen=True)
class Value:
    raw: bytes
    state: State
    parts: tuple[int, ...]


def test_values() -> None:
    assert to_json(Value(b"\x01\xff", State.OPEN, (1, 2))) == {
        "raw": "0x01ff",
        "state": "open",
        "parts": [1, 2],
    }
    assert to_json({Address(b"\x02" * 20): None, "b": True}) == {"0x" + "02" * 20: None, "b": True}


def test_integers_that_readers_would_round_are_strings() -> None:
    assert to_json(MOST_EXACT) == MOST_EXACT
    assert to_json(MOST_EXACT + 1) == str(MOST_EXACT + 1)
    assert to_json(-MOST_EXACT - 1) == str(-MOST_EXACT - 1)


def test_what_has_no_form_is_a_mistake() -> None:
    for value in (object(), {1, 2}, Value):
        with pytest.raises(TypeError, match="no form in JSON"):
            to_json(value)
