"""Transactions that do not simply get mined (chain watcher, W-04 to W-08, W-29, W-30, W-37)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import structlog.testing

from keyserver.chain.client import (
    HEAD,
    At,
    CallResult,
    ChainUnavailableError,
    ContractCall,
    FeeInputs,
    Receipt,
    Returned,
    Reverted,
    SendRefusal,
    SendRefusedError,
)
from keyserver.crypto.hashing import keccak256
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.services.server_key_generation.bindings import REQUIRED
from keyserver.tasks.model import TaskState
from keyserver.tasks.outbox import Mined, OutboxEntry, OutboxState
from keyserver.tasks.ports import StaleRowError
from tests.support.chain_stack import CHAIN_ID, GWEI, LIMITS, SERVICE, Deployment, Stack
from tests.support.fake_cluster import FakeCluster, node_of, point_of, secret_of
from tests.support.faulty_client import FaultyClient
from tests.support.work import sighting

KEY_ID = KeyId(keccak256(b"document-1"))
NUMBER = 101


class SteeredClient(FaultyClient):
    """Prices and receipts as the test wants them."""

    fees: FeeInputs | None = None
    gas_estimate: int | None = None
    required: CallResult | None = None
    """What the contract says when asked whether it requires a generation response."""
    refuse_receipts = 0
    """How many more mined transactions are reported as refused by the contract."""
    refused: set[Hash32]

    async def fee_inputs(self) -> FeeInputs:
        return self.fees or await super().fee_inputs()

    async def estimate_gas(self, call: ContractCall) -> int | Reverted:
        return self.gas_estimate or await super().estimate_gas(call)

    async def call_many(
        self, calls: Sequence[ContractCall], at: At = HEAD
    ) -> tuple[CallResult, ...]:
        results = await super().call_many(calls, at)
        if self.required is None or calls[0].data[:4] != REQUIRED.selector:
            return results
        return (self.required, *results[1:])

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        receipt = await super().receipt(tx_hash)
        if receipt and tx_hash not in self.refused and self.refuse_receipts:
            self.refuse_receipts -= 1
            self.refused.add(tx_hash)
        if receipt and tx_hash in self.refused:
            return replace(receipt, succeeded=False)
        return receipt


class Solo:
    """One node on a chain of its own, with c = 1."""

    def __init__(self) -> None:
        self.deployment = Deployment.of(NUMBER)
        self.client = SteeredClient(self.deployment.client)
        self.client.refused = set()
        self.cluster = FakeCluster((node_of(NUMBER),))
        self.stack = Stack(
            self.deployment, NUMBER, self.cluster, confirmations=1, chain=self.client
        )

    async def mine(self, count: int = 1) -> None:
        for _ in range(count):
            await self.stack.see(self.deployment.client.mine())

    async def ask(self) -> None:
        """A generation request whose answer is signed when this returns."""
        self.deployment.request("generateServerKey", KEY_ID, 0)
        await self.mine(2)

    def last(self) -> OutboxEntry:
        """The newest answer."""
        return list(self.stack.store.entries.values())[-1]

    def mined(self) -> Mined:
        """Where the newest answer was mined."""
        mined = self.last().mined
        assert mined is not None
        return mined

    def task_state(self) -> TaskState:
        return list(self.stack.store.tasks.values())[-1].state

    def foreign(self, nonce: int) -> bytes:
        """A transaction of the node's account that the node knows nothing of."""
        transaction = UnsignedTransaction(
            CHAIN_ID, nonce, node_of(5).address, b"", 21_000, DynamicFee(90 * GWEI, 9 * GWEI)
        )
        return TransactionSigner(secret_of(NUMBER)).sign(transaction).raw


@pytest.fixture
async def solo() -> AsyncIterator[Solo]:
    solo = Solo()
    await solo.mine(2)
    yield solo
    await solo.stack.kill()


