"""Three nodes with client listeners and a JSON-RPC listener, for all tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from keyserver.api.json_rpc_accounts import DevelopmentKey
from tests.support.client_node import ClientNetwork, client_network
from tests.support.rpc_listener import Rpc, known_accounts, rpc_listener
from tests.support.scenario_clients import (
    ALICE,
    BOB,
    CHARLIE,
    PEOPLE,
    VECTORS,
    Person,
    fresh_id,
)

__all__ = ["ALICE", "BOB", "CHARLIE", "PEOPLE", "VECTORS", "Person", "fresh_id"]


@pytest.fixture(scope="session")
async def three() -> AsyncIterator[ClientNetwork]:
    async with client_network(3) as network:
        yield network


@pytest.fixture(scope="session")
async def rpc() -> AsyncIterator[Rpc]:
    async with rpc_listener([DevelopmentKey(), *known_accounts(VECTORS["accounts"])]) as listener:
        yield listener
