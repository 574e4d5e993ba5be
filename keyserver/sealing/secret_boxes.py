"""Seals and opens one column of one row."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.boxes import box_term, open_box, record_context, seal_box
from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.keyring import Keyring


@dataclass(frozen=True, slots=True)
class SealedValue:
    """What a secret column and its term column hold."""

    box: bytes
    term: int


class SecretBoxes:
    """The boxes of all tables of a store.

    A box is bound to its table, its column and the values of the row's key, written as texts: it
    does not open anywhere else (sealing, C4.3).
    """

    def __init__(self, keyring: Keyring, random: RandomSource) -> None:
        self._keyring = keyring
        self._random = random

    def seal(
        self, table: str, column: str, primary_key: Sequence[str], plaintext: bytes
    ) -> SealedValue:
        """Seal a value of one row with the active term."""
        term = self._keyring.active_term
        key = self._keyring.table_key(term, table)
        context = record_context(table, column, primary_key)
        return SealedValue(seal_box(key, plaintext, context, self._random, term), term)

    def open(self, table: str, column: str, primary_key: Sequence[str], box: bytes) -> bytes:
        """Open the value of one row.

        Raises `TruncatedBoxError`, `UnknownBoxFormatError`, `UnknownTermError` or `BoxTagError`.
        """
        term = box_term(box)
        key = self._keyring.table_key(term, table)
        return open_box({term: key}, box, record_context(table, column, primary_key))
