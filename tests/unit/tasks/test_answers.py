"""What the engine tells becomes durable work."""

import asyncio
from collections.abc import Sequence

import pytest

from keyserver.engine.outcomes import (
    DocumentInstalled,
    EcdsaReady,
    Outcome,
    RecordInstalled,
    ShadowReady,
    SignatureReady,
)
from keyserver.errors import StorageError
from keyserver.model.codec import decode
from keyserver.model.identifiers import Hash32, KeyId, Signature
from keyserver.tasks import answers
from keyserver.tasks.answers import SIGNATURE_WAIT_BLOCKS, OutcomeRecorder, PublicSignature
from keyserver.tasks.model import TaskKey, TaskKind
from keyserver.tasks.queue import TaskQueue
from tests.support.fake_cluster import node_of, point_of, schnorr_signature, secret_of
from tests.support.work import CHAIN_ID, CONTRACT, KEY_ID
from tests.support.work_store import FakeWorkStore

READY = ShadowReady(
    CONTRACT, KEY_ID, point_of(9), (node_of(1), node_of(2)), point_of(5), b"s" * 145
)


class RecordingQueue(TaskQueue):
    """Notes what it is told; the first calls may fail."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(
            store=FakeWorkStore(), handlers={}, me=node_of(1), interval=30, on_answer=lambda: None
        )
        self.failures = failures
        self.woken: list[KeyId] = []
        self.results: list[tuple[TaskKey, bytes]] = []
        self.waits: list[int] = []

    async def wake_key(self, key_id: KeyId) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageError("disk full")
        self.woken.append(key_id)

    async def record_result(self, key: TaskKey, result: bytes, *, wait: int = 0) -> None:
        self.results.append((key, result))
        self.waits.append(wait)


async def record(queue: TaskQueue, outcomes: Sequence[Outcome]) -> None:
    recorder = OutcomeRecorder(queue, CHAIN_ID)
    for outcome in outcomes:
        recorder.on_outcome(outcome)
    running = asyncio.create_task(recorder.run())
    await recorder.drained()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_installed_keys_wake_their_tasks() -> None:
    queue = RecordingQueue()
    other = KeyId(b"\x22" * 32)
    await record(queue, [RecordInstalled(KEY_ID), DocumentInstalled(other)])
    assert queue.woken == [KEY_ID, other]


async def test_a_shadow_is_stored_with_the_personal_task_of_its_request() -> None:
    queue = RecordingQueue()
    await record(queue, [READY])
    ((key, result),) = queue.results
    requester = node_of(9).address
    assert key == TaskKey(CHAIN_ID, CONTRACT, TaskKind.RETRIEVE_PERSONAL, KEY_ID, requester)
    assert decode(ShadowReady, result) == READY
    assert queue.waits == [0]


async def test_a_signature_is_stored_and_published_a_little_later() -> None:
    queue, requester, message = RecordingQueue(), node_of(9).address, Hash32(b"\x33" * 32)
    schnorr = schnorr_signature(secret_of(5), message)
    ecdsa = Signature(b"s" * 64 + b"\1")
    asked = (CONTRACT, KEY_ID, requester, message)
    await record(queue, [SignatureReady(*asked, schnorr), EcdsaReady(*asked, ecdsa)])
    kinds = (TaskKind.SCHNORR_PERSONAL, TaskKind.ECDSA_PERSONAL)
    assert [key for key, _ in queue.results] == [
        TaskKey(CHAIN_ID, CONTRACT, kind, KEY_ID, requester, message) for kind in kinds
    ]
    stored = [decode(PublicSignature, result) for _, result in queue.results]
    assert stored == [
        PublicSignature(schnorr.encode(), schnorr.nonce.raw64),
        PublicSignature(bytes(ecdsa)),
    ]
    assert queue.waits == [SIGNATURE_WAIT_BLOCKS] * 2


async def test_what_the_store_does_not_take_is_offered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "RETRY_S", 0.0)
    queue = RecordingQueue(failures=2)
    await record(queue, [RecordInstalled(KEY_ID), READY])
    assert queue.woken == [KEY_ID]
    assert len(queue.results) == 1
