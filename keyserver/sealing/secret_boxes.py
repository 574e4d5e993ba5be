"""Seals and opens one column of one row."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from keyserver.crypto.boxes import box_term, open_box, record_context, seal_box
from keyserver.crypto.errors import BoxError, UnknownTermError
from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import SealedError
from keyserver.sealing.keyring import Keyring


@dataclass(frozen=True, slots=True)
class SealedValue:
    """What a secret column and its term column hold."""

    box: bytes
    term: int


class SecretBoxes:
    """The boxes of all tables of a store.

    A box is bound to its table, its column and the values of the row's key, written as texts: it
    does not open anywhere else (sealing, C4.3). Whoever holds the boxes follows the keyring with
    them: it may be replaced by one of more terms, or taken away, at any time, from any thread.
    """

    def __init__(
        self,
        keyring: Keyring,
        random: RandomSource,
        compare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`compare`: has `use` called if another process has stored a newer keyring."""
        self._keyring: Keyring | None = keyring
        self._random = random
        self._compare = compare
        self._unopened = 0

    @property
    def unopened(self) -> int:
        """How often a box did not open, other than one of a term newer than all known here."""
        return self._unopened

    def use(self, keyring: Keyring) -> None:
        """From now on use this keyring of the same store."""
        self._keyring = keyring

    async def refresh(self) -> bool:
        """Look for a newer keyring, before a box is taken for damaged; whether there was one.

        Raises `StorageError`.
        """
        before = self._keyring
        if self._compare is not None:
            with suppress(SealedError):  # these keys serve until they are taken away
                await self._compare()
        return self._keyring is not before

    def shut(self) -> None:
        """Forget the keys; those in use are forgotten with the calls that use them."""
        self._keyring = None

    def seal(
        self, table: str, column: str, primary_key: Sequence[str], plaintext: bytes
    ) -> SealedValue:
        """Seal a value of one row with the active term; raises `SealedError` once shut."""
        keyring = self._open_keyring()
        term = keyring.active_term
        key = keyring.table_key(term, table)
        context = record_context(table, column, primary_key)
        return SealedValue(seal_box(key, plaintext, context, self._random, term), term)

    def open(self, table: str, column: str, primary_key: Sequence[str], box: bytes) -> bytes:
        """Open the value of one row.

        Raises `TruncatedBoxError`, `UnknownBoxFormatError`, `UnknownTermError` or `BoxTagError`,
        and `SealedError` once shut.
        """
        keyring = self._open_keyring()
        try:
            term = box_term(box)
            key = keyring.table_key(term, table)
            return open_box({term: key}, box, record_context(table, column, primary_key))
        except BoxError as problem:
            is_newer = isinstance(problem, UnknownTermError) and term > keyring.active_term
            self._unopened += not is_newer
            raise

    def _open_keyring(self) -> Keyring:
        keyring = self._keyring
        if keyring is None:
            raise SealedError("the node is sealed")
        return keyring