async def test_too_low_a_fee_is_raised_after_ten_blocks(solo: Solo) -> None:
    solo.client.fees = FeeInputs(base_fee=1, priority_fee=1, gas_price=2)
    await solo.ask()
    first = solo.last().attempts[0]
    assert (first.max_fee, solo.last().state) == (3, OutboxState.BROADCAST)
    solo.client.fees = None
    await solo.mine(9)
    assert len(solo.last().attempts) == 1
    await solo.mine(1)
    assert len(solo.last().attempts) == 2
    await solo.mine(2)
    assert solo.last().state is OutboxState.CONFIRMED
    assert solo.mined().tx_hash == solo.last().attempts[1].tx_hash
    assert len(solo.deployment.events("ServerKeyGenerated")) == 1


async def test_at_the_limit_the_same_transaction_is_sent_again(solo: Solo) -> None:
    await solo.stack.kill()
    solo.stack.limits = replace(LIMITS, fees=replace(LIMITS.fees, max_fee=3))
    solo.stack.start()
    solo.client.fees = FeeInputs(base_fee=1, priority_fee=1, gas_price=2)
    await solo.ask()
    sent = solo.deployment.client.calls["send_raw_transaction"]
    await solo.mine(25)
    assert len(solo.last().attempts) == 1
    assert solo.deployment.client.calls["send_raw_transaction"] == sent + 2


async def test_a_nonce_used_by_somebody_else_is_given_up(solo: Solo) -> None:
    solo.client.fees = FeeInputs(base_fee=1, priority_fee=1, gas_price=2)
    await solo.ask()
    assert solo.last().nonce == 0
    solo.deployment.client.node.submit(solo.foreign(0))
    solo.client.fees = None
    await solo.mine(4)
    assert (solo.last().nonce, solo.last().state) == (1, OutboxState.CONFIRMED)
    assert len(solo.deployment.events("ServerKeyGenerated")) == 1


async def test_a_gap_below_our_nonces_is_filled(solo: Solo) -> None:
    await solo.ask()
    entry = solo.last()
    await solo.stack.kill()
    # as after a restored database: the only answer has a nonce above one that nobody used
    node = solo.deployment.client.node
    raised = TransactionSigner(secret_of(NUMBER)).sign(
        UnsignedTransaction(
            CHAIN_ID, 1, entry.contract, entry.data, 300_000, DynamicFee(9 * GWEI, 2 * GWEI)
        )
    )
    attempt = replace(entry.attempts[0], raw=raised.raw, tx_hash=raised.tx_hash)
    solo.stack.store.entries[entry.id] = replace(entry, nonce=1, attempts=(attempt,))
    node.mempool = type(node.mempool)()
    node.submit(raised.raw)
    solo.stack.start()
    await solo.mine(4)
    assert solo.last().state is OutboxState.CONFIRMED
    assert node.account_nonce(node_of(NUMBER).address) == 2


async def test_a_reorganisation_that_drops_a_mined_answer(solo: Solo) -> None:
    await solo.ask()
    await solo.mine()
    assert solo.last().state is OutboxState.MINED
    before = solo.last().mined
    solo.deployment.client.reorganise(1)
    await solo.mine()
    assert solo.last().state is OutboxState.BROADCAST
    await solo.mine(2)
    assert solo.last().state is OutboxState.CONFIRMED
    assert solo.last().mined != before
    assert len(solo.deployment.events("ServerKeyGenerated")) == 1


async def test_an_answer_moved_to_another_block_is_followed(solo: Solo) -> None:
    await solo.ask()
    raw = solo.last().attempts[0].raw
    await solo.mine()
    mined = solo.mined()
    solo.deployment.client.reorganise(1, {0: [raw]})
    await solo.stack.see(solo.deployment.client.mine())
    assert solo.mined().block_hash != mined.block_hash
    await solo.mine()
    assert solo.last().state is OutboxState.CONFIRMED


