"""One node that all tests of a module share, and what its listeners are called."""

from collections.abc import Iterator

import pytest

from tests.e2e.listeners.nodes import lone_node
from tests.support.node_processes import ConfiguredNode


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredNode]:
    """A running cluster of one with both listeners; it must outlive the module."""
    made = lone_node(tmp_path_factory.mktemp("lone"), accounts=True)
    made.set("secretstore", cors=["http://app.example", "null"])
    try:
        made.start()
        made.wait_ready()
        yield made
        assert made.process.poll() is None, made.log_tail()
        assert [event for event in made.events() if event["level"] == "error"] == []
        assert "uvicorn" not in made.log
    finally:
        made.kill()


@pytest.fixture(scope="module")
def http(node: ConfiguredNode) -> str:
    """The URL of its HTTP interface."""
    return str(node.ready["http"])


@pytest.fixture(scope="module")
def rpc(node: ConfiguredNode) -> str:
    """The URL of its JSON-RPC module."""
    return str(node.ready["json_rpc"])
