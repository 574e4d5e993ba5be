"""The watcher over a chain: confirmations, catching up, reorganisations, faults."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from keyserver.chain.client import (
    BlockRef,
    BlockReplacedError,
    BlockTag,
    ChainUnavailableError,
    Log,
    TooManyLogsError,
    WrongChainError,
)
from keyserver.chain.ports import KEPT_BLOCKS
from keyserver.chain.watcher import STARTING, Watcher, WatcherSettings
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32
from tests.support import echo_contract as echo
from tests.support.watched_chain import FixedContracts, WatchedChain


@pytest.fixture
def chain() -> WatchedChain:
    return WatchedChain.start()


async def test_a_log_counts_when_it_is_three_blocks_deep(chain: WatchedChain) -> None:
    chain.mine(4)
    watcher = chain.watcher()
    await chain.process(watcher)
    chain.log(b"request")
    await chain.mine_and_process(watcher)
    mined_in = chain.inner.node.head.number
    await chain.mine_and_process(watcher, 2)
    assert chain.sink.texts == []
    await chain.mine_and_process(watcher)
    assert chain.sink.texts == [b"request"]
    assert chain.sink.logs[0].block_number == mined_in == chain.sink.cursor
    await chain.mine_and_process(watcher, 3)
    assert chain.sink.delivered == 1


async def test_without_confirmations_a_log_counts_at_once(chain: WatchedChain) -> None:
    watcher = chain.watcher(WatcherSettings(confirmations=0))
    await chain.process(watcher)
    chain.log(b"request")
    await chain.mine_and_process(watcher)
    assert chain.sink.texts == [b"request"]


async def test_a_start_with_a_head_below_the_confirmations(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.process(watcher)
    genesis = await chain.inner.block(0)
    assert genesis is not None
    assert watcher.view.confirmed == genesis.id
    chain.log(b"early")
    await chain.mine_and_process(watcher, 4)
    assert chain.sink.texts == [b"early"]


async def test_reading_begins_at_the_confirmed_block_or_where_the_operator_says(
    chain: WatchedChain,
) -> None:
    chain.log(b"old")
    chain.mine(10)
    await chain.process(chain.watcher())
    assert chain.sink.texts == []
    chain.sink.blocks.clear()
    await chain.process(chain.watcher(WatcherSettings(start_block=1)))
    assert chain.sink.texts == [b"old"]


async def test_an_idle_block_costs_one_log_query(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.process(watcher)
    await chain.mine_and_process(watcher)
    chain.inner.calls.clear()
    head = chain.mine()
    await watcher.process(head)
    assert dict(chain.inner.calls) == {"logs": 1}


async def test_a_restart_reads_on_from_the_cursor(chain: WatchedChain) -> None:
    chain.mine(5)
    await chain.process(chain.watcher())
    for number in range(500):
        if number % 100 == 7:
            chain.log(b"%d" % number)
        chain.mine()
    await chain.process(chain.watcher(WatcherSettings(log_chunk_blocks=60)))
    assert chain.sink.texts == [b"7", b"107", b"207", b"307", b"407"]
    assert chain.sink.cursor == chain.inner.node.head.number - 3
    assert len(chain.sink.blocks) == KEPT_BLOCKS
    numbers = [block.number for block in chain.sink.blocks]
    assert numbers == list(range(numbers[0], numbers[0] + KEPT_BLOCKS))


async def test_an_endpoint_that_answers_small_ranges_only(chain: WatchedChain) -> None:
    await chain.process(chain.watcher())
    for number in range(40):
        chain.log(b"%d" % number)
        chain.mine()
    chain.client.max_log_blocks = 3
    await chain.process(chain.watcher())
    assert chain.sink.cursor == chain.inner.node.head.number - 3
    assert chain.sink.texts == [b"%d" % number for number in range(37)]


async def test_an_endpoint_that_refuses_a_single_block_is_trouble(chain: WatchedChain) -> None:
    chain.client.max_log_blocks = 0
    watcher = chain.watcher()
    with pytest.raises(ChainUnavailableError, match="block"):
        await chain.process(watcher)
    assert chain.sink.batches == []


async def test_a_log_that_is_reorganised_away_in_time_never_counts(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 5)
    chain.log(b"gone")
    await chain.mine_and_process(watcher, 2)
    chain.inner.reorganise(2)
    await chain.process(watcher)
    await chain.mine_and_process(watcher, 5)
    assert chain.sink.texts == []
    assert chain.sink.delivered == 0


async def test_a_reorganisation_takes_a_counted_log_back(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 5)
    chain.log(b"gone")
    await chain.mine_and_process(watcher, 5)
    assert chain.sink.texts == [b"gone"]
    chain.inner.reorganise(6)
    await chain.process(watcher)
    assert chain.sink.texts == []
    dropped = chain.sink.batches[-1].dropped
    assert [block.number for block in dropped] == sorted(block.number for block in dropped)
    assert chain.observer.last.reread


async def test_a_reorganisation_moves_a_counted_log_to_another_block(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 5)
    raw = chain.log(b"moved")
    await chain.mine_and_process(watcher, 5)
    before = chain.sink.logs[0]
    chain.inner.reorganise(6, {2: [raw]})
    await chain.process(watcher)
    assert chain.sink.texts == [b"moved"]
    after = chain.sink.logs[0]
    assert (after.block_number, after.tx_hash) == (before.block_number + 1, before.tx_hash)


async def test_a_reorganisation_during_downtime(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 5)
    chain.log(b"gone")
    await chain.mine_and_process(watcher, 6)
    assert chain.sink.texts == [b"gone"]
    chain.inner.reorganise(8)
    chain.log(b"new")
    chain.mine(20)
    await chain.process(chain.watcher())
    assert chain.sink.texts == [b"new"]


async def test_a_shorter_chain_takes_blocks_away(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 10)
    cursor = chain.sink.cursor
    chain.inner.node.rewind(chain.inner.node.head.number - 8)
    chain.mine()
    await chain.process(watcher)
    assert chain.sink.cursor < cursor
    await chain.mine_and_process(watcher, 10)
    assert chain.sink.cursor == chain.inner.node.head.number - 3


async def test_a_reorganisation_deeper_than_all_that_is_known(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    chain.mine(5)
    await chain.mine_and_process(watcher, 140)
    chain.inner.node.rewind(chain.sink.blocks[0].number - 2)
    chain.mine(5)
    chain.log(b"on the new branch")
    chain.mine(145)
    await chain.process(watcher)
    assert chain.sink.texts == [b"on the new branch"]
    assert chain.sink.cursor == chain.inner.node.head.number - 3
    assert chain.observer.last.reread
    assert len(chain.sink.batches[-1].dropped) >= KEPT_BLOCKS


async def test_a_deep_reorganisation_that_one_endpoint_tells_alone_changes_nothing(
    chain: WatchedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a lying endpoint tells it to a node that has no other in use."""
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 5)
    chain.log(b"request")
    await chain.mine_and_process(watcher, 5)
    batches = len(chain.sink.batches)

    def forged(block: BlockRef | None) -> BlockRef | None:
        if block is None:
            return None
        own, parent = (Hash32(bytes(each[::-1])) for each in (block.hash, block.parent_hash))
        return replace(block, hash=own, parent_hash=parent)

    honest = chain.inner.block

    async def block(which: int | BlockTag) -> BlockRef | None:
        return forged(await honest(which))

    chain.client.agrees = False
    with monkeypatch.context() as lie:
        lie.setattr(chain.inner, "block", block)
        with pytest.raises(ChainUnavailableError, match="disagree"):
            await chain.process(watcher)
    chain.client.agrees = True
    await chain.mine_and_process(watcher, 1)
    assert chain.sink.texts == [b"request"]
    assert not any(batch.dropped for batch in chain.sink.batches[batches:])


