"""Reading JSON from outside: any bytes are either JSON or one kind of error."""

from typing import Any

from pydantic_core import from_json


class JsonError(ValueError):
    """Bytes that are not JSON in UTF-8, or that are nested too deep to be read."""


# Any: whatever the sender wrote.
def read_json(text: bytes) -> Any:
    """The value; raises `JsonError`.

    Not by the standard library: its reader counts on the interpreter's recursion limit, and where
    a library has raised that, some kilobytes of brackets end the process.
    """
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="none")
    except ValueError as problem:
        raise JsonError(str(problem)) from None
