"""A node is away while a key is made; back again it obtains its share, and nobody does a thing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator.keys import Key, is_readable, publish
from tests.e2e.operator.static_network import StaticNetwork
from tests.support.node_processes import ConfiguredNode
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAMES, LATE = ("a", "b", "c", "d", "poa1"), "poa1"
WITHIN_S = 60.0


@pytest.fixture
def network(tmp_path: Path) -> Iterator[StaticNetwork]:
    made = StaticNetwork(tmp_path, NAMES)
    made.configure(NAMES)
    for node in made.nodes.values():
        node.set("keyserver", generation_quorum=4, operator_listen="127.0.0.1:0", log_format="json")
    try:
        yield made
    finally:
        made.close()


def share_of(node: ConfiguredNode, key: Key) -> str | None:
    status, facts = node.operator(f"/v1/keys/{key.id.hex()}")
    return facts["share"] if status == 200 else None


def counts(node: ConfiguredNode) -> tuple[int, int]:
    _, facts = node.operator("/v1/status")
    return facts["keys"], facts["keys_without_share"]


def command(node: ConfiguredNode, *words: str) -> str:
    """What an operator reads on the node's machine."""
    program = [sys.executable, "-m", "keyserver.cli", *words, "--url", node.ready["operator"]]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def wait_for_share(node: ConfiguredNode, key: Key) -> None:
    def held() -> bool | None:
        return True if share_of(node, key) == "held" else None

    wait_for(held, timeout_s=WITHIN_S, doing=f"share\n{node.log_tail()}")


def test_a_node_that_was_away_obtains_its_share(network: StaticNetwork) -> None:
    late, there = network.nodes[LATE], [name for name in NAMES if name != LATE]
    network.start(NAMES)
    before = publish(network, "a", threshold=2)
    assert share_of(late, before) == "held"
    network.stop([LATE])
    key = publish(network, "a", threshold=2)
    assert is_readable(network, "b", key)
    assert [share_of(network.nodes[name], key) for name in there] == ["held"] * 4

    late.start()
    late.wait_ready()
    wait_for_share(late, key)
    assert counts(late) == (2, 0)
    assert "share" in command(late, "keys", "show", key.id.hex())
    assert "2, 0 without a share here" in command(late, "status")
    added = [event for event in late.events() if event["event"] == "share_added"]
    assert [event["key_id"] for event in added] == [f"0x{key.id.hex()}"]

    network.stop("ab")
    assert is_readable(network, "c", key)
    assert is_readable(network, LATE, key)
    late.kill()
    late.start()
    late.wait_ready()
    assert share_of(late, key) == "held"
    assert not [event for event in late.events() if event["level"] == "error"]
