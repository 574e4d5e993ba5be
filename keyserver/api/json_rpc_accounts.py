"""Accounts of the JSON-RPC module: key files, opened with a password for one call.

JSON-RPC module, sections 3 and 7. Opening is slow on purpose (key derivation), so it is done in
threads of which few run at once; wrong passwords make the next attempts at that account wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from keyserver.api.ports import LockedKey
from keyserver.crypto.curve import SecretScalar
from keyserver.errors import ConfigError, KeyServerError
from keyserver.model.identifiers import Address, NodeId

MOST_AT_ONCE: Final = 2
"""Key derivations that run at the same time; one with scrypt may take 256 MiB."""

FREE_FAILURES: Final = 3
"""Wrong passwords in a row that cost nothing but their derivation."""

LONGEST_WAIT_S: Final = 8.0

log = structlog.get_logger()


class UnknownAccountError(KeyServerError):
    """There is no key file of this address."""


class WrongPasswordError(KeyServerError):
    """The password opens no key file of this address."""


class DevelopmentKey:
    """The built-in account of the development chain: a published key with an empty password."""

    def __init__(self) -> None:
        published = "4d5db4107d237df6a3d58ee5f70ae63d73d7658d4026f2eefd2f204c81682cb7"
        self._secret = SecretScalar(bytes.fromhex(published))

    @property
    def address(self) -> Address:
        """The account."""
        return NodeId.of(self._secret.public()).address

    def open(self, password: str) -> SecretScalar | None:
        """The key, if the password is empty."""
        return None if password else self._secret


@dataclass(slots=True)
class _Failures:
    count: int
    closed_until: float


class Accounts:
    """Opens accounts for single calls; nothing stays open."""

    def __init__(
        self,
        find: Callable[[Address], Sequence[LockedKey]],
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`find` returns the key files of an address; it is called in a thread."""
        self._find = find
        self._monotonic = monotonic
        self._sleep = sleep
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._failures: dict[Address, _Failures] = {}

    async def open(self, address: Address, password: str) -> SecretScalar:
        """The key of an account; raises `UnknownAccountError` or `WrongPasswordError`."""
        while True:
            async with self._slots:
                wait_s = self._closed_for(address)
                if wait_s <= 0:
                    return await self._attempt(address, password)
            await self._sleep(wait_s)

    def _closed_for(self, address: Address) -> float:
        failures = self._failures.get(address)
        return 0.0 if failures is None else failures.closed_until - self._monotonic()

    async def _attempt(self, address: Address, password: str) -> SecretScalar:
        keys = await asyncio.to_thread(self._find, address)
        if not keys:
            raise UnknownAccountError("no key file of this account")
        for key in keys:
            secret = await asyncio.to_thread(_opened, key, password)
            if secret is not None:
                self._failures.pop(address, None)
                return secret
        self._note_failure(address)
        raise WrongPasswordError("the password is wrong")

    def _note_failure(self, address: Address) -> None:
        """Only accounts that exist get here, so there are few."""
        before = self._failures.get(address)
        count = 1 if before is None else before.count + 1
        beyond = count - FREE_FAILURES
        wait_s = min(2.0 ** (beyond - 2), LONGEST_WAIT_S) if beyond > 0 else 0.0
        self._failures[address] = _Failures(count, self._monotonic() + wait_s)
        log.warning("wrong_password", address=address, in_a_row=count)


def _opened(key: LockedKey, password: str) -> SecretScalar | None:
    try:
        return key.open(password)
    except ConfigError as problem:
        log.warning("key_file_unusable", address=key.address, reason=str(problem))
        return None
