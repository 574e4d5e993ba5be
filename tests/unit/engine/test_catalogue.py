"""What a node answers and takes over outside sessions, against peers played by the test."""

import asyncio
from typing import Any

import pytest

from keyserver.engine.catalogue import CATCH_UP_GRACE_S
from keyserver.engine.links import (
    MAX_PAGE,
    CataloguePage,
    CatalogueRequest,
    CommitVote,
    DecisionRequest,
    Digest,
    DigestRequest,
    Entered,
    Entry,
    Have,
    HeldRecord,
    Holding,
    HoldingRequest,
    KeyFacts,
    Keys,
    KeysRequest,
    pack_link,
)
from keyserver.engine.outcomes import DocumentInstalled, RecordInstalled
from keyserver.engine.reading import PATIENCE_S
from keyserver.engine.serving import DIGEST_EVERY_S, MAX_WAITING
from keyserver.engine.set_change_walk import TooSlowError, UnreliableError
from keyserver.errors import StorageError
from keyserver.model.identifiers import ZERO_HASH, KeyId, NodeId
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import PutActive, PutDocument, PutPrepared, VoteKind
from keyserver.simulation.loop import run_virtual
from tests.unit.engine.played_peers import OTHER, PEER, Reply, Site, has, running, scene
from tests.unit.engine.signed_values import (
    DOCUMENT_1,
    KEY,
    NODES,
    OTHER_KEY,
    OTHER_SET,
    RECORD_1,
    SIGNERS,
    TRANSCRIPT,
    attempt,
    certified,
    certified_document,
    decision,
    record,
    share,
    vote,
)

FIRST = certified(record())
STORED = certified_document(FIRST.record)
FACTS = KeyFacts(KEY, FIRST, (), STORED, ())

# --- answering --------------------------------------------------------------------------------


def test_what_is_asked_is_answered_from_the_store() -> None:
    async def play(site: Site) -> None:
        empty = await site.ask(DigestRequest(1))
        await site.store.commit((PutActive(FIRST),))
        await asyncio.sleep(DIGEST_EVERY_S)
        with_key = await site.ask(DigestRequest(2))
        await site.store.commit((PutDocument(KEY, STORED),))
        await asyncio.sleep(DIGEST_EVERY_S)
        with_document = await site.ask(DigestRequest(3))
        assert len({(d.keys, d.documents) for d in (empty, with_key, with_document)}) == 3
        assert with_key.keys == with_document.keys

        page = await site.ask(CatalogueRequest(4, None, 10))
        assert page == CataloguePage(4, (Entry(KEY, 1, FIRST.record.hash, 2),))
        assert await site.ask(CatalogueRequest(5, KEY, MAX_PAGE)) == CataloguePage(5, ())
        assert await site.ask(KeysRequest(6, (OTHER_KEY, KEY))) == Keys(6, (FACTS,))
        assert await site.ask(DecisionRequest(7, RECORD_1)) == Keys(7, (FACTS,))
        assert await site.ask(DecisionRequest(8, DOCUMENT_1)) == Keys(8, (FACTS,))
        other = KeyFacts(OTHER_KEY, None, (), None, ())
        assert await site.ask(DecisionRequest(9, attempt(1))) == Keys(9, (FACTS,))
        assert await site.ask(KeysRequest(10, (other.key_id,))) == Keys(10, ())

    scene(play)


def test_a_holding_certificate_is_shown_before_and_after_the_decision() -> None:
    async def play(site: Site) -> None:
        held = HeldRecord(FIRST.record, FIRST.certificate.holding)
        assert await site.ask(HoldingRequest(1, KEY, 1)) == Holding(1, None)
        await site.store.commit((PutPrepared(FIRST.record, share(), TRANSCRIPT),))
        assert await site.ask(HoldingRequest(2, KEY, 1)) == Holding(2, None)
        await site.store.commit((PutActive(FIRST),))
        assert await site.ask(HoldingRequest(3, KEY, 1)) == Holding(3, held)
        assert await site.ask(HoldingRequest(4, KEY, 2)) == Holding(4, None)

    scene(play)


