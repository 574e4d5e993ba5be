"""Three nodes with client listeners and a JSON-RPC listener, for all tests of this folder."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from keyserver.api.json_rpc_accounts import DevelopmentKey
from keyserver.crypto.curve import SecretScalar
from tests.support.client_node import ClientNetwork, client_network
from tests.support.rpc_listener import Rpc, known_accounts, rpc_listener
from tests.vectors.files import load, secret

VECTORS: dict[str, Any] = load("http-api")


@dataclass(frozen=True)
class Person:
    """An account of the vectors."""

    name: str
    address: str
    password: str
    key: SecretScalar


PEOPLE = {
    each["name"]: Person(
        each["name"], each["address"], each["password"], secret(each["private_key"])
    )
    for each in VECTORS["accounts"]
}
ALICE, BOB, CHARLIE = PEOPLE["alice"], PEOPLE["bob"], PEOPLE["charlie"]

_NUMBERS = count(1)


def fresh_id() -> str:
    """A server key id nobody has used, bare."""
    return f"{next(_NUMBERS):064x}"


@pytest.fixture(scope="session")
async def three() -> AsyncIterator[ClientNetwork]:
    async with client_network(3) as network:
        yield network


@pytest.fixture(scope="session")
async def rpc() -> AsyncIterator[Rpc]:
    async with rpc_listener([DevelopmentKey(), *known_accounts(VECTORS["accounts"])]) as listener:
        yield listener
