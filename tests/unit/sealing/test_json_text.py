"""JSON of others never ends the process."""

import sys

import pytest

from keyserver.sealing.json_text import read_json


def test_json_is_read() -> None:
    assert read_json('{"a":[1,null,"ü"]}') == read_json(b'{"a":[1,null,"\xc3\xbc"]}')


@pytest.mark.parametrize("text", ["", "{", "NaN", '"\\ud800"', b"\xff", "[" * 1_000_000])
def test_everything_else_is_one_error(text: str | bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as a library does
    try:
        with pytest.raises(ValueError):
            read_json(text)
    finally:
        sys.setrecursionlimit(before)
