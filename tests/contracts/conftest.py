"""One chain for all tests of this folder; what a test does on it is undone afterwards."""

from collections.abc import Iterator

import pytest

from tests.contracts.chain import Chain
from tests.contracts.world import SERVERS, World, build_world


@pytest.fixture(scope="session")
def built_world() -> World:
    return build_world()


@pytest.fixture
def world(built_world: World) -> Iterator[World]:
    """Five key servers, initialized, and every service, fresh."""
    with built_world.chain.undone():
        yield built_world


@pytest.fixture(scope="session")
def built_chain() -> Chain:
    return Chain(rich=SERVERS)


@pytest.fixture
def chain(built_chain: Chain) -> Iterator[Chain]:
    """A chain with rich accounts and no contract."""
    with built_chain.undone():
        yield built_chain
