"""One chain for all tests of this folder; what a test does on it is undone afterwards."""

from collections.abc import Iterator

import pytest

from tests.contracts.chain import Chain
from tests.contracts.world import SERVERS, STRANGERS, World, build_world


@pytest.fixture(scope="session")
def built_world() -> World:
    return build_world()


@pytest.fixture
def world(built_world: World) -> Iterator[World]:
    """Five key servers, initialized, and every service, fresh."""
    snapshot = built_world.chain.tester.take_snapshot()
    yield built_world
    built_world.chain.tester.revert_to_snapshot(snapshot)


@pytest.fixture(scope="session")
def built_chain() -> Chain:
    chain = Chain()
    for number in (*STRANGERS, *SERVERS):
        chain.address(number)
    return chain


@pytest.fixture
def chain(built_chain: Chain) -> Iterator[Chain]:
    """A chain with rich accounts and no contract."""
    snapshot = built_chain.tester.take_snapshot()
    yield built_chain
    built_chain.tester.revert_to_snapshot(snapshot)