async def test_a_reorganisation_that_drops_a_request(solo: Solo) -> None:
    await solo.stack.kill()
    solo.stack.confirmations = 0
    solo.cluster.nodes = tuple(sorted([node_of(NUMBER), node_of(7), node_of(8), node_of(9)]))
    solo.stack.change_set(0)
    solo.stack.start()
    theirs = KeyId(b"\xff" * 32 if solo.cluster.nodes[3] != node_of(NUMBER) else bytes(32))
    solo.deployment.request("generateServerKey", theirs, 0)
    await solo.mine()
    assert solo.task_state() is TaskState.PENDING  # another node's turn
    solo.deployment.client.reorganise(1)
    await solo.mine()
    assert solo.stack.store.tasks == {}


async def test_a_reorganisation_that_moves_a_request(solo: Solo) -> None:
    await solo.stack.kill()
    solo.stack.confirmations = 0
    solo.stack.start()
    client = solo.deployment.client
    raw = client.sign(
        solo.deployment.service,
        SERVICE.function("generateServerKey").encode(KEY_ID, 0),
        value=2 * 10**17,
    )
    client.node.submit(raw)
    await solo.mine()
    client.reorganise(1, {0: [raw]})
    await solo.mine(3)
    assert len(solo.deployment.events("ServerKeyGenerated")) == 1
    assert [task.state for task in solo.stack.store.tasks.values()] == [TaskState.SETTLED]
    assert len(solo.stack.store.entries) == 1


async def test_no_connection_while_sending(solo: Solo) -> None:
    down = ChainUnavailableError("connection refused")
    solo.client.fail_next("send_raw_transaction", down)
    solo.deployment.request("generateServerKey", KEY_ID, 0)
    await solo.mine()
    with pytest.raises(ChainUnavailableError):
        await solo.mine()
    assert solo.last().state is OutboxState.SIGNED
    raw = solo.last().attempts[0].raw
    await solo.mine(3)
    assert solo.last().state is OutboxState.CONFIRMED
    assert [attempt.raw for attempt in solo.last().attempts] == [raw]


@pytest.mark.parametrize(
    ("refusal", "state"),
    [
        (SendRefusal.ALREADY_KNOWN, OutboxState.BROADCAST),
        (SendRefusal.UNDERPRICED, OutboxState.BROADCAST),
        (SendRefusal.INSUFFICIENT_FUNDS, OutboxState.SIGNED),
        (SendRefusal.NONCE_TOO_LOW, OutboxState.SIGNED),
        (SendRefusal.OTHER, OutboxState.SIGNED),
    ],
)
async def test_a_transaction_that_is_refused_is_not_forgotten(
    solo: Solo, refusal: SendRefusal, state: OutboxState
) -> None:
    solo.client.fail_next("send_raw_transaction", SendRefusedError(refusal, "no"))
    await solo.ask()
    assert solo.last().state is state
    await solo.mine(14)
    assert solo.last().state is OutboxState.CONFIRMED
    assert len(solo.deployment.events("ServerKeyGenerated")) == 1


async def test_an_answer_refused_by_the_contract_is_asked_about_again(solo: Solo) -> None:
    solo.client.refuse_receipts = 1
    await solo.ask()
    await solo.mine(2)
    assert solo.last().state is OutboxState.SUPERSEDED  # the request is settled on the real chain
    assert solo.last().failures == 1
    assert solo.task_state() is TaskState.SETTLED


async def test_an_answer_refused_three_times_is_given_up(solo: Solo) -> None:
    solo.client.gas_estimate = -56_000  # leaves 30,000: too little for the call
    await solo.ask()
    await solo.mine(12)
    assert (solo.last().state, solo.last().failures) == (OutboxState.FAILED, 3)
    assert solo.task_state() is TaskState.ABANDONED
    assert solo.deployment.client.node.account_nonce(node_of(NUMBER).address) == 3
    await solo.mine(40)  # the pending list does not open it again
    assert len(solo.stack.store.tasks) == 1


async def test_an_estimate_that_reverts_is_not_sent(solo: Solo) -> None:
    await solo.stack.kill()
    solo.stack.limits = replace(LIMITS, gas=1000)
    solo.stack.start()
    await solo.ask()
    assert solo.last().state is OutboxState.QUEUED
    asked = solo.deployment.client.calls["estimate_gas"]
    await solo.mine(16)
    assert solo.deployment.client.calls["estimate_gas"] - asked == 4  # after 1, 2, 4, 8 blocks


