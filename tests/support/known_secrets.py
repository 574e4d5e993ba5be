"""Secrets that a test knows, and where none of them may stand."""

from base64 import b64encode
from collections.abc import Iterable

import pytest

from keyserver.crypto.curve import SecretScalar


class KnownSecrets:
    """Values of 32 bytes that must be nowhere in the clear."""

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        self.values = set(values)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on remember every secret scalar of this process, at the latest at its end."""
        values, overwrite = self.values, SecretScalar.__del__

        def remember(secret: SecretScalar) -> None:
            values.add(secret.expose())
            overwrite(secret)

        monkeypatch.setattr(SecretScalar, "__del__", remember)

    def found_in(self, data: bytes) -> set[str]:
        """How those that stand in the data are written there; empty is what tests want."""
        return {
            name
            for value in self.values
            for name, written in _ways_to_write(value).items()
            if written in data
        }


def _ways_to_write(value: bytes) -> dict[str, bytes]:
    plain = value.hex()
    return {
        "bytes": value,
        "reversed bytes": value[::-1],
        "hexadecimal": plain.encode(),
        "upper hexadecimal": plain.upper().encode(),
        "base64": b64encode(value),
        "decimal": str(int.from_bytes(value, "big")).encode(),
        "escaped": repr(value)[2:-1].encode(),
    }
