"""A node killed before every write ends with the same rows and the same calls on chain."""

from dataclasses import dataclass

import pytest

from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import KeyId
from keyserver.tasks.model import TaskState
from keyserver.tasks.outbox import OutboxState
from tests.support.chain_stack import SERVICE, Deployment, Stack
from tests.support.fake_cluster import FakeCluster, node_of, point_of
from tests.support.work_store import ProcessKilled

KEY_ID = KeyId(keccak256(b"document-1"))
NUMBER = 101
ROUNDS = 18


@dataclass
class Outcome:
    tasks: list[tuple[str, TaskState]]
    answers: list[tuple[str, bytes, OutboxState]]
    mined: list[bytes]
    """Data of every transaction of the node on the chain, in order."""
    kills: int
    writes: int


def build() -> Deployment:
    return Deployment.of(NUMBER)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return build()


async def run(deployment: Deployment, kill_before: int | None) -> Outcome:
    """Generation, storing and a shadow retrieval; the chain is put back afterwards."""
    node = deployment.client.node
    snapshot = node.snapshot()
    stack = Stack(deployment, NUMBER, FakeCluster((node_of(NUMBER),)), confirmations=1)
    stack.store.lives = kill_before
    kills = 0
    for step in range(ROUNDS):
        if step == 1:
            deployment.request("generateServerKey", KEY_ID, 0)
        if step == 6:
            points = point_of(201).raw64, point_of(202).raw64
            deployment.request("storeDocumentKey", KEY_ID, *points)
        if step == 11:
            requester = point_of(2).raw64
            deployment.request("retrieveDocumentKeyShadow", KEY_ID, requester, sender=1)
        head = deployment.client.mine()
        try:
            await stack.see(head)
        except ProcessKilled:
            kills += 1
            await stack.kill()
            stack.store.lives = None
            stack.start()
            await stack.see(head)
    await stack.kill()
    outcome = Outcome(
        [(task.key.kind.name, task.state) for task in stack.store.tasks.values()],
        [(e.key.method, e.data, e.state) for e in stack.store.entries.values()],
        _mined(deployment, snapshot),
        kills,
        stack.store.writes,
    )
    node.revert(snapshot)
    return outcome


def _mined(deployment: Deployment, _: int) -> list[bytes]:
    me = bytes(node_of(NUMBER).address)
    return [
        bytes(executed.transaction.data)
        for block in deployment.client.node.blocks(0, 10_000)
        for executed in block.executed
        if bytes(executed.transaction.sender) == me
    ]


async def test_a_kill_before_every_write_changes_nothing(deployment: Deployment) -> None:
    undisturbed = await run(deployment, None)
    methods = [method for method, _, _ in undisturbed.answers]
    assert methods == [
        "serverKeyGenerated",
        "documentKeyStored",
        "documentKeyCommonRetrieved",
        "documentKeyPersonalRetrieved",
    ]
    assert {state for _, state in undisturbed.tasks} == {TaskState.SETTLED}
    selectors = [SERVICE.function(method).selector for method in methods]
    assert [data[:4] for data in undisturbed.mined] == selectors
    for position in range(undisturbed.writes):
        disturbed = await run(deployment, position)
        assert disturbed.kills == 1, position
        assert disturbed.tasks == undisturbed.tasks, position
        assert [data[:4] for data in disturbed.mined] == selectors, position
        states = [(method, state) for method, _, state in disturbed.answers]
        assert states == [(method, state) for method, _, state in undisturbed.answers], position