async def shadow(solo: Solo) -> None:
    """A document key stored and its retrieval asked for, in the block mined next."""
    await solo.ask()
    await solo.mine(3)
    points = point_of(201).raw64, point_of(202).raw64
    solo.deployment.request("storeDocumentKey", KEY_ID, *points)
    await solo.mine(5)
    solo.deployment.request("retrieveDocumentKeyShadow", KEY_ID, point_of(2).raw64, sender=1)


async def test_a_personal_answer_waits_for_the_common_stage(solo: Solo) -> None:
    await shadow(solo)
    await solo.mine(2)
    assert [e.state.value for e in solo.stack.store.entries.values()][-2:] == [
        "broadcast",
        "queued",
    ]
    await solo.mine()
    assert solo.last().state is OutboxState.BROADCAST
    await solo.mine()
    assert len(solo.deployment.events("DocumentKeyPersonalRetrieved")) == 1


async def test_a_queued_personal_answer_is_dropped_with_its_epoch(solo: Solo) -> None:
    await shadow(solo)
    await solo.mine(2)
    solo.stack.change_set(9)
    await solo.mine(5)
    personal = [
        entry
        for entry in solo.stack.store.entries.values()
        if entry.key.method == "documentKeyPersonalRetrieved"
    ]
    assert [entry.state for entry in personal] == [
        OutboxState.SUPERSEDED,
        OutboxState.CONFIRMED,
    ]
    assert [entry.key.epoch.last_change for entry in personal] == [0, 9]
    assert solo.cluster.sessions == 2  # a stale mask needs a new session


async def test_a_personal_answer_under_way_is_cancelled_with_its_epoch(solo: Solo) -> None:
    await shadow(solo)
    await solo.mine(2)
    solo.client.fees = FeeInputs(base_fee=1, priority_fee=1, gas_price=2)
    await solo.mine()
    stale = solo.last()
    assert (stale.key.method, stale.state) == (
        "documentKeyPersonalRetrieved",
        OutboxState.BROADCAST,
    )
    solo.client.fees = None
    solo.stack.change_set(9)
    await solo.mine(6)
    cancelled = solo.stack.store.entries[stale.id]
    assert (cancelled.state, cancelled.cancelled) == (OutboxState.SUPERSEDED, True)
    assert solo.last().key.epoch.last_change == 9
    assert solo.last().state is OutboxState.CONFIRMED
    assert len(solo.deployment.events("DocumentKeyPersonalRetrieved")) == 1


async def test_a_node_that_is_no_key_server_holds_its_tasks() -> None:
    deployment = Deployment.of(NUMBER)
    cluster = FakeCluster((node_of(102),))
    stack = Stack(deployment, 102, cluster, confirmations=0)
    await stack.see(deployment.client.mine())
    deployment.request("generateServerKey", KEY_ID, 0)
    await stack.see(deployment.client.mine())
    assert [task.state for task in stack.store.tasks.values()] == [TaskState.HELD]
    stack.change_set(5)
    await stack.see(deployment.client.mine())
    (task,) = stack.store.tasks.values()
    assert task.state is TaskState.HELD  # asked again, with the same result
    assert stack.store.entries == {}
    await stack.kill()


async def test_a_low_balance_is_reported(solo: Solo) -> None:
    await solo.stack.kill()
    solo.stack.limits = replace(LIMITS, min_balance=10**30)
    solo.stack.start()
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        await solo.ask()
    assert solo.stack.sender.balance is not None
    (warning,) = [entry for entry in logs if entry["event"] == "balance_low"]
    assert warning["wei"] == solo.stack.sender.balance


async def held_back(solo: Solo) -> OutboxEntry:
    """An answer in the outbox that could not be sent yet."""
    solo.client.fail_next("estimate_gas", ChainUnavailableError("timeout"))
    solo.deployment.request("generateServerKey", KEY_ID, 0)
    await solo.mine()
    with pytest.raises(ChainUnavailableError):
        await solo.mine()
    assert solo.last().state is OutboxState.QUEUED
    return solo.last()


