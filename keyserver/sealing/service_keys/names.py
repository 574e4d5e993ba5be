"""Names of owners, services and keys, and patterns of names (sealing, C15.1).

Names are compared byte by byte: nothing is folded, trimmed or normalised, and no character joins
two names into one.
"""

import re
import unicodedata
from typing import Final
from uuid import UUID

from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import BadNameError

MOST_BYTES: Final = 256
"""Of a name, in UTF-8."""

ANY: Final = "*"
"""At the end of a pattern: whatever follows."""

ACCOUNT_PREFIX: Final = "eth:"
"""Begins the principals and owners that are Ethereum accounts: they prove themselves by signing."""

_KEY_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def check_name(field: str, text: str) -> str:
    """The name of an owner, a service or a principal, as it is; raises `BadNameError`."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadNameError(f"{field}: must be text that UTF-8 can hold") from None
    if not 1 <= size <= MOST_BYTES:
        raise BadNameError(f"{field}: must have 1 to {MOST_BYTES} bytes in UTF-8, has {size}")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise BadNameError(f"{field}: must not have control characters")
    return text


def check_pattern(field: str, text: str) -> str:
    """A name, or the beginning of names and `*`; raises `BadNameError`."""
    check_name(field, text)
    if ANY in text[:-1]:
        raise BadNameError(f"{field}: * may stand at the end only")
    return text


def matches(pattern: str, name: str) -> bool:
    """Whether a name is what a pattern says."""
    if pattern.endswith(ANY):
        return name.startswith(pattern[:-1])
    return name == pattern


def check_key_id(text: str) -> str:
    """The id of a key, a UUID, in lower case; raises `BadNameError`."""
    if not _KEY_ID.fullmatch(text):
        raise BadNameError("id: must be a UUID, such as 9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d")
    return text.lower()


def new_key_id(random: RandomSource) -> str:
    """A random UUID (version 4)."""
    return str(UUID(bytes=random.bytes(16), version=4))