def test_a_key_that_cannot_be_read_is_left_out() -> None:
    async def play(site: Site) -> None:
        await site.store.commit((PutActive(FIRST),))
        load = site.store.load

        async def broken(key_id: KeyId) -> KeyState:
            if key_id == OTHER_KEY:
                raise StorageError("the row does not open")
            return await load(key_id)

        site.store.load = broken  # type: ignore[method-assign]
        answer = await site.ask(KeysRequest(1, (OTHER_KEY, KEY)))
        assert [facts.key_id for facts in answer.keys] == [KEY]
        assert await site.ask(HoldingRequest(2, OTHER_KEY, 1)) is None
        assert await site.ask(HoldingRequest(3, KEY, 1)) is not None

    scene(play)


def test_garbage_and_floods_close_the_connection() -> None:
    async def play(site: Site) -> None:
        take = site.catalogue.on_link_message
        assert not take(PEER, b"\x00\x11")
        assert not take(PEER, b"\x00\xfe" + bytes(40))
        question = pack_link(DigestRequest(1))
        assert all(take(PEER, question) for _ in range(MAX_WAITING))
        assert not take(PEER, question)
        assert take(OTHER, question)
        await asyncio.sleep(0.01)
        assert take(PEER, question)

    scene(play)


def test_a_peer_that_asks_without_end_costs_one_answer_at_a_time() -> None:
    """And its flood of digests one look at the catalogue a second."""

    async def play(site: Site) -> None:
        for peer in (PEER, OTHER):
            site.peers.replies[peer] = lambda _: None
        read, catalogue = 0, site.store.catalogue

        async def counted(after: KeyId | None, limit: int) -> Any:
            nonlocal read
            read += 1
            await asyncio.sleep(0.1)
            return await catalogue(after, limit)

        site.store.catalogue = counted  # type: ignore[method-assign]
        for number in range(1, MAX_WAITING + 1):
            assert site.catalogue.on_link_message(PEER, pack_link(DigestRequest(number)))
        site.catalogue.on_link_message(OTHER, pack_link(DigestRequest(99)))
        await asyncio.sleep(0.15)
        told = site.peers.to(OTHER, Digest)
        assert [digest.number for digest in told] == [99], "it did not wait for the flood"
        assert read == 2
        answers = [digest.number for digest in site.peers.to(PEER, Digest)]
        assert answers == list(range(1, MAX_WAITING + 1))

    scene(play)


def test_a_node_that_does_not_run_yet_answers_nothing() -> None:
    async def main() -> None:
        site = Site()
        site.peers.replies[PEER] = has(FACTS)
        site.catalogue.on_connected(PEER)
        assert site.catalogue.on_link_message(PEER, pack_link(DigestRequest(1)))
        await asyncio.sleep(1)
        assert site.peers.sent == []
        async with running(site):
            await asyncio.sleep(1)
            assert (await site.state()).active == FIRST

    run_virtual(main())


# --- synchronising ----------------------------------------------------------------------------


def test_what_a_peer_has_more_is_pulled_and_announced() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has(FACTS)
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(1)
        state = await site.state()
        assert (state.active, state.document) == (FIRST, STORED)
        assert site.recorder.outcomes == [RecordInstalled(KEY), DocumentInstalled(KEY)]
        assert site.catalogue.holders(KEY) == {PEER}

    scene(play)


def test_a_missing_document_alone_is_pulled_too() -> None:
    async def play(site: Site) -> None:
        await site.store.commit((PutActive(FIRST),))
        site.peers.replies[PEER] = has(FACTS)
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(1)
        assert (await site.state()).document == STORED
        assert site.recorder.outcomes == [DocumentInstalled(KEY)]

    scene(play)


def test_equal_catalogues_are_not_paged_through() -> None:
    async def play(site: Site) -> None:
        same: Digest = await site.ask(DigestRequest(1))
        site.peers.replies[PEER] = has(
            FACTS, DigestRequest=lambda q: Digest(q.number, same.keys, same.documents)
        )
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(1)
        assert site.peers.to(PEER, CatalogueRequest) == []

    scene(play)