async def test_logs_of_another_branch_are_not_believed(
    chain: WatchedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = chain.watcher()
    await chain.process(watcher)
    chain.log(b"request")
    chain.mine()
    honest = chain.inner.logs

    async def other_branch(*args: object, **kwargs: object) -> tuple[Log, ...]:
        logs = await honest(*args, **kwargs)  # type: ignore[arg-type]
        return tuple(replace(log, block_hash=log.tx_hash) for log in logs)

    monkeypatch.setattr(chain.inner, "logs", other_branch)
    with pytest.raises(ChainUnavailableError, match="another branch"):
        await chain.process(watcher)
    monkeypatch.undo()
    assert await chain.process(watcher)
    await chain.mine_and_process(watcher, 3)
    assert chain.sink.texts == [b"request"]


async def test_what_cannot_be_stored_comes_again(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.process(watcher)
    chain.log(b"request")
    await chain.mine_and_process(watcher, 3)
    chain.sink.failures = 1
    chain.mine()
    with pytest.raises(StorageError):
        await chain.process(watcher)
    assert chain.sink.texts == []
    assert await chain.process(watcher), "the same head may be given again"
    assert chain.sink.texts == [b"request"]


async def test_a_dropped_block_is_told_even_if_storing_fails_first(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 5)
    chain.log(b"gone")
    await chain.mine_and_process(watcher, 5)
    chain.inner.reorganise(6)
    chain.sink.failures = 1
    with pytest.raises(StorageError):
        await chain.process(watcher)
    chain.mine()
    await chain.process(watcher)
    assert chain.sink.texts == []


async def test_an_observer_that_fails_sees_the_same_block_again(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.process(watcher)
    await chain.mine_and_process(watcher)
    chain.observer.errors.append(ChainUnavailableError("no answer"))
    head = chain.mine()
    with pytest.raises(ChainUnavailableError):
        await watcher.process(head)
    assert await watcher.process(head)
    assert chain.observer.last.head == head
    assert chain.observer.last.reread


async def test_everything_is_read_again_after_so_many_blocks(chain: WatchedChain) -> None:
    watcher = chain.watcher(WatcherSettings(retry_interval_blocks=5))
    await chain.mine_and_process(watcher, 11)
    rereads = [e.head.number for e in chain.observer.evaluations if e.reread]
    assert rereads == [2, 7, 12]
    watcher.request_reread()
    await chain.mine_and_process(watcher)
    assert chain.observer.last.reread


async def test_a_log_of_a_hint_is_told_at_once_and_until_it_is_confirmed(
    chain: WatchedChain,
) -> None:
    hint = chain.inner.deploy(echo.CREATION_CODE)
    contracts = FixedContracts(frozenset({chain.contract}), frozenset({hint}))
    watcher = chain.watcher(contracts=contracts)
    await chain.process(watcher)
    await chain.mine_and_process(watcher)
    refreshed = contracts.refreshed
    chain.log(b"changed", to=hint)
    await chain.mine_and_process(watcher, 5)
    touched = [bool(e.touched) for e in chain.observer.evaluations]
    assert touched[-5:] == [True, True, True, True, False]
    assert contracts.refreshed == refreshed + 4
    assert chain.sink.texts == []


async def test_the_same_head_again_is_nothing_new(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    assert await chain.process(watcher)
    assert not await chain.process(watcher)


async def test_an_endpoint_that_lags_changes_nothing(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    await chain.mine_and_process(watcher, 5)
    older = await chain.inner.block(3)
    assert older is not None
    assert not await watcher.process(older)
    assert watcher.view.head == await chain.inner.block(BlockTag.LATEST)


@pytest.mark.parametrize("tag", [BlockTag.SAFE, BlockTag.FINALIZED])
async def test_the_chain_may_name_the_confirmed_block(chain: WatchedChain, tag: BlockTag) -> None:
    watcher = chain.watcher(WatcherSettings(finality=tag))
    await chain.process(watcher)
    chain.log(b"request")
    await chain.mine_and_process(watcher, 4)
    assert chain.sink.texts == [b"request"]
    named = await chain.inner.block(tag)
    assert named is not None
    assert watcher.view.confirmed == named.id
    assert chain.sink.cursor == named.number


# --- faults --------------------------------------------------------------------------------------


async def test_before_the_first_block_nothing_is_trusted(chain: WatchedChain) -> None:
    view = chain.watcher().view
    assert not view.synced
    assert view.problem == STARTING


async def test_a_node_that_is_catching_up_is_not_trusted(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    chain.client.is_syncing = True
    with pytest.raises(ChainUnavailableError, match="catching up"):
        await chain.process(watcher)
    assert chain.observer.evaluations == []
    assert chain.sink.batches == []
    chain.client.is_syncing = False
    assert await chain.process(watcher)
    assert watcher.view.synced


async def test_endpoints_that_disagree_are_not_trusted(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    chain.client.agrees = False
    with pytest.raises(ChainUnavailableError, match="disagree"):
        await chain.process(watcher)
    assert chain.observer.evaluations == []
    chain.client.agrees = True
    assert await chain.process(watcher)


async def test_an_old_head_is_not_trusted(chain: WatchedChain) -> None:
    watcher = chain.watcher(WatcherSettings(max_head_age_s=60))
    assert await chain.process(watcher)
    chain.clock.advance(61)
    assert not watcher.view.synced, "no event is needed for that"
    assert "no new block" in (watcher.view.problem or "")
    late = chain.watcher(WatcherSettings(max_head_age_s=60))
    assert not await chain.process(late)
    assert "old" in (late.view.problem or "")
    assert chain.observer.unavailable == 1
    await chain.mine_and_process(late)
    assert late.view.synced


async def test_a_tag_that_the_chain_does_not_have_yet_means_the_first_block(
    chain: WatchedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = chain.inner.block

    async def block(which: int | BlockTag) -> BlockRef | None:
        return None if which is BlockTag.FINALIZED else await honest(which)

    monkeypatch.setattr(chain.inner, "block", block)
    watcher = chain.watcher(WatcherSettings(finality=BlockTag.FINALIZED))
    await chain.process(watcher)
    assert watcher.view.confirmed is not None
    assert watcher.view.confirmed.number == 0


async def test_a_confirmed_block_of_another_branch_is_not_believed(
    chain: WatchedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.mine(5)
    genesis = await chain.inner.block(0)
    assert genesis is not None
    honest = chain.inner.block

    async def block(which: int | BlockTag) -> BlockRef | None:
        return replace(genesis, number=3) if which is BlockTag.SAFE else await honest(which)

    monkeypatch.setattr(chain.inner, "block", block)
    watcher = chain.watcher(WatcherSettings(finality=BlockTag.SAFE))
    with pytest.raises(BlockReplacedError):
        await chain.process(watcher)
    assert chain.sink.batches == []


async def test_the_age_of_the_head_need_not_be_looked_at(chain: WatchedChain) -> None:
    watcher = chain.watcher(WatcherSettings(max_head_age_s=0))
    chain.clock.advance(10**6)
    assert await chain.process(watcher)
    assert watcher.view.synced


async def until(watcher: Watcher, *, synced: bool) -> None:
    async with asyncio.timeout(10):
        while watcher.view.synced is not synced:
            await asyncio.sleep(0)


async def test_it_runs_through_failures(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    running = asyncio.create_task(watcher.run())
    try:
        await until(watcher, synced=True)
        for fault in (ChainUnavailableError("refused"), WrongChainError(1, 2)):
            chain.client.go_down(fault)
            await until(watcher, synced=False)
            assert str(fault) in (watcher.view.problem or "")
            assert chain.observer.unavailable > 0
            chain.log(b"meanwhile")
            chain.mine(4)
            chain.client.come_back()
            await until(watcher, synced=True)
            assert chain.observer.last.reread
        assert chain.sink.texts == [b"meanwhile"] * 2
        waiting = asyncio.create_task(watcher.next_evaluation())
        await asyncio.sleep(0)
        head = chain.mine()
        await asyncio.wait_for(waiting, 10)
        assert watcher.view.head == head
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_runs_through_errors_in_the_middle(chain: WatchedChain) -> None:
    watcher = chain.watcher()
    chain.client.fail_next("logs", TooManyLogsError("range"), ChainUnavailableError("timeout"))
    chain.client.fail_next("syncing", ChainUnavailableError("timeout"))
    chain.sink.failures = 1
    running = asyncio.create_task(watcher.run())
    try:
        await until(watcher, synced=True)
        chain.log(b"request")
        chain.mine(4)
        async with asyncio.timeout(10):
            while chain.sink.texts != [b"request"]:
                await asyncio.sleep(0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_head_that_never_fits_the_chain_is_not_waited_for_in_silence(
    chain: WatchedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an endpoint tells that lies about the head."""
    monkeypatch.setattr("keyserver.chain.watcher.MOVED_PAUSE_S", 0)
    watcher = chain.watcher()
    running = asyncio.create_task(watcher.run())
    try:
        await until(watcher, synced=True)
        honest = chain.inner.blocks

        async def nothing(numbers: Sequence[int]) -> tuple[BlockRef | None, ...]:
            return (None,) * len(numbers)

        monkeypatch.setattr(chain.inner, "blocks", nothing)
        chain.mine(3)
        await until(watcher, synced=False)
        assert "moved" in (watcher.view.problem or "")
        monkeypatch.setattr(chain.inner, "blocks", honest)
        await until(watcher, synced=True)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_waits_for_the_next_head_when_the_chain_moves_meanwhile(
    chain: WatchedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyserver.chain.watcher.MOVED_PAUSE_S", 0)
    chain.mine(8)
    watcher = chain.watcher()
    honest = chain.inner.blocks
    moved = False

    async def blocks(numbers: tuple[int, ...]) -> object:
        nonlocal moved
        if not moved:
            moved = True
            chain.inner.reorganise(3)
        return await honest(numbers)

    monkeypatch.setattr(chain.inner, "blocks", blocks)
    running = asyncio.create_task(watcher.run())
    try:
        await until(watcher, synced=True)
        assert watcher.view.head == await chain.inner.block(BlockTag.LATEST)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
