"""One chain with the contracts, and fresh directories for the nodes of each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chain_network import Network
from tests.support.node_processes import ConfiguredNode


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three nodes in the set of a chain; none of them runs."""
    made = Network.make(tmp_path_factory.mktemp("network"), 3)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def node(network: Network, tmp_path: Path) -> Iterator[ConfiguredNode]:
    """The first of them with a directory of its own; ended after the test."""
    one = network.fresh_node(0, tmp_path)
    try:
        yield one
    finally:
        one.kill()