async def test_an_answer_of_a_stranger_is_held(solo: Solo) -> None:
    await held_back(solo)
    solo.client.required = Reverted(b"")
    await solo.mine()
    assert (solo.last().state, solo.task_state()) == (OutboxState.SUPERSEDED, TaskState.HELD)
    solo.client.required = None
    solo.stack.change_set(9)
    await solo.mine(4)
    assert [entry.state for entry in solo.stack.store.entries.values()] == [
        OutboxState.SUPERSEDED,
        OutboxState.CONFIRMED,
    ]


async def test_a_contract_that_answers_nonsense_is_asked_again(solo: Solo) -> None:
    await held_back(solo)
    solo.client.required = Returned(b"?")
    await solo.mine(3)
    assert solo.last().state is OutboxState.QUEUED
    solo.client.required = None
    await solo.mine(3)
    assert solo.last().state is OutboxState.CONFIRMED


async def test_not_wanted_at_the_head_alone_settles_nothing(solo: Solo) -> None:
    await held_back(solo)
    owner = SERVICE.function("deleteServerKeyGenerationRequest").encode(KEY_ID)
    solo.deployment.client.transact(solo.deployment.service, owner)
    await solo.mine()
    assert solo.last().state is OutboxState.QUEUED
    await solo.mine()
    assert (solo.last().state, solo.task_state()) == (OutboxState.SUPERSEDED, TaskState.SETTLED)


async def test_an_answer_whose_task_is_closed_is_not_sent(solo: Solo) -> None:
    entry = await held_back(solo)
    task = solo.stack.store.tasks[entry.key.task_id]
    solo.stack.store.tasks[task.id] = task.closed(TaskState.REJECTED, 3)
    await solo.mine()
    assert solo.last().state is OutboxState.SUPERSEDED


async def test_a_task_written_by_the_queue_meanwhile_is_read_again(solo: Solo) -> None:
    await solo.ask()
    inner = solo.stack.store.commit
    raced: list[bool] = []

    async def commit(**rows: Any) -> None:
        if rows.get("tasks") and not raced:
            raced.append(True)
            (task,) = rows["tasks"]
            current = solo.stack.store.tasks[task.id]
            await inner(tasks=[replace(current, last_seen=sighting(1, log=None))])
        await inner(**rows)

    solo.stack.store.commit = commit  # type: ignore[method-assign]
    await solo.mine(2)
    assert raced
    assert solo.task_state() is TaskState.SETTLED


async def test_an_outbox_with_two_senders_stops_the_node(solo: Solo) -> None:
    await solo.ask()
    await solo.mine()

    async def commit(**rows: Any) -> None:
        raise StaleRowError

    solo.stack.store.commit = commit  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="another process"):
        await solo.stack.sender._settle(
            solo.last().moved_to(OutboxState.CONFIRMED), solo.mined().block
        )


async def test_an_equal_request_made_before_the_answer_was_final(solo: Solo) -> None:
    """Seen as unanswered after our answer was mined: it is asked again, so it is answered again."""
    solo.deployment.request("generateServerKey", KEY_ID, 0)
    await solo.mine(3)  # answered in the third block
    solo.deployment.request("generateServerKey", KEY_ID, 0)
    await solo.mine(5)
    assert len(solo.deployment.events("ServerKeyGenerated")) == 2
    states = [task.state for task in solo.stack.store.tasks.values()]
    assert states == [TaskState.SETTLED] * 2


async def test_a_failed_answer_of_an_old_epoch_is_dropped(solo: Solo) -> None:
    await shadow(solo)
    await solo.mine(3)
    solo.client.refused.add(solo.last().attempts[-1].tx_hash)
    await solo.mine()
    stale = solo.last()
    assert (stale.key.method, stale.state) == ("documentKeyPersonalRetrieved", OutboxState.MINED)
    solo.stack.change_set(9)
    await solo.mine(2)
    assert solo.stack.store.entries[stale.id].state is OutboxState.SUPERSEDED
