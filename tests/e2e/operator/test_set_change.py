"""The eight steps with the change itself, as operators of the original know them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.operator.keys import Key, is_readable, publish, read
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


def test_o2_to_o4_add_replace_and_remove(bed: StaticNetwork, tmp_path: Path) -> None:
    bed.configure("ab")
    bed.start("ab")
    key = publish(bed, "a", threshold=1)
    known = facts_of(bed, "a", key)

    to_the_union(bed, "ab", "abc")
    assert is_readable(bed, "c", key), "any node may run a request"
    assert not holds_a_share(bed, "c", key)
    ordered(bed, "identity-change", at="b")
    assert [name for name in "abc" if holds_a_share(bed, name, key)] == ["a", "b", "c"]
    bed.stop("a")
    assert all(is_readable(bed, name, key) for name in "bc")
    bed.nodes["a"].start()
    bed.nodes["a"].wait_ready()

    to_the_union(bed, "abc", "abcd")
    ordered(bed, "replace-one", at="d")
    assert [name for name in "abcd" if holds_a_share(bed, name, key)] == ["b", "c", "d"]
    assert is_readable(bed, "d", key)
    assert is_readable(bed, "a", key), "it is still configured"
    final(bed, "abcd", "bcd")
    assert all(is_readable(bed, name, key) for name in "bcd")
    is_locked_out(bed, "a", "abcd", key)

    # Here the union is what is configured already: nothing has to be stopped for step 5.
    shutil.copytree(bed.nodes["b"].data, tmp_path / "old copy")
    by_curl(bed, "mission-document-example", at="b")
    assert [name for name in "bcd" if holds_a_share(bed, name, key)] == ["c", "d"]
    final(bed, "bcd", "cd")
    assert all(is_readable(bed, name, key) for name in "cd")
    shutil.rmtree(bed.nodes["b"].data)
    shutil.copytree(tmp_path / "old copy", bed.nodes["b"].data)
    is_locked_out(bed, "b", "bcd", key)

    after = facts_of(bed, "d", key)
    assert after["public"] == known["public"], "the key is the same"
    assert is_readable(bed, "c", publish(bed, "d", threshold=1)), "and new ones are made"


def to_the_union(bed: StaticNetwork, members: str, union: str) -> None:
    """Steps 2 to 4: stop all, configure old and new ones with the union, and start those."""
    bed.stop(members)
    bed.configure(union)
    bed.start(union)


def ordered(bed: StaticNetwork, change: str, *, at: str) -> None:
    """Step 5: the published request to one node."""
    request = CHANGES[change]["request"]
    answer = bed.ask(at, "POST", request["path"], request["body"])
    assert (answer.status, answer.body) == (200, b"")


def by_curl(bed: StaticNetwork, change: str, *, at: str) -> None:
    """The same as the documentation of the original prints it."""
    curl = shutil.which("curl")
    assert curl is not None
    request = CHANGES[change]["request"]
    command = [curl, "--silent", "--include", "--request", "POST", "--data-binary"]
    done = subprocess.run(
        [*command, request["body"], bed.url(at) + request["path"]],
        capture_output=True,
        check=True,
        timeout=60,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b""


def is_locked_out(bed: StaticNetwork, name: str, members: str, key: Key) -> None:
    """A node that has left is started again with a list of nodes: it reaches none, and gives no
    key away, whatever it still has on its disk."""
    node = bed.nodes[name]
    node.set("secretstore", nodes=[bed.entry(member) for member in members])
    node.start()
    node.wait_ready()
    node.wait_event("peer_not_greeted")
    assert node.others("connected") == []
    assert all(answer.status in (403, 500) for answer in read(bed, name, key))
    bed.stop(name)


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
