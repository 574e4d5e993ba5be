"""What an import brings over: every key of every pair, and everything that is odd (sealing, C20).

Keys are the derived ones, as `getOek` answers them; imicros-keys and its master key are of no use
for them afterwards. Nothing is guessed and nothing skipped in silence: what cannot be brought over
is listed, and so are hashes that may serve pairs which stand in no set.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyserver.sealing.errors import BadNameError
from keyserver.sealing.imicros.database import (
    OWNERS,
    SEPARATOR,
    Database,
    decode_name,
    hash_name,
    possible_pairs,
)
from keyserver.sealing.imicros.shares import MasterKey
from keyserver.sealing.json_text import read_json
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.service_keys.exports import document_of
from keyserver.sealing.service_keys.model import Origin, Pair, ServiceKey, Version
from keyserver.sealing.service_keys.names import MOST_BYTES, check_key_id, check_name

DEFAULT: Final = "default"
"""The field of the current key."""

PREFIX: Final = "imicros:"
"""Stands before the id of an owner that came over."""

_MOST_OF_PAIR: Final = 2 * MOST_BYTES - len(PREFIX) + len(SEPARATOR)
"""Bytes of an owner without its prefix, a separator and a service."""

_RAW_KEY: Final = re.compile(r"[0-9a-f]{64}")
_SAFE_INTEGER: Final = 1 << 53

NamePair = tuple[str, str]
"""Owner and service as imicros-keys has them."""


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """An owner, a service, and their keys as they will be here."""

    owner: str
    """As imicros-keys has it, without `PREFIX`."""
    service: str
    keys: tuple[ServiceKey, ...]
    """By number; the last one is current."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that cannot be brought over."""

    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class Question:
    """A hash that may serve pairs which stand in no set."""

    name: str
    pairs: tuple[NamePair, ...]
    """The pairs that are neither listed nor named; none where its name is too long for any that
    could be stored here."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes over and what does not."""

    pairs: tuple[PlannedPair, ...]
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]

    @property
    def keys(self) -> int:
        """How many keys come over."""
        return sum(len(pair.keys) for pair in self.pairs)


def make_plan(database: Database, master: MasterKey, named: Collection[NamePair]) -> Plan:
    """Read a whole database; `named` are pairs beyond those that its sets list."""
    reader = _Reader(database, master)
    wanted = list(dict.fromkeys([*reader.listed_pairs(), *named]))
    pairs = [pair for owner, service in wanted if (pair := reader.read(owner, service))]
    return Plan(tuple(pairs), tuple(reader.findings), tuple(_questions(database, set(wanted))))


def derived_key(master: MasterKey, owner: str, raw_key: str) -> SecretKey:
    """The key that `getOek` answers for a stored one of 64 digits (sealing, A6)."""
    return SecretKey(hmac.digest((master.text + owner).encode(), raw_key.encode(), "sha256"))


def fingerprint(key: SecretKey) -> str:
    """The first 8 hexadecimal digits of SHA-256 of a key's 32 bytes, to compare by eye."""
    return hashlib.sha256(key.expose()).hexdigest()[:8]


def documents(plan: Plan, now_ms: int, limit: int) -> Iterator[tuple[str, bytes]]:
    """The keys as documents to restore, each of one owner and of `limit` keys at most: secret.

    Yields the owner's name here, and the document (`keyserver.sealing.service_keys.exports`).
    """
    by_owner: defaultdict[str, list[ServiceKey]] = defaultdict(list)
    for pair in plan.pairs:
        by_owner[pair.owner].extend(pair.keys)
    for owner, keys in by_owner.items():
        for start in range(0, len(keys), limit):
            part = keys[start : start + limit]
            yield PREFIX + owner, document_of(PREFIX + owner, part, now_ms)


@dataclass(frozen=True, slots=True)
class _Value:
    """A stored value."""

    guid: str
    key: str = field(repr=False)
    iat: int
    exp: int


def _service_key(pair: Pair, seq: int, value: _Value, key: SecretKey) -> ServiceKey:
    version = Version(
        pair=pair,
        key_id=value.guid,
        seq=seq,
        created_at=value.iat,
        expires_at=value.exp,
        origin=Origin.IMICROS,
    )
    return ServiceKey(version, key, is_current=False)


class _UnreadableError(Exception):
    """A stored value that is none; says why, without its content."""


