"""Reading JSON that somebody else may have written: it is JSON, or one kind of error."""

from typing import Any

from pydantic_core import from_json


# Any: whatever stands there.
def read_json(text: bytes | str) -> Any:
    """The value; raises `ValueError`.

    Not by the standard library: its reader counts on the interpreter's recursion limit, which
    libraries raise so far that a line of brackets ends the process.
    """
    return from_json(text, allow_inf_nan=False, cache_strings="none")
