"""The term keys that boxes are made with (sealing, C3 and C4.5)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from keyserver.crypto.boxes import (
    canonical_json,
    keyring_context,
    keyring_key,
    open_box,
    seal_box,
    table_key,
)
from keyserver.crypto.errors import BoxError, UnknownTermError
from keyserver.crypto.randomness import RandomSource
from keyserver.sealing.errors import SealRecordDamagedError
from keyserver.sealing.secret_key import SecretKey

KEYRING_FORMAT = 1
MAX_TERM = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Term:
    """A key that boxes of all tables derive theirs from."""

    number: int
    created_at: int
    """Milliseconds since 1970."""
    key: SecretKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keyring:
    """All term keys of a store; new boxes are made with the active one."""

    seal_id: bytes
    terms: Mapping[int, Term]
    active_term: int

    @classmethod
    def first(cls, seal_id: bytes, key: SecretKey, created_at: int) -> "Keyring":
        """The keyring of a new store: one term."""
        return cls(seal_id, {1: Term(1, created_at, key)}, 1)

    def table_key(self, term: int, table: str) -> bytes:
        """The key of one table's boxes; raises `UnknownTermError`."""
        known = self.terms.get(term)
        if known is None:
            raise UnknownTermError(f"box: term {term} is not in the keyring")
        return table_key(self.seal_id, known.key.expose(), table)

    def rotated(self, key: SecretKey, created_at: int) -> "Keyring":
        """With one more term, which is the active one."""
        number = max(self.terms) + 1
        return Keyring(self.seal_id, {**self.terms, number: Term(number, created_at, key)}, number)

    def without(self, term: int) -> "Keyring":
        """Without a term that is not the active one."""
        if term == self.active_term:
            raise ValueError("keyring: the active term stays")
        terms = {number: one for number, one in self.terms.items() if number != term}
        return Keyring(self.seal_id, terms, self.active_term)

    def wrap(self, root: SecretKey, epoch: int, version: int, rng: RandomSource) -> bytes:
        """The keyring in its box."""
        context = keyring_context(self.seal_id, epoch, version)
        return seal_box(keyring_key(self.seal_id, root.expose()), self.to_plain(), context, rng)

    @classmethod
    def unwrap(
        cls, seal_id: bytes, root: SecretKey, epoch: int, version: int, box: bytes
    ) -> "Keyring":
        """Open a keyring's box; raises `SealRecordDamagedError`."""
        key = keyring_key(seal_id, root.expose())
        try:
            plain = open_box({0: key}, box, keyring_context(seal_id, epoch, version))
        except BoxError as problem:
            raise SealRecordDamagedError(
                f"keyring of epoch {epoch}, version {version}: {problem}"
            ) from problem
        return cls.from_plain(seal_id, plain)

    def to_plain(self) -> bytes:
        """What the keyring's box contains: secret."""
        terms = [
            {"created_at": term.created_at, "key": term.key.expose().hex(), "term": number}
            for number, term in sorted(self.terms.items())
        ]
        return canonical_json(
            {"active_term": self.active_term, "format": KEYRING_FORMAT, "terms": terms}
        )

    @classmethod
    def from_plain(cls, seal_id: bytes, plain: bytes) -> "Keyring":
        """Read what `to_plain` wrote; raises `SealRecordDamagedError` without showing any of it."""
        try:
            data = json.loads(plain)
            terms = {entry["term"]: _term(entry) for entry in data["terms"]}
            active = data["active_term"]
            well_formed = data["format"] == KEYRING_FORMAT and active in terms
        except (ValueError, KeyError, TypeError):
            well_formed = False
        if not well_formed:
            # no cause: the texts of these errors may quote what they failed to read
            raise SealRecordDamagedError("keyring: not in the format that is known") from None
        return cls(seal_id, terms, active)


def _term(entry: Mapping[str, object]) -> Term:
    number, created_at, key = entry["term"], entry["created_at"], entry["key"]
    if not isinstance(number, int) or not 0 < number <= MAX_TERM:
        raise ValueError("term")
    if not isinstance(created_at, int) or not isinstance(key, str):
        raise TypeError("created_at, key")
    return Term(number, created_at, SecretKey(bytes.fromhex(key)))
