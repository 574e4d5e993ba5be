"""Gets answers into the chain: the only place that sends transactions (chain watcher, 13.8).

Before an answer is sent the contract is asked once more whether it wants it. Signed bytes are
stored before they leave the node, so that a restart finds every transaction that may be on its
way. All answers of this account form one sequence of nonces. While there is nothing to send and
nothing to wait for, no call is made at all.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from keyserver.chain.client import BlockId, BlockRef, ChainClient, Receipt
from keyserver.chain.fees import FeeLimits
from keyserver.chain.nonces import gap_below, next_nonce
from keyserver.chain.ports import Evaluation
from keyserver.chain.submission import Submitter
from keyserver.engine.ports import NodeSets
from keyserver.errors import ChainError
from keyserver.evm.abi import AbiError
from keyserver.evm.transaction import TransactionSigner
from keyserver.model.identifiers import Hash32
from keyserver.services.registry import CONTRACT_OF
from keyserver.services.standing import Standing, Want, read_standing
from keyserver.tasks.model import SetEpoch, Task, TaskState
from keyserver.tasks.outbox import Mined, OutboxEntry, OutboxState
from keyserver.tasks.ports import ContractReader, ReadAt, StaleRowError, WorkStore

log = structlog.get_logger()

MOST_FAILURES: Final = 3
"""How often an answer may be mined and refused by the contract before it is given up (W-37)."""

BALANCE_INTERVAL: Final = 100
"""Blocks between two looks at the account's balance, while answers are sent."""

LONGEST_PAUSE: Final = 32
"""Blocks between two tries of an answer whose estimate reverts."""


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """The numbers that the operator sets."""

    fees: FeeLimits
    gas: int
    """Gas of one answer at most (`response_gas_limit`)."""
    resend_after: int
    """Blocks until a transaction that is not mined is replaced (`resend_after_blocks`)."""
    min_balance: int
    """Wei below which the operator is warned."""


@dataclass(frozen=True, slots=True)
class _Tip:
    head: BlockRef
    confirmed: BlockId


