"""Somebody who uses one of Energy Web's clients."""

from typing import Any

from keyserver.crypto.randomness import SystemRandom
from tests.e2e.published.driver import Driver


class Person:
    """An account, and a client that calls with it."""

    def __init__(self, driver: Driver, account: str, password: str) -> None:
        self.call = driver
        self._account = (account, password)

    def rpc(self, method: str, *arguments: object) -> Any:
        """A method of the JSON-RPC module that needs an account."""
        return self.call(f"rpc.{method}", *self._account, *arguments)

    def session(self, method: str, key_id: str, *arguments: object) -> Any:
        """An operation of the key servers with this person's signature of the id."""
        signature = self.rpc("signRawHash", key_id)
        return self.call(f"session.{method}", key_id, signature, *arguments)


def new_id() -> str:
    """An id nobody has used; 64 digits."""
    return SystemRandom().bytes(32).hex()
