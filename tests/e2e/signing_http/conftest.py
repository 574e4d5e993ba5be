"""Five nodes as processes: two as the original's files have them, three as new ones are made."""

from collections.abc import Iterator

import pytest

from tests.e2e.operator.static_network import StaticNetwork

LENIENT, STRICT = ("a", "b"), ("c", "d", "poa1")
EVERYBODY = (*LENIENT, *STRICT)
STRICT_CREDENTIALS = ["sign_schnorr", "sign_frost", "sign_ecdsa"]
QUORUM = 4
"""Nodes that have to be there for a key to be generated."""


@pytest.fixture(scope="package")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaticNetwork]:
    """A test that stops a node starts it again."""
    network = StaticNetwork(tmp_path_factory.mktemp("five"), EVERYBODY)
    for name in EVERYBODY:
        network.nodes[name].set("keyserver", generation_quorum=QUORUM, presignatures=2)
    for name in STRICT:
        network.nodes[name].set("keyserver", strict_credentials=STRICT_CREDENTIALS)
    try:
        network.configure(EVERYBODY)
        network.start(EVERYBODY)
        yield network
    finally:
        network.close()