class Sender:
    """Drives the outbox; a `ChainObserver`."""

    def __init__(
        self,
        *,
        client: ChainClient,
        store: WorkStore,
        reader: ContractReader,
        node_sets: NodeSets,
        signer: TransactionSigner,
        chain_id: int,
        limits: SenderLimits,
        on_task: Callable[[], None],
    ) -> None:
        """`on_task`: tells the queue that a task is pending again."""
        self._client = client
        self._store = store
        self._reader = reader
        self._node_sets = node_sets
        self._me = signer.address
        self._limits = limits
        self._on_task = on_task
        self._submit = Submitter(client, store, signer, chain_id, limits.fees, limits.gas)
        self._tip: _Tip | None = None
        self._followed: Hash32 | None = None
        self._not_before: dict[int, tuple[int, int]] = {}
        self._balance_block = 0
        self._signal = asyncio.Event()
        self._resend_at: dict[int, int] = {}
        self._taken_since: dict[int, int] = {}
        """Blocks at which answers were first seen to have lost their nonces."""
        self._gaps_checked = False
        self.balance: int | None = None
        """Wei of the account when it was last looked at."""

    # --- what others tell -----------------------------------------------------------------

    async def on_evaluation(self, evaluation: Evaluation) -> None:
        """Act on the new block, in `run`."""
        self._tip = _Tip(evaluation.head, evaluation.confirmed)
        self._signal.set()

    def on_unavailable(self) -> None:
        """Send nothing until the next block."""
        self._tip = None

    def wake(self) -> None:
        """There is a new answer in the outbox."""
        self._signal.set()

    # --- the loop -------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; raises `StorageError` if the store cannot be used."""
        while True:
            await self._signal.wait()
            self._signal.clear()
            try:
                await self.advance()
            except ChainError as error:
                log.warning("sender_waits", reason=str(error))

    async def advance(self) -> None:
        """Do all that can be done now; raises `ChainError`, what is left is done next time."""
        tip = self._tip
        entries = await self._store.open_entries(self._me) if tip else ()
        if tip is None or not entries:
            return
        in_flight = [entry for entry in entries if entry.state.is_in_flight]
        unsent = any(entry.state is OutboxState.SIGNED for entry in in_flight)
        if in_flight and (unsent or self._followed != tip.head.hash):
            await self._follow(in_flight, tip)
            self._followed = tip.head.hash
        await self._send_queued(tip)

    # --- transactions under way -----------------------------------------------------------

    async def _follow(self, entries: Sequence[OutboxEntry], tip: _Tip) -> None:
        # The count first: a transaction mined after it was read is then still unmined for it.
        mined_count = await self._client.transaction_count(self._me, pending=False)
        receipts = await self._receipts(entries)
        stuck = any(self._is_stuck(each, tip) for each in entries if each.mined is None)
        for entry in sorted(entries, key=lambda entry: entry.nonce or 0):
            receipt = next(
                (receipts[a.tx_hash] for a in entry.attempts if a.tx_hash in receipts), None
            )
            if receipt:
                self._taken_since.pop(entry.id, None)
                await self._on_receipt(entry, receipt, tip)
            else:
                await self._on_no_receipt(entry, mined_count, tip)
        if stuck or not self._gaps_checked:
            await self._fill_gap(tip)
            self._gaps_checked = True

    async def _receipts(self, entries: Sequence[OutboxEntry]) -> Mapping[Hash32, Receipt]:
        hashes = [attempt.tx_hash for entry in entries for attempt in entry.attempts]
        found = await asyncio.gather(*(self._client.receipt(each) for each in hashes))
        return {receipt.tx_hash: receipt for receipt in found if receipt}

    async def _on_receipt(self, entry: OutboxEntry, receipt: Receipt, tip: _Tip) -> None:
        mined = Mined(
            receipt.tx_hash, receipt.block_number, receipt.block_hash, int(receipt.succeeded)
        )
        if entry.mined != mined:
            if entry.state is OutboxState.MINED:
                entry = entry.lost_again()
            entry = await self._write(entry.found_in(mined))
            log.info("answer_mined", answer=entry.id, block=mined.block, ok=receipt.succeeded)
        if mined.block <= tip.confirmed.number:
            await self._conclude(entry, mined)

    async def _on_no_receipt(self, entry: OutboxEntry, mined_count: int, tip: _Tip) -> None:
        if entry.state is OutboxState.MINED:
            log.warning("answer_reorganised", answer=entry.id)
            await self._submit.broadcast(await self._write(entry.lost_again()))
        elif entry.nonce is not None and entry.nonce < mined_count:
            await self._on_nonce_taken(entry, tip)
        elif self._is_outdated(entry) and not entry.cancelled:
            await self._forget_result(entry)
            await self._submit.replace(entry, tip.head.number, cancel=True)
        elif entry.state is OutboxState.SIGNED:
            await self._submit.broadcast(entry)
        elif self._is_stuck(entry, tip):
            self._resend_at[entry.id] = tip.head.number + self._limits.resend_after
            await self._submit.replace(entry, tip.head.number, cancel=entry.cancelled)

    async def _on_nonce_taken(self, entry: OutboxEntry, tip: _Tip) -> None:
        """Its nonce is used, and none of its transactions is to be found.

        Believed when it has been so as long as answers take to be final: where a block is replaced
        between the two questions, or an endpoint is behind, the transaction is only out of sight.
        """
        since = self._taken_since.setdefault(entry.id, tip.head.number)
        if tip.head.number == since or tip.confirmed.number < since:
            return
        del self._taken_since[entry.id]
        log.warning("answer_nonce_taken", answer=entry.id, nonce=entry.nonce)
        reason = "its nonce was used by another transaction"
        await self._write(entry.queued_again(reason, failed=False))

    def _is_stuck(self, entry: OutboxEntry, tip: _Tip) -> bool:
        due = entry.attempts[-1].block + self._limits.resend_after
        return tip.head.number >= max(due, self._resend_at.get(entry.id, 0))

    async def _conclude(self, entry: OutboxEntry, mined: Mined) -> None:
        """The transaction is deep enough: what that means for the answer and its task."""
        if any(a.cancels and a.tx_hash == mined.tx_hash for a in entry.attempts):
            await self._write(entry.moved_to(OutboxState.SUPERSEDED, "its epoch is over"))
        elif mined.succeeded:
            log.info("answer_confirmed", answer=entry.id, block=mined.block)
            await self._settle(entry.moved_to(OutboxState.CONFIRMED), mined.block)
        elif self._is_outdated(entry):
            await self._forget_result(entry)
            await self._write(entry.moved_to(OutboxState.SUPERSEDED, "its epoch is over"))
        elif entry.failures + 1 >= MOST_FAILURES:
            log.error("answer_given_up", answer=entry.id, failures=entry.failures + 1)
            reason = f"the contract refused it {MOST_FAILURES} times"
            failed = replace(entry.moved_to(OutboxState.FAILED, reason), failures=MOST_FAILURES)
            await self._close(failed, mined.block, reason)
        else:
            await self._write(entry.queued_again("the contract refused it", failed=True))

    async def _fill_gap(self, tip: _Tip) -> None:
        """Use up a nonce below ours that nothing else will use (W-04)."""
        entries = await self._store.open_entries(self._me)
        nonces = {entry.nonce for entry in entries if entry.nonce is not None}
        lowest = min(nonces, default=None)
        queued = any(entry.state is OutboxState.QUEUED for entry in entries)
        if lowest is None or queued:
            return  # what is queued takes the nonce itself
        pending = await self._client.transaction_count(self._me, pending=True)
        gap = gap_below(pending=pending, in_flight=nonces)
        if gap is not None:
            log.warning("nonce_gap_filled", nonce=gap, head=tip.head.number)
            await self._submit.fill(gap)

    # --- answers to be sent ---------------------------------------------------------------

    async def _send_queued(self, tip: _Tip) -> None:
        entries = await self._store.open_entries(self._me)
        for entry in entries:
            if entry.state is not OutboxState.QUEUED or self._pauses(entry, tip):
                continue
            task = await self._store.task(entry.key.task_id)
            if task is None or not task.state.is_open:
                await self._write(entry.moved_to(OutboxState.SUPERSEDED, "its task is closed"))
            elif self._is_outdated(entry):
                await self._forget_result(entry)
                await self._write(entry.moved_to(OutboxState.SUPERSEDED, "its epoch is over"))
            elif await self._is_wanted(entry, task):
                await self._send(entry, tip)

    def _pauses(self, entry: OutboxEntry, tip: _Tip) -> bool:
        _, block = self._not_before.get(entry.id, (0, 0))
        return tip.head.number < block

    async def _is_wanted(self, entry: OutboxEntry, task: Task) -> bool:
        """Ask the contract at the head, and close the answer if it is not wanted for sure."""
        if task.key.kind not in CONTRACT_OF:
            return True  # nobody asked for it: the estimate tells whether the contract takes it
        standing = await self._standing(task, ReadAt.HEAD)
        match standing.want if standing else Want.LATER:
            case Want.ANSWER:
                return True
            case Want.NOT_MEMBER:
                await self._hold(entry)
            case Want.NOTHING:
                confirmed = await self._standing(task, ReadAt.CONFIRMED)
                if confirmed and confirmed.want is Want.NOTHING:
                    reason = "not wanted any more"
                    await self._settle(
                        entry.moved_to(OutboxState.SUPERSEDED, reason), confirmed.block
                    )
            case Want.LATER:
                pass
        return False

    async def _standing(self, task: Task, at: ReadAt) -> Standing | None:
        service = CONTRACT_OF[task.key.kind]
        try:
            return await read_standing(self._reader, service, task.key, self._me, at)
        except AbiError as error:
            log.warning("contract_unreadable", task=task.id, reason=str(error))
            return None

    async def _send(self, entry: OutboxEntry, tip: _Tip) -> None:
        gas = await self._submit.gas_for(entry)
        if isinstance(gas, str):
            pause = min(2 * self._not_before.get(entry.id, (0, 0))[0] or 1, LONGEST_PAUSE)
            self._not_before[entry.id] = (pause, tip.head.number + pause)
            log.warning("answer_not_sent", answer=entry.id, reason=gas)
            return
        self._not_before.pop(entry.id, None)
        nonce = await self._free_nonce()
        signed = await self._submit.sign(entry, nonce, gas, tip.head.number)
        await self._submit.broadcast(signed)
        await self._watch_balance(tip.head.number)

    async def _free_nonce(self) -> int:
        pending = await self._client.transaction_count(self._me, pending=True)
        entries = await self._store.open_entries(self._me)
        in_flight = {entry.nonce for entry in entries if entry.nonce is not None}
        return next_nonce(pending=pending, in_flight=in_flight)

    async def _watch_balance(self, head: int) -> None:
        if head < self._balance_block:
            return
        self._balance_block = head + BALANCE_INTERVAL
        self.balance = await self._client.balance(self._me)
        if self.balance < self._limits.min_balance:
            log.warning("balance_low", wei=self.balance, least=self._limits.min_balance)

    # --- writing --------------------------------------------------------------------------

    def _is_outdated(self, entry: OutboxEntry) -> bool:
        """Whether the answer was made for another node set and is worthless now (W-30)."""
        epoch = SetEpoch.of(self._node_sets.snapshot)
        return entry.bound_to_epoch and entry.key.epoch != epoch

    async def _write(self, entry: OutboxEntry) -> OutboxEntry:
        await self._store.commit(entries=[entry])
        return entry.written()

    async def _settle(self, entry: OutboxEntry, block: int) -> None:
        """Close the answer, and its task unless that has other answers under way."""
        others = await self._store.entries_of(entry.key.task_id)
        more = any(other.state.is_open for other in others if other.id != entry.id)
        while True:
            task = await self._store.task(entry.key.task_id)
            tasks, again = [], None
            if task and task.state is TaskState.ANSWERED and not more:
                settled, again = task.settled(block)
                tasks = [settled]
            new_tasks = [again] if again else []
            try:
                await self._store.commit(tasks=tasks, entries=[entry], new_tasks=new_tasks)
            except StaleRowError:
                await self._expect_change(task)
                continue
            break
        if again:
            self._on_task()

    async def _close(self, entry: OutboxEntry, block: int, reason: str) -> None:
        await self._change_task(
            entry.key.task_id,
            lambda task: task.closed(TaskState.ABANDONED, block, reason),
            entry,
        )

    async def _hold(self, entry: OutboxEntry) -> None:
        reason = "not a key server of this contract"
        log.warning("answer_held", answer=entry.id, reason=reason)
        await self._change_task(
            entry.key.task_id,
            lambda task: task.moved_to(TaskState.HELD, reason),
            entry.moved_to(OutboxState.SUPERSEDED, reason),
        )

    async def _forget_result(self, entry: OutboxEntry) -> None:
        """The task begins again: its answer belongs to a set that is no more."""
        await self._change_task(entry.key.task_id, _without_result)
        self._on_task()

    async def _change_task(
        self, task_id: int, change: Callable[[Task], Task], entry: OutboxEntry | None = None
    ) -> None:
        """Change a task if it counts as answered, and write the entry with it."""
        entries = [entry] if entry else []
        while True:
            task = await self._store.task(task_id)
            answered = task is not None and task.state is TaskState.ANSWERED
            tasks = [change(task)] if task is not None and answered else []
            try:
                await self._store.commit(tasks=tasks, entries=entries)
            except StaleRowError:
                await self._expect_change(task)
                continue
            return

    async def _expect_change(self, task: Task | None) -> None:
        """Only the queue writes tasks besides us, and nobody else writes entries."""
        if task is None or await self._store.task(task.id) == task:
            raise RuntimeError("another process sends with this outbox")


def _without_result(task: Task) -> Task:
    pending = task.moved_to(TaskState.PENDING, "the node set has changed")
    return replace(pending, result=b"", next_attempt_block=0)
