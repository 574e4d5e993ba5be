"""The eight steps with the change itself, as operators of the original know them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.operator.keys import Key, is_readable, publish
from tests.e2e.operator.static_network import StaticNetwork
from tests.unit.app.samples import public
from tests.vectors.files import load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CHANGES: dict[str, Any] = {case["name"]: case for case in load("http-api")["servers_set_change"]}


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[StaticNetwork]:
    """The four nodes of section 8.2; none of them runs."""
    network = StaticNetwork(
        tmp_path, "abcd", disable_auto_migrate=True, admin_public=public("admin")
    )
    try:
        yield network
    finally:
        network.close()


def test_o2_to_o4_add_replace_and_remove(bed: StaticNetwork) -> None:
    bed.configure("ab")
    bed.start("ab")
    key = publish(bed, "a", threshold=1)
    known = facts_of(bed, "a", key)

    through_the_steps(bed, "ab", union="abc", change="identity-change", at="b")
    assert [name for name in "abc" if holds_a_share(bed, name, key)] == ["a", "b", "c"]
    bed.stop("a")
    assert all(is_readable(bed, name, key) for name in "bc")
    bed.nodes["a"].start()
    bed.nodes["a"].wait_ready()

    through_the_steps(bed, "abc", union="abcd", change="replace-one", at="d")
    assert [name for name in "abcd" if holds_a_share(bed, name, key)] == ["b", "c", "d"]
    assert is_readable(bed, "d", key)
    assert is_readable(bed, "a", key), "it is still configured"
    final(bed, "abcd", "bcd")
    assert all(is_readable(bed, name, key) for name in "bcd")

    through_the_steps(bed, "bcd", union="bcd", change="mission-document-example", at="b")
    assert [name for name in "bcd" if holds_a_share(bed, name, key)] == ["c", "d"]
    final(bed, "bcd", "cd")
    assert all(is_readable(bed, name, key) for name in "cd")

    after = facts_of(bed, "d", key)
    assert after["public"] == known["public"], "the key is the same"
    assert is_readable(bed, "c", publish(bed, "d", threshold=1)), "and new ones are made"


def through_the_steps(
    bed: StaticNetwork, members: str, *, union: str, change: str, at: str
) -> None:
    """Steps 2 to 5: stop, configure the union, start, and send the request to a node."""
    bed.stop(members)
    bed.configure(union)
    bed.start(union)
    request = CHANGES[change]["request"]
    answer = bed.ask(at, "POST", request["path"], request["body"])
    assert (answer.status, answer.body) == (200, b"")


def final(bed: StaticNetwork, union: str, members: str) -> None:
    """Steps 6 to 8: stop all, configure and start the new set."""
    bed.stop(union)
    bed.configure(members)
    bed.start(members)


def facts_of(network: StaticNetwork, name: str, key: Key) -> dict[str, Any]:
    """What the operator of a node is told of a key."""
    status, facts = network.nodes[name].operator(f"/v1/keys/{key.id.hex()}")
    assert status == 200
    return dict(facts)


def holds_a_share(network: StaticNetwork, name: str, key: Key) -> bool:
    """Whether the node has a share of the version in force."""
    status, facts = network.nodes[name].operator(f"/v1/keys/{key.id.hex()}")
    return status == 200 and facts["share"] != "none"
