"""Bodies of `/v1` before they are looked at: an object in JSON, or one clear reason why not."""

import json
from typing import Any, Final

from keyserver.api.json_text import JsonError, read_json

MOST_SHOWN: Final = 40
"""Characters of a client's own text that an error repeats."""


# Any: whatever the sender wrote.
def read_object(text: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises `JsonError` for what is no JSON in UTF-8, no object, nested too deep, or says the same
    thing twice (readers differ about what that means).
    """
    # The first reader bounds the depth, so that the second, which sees double keys, can be used.
    read_json(text)
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique)
    except ValueError as problem:
        raise JsonError(str(problem)) from None
    if not isinstance(value, dict):
        raise JsonError("an object is expected")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, item in pairs:
        if name in value:
            raise JsonError(f"the field {shown(name)} stands there twice")
        value[name] = item
    return value


def shown(text: str) -> str:
    """A client's own text for an error, quoted and not longer than needed."""
    short = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
    return json.dumps(short)
