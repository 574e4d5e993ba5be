"""Reading JSON from outside: any text is either JSON or one kind of error."""

import json
from typing import Any, NoReturn


class JsonError(ValueError):
    """Bytes that are not JSON in UTF-8, or that are nested too deep to be read."""


# Any: whatever the sender wrote.
def read_json(text: bytes) -> Any:
    """The value; raises `JsonError`."""
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as problem:
        raise JsonError(type(problem).__name__) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
