"""Undecided keys: whom a node asks, when it votes, and what it does when its disk fails."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from keyserver.engine.links import (
    AnyLink,
    DecisionRequest,
    Entered,
    HeldRecord,
    Holding,
    HoldingRequest,
    KeyFacts,
    Keys,
    Status,
    Subject,
    SubjectKind,
    pack_link,
)
from keyserver.engine.outcomes import DocumentInstalled, RecordInstalled
from keyserver.engine.patience import MAX_IN_A_ROW
from keyserver.engine.ports import StoredVote
from keyserver.engine.recovery import (
    MAX_CASES_BY_PEER,
    MAX_QUESTIONS_BY_PEER,
    MAX_VOTES_OF_PEER,
    TICK_S,
    open_subjects,
)
from keyserver.model.codec import encode
from keyserver.model.identifiers import ZERO_HASH, KeyId, NodeId
from keyserver.model.keys import Certificate, CertifiedRecord
from keyserver.model.node_set import NodeSet
from keyserver.sessions.agreement import FIRST_ROUND_S
from keyserver.sessions.core import KeyState
from keyserver.sessions.writes import (
    CastVote,
    PutActive,
    PutDocumentCandidate,
    PutHolding,
    PutPrepared,
    PutPromise,
    VoteKind,
    Write,
)
from keyserver.simulation.loop import run_virtual
from tests.unit.engine.played_peers import OTHER, PEER, Reply, Site, proposal, running, scene
from tests.unit.engine.signed_values import (
    DOCUMENT_1,
    KEY,
    NODES,
    OTHER_KEY,
    RECORD_1,
    SET,
    STRANGER,
    TRANSCRIPT,
    certified,
    certified_document,
    decision,
    document,
    holding,
    record,
    share,
    version,
    vote,
)

RECORD = record()
FIRST = certified(RECORD)
STORED = certified_document(RECORD)
PREPARED = PutPrepared(RECORD, share(), TRANSCRIPT)
HELD = HeldRecord(RECORD, holding(RECORD))
COMMITTED: tuple[Write, ...] = (
    PutHolding(RECORD, HELD.holding),
    CastVote(RECORD_1.hash, 0, VoteKind.COMMIT, RECORD.hash, encode(HELD.holding.prepares(RECORD))),
)
CANDIDATE = PutDocumentCandidate(KEY, 1, RECORD.hash, document())
GIVEN_UP = KeyFacts(KEY, None, (decision(RECORD_1),), None, ())


def knows(facts: KeyFacts | None = None, held: HeldRecord | None = None) -> Reply:
    """A peer that knows a decision, or a holding certificate, or nothing."""

    def reply(message: AnyLink) -> AnyLink | None:
        match message:
            case DecisionRequest(number, _):
                return Keys(number, () if facts is None else (facts,))
            case HoldingRequest(number, _, _):
                return Holding(number, held)
        return None

    return reply


def silent(_: AnyLink) -> AnyLink | None:
    return None


async def connected(site: Site, replies: Iterable[Reply]) -> None:
    for peer, reply in zip(NODES[1:], replies, strict=False):
        site.peers.replies[peer] = reply


def entered(
    by: NodeId, round_: int = 1, subject: Subject = RECORD_1, value: bytes = ZERO_HASH
) -> Entered:
    named = vote(VoteKind.STATUS, subject, round_, ZERO_HASH, by)
    return Entered(0, subject, round_, ZERO_HASH, named)


async def votes_of(site: Site, subject: Subject = RECORD_1) -> list[StoredVote]:
    return list(await site.store.votes(subject.hash))


def after_restart(writes: tuple[Write, ...], play: Any, *replies: Reply) -> None:
    """A node finds this on its disk when it starts; its peers answer like that."""

    async def main() -> None:
        site = Site()
        await site.store.commit(writes)
        await connected(site, replies)
        async with running(site):
            await play(site)

    run_virtual(main())


# --- asking first -----------------------------------------------------------------------------


def test_a_known_decision_is_taken_over_without_a_vote() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(1)
        assert (await site.state()).skipped == GIVEN_UP.skipped
        assert await votes_of(site) == []
        assert await site.store.undecided() == []

    after_restart((PREPARED,), play, knows(), knows(GIVEN_UP), silent)


def test_a_decided_document_key_is_taken_over() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(1)
        assert (await site.state()).document == STORED
        assert site.recorder.outcomes == [DocumentInstalled(KEY)]

    facts = KeyFacts(KEY, FIRST, (), STORED, ())
    after_restart((PutActive(FIRST), CANDIDATE), play, knows(facts), silent, silent)


def test_a_holding_certificate_goes_into_the_status() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(5)
        status = site.peers.to(PEER, Status)[0]
        assert status.highest is not None
        assert status.highest.backing.record == HELD

    after_restart((PREPARED,), play, knows(held=HELD), silent, silent)


def test_a_false_holding_certificate_does_not() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(5)
        status = site.peers.to(PEER, Status)[0]
        assert status.highest is None

    few = HeldRecord(RECORD, holding(RECORD, NODES[:2]))
    foreign = HeldRecord(record(1), holding(record(1)))
    after_restart((PREPARED,), play, knows(held=few), knows(held=foreign), silent)


def test_a_decision_that_does_not_verify_is_not_taken() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(5)
        assert (await site.state()).skipped == ()
        assert [v.kind for v in await votes_of(site)] == [VoteKind.STATUS]

    lie = replace(GIVEN_UP, skipped=(decision(RECORD_1, by=NODES[:2]),))
    after_restart((PREPARED,), play, knows(lie), silent, silent)


# --- when it votes ----------------------------------------------------------------------------


def test_without_a_quorum_of_peers_no_round_begins() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(300)
        assert await votes_of(site) == []
        await connected(site, [silent, silent])
        await asyncio.sleep(20)
        assert [v.round for v in await votes_of(site)] == [1]
        site.peers.replies.clear()
        await asyncio.sleep(600)
        assert [v.round for v in await votes_of(site)] == [1]

    after_restart((PREPARED,), play, silent)


def test_own_state_that_is_young_is_left_to_its_session() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        await asyncio.sleep(15)
        await site.store.commit((PREPARED,))
        await asyncio.sleep(50)
        for peer in NODES[1:]:
            site.peers.arrive(peer, entered(peer))
        await asyncio.sleep(5)
        assert await votes_of(site) == []
        await asyncio.sleep(40)
        assert [v.round for v in await votes_of(site)] == [1]

    scene(play)


def test_a_session_that_ends_in_time_needs_no_votes() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        await asyncio.sleep(15)
        await site.store.commit((PREPARED,))
        await asyncio.sleep(30)
        await site.store.commit((PutActive(FIRST),))
        await asyncio.sleep(120)
        assert await votes_of(site) == []

    scene(play)


def test_rounds_follow_each_other_while_nothing_is_decided() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(1000)
        cast = await votes_of(site)
        assert [v.round for v in cast if v.kind is VoteKind.STATUS] == [1, 2, 3, 4]

    after_restart((PREPARED, *COMMITTED), play, silent, silent, silent)


def test_a_voter_without_state_joins_after_a_minute_or_f_plus_1() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        site.peers.arrive(PEER, entered(PEER))
        await asyncio.sleep(50)
        assert await votes_of(site) == []
        await asyncio.sleep(25)
        assert [v.round for v in await votes_of(site)] == [1]
        other = version(1)
        other = replace(other, key_id=OTHER_KEY)
        for peer in (PEER, OTHER):
            site.peers.arrive(peer, entered(peer, subject=other))
        await asyncio.sleep(1)
        assert [v.round for v in await votes_of(site, other)] == [1]

    scene(play)


def test_forged_and_foreign_votes_open_nothing() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        forged = replace(entered(OTHER), round=2)
        site.peers.arrive(PEER, forged)
        site.peers.replies[STRANGER] = silent
        site.peers.arrive(STRANGER, entered(STRANGER))
        await asyncio.sleep(100)
        assert await votes_of(site) == []

    scene(play)


def test_a_peer_opens_so_many_cases_and_no_more() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        subjects = [
            Subject(SubjectKind.RECORD, KeyId(n.to_bytes(32, "big")), 1)
            for n in range(MAX_CASES_BY_PEER + 1)
        ]
        for subject in subjects:
            site.peers.arrive(PEER, entered(PEER, subject=subject))
        await asyncio.sleep(100)
        voted = [bool(await votes_of(site, subject)) for subject in subjects]
        assert voted == [True] * MAX_CASES_BY_PEER + [False]

    scene(play)


def test_votes_about_unknown_documents_bring_about_so_many_questions_and_no_more() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        for n in range(3 * MAX_QUESTIONS_BY_PEER):
            subject = Subject(SubjectKind.DOCUMENT, KeyId(n.to_bytes(32, "big")), 1)
            site.peers.arrive(PEER, entered(PEER, subject=subject))
        await asyncio.sleep(0.1)
        assert len(site.catalogue._recovery._asking) == MAX_QUESTIONS_BY_PEER
        subject = Subject(SubjectKind.DOCUMENT, KEY, 1)
        site.peers.arrive(OTHER, entered(OTHER, subject=subject))
        await asyncio.sleep(0.1)
        assert site.peers.to(OTHER, DecisionRequest), "another peer has its own share"
        await asyncio.sleep(5)
        assert site.catalogue._recovery._asking == set()

    scene(play)


def test_a_peer_that_goes_on_sending_forged_votes_has_to_go() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        forged = pack_link(replace(entered(PEER), round=2))
        for _ in range(MAX_IN_A_ROW):
            assert site.catalogue.on_link_message(PEER, forged)
            await asyncio.sleep(0.01)
        assert not site.catalogue.on_link_message(PEER, forged)
        assert site.catalogue.on_link_message(PEER, pack_link(entered(PEER))), "it may come back"
        assert site.catalogue.on_link_message(OTHER, pack_link(entered(OTHER)))

    scene(play)


def test_a_flood_of_votes_is_dropped_and_delays_nobody_else() -> None:
    async def play(site: Site) -> None:
        await connected(site, [silent, silent, silent])
        load, loaded = site.store.load, 0

        async def slow(key_id: KeyId) -> KeyState:
            nonlocal loaded
            loaded += 1
            await asyncio.sleep(0.01)
            return await load(key_id)

        site.store.load = slow  # type: ignore[method-assign]
        for n in range(10 * MAX_VOTES_OF_PEER):
            subject = Subject(SubjectKind.DOCUMENT, KeyId(n.to_bytes(32, "big")), 1)
            site.peers.arrive(PEER, entered(PEER, subject=subject))
        site.peers.arrive(OTHER, entered(OTHER, subject=Subject(SubjectKind.DOCUMENT, KEY, 1)))
        await asyncio.sleep(0.05)
        assert site.peers.to(OTHER, DecisionRequest)
        await asyncio.sleep(60)
        assert loaded < 2 * MAX_VOTES_OF_PEER

    scene(play)


def test_votes_that_wait_are_counted_in_bytes_too() -> None:
    async def play(site: Site) -> None:
        site.catalogue._recovery._inbox._most_bytes = 600
        vote = entered(PEER, subject=Subject(SubjectKind.DOCUMENT, KEY, 1))
        fit = 600 // len(pack_link(vote))
        for n in range(3 * fit):
            subject = Subject(SubjectKind.DOCUMENT, KeyId(n.to_bytes(32, "big")), 1)
            site.peers.arrive(PEER, entered(PEER, subject=subject))
        await asyncio.sleep(1)
        asked = {question.subject for question in site.peers.to(PEER, DecisionRequest)}
        assert 0 < len(asked) == fit

    scene(play)


def test_votes_are_heard_however_long_a_look_at_all_cases_takes() -> None:
    async def play(site: Site) -> None:
        look = site.store.undecided

        async def slow() -> Any:
            await asyncio.sleep(3 * TICK_S)
            return await look()

        site.store.undecided = slow  # type: ignore[method-assign]
        await asyncio.sleep(10 * TICK_S)
        site.peers.arrive(OTHER, entered(OTHER, subject=Subject(SubjectKind.DOCUMENT, KEY, 1)))
        await asyncio.sleep(5 * TICK_S)
        assert site.peers.to(OTHER, DecisionRequest)

    scene(play)


def test_a_node_outside_the_committee_has_no_vote() -> None:
    smaller = replace(RECORD, committee=RECORD.committee[1:])

    async def play(site: Site) -> None:
        await asyncio.sleep(100)
        assert await votes_of(site) == []

    after_restart((PutHolding(smaller, holding(smaller)),), play, silent, silent, silent)


def test_a_peer_that_reconnects_is_told_where_this_node_is() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(4)
        before = len(site.peers.to(OTHER, Entered))
        assert before > 0
        site.catalogue.on_connected(OTHER)
        await asyncio.sleep(0.1)
        assert len(site.peers.to(OTHER, Entered)) == before + 1

    after_restart((PREPARED,), play, silent, silent, silent)


# --- what it lacks ----------------------------------------------------------------------------


def test_a_vote_about_a_later_version_makes_it_ask_for_the_earlier_decision() -> None:
    async def play(site: Site) -> None:
        await connected(site, [knows(GIVEN_UP), silent, silent])
        site.peers.arrive(PEER, entered(PEER, subject=version(2)))
        await asyncio.sleep(1)
        assert (await site.state()).next_version == 2
        (asked,) = site.peers.to(PEER, DecisionRequest)
        assert asked.subject == RECORD_1
        assert site.peers.to(OTHER, DecisionRequest) == []

    scene(play)


def test_a_vote_about_a_document_of_an_unknown_key_makes_it_ask_for_the_record() -> None:
    async def play(site: Site) -> None:
        await connected(site, [knows(KeyFacts(KEY, FIRST, (), None, ())), silent, silent])
        site.peers.arrive(PEER, entered(PEER, subject=DOCUMENT_1))
        await asyncio.sleep(1)
        assert (await site.state()).active == FIRST
        assert site.recorder.outcomes == [RecordInstalled(KEY)]

    scene(play)


def test_what_is_undecided_is_the_first_version_and_attempt_without_a_decision() -> None:
    async def play(site: Site) -> None:
        later = record(version=2)
        await site.store.commit((PutPrepared(later, share(), TRANSCRIPT),))
        assert open_subjects(KEY, await site.state()) == [RECORD_1]
        assert open_subjects(KEY, KeyState(active=FIRST)) == []

    scene(play)


# --- a disk that fails ------------------------------------------------------------------------


def test_a_vote_that_is_not_written_is_not_sent() -> None:
    async def play(site: Site) -> None:
        site.store._disk.fail_commit()
        await asyncio.sleep(5)
        assert site.peers.to(PEER, Status) == []
        await asyncio.sleep(100)
        assert len(site.peers.to(PEER, Status)) > 0

    after_restart((PREPARED,), play, silent, silent, silent)


def test_a_prepare_that_is_not_written_is_not_sent() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(5)
        site.store._disk.fail_commit()
        before = len(site.peers.sent)
        site.peers.arrive(PEER, proposal(*((node, None) for node in NODES[1:])))
        await asyncio.sleep(1)
        assert len(site.peers.sent) == before
        assert [v.kind for v in await votes_of(site)] == [VoteKind.STATUS]

    after_restart((PREPARED,), play, silent, silent, silent)


def test_a_store_that_cannot_be_read_is_tried_again() -> None:
    async def play(site: Site) -> None:
        votes = site.store.votes

        async def broken(subject: Any) -> Any:
            return [StoredVote(1, VoteKind.STATUS, ZERO_HASH, b"not a certificate")]

        site.store.votes = broken  # type: ignore[method-assign]
        await asyncio.sleep(15)
        site.store.votes = votes  # type: ignore[method-assign]
        await asyncio.sleep(100)
        assert len(await votes_of(site)) > 0

    after_restart((PREPARED,), play, silent, silent, silent)


def test_a_commitment_of_a_session_in_the_last_moment_is_never_missed() -> None:
    """The session commits while the STATUS is on its way to the disk."""

    async def play(site: Site) -> None:
        commit = site.store.commit

        async def racing(writes: Any) -> None:
            if isinstance(writes[0], CastVote) and writes[0].kind is VoteKind.STATUS:
                site.store.commit = commit  # type: ignore[method-assign]
                await commit(COMMITTED)
            await commit(writes)

        site.store.commit = racing  # type: ignore[method-assign]
        await asyncio.sleep(5)
        assert [(v.kind, v.round) for v in await votes_of(site)] == [
            (VoteKind.COMMIT, 0),
            (VoteKind.STATUS, 1),
            (VoteKind.STATUS, 2),
        ]
        assert {m.round for peer in NODES[1:] for m in site.peers.to(peer, Entered)} == {2}
        (status,) = {m.highest for peer in NODES[1:] for m in site.peers.to(peer, Status)}
        assert status is not None
        assert status.backing.record == HELD

    after_restart((PREPARED,), play, silent, silent, silent)


def test_a_status_that_missed_a_commitment_stays_unsent_after_a_restart() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(5)
        assert {m.round for peer in NODES[1:] for m in site.peers.to(peer, Entered)} == {2}

    missed = CastVote(RECORD_1.hash, 1, VoteKind.STATUS, ZERO_HASH)
    after_restart((PREPARED, *COMMITTED, missed), play, silent, silent, silent)


# --- promises, and records that others decide about ---------------------------------------------

PROMISED: tuple[Write, ...] = (PutActive(FIRST), PutPromise(KEY, 2, TRANSCRIPT, ZERO_HASH))
SECOND = version(2)


def test_what_became_of_a_promised_version_is_asked() -> None:
    given_up = KeyFacts(KEY, FIRST, (decision(SECOND),), None, ())

    async def play(site: Site) -> None:
        await asyncio.sleep(1)
        state = await site.state()
        assert state.promise is None
        assert state.skipped == given_up.skipped
        assert await votes_of(site, SECOND) == []

    after_restart(PROMISED, play, knows(), knows(given_up), silent)


def test_a_promised_version_of_which_nobody_knows_is_voted_on() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(5)
        assert [(v.round, v.kind) for v in await votes_of(site, SECOND)] == [(1, VoteKind.STATUS)]
        assert (await site.state()).promise is not None

    after_restart(PROMISED, play, knows(), knows(), knows())


ELSEWHERE = NodeSet(1, SET.contract, NODES[1:])
"""The old set: this node is not in it, and joins."""
OLD = certified(record(nodes=ELSEWHERE), by=NODES[1:])
NEW = record(version=2, previous=OLD.record.hash)
JOINED: tuple[Write, ...] = (PutActive(OLD), PutPrepared(NEW, share(), TRANSCRIPT))
DECIDED = CertifiedRecord(NEW, Certificate(holding(NEW), decision(SECOND, NEW.hash, by=NODES[1:])))


def test_a_holder_that_does_not_decide_asks_those_who_do() -> None:
    facts = KeyFacts(KEY, DECIDED, (), None, ())

    async def play(site: Site) -> None:
        await asyncio.sleep(1)
        state = await site.state()
        assert state.active == DECIDED
        assert state.share == share()
        assert await votes_of(site, SECOND) == []

    after_restart(JOINED, play, knows(), knows(facts), silent)


def test_a_holder_that_does_not_decide_asks_until_somebody_knows() -> None:
    async def play(site: Site) -> None:
        await asyncio.sleep(TICK_S)
        assert (await site.state()).prepared is not None
        for peer in NODES[1:]:
            site.peers.replies[peer] = knows(
                KeyFacts(KEY, OLD, (decision(SECOND, by=NODES[1:]),), None, ())
            )
        await asyncio.sleep(FIRST_ROUND_S + 2 * TICK_S)
        state = await site.state()
        assert state.prepared is None
        assert state.active == OLD
        assert state.share is None
        assert await votes_of(site, SECOND) == []

    after_restart(JOINED, play, knows(), knows(), knows())
