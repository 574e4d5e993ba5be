"""Reading the vector files."""

import json
from pathlib import Path
from typing import Any

from keyserver.crypto.curve import Point, Scalar, SecretScalar

_DATA = Path(__file__).parent / "data"


def load(name: str) -> Any:
    """Return the content of one vector file."""
    return json.loads((_DATA / f"{name}.json").read_text())


def raw(text: str) -> bytes:
    """Read hex, with or without 0x."""
    return bytes.fromhex(text.removeprefix("0x"))


def point(text: str) -> Point:
    """Read a compressed point."""
    return Point.parse(raw(text))


def point64(text: str) -> Point:
    """Read a point given as x || y."""
    return Point.from_raw64(raw(text))


def scalar(text: str) -> Scalar:
    """Read a public number."""
    return Scalar.from_bytes(raw(text))


def secret(text: str) -> SecretScalar:
    """Read a secret number."""
    return SecretScalar(raw(text))


def small(value: int) -> SecretScalar:
    """Make a secret of a small number."""
    return SecretScalar.from_int(value)
