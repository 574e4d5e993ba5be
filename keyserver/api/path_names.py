"""Names in paths and headers, percent-encoded: any text, also with `/`, `~` and `%`.

What the server has decoded already is of no use for them: there `%2F` is a slash like any other.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from keyserver.sealing.errors import BadNameError

_ENCODED: Final = re.compile(r"(?:[!-$&-~]|%[0-9A-Fa-f]{2})*")
"""Visible ASCII, and bytes as % and two digits."""


def encoded_path(scope: Scope) -> str:
    """The path of a request exactly as it came, without its query."""
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1")


def target_of(scope: Scope) -> str:
    """Path and query exactly as they came: what a signed request is bound to."""
    query: bytes = scope["query_string"]
    return encoded_path(scope) + (f"?{query.decode('latin-1')}" if query else "")


def decode_name(field: str, encoded: str) -> str:
    """The name that was percent-encoded as UTF-8; raises `BadNameError`."""
    if not _ENCODED.fullmatch(encoded):
        raise BadNameError(f"{field}: must be percent-encoded UTF-8")
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise BadNameError(f"{field}: must be percent-encoded UTF-8") from None
