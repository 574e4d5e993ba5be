"""Hands out service keys: the current one of a pair, or any earlier one by its id."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.sealing.errors import KeyNotFoundError, StaleTermError
from keyserver.sealing.ports import AuditLog, AuditOutcome, Scope
from keyserver.sealing.secret_key import SIZE, SecretKey
from keyserver.sealing.service_keys.boxes import KeyBoxes
from keyserver.sealing.service_keys.data import Ciphertext, decrypt, encrypt
from keyserver.sealing.service_keys.model import (
    DAY_MS,
    Origin,
    Pair,
    ServiceKey,
    ServiceKeyStore,
    ServiceLine,
    Version,
)
from keyserver.sealing.service_keys.names import check_key_id, check_name, new_key_id
from keyserver.sealing.service_keys.rights import Asker, check_scope

LINES_AT_ONCE: Final = 1000
"""Services that are looked through at once."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A key that was asked for without an id."""

    key: ServiceKey
    made: bool
    """Whether it did not exist before."""


@dataclass(frozen=True, slots=True)
class ServicePage:
    """Some services of an owner."""

    lines: Sequence[ServiceLine]
    """Those that the asker may ask for; it learns of no others."""
    next_after: str | None
    """The last of them, if there may be more."""


class ServiceKeys:
    """What services ask for.

    Every method raises `SealedError` while the node is sealed, `ForbiddenError` for a service or a
    scope that the asker has not, `OwnerDeletedError`, `StorageError` and `AuditUnavailableError`;
    `BadNameError` for what is no name.
    """

    def __init__(
        self,
        store: ServiceKeyStore,
        boxes: KeyBoxes,
        audit: AuditLog,
        *,
        random: RandomSource,
        clock: Clock,
        rotation_days: int,
    ) -> None:
        """`rotation_days`: how long versions made from now on are the current ones."""
        self._store = store
        self._boxes = boxes
        self._audit = audit
        self._random = random
        self._clock = clock
        self._life_ms = rotation_days * DAY_MS

    def check_open(self) -> None:
        """Raise `SealedError` while the node is sealed."""
        self._boxes.check_open()

    async def current(self, asker: Asker, service: str) -> Handed:
        """The key to encrypt with now; made if there is none, or the last one has expired.

        However many ask at the same moment, at however many replicas, all get the same one.
        """
        pair = self._pair(asker, service, Scope.KEYS_USE)
        handed = await self._current(asker, pair)
        await self._note("keys.get", asker, handed.key.version)
        return handed

    async def by_id(self, asker: Asker, service: str, key_id: str) -> ServiceKey:
        """A version of the owner's, expired or not.

        Raises `KeyNotFoundError` for all others: which ids other owners have is nobody's business.
        """
        pair = self._pair(asker, service, Scope.KEYS_USE)
        key = await self._by_id(pair, check_key_id(key_id))
        await self._note("keys.get", asker, key.version)
        return key

    async def services(self, asker: Asker, after: str, limit: int) -> ServicePage:
        """Services that the owner has keys for, after `after` in the order of their bytes."""
        self._boxes.check_open()
        check_scope(asker.caller, Scope.KEYS_USE)
        shown: list[ServiceLine] = []
        while len(shown) < limit:
            lines = await self._store.services(asker.owner, after, LINES_AT_ONCE)
            shown += [line for line in lines if asker.may_use(line.service)]
            if len(lines) < LINES_AT_ONCE:
                break
            after = lines[-1].service
        shown, is_full = shown[:limit], len(shown) >= limit
        return ServicePage(shown, shown[-1].service if is_full else None)

    async def versions(
        self, asker: Asker, service: str, before: int | None, limit: int
    ) -> Sequence[Version]:
        """The versions of a service, the newest first, those before the number `before`."""
        pair = self._pair(asker, service, Scope.KEYS_USE)
        return await self._store.versions(pair, before, limit)

    async def encrypt(self, asker: Asker, service: str, plaintext: bytes, aad: bytes) -> Ciphertext:
        """Encrypt small data with the current key."""
        pair = self._pair(asker, service, Scope.KEYS_DATA)
        key = (await self._current(asker, pair)).key
        key_id = key.version.key_id
        ciphertext = encrypt(key.key, pair, key_id, plaintext, aad, self._random)
        await self._note("keys.encrypt", asker, key.version, len(plaintext))
        return ciphertext

    async def decrypt(
        self, asker: Asker, service: str, ciphertext: Ciphertext, aad: bytes
    ) -> bytes:
        """What was encrypted; raises `KeyNotFoundError` if its key is none of this owner's."""
        pair = self._pair(asker, service, Scope.KEYS_DATA)
        key = await self._by_id(pair, ciphertext.key_id)
        plaintext = decrypt(key.key, pair, ciphertext, aad)
        await self._note("keys.decrypt", asker, key.version, len(plaintext))
        return plaintext

    def _pair(self, asker: Asker, service: str, scope: Scope) -> Pair:
        self._boxes.check_open()
        check_scope(asker.caller, scope)
        check_name("service", service)
        asker.check_service(service)
        return Pair(check_name("owner", asker.owner), service)

    async def _current(self, asker: Asker, pair: Pair) -> Handed:
        while True:  # whoever loses a race finds a higher number at the next turn
            now = self._clock.unix() * 1000
            latest = await self._store.latest(pair)
            if latest is not None and latest.version.expires_at > now:
                key = await self._boxes.open(latest)
                return Handed(ServiceKey(latest.version, key, is_current=True), made=False)
            version = Version(
                pair=pair,
                key_id=new_key_id(self._random),
                seq=1 if latest is None else latest.version.seq + 1,
                created_at=now,
                expires_at=now + self._life_ms,
                origin=Origin.MADE,
            )
            key = SecretKey(self._random.bytes(SIZE))
            if await self._add(version, key):
                action = "keys.create" if latest is None else "keys.rotate"
                await self._note(action, asker, version)
                return Handed(ServiceKey(version, key, is_current=True), made=True)

    async def _add(self, version: Version, key: SecretKey) -> bool:
        """Keep a new version, in the newest term; whether its number was free."""
        try:
            return await self._store.add(self._boxes.seal(version, key))
        except StaleTermError:
            await self._boxes.refresh()
        return await self._store.add(self._boxes.seal(version, key))

    async def _by_id(self, pair: Pair, key_id: str) -> ServiceKey:
        stored = await self._store.find(pair, key_id)
        if stored is None:
            raise KeyNotFoundError("id: there is no such key for this owner and service")
        latest = await self._store.latest(pair)
        version, now = stored.version, self._clock.unix() * 1000
        is_latest = latest is not None and latest.version.seq == version.seq
        key = await self._boxes.open(stored)
        return ServiceKey(version, key, is_current=is_latest and version.expires_at > now)

    async def _note(
        self, action: str, asker: Asker, version: Version, size: int | None = None
    ) -> None:
        details: dict[str, str | int | bool | None] = {
            "owner": version.pair.owner,
            "service": version.pair.service,
            "principal": asker.caller.principal,
            "key_id": version.key_id,
        }
        if size is not None:
            details["bytes"] = size
        await self._audit.record(action, AuditOutcome.OK, asker.caller.actor, details)