class _Reader:
    """Reads pairs, and lists what is odd on the way."""

    def __init__(self, database: Database, master: MasterKey) -> None:
        self.findings: list[Finding] = []
        self._database = database
        self._master = master
        self._owners = database.sets.get(OWNERS, ())
        self._has_namesake = OWNERS in self._owners
        """Whether an owner has the name of the set of owners."""

    def listed_pairs(self) -> list[NamePair]:
        """All pairs that the sets name."""
        if OWNERS in self._database.others:
            self._odd(repr(OWNERS), f"is no set but a {self._database.others[OWNERS]}")
        return [(owner, service) for owner in self._owners for service in self._services(owner)]

    def read(self, owner: str, service: str) -> PlannedPair | None:
        """A pair with all its readable keys; `None` if there is none."""
        where = f"owner {owner!r}, service {service!r}"
        try:
            pair = Pair(check_name("owner", PREFIX + owner), check_name("service", service))
        except BadNameError as problem:
            self._odd(where, f"cannot be stored here: {problem}")
            return None
        fields = self._fields(where, hash_name(owner, service))
        values = self._values(where, fields)
        if not values:
            return None
        current = self._current(where, fields, values)
        ordered = sorted(values, key=lambda value: (value == current, value.iat, value.guid))
        keys = [
            _service_key(pair, seq, value, derived_key(self._master, owner, value.key))
            for seq, value in enumerate(ordered, start=1)
        ]
        return PlannedPair(owner, service, tuple(keys))

    def _services(self, owner: str) -> Sequence[str]:
        """An owner's services; for a name that is none, what it is instead."""
        if owner == OWNERS:
            # This owner's services and the owners are one set: its services are those with keys.
            return [member for member in self._owners if self._is_known(OWNERS, member)]
        services = self._database.sets.get(owner)
        if services is not None:
            return services
        if not (self._has_namesake and self._is_known(OWNERS, owner)):
            kind = self._database.others.get(owner)
            problem = "has no set of services" if kind is None else f"is no set but a {kind}"
            self._odd(f"owner {owner!r}", problem)
        return ()

    def _is_known(self, owner: str, service: str) -> bool:
        name = hash_name(owner, service)
        return name in self._database.hashes or name in self._database.others

    def _fields(self, where: str, name: str) -> Mapping[str, str]:
        fields = self._database.hashes.get(name)
        if fields is None:
            kind = self._database.others.get(name)
            self._odd(where, "has no keys" if kind is None else f"is no hash but a {kind}")
            return {}
        return fields

    def _values(self, where: str, fields: Mapping[str, str]) -> list[_Value]:
        values = []
        for name in sorted(fields.keys() - {DEFAULT}):
            try:
                value = _read_value(fields[name])
                if value.guid != name:
                    raise _UnreadableError("the id inside is another one")
                values.append(value)
            except _UnreadableError as problem:
                self._odd(f"{where}, key {name!r}", str(problem))
        return values

    def _current(
        self, where: str, fields: Mapping[str, str], values: Sequence[_Value]
    ) -> _Value | None:
        """The entry that `default` is a copy of."""
        if DEFAULT not in fields:
            self._odd(where, "has no current key: the newest one becomes it")
            return None
        try:
            current = _read_value(fields[DEFAULT])
        except _UnreadableError as problem:
            self._odd(f"{where}, current key", f"{problem}: the newest one becomes it")
            return None
        if current not in values:
            self._odd(
                f"{where}, current key",
                f"is not the same as the entry {current.guid}: the newest one becomes it",
            )
            return None
        return current

    def _odd(self, where: str, problem: str) -> None:
        self.findings.append(Finding(where, problem))


def _read_value(text: str) -> _Value:
    try:
        content = read_json(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise _UnreadableError("is not JSON in base64") from None
    if not isinstance(content, dict) or not {"guid", "key", "iat", "exp"} <= content.keys():
        raise _UnreadableError("does not have guid, key, iat and exp")
    guid, key, iat, exp = (content[name] for name in ("guid", "key", "iat", "exp"))
    if not _is_key_id(guid):
        raise _UnreadableError("its id is no UUID in lower case")
    if not isinstance(key, str) or not _RAW_KEY.fullmatch(key):
        raise _UnreadableError("its key is not 64 lower-case hexadecimal digits")
    if not all(type(time) is int and 0 <= time < _SAFE_INTEGER for time in (iat, exp)):
        raise _UnreadableError("its times are no whole milliseconds")
    return _Value(guid, key, iat, exp)


def _is_key_id(guid: object) -> bool:
    try:
        return isinstance(guid, str) and check_key_id(guid) == guid
    except BadNameError:
        return False


def _questions(database: Database, known: Collection[NamePair]) -> Iterator[Question]:
    known_names = {hash_name(*pair) for pair in known}
    for name in sorted(database.hashes):
        decoded = decode_name(name)
        if decoded is None:
            continue
        if len(decoded.encode()) > _MOST_OF_PAIR:
            # Not cut: the texts of all pairs would be as long as the name squared.
            if name not in known_names:
                yield Question(name, ())
            continue
        unknown = tuple(pair for pair in possible_pairs(decoded) if pair not in known)
        if unknown:
            yield Question(name, unknown)
