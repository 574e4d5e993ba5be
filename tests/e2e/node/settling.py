"""Nodes at the end of a story: they owe nothing, and stop in good order."""

from collections.abc import Sequence

from tests.support.node_processes import STOP_S, NodeProcess
from tests.support.waiting import wait_for

OPEN_ANSWERS = {"queued", "signed", "broadcast", "mined"}
OPEN_TASKS = {"pending", "running", "answered"}


def stop_settled(nodes: Sequence[NodeProcess]) -> None:
    """See that every node has answered for good, logged no error, and ends when told to."""
    for node in nodes:
        wait_until_settled(node)
    for node in nodes:
        code, took = node.stop()
        assert code == 0
        assert took < STOP_S
        assert not [event for event in node.events() if event["level"] == "error"]


def wait_until_settled(node: NodeProcess) -> None:
    """Every answer of a node is final on chain, and it owes nothing."""

    def settled() -> bool | None:
        _, facts = node.operator("/v1/status")
        has_open = OPEN_ANSWERS & facts["answers"].keys() or OPEN_TASKS & facts["tasks"].keys()
        return True if not has_open else None

    wait_for(settled, timeout_s=60, doing=f"settling\n{node.log_tail()}")