def test_catalogues_are_compared_again_and_again() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has()
        await asyncio.sleep(1)
        site.peers.replies[PEER] = has(FACTS)
        await asyncio.sleep(65)
        assert (await site.state()).active == FIRST

    scene(play)


def other_key() -> KeyFacts:
    return KeyFacts(OTHER_KEY, certified(record(key_id=OTHER_KEY)), (), None, ())


def test_a_peer_that_does_not_deliver_is_left_alone() -> None:
    few = KeyFacts(KEY, certified(record(), by=NODES[:2]), (), None, ())
    for liar in (
        has(FACTS, DigestRequest=None),
        has(FACTS, CatalogueRequest=None),
        has(FACTS, KeysRequest=None),
        has(FACTS, KeysRequest=lambda q: Keys(q.number, ())),
        has(FACTS, KeysRequest=lambda q: Keys(q.number, (other_key(),))),
        has(FACTS, KeysRequest=lambda q: Holding(q.number, None)),
        has(FACTS, KeysRequest=lambda q: Keys(q.number + 7, (FACTS,))),
        has(
            FACTS,
            CatalogueRequest=lambda q: CataloguePage(
                q.number, (Entry(OTHER_KEY, 1, ZERO_HASH, 0), Entry(KEY, 1, ZERO_HASH, 0))
            ),
        ),
        has(few, other_key()),
    ):
        _left_alone(liar)


def _left_alone(liar: Reply) -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = liar
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(30)
        assert await site.store.catalogue(None, 10) == []
        assert site.recorder.outcomes == []
        assert len(site.peers.to(PEER, KeysRequest)) <= 1
        site.peers.replies[OTHER] = has(FACTS)
        site.catalogue.on_connected(OTHER)
        await asyncio.sleep(1)
        assert (await site.state()).active == FIRST

    scene(play)


def test_a_page_that_goes_backwards_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyserver.engine.catalogue.MAX_PAGE", 1)

    async def play(site: Site) -> None:
        entry = Entry(KEY, 1, FIRST.record.hash, 0)
        site.peers.replies[PEER] = has(
            FACTS, CatalogueRequest=lambda q: CataloguePage(q.number, (entry,))
        )
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(30)
        assert len(site.peers.to(PEER, CatalogueRequest)) == 2

    scene(play)


def test_a_page_that_is_not_full_is_the_last_one() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has(FACTS)
        assert [page async for page in site.catalogue.pages(PEER)] == [
            (Entry(KEY, 1, FIRST.record.hash, 3),)
        ]
        assert len(site.peers.to(PEER, CatalogueRequest)) == 1

    scene(play)


def test_to_catch_up_only_catalogues_that_differ_are_read() -> None:
    async def play(site: Site) -> None:
        def is_never(_: frozenset[NodeId]) -> bool:
            return False

        same: Digest = await site.ask(DigestRequest(1))
        site.peers.replies[PEER] = has(
            DigestRequest=lambda q: Digest(q.number, same.keys, same.documents)
        )
        site.peers.replies[OTHER] = has(FACTS)
        assert await site.catalogue.catch_up([PEER, OTHER], is_never) == {PEER, OTHER}
        assert (await site.state()).active == FIRST
        assert site.peers.to(PEER, CatalogueRequest) == []
        for liar in (has(FACTS, DigestRequest=None), has(other_key(), KeysRequest=None)):
            site.peers.replies[OTHER] = liar
            assert await site.catalogue.catch_up([PEER, OTHER], is_never) == {PEER}
        began = asyncio.get_running_loop().time()
        assert await site.catalogue.catch_up([PEER, OTHER], lambda read: PEER in read) == {PEER}
        assert asyncio.get_running_loop().time() - began < 2 * CATCH_UP_GRACE_S
        del site.peers.replies[OTHER]
        assert await site.catalogue.catch_up([OTHER], is_never) == frozenset()

    scene(play)


