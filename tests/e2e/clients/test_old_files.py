"""What nodes make of the files they were started from, which say nothing of this project's own."""

import pytest

from tests.e2e.clients.processes import Cluster, rpc_of
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import ALICE, BOB, CHARLIE, VECTORS

pytestmark = pytest.mark.e2e

PEOPLE = (ALICE, BOB, CHARLIE)
LENIENT = {"forbid_plain_modes", "strict_credentials", "acl_depth", "strict_admin"}


def test_the_id_is_told_in_full(three_processes: Cluster) -> None:
    """Operators copy it from the log into the lists of the other nodes."""
    for server, who in zip(three_processes.servers, PEOPLE, strict=True):
        node_id = f"0x{who.key.public().raw64.hex()}"
        assert server.ready["node_id"] == node_id
        texts = [event.get("text") for event in server.events()]
        assert f"Starting SecretStore node: {node_id}" in texts


def test_what_is_left_open_is_told(three_processes: Cluster) -> None:
    """One warning a start for each option that the old file does not have."""
    for server in three_processes.servers:
        open_ = [event["keys"] for event in server.events() if event["event"] == "lenient_default"]
        named = [key.removeprefix("keyserver.") for keys in open_ for key in keys]
        for option in LENIENT:
            assert named.count(option) == 1


def test_a_busy_operator_port_stops_nobody(three_processes: Cluster) -> None:
    """All three files leave the operator's port open, and Alice's clients may have it."""
    operators = {server.ready["operator"] for server in three_processes.servers}
    assert len(operators) == 3


async def test_a_node_serves_the_module_too(three_processes: Cluster) -> None:
    """`apis = ["all"]` on a key server, with the account of its own."""
    example = VECTORS["worked_example"]
    path = example["exchanges"][0]["request"]["path"]
    alice = rpc_of(three_processes.servers[0])
    assert await signed(alice, example["server_key_id"]) == f"0x{path.split('/')[3]}"


async def signed(rpc: Rpc, key_id: str) -> str:
    result: str = await rpc.result("secretstore_signRawHash", ALICE.address, ALICE.password, key_id)
    return result


async def test_a_node_knows_only_its_own_accounts(three_processes: Cluster) -> None:
    answer = await rpc_of(three_processes.servers[1]).call(
        "secretstore_signRawHash", ALICE.address, ALICE.password, f"0x{'11' * 32}"
    )
    assert answer["error"]["code"] == -32023