def test_who_announces_a_key_has_to_show_it() -> None:
    empty = KeyFacts(KEY, None, (), None, ())
    older = Entry(KEY, 2, FIRST.record.hash, 0)

    async def play(site: Site) -> None:
        for liar in (
            has(FACTS, KeysRequest=lambda q: Keys(q.number, (empty,))),
            has(FACTS, CatalogueRequest=lambda q: CataloguePage(q.number, (older,))),
        ):
            site.peers.replies[PEER] = liar
            with pytest.raises(UnreliableError, match="than was announced"):
                await anext(site.catalogue.pages(PEER))
        assert (await site.state()).active is None

    scene(play)


def _foreign(question: KeysRequest) -> Keys:
    """Keys of a committee that nobody else has heard of."""
    signers = tuple(SIGNERS)[:4]
    made = (record(nodes=OTHER_SET, key_id=key_id) for key_id in question.key_ids)
    shown = (certified(each, by=signers) for each in made)
    facts = tuple(KeyFacts(each.record.key_id, each, (), None, ()) for each in shown)
    return Keys(question.number, facts)


def test_a_peer_has_so_much_time_to_be_slow_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full pages, each of them later than the one before; and nothing in them is true."""
    monkeypatch.setattr("keyserver.engine.catalogue.MAX_PAGE", 1)

    async def play(site: Site) -> None:
        asked = 0

        def slow(question: CatalogueRequest) -> None:
            nonlocal asked
            asked += 1
            page = CataloguePage(
                question.number, (Entry(KeyId(bytes([asked]) * 32), 1, ZERO_HASH, 0),)
            )
            asyncio.get_running_loop().call_later(3.0, site.peers.arrive, PEER, page)

        site.peers.replies[PEER] = has(CatalogueRequest=slow, KeysRequest=_foreign)
        began = asyncio.get_running_loop().time()
        with pytest.raises(TooSlowError):
            async for _ in site.catalogue.pages(PEER):
                pass
        assert asyncio.get_running_loop().time() - began == pytest.approx(PATIENCE_S, abs=0.1)
        assert asked == 7

    scene(play)


def test_what_is_true_earns_a_peer_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyserver.engine.reading.PATIENCE_S", 1.0)
    monkeypatch.setattr("keyserver.engine.catalogue.EARNED_BY_KEY_S", 1.0)
    monkeypatch.setattr("keyserver.engine.catalogue.EARNED_BY_LINE_S", 0.6)
    monkeypatch.setattr("keyserver.engine.catalogue.MAX_PAGE", 1)
    other = KeyFacts(OTHER_KEY, certified(record(key_id=OTHER_KEY)), (), None, ())
    facts = {KEY: FACTS, OTHER_KEY: other}

    async def play(site: Site) -> None:
        def reply(message: Any) -> None:
            answer: Any = None
            match message:
                case KeysRequest(number, wanted):
                    answer = Keys(number, tuple(facts[key_id] for key_id in wanted))
                case CatalogueRequest(number, None, _):
                    answer = CataloguePage(number, (Entry(KEY, 1, FIRST.record.hash, 2),))
                case CatalogueRequest(number, after, _):
                    line = (Entry(OTHER_KEY, 1, ZERO_HASH, 0),) if after == KEY else ()
                    answer = CataloguePage(number, line)
            asyncio.get_running_loop().call_later(0.4, site.peers.arrive, PEER, answer)

        site.peers.replies[PEER] = reply
        for took_s in (5 * 0.4, 3 * 0.4):  # the first time both keys are new, then none is
            began = asyncio.get_running_loop().time()
            assert len([page async for page in site.catalogue.pages(PEER)]) == 2
            assert asyncio.get_running_loop().time() - began == pytest.approx(took_s)

    scene(play)


def test_a_peer_that_answers_late_keeps_no_other_from_being_read() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[OTHER] = has(FACTS, KeysRequest=None)
        site.peers.replies[PEER] = has(FACTS)
        site.catalogue.on_connected(OTHER)
        await asyncio.sleep(0.1)
        assert len(site.peers.to(OTHER, KeysRequest)) == 1
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(0.1)
        assert (await site.state()).active == FIRST

    scene(play)


def test_an_unknown_committee_needs_f_plus_1_reporters() -> None:
    signers = tuple(SIGNERS)[:4]
    foreign = KeyFacts(KEY, certified(record(nodes=OTHER_SET), by=signers), (), None, ())

    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has(foreign)
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(1)
        assert (await site.state()).active is None
        site.peers.replies[OTHER] = has(foreign)
        site.catalogue.on_connected(OTHER)
        await asyncio.sleep(1)
        assert (await site.state()).active == foreign.record

    scene(play)


def test_a_store_that_fails_ends_the_synchronisation_not_the_node() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has(FACTS)
        site.store._disk.fail_commit()
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(1)
        assert site.recorder.outcomes == []
        catalogue = site.store.catalogue

        async def broken(after: KeyId | None, limit: int) -> Any:
            raise StorageError("the table is gone")

        site.store.catalogue = broken  # type: ignore[method-assign]
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(1)
        site.store.catalogue = catalogue  # type: ignore[method-assign]
        site.catalogue.on_connected(PEER)
        await asyncio.sleep(1)
        assert (await site.state()).active == FIRST

    scene(play)


# --- fetching ---------------------------------------------------------------------------------


def test_fetch_asks_everybody_at_once_and_waits_three_seconds() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has(FACTS, DigestRequest=None)
        site.peers.replies[OTHER] = lambda _: None
        site.peers.replies[NODES[3]] = has(
            FACTS, KeysRequest=lambda q: Keys(q.number, (other_key(),))
        )
        start = asyncio.get_running_loop().time()
        found = await site.catalogue.fetch(KEY)
        assert 2.9 < asyncio.get_running_loop().time() - start < 3.2
        assert (found.record, found.document) == (FIRST, STORED)
        assert (await site.state()).document == STORED

    scene(play)


def test_fetch_returns_as_soon_as_all_have_answered() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has()
        start = asyncio.get_running_loop().time()
        found = await site.catalogue.fetch(KEY)
        assert asyncio.get_running_loop().time() - start < 0.1
        assert (found.record, found.document) == (None, None)

    scene(play)


def test_fetch_alone_finds_what_this_node_has() -> None:
    async def play(site: Site) -> None:
        await site.store.commit((PutActive(FIRST),))
        assert (await site.catalogue.fetch(KEY)).record == FIRST

    scene(play)


def test_fetch_brings_versions_given_up() -> None:
    given_up = KeyFacts(KEY, None, (decision(RECORD_1),), None, ())

    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has(given_up)
        assert (await site.catalogue.fetch(KEY)).record is None
        assert (await site.state()).next_version == 2

    scene(play)


# --- hints and strays -------------------------------------------------------------------------


def test_announced_holders_are_remembered() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = has()
        site.peers.arrive(PEER, Have(0, KEY, FIRST.record.hash))
        assert site.catalogue.holders(KEY) == {PEER}

    scene(play)


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = lambda _: None
        site.peers.arrive(PEER, Keys(99, (FACTS,)))
        site.peers.arrive(PEER, CataloguePage(1, ()))
        await asyncio.sleep(0.01)
        assert await site.state() == KeyState()

    scene(play)


def test_a_decision_that_is_told_unasked_is_checked_and_taken() -> None:
    async def play(site: Site) -> None:
        site.peers.replies[PEER] = lambda _: None
        lie = KeyFacts(KEY, certified(record(), by=NODES[:2]), (), None, ())
        site.peers.arrive(PEER, Keys(0, (lie,)))
        await asyncio.sleep(0.01)
        assert await site.state() == KeyState()
        site.peers.arrive(PEER, Keys(0, (FACTS,)))
        await asyncio.sleep(0.01)
        assert (await site.state()).active == FIRST

    scene(play)


def test_a_voter_that_is_behind_is_told_the_decision() -> None:
    async def play(site: Site) -> None:
        await site.store.commit((PutActive(FIRST),))
        named = vote(VoteKind.STATUS, RECORD_1, 1, ZERO_HASH, PEER)
        told = await site.ask(Entered(0, RECORD_1, 1, ZERO_HASH, named))
        assert told == Keys(0, (KeyFacts(KEY, FIRST, (), None, ()),))
        late = CommitVote(0, RECORD_1, 1, ZERO_HASH, named)
        assert await site.ask(late) is None

    scene(play)
