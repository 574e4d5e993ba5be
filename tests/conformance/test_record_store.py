"""What every store of keys and votes promises (`keyserver.engine.ports.RecordStore`)."""

import asyncio

import pytest

from keyserver.crypto.curve import Scalar, SecretScalar
from keyserver.engine.ports import AgedRecord, CatalogueEntry, StoredVote, VoteConflictError
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId
from keyserver.model.keys import KeyShare
from keyserver.sessions.core import DocumentCandidate, KeyState, PreparedRecord
from keyserver.sessions.writes import (
    CastVote,
    Promise,
    PutActive,
    PutDocument,
    PutDocumentCandidate,
    PutDocumentNothing,
    PutHolding,
    PutNothing,
    PutPrepared,
    PutPromise,
    PutShare,
    VoteKind,
    Write,
)
from tests.support.stored_values import (
    certified,
    certified_document,
    decision,
    digest,
    document,
    holding,
    key_id,
    record,
    share,
)
from tests.support.stores import StoreSite

ONE = key_id(1)
T = digest("transcript")


def prepared(key: int = 1, version: int = 1, flavour: int = 0, number: int = 1) -> PutPrepared:
    return PutPrepared(record(key, version, flavour), share(number), T)


async def written(site: StoreSite, *commits: list[Write]) -> KeyState:
    """The key after these commits, read from disk by a new store."""
    for writes in commits:
        await site.records.commit(writes)
    in_memory = await site.records.load(ONE)
    await site.reopen()
    assert await site.records.load(ONE) == in_memory
    return in_memory


async def refused(site: StoreSite, writes: list[Write]) -> None:
    """The commit is refused and leaves no trace."""
    before = await site.records.load(ONE)
    with pytest.raises(VoteConflictError):
        await site.records.commit(writes)
    assert await site.records.load(ONE) == before
    await site.reopen()
    assert await site.records.load(ONE) == before


async def test_an_unknown_key_is_empty(site: StoreSite) -> None:
    assert await site.records.load(ONE) == KeyState()
    assert await site.records.catalogue(None, 10) == []
    assert await site.records.undecided() == []


# --- prepared records ------------------------------------------------------------------------


async def test_a_prepared_record_keeps_its_share(site: StoreSite) -> None:
    state = await written(site, [prepared()])
    assert state == KeyState(prepared=PreparedRecord(record(), share(1), T, None))
    assert await site.records.undecided() == [ONE]
    assert await site.records.catalogue(None, 10) == []


async def test_preparing_the_same_again_changes_nothing(site: StoreSite) -> None:
    once = await written(site, [prepared()])
    assert await written(site, [prepared()]) == once


async def test_a_second_record_of_a_version_is_refused(site: StoreSite) -> None:
    await site.records.commit([prepared()])
    await refused(site, [prepared(flavour=1)])


async def test_another_share_of_a_prepared_record_is_refused(site: StoreSite) -> None:
    await site.records.commit([prepared()])
    await refused(site, [prepared(number=2)])


async def test_no_version_is_prepared_while_another_is_undecided(site: StoreSite) -> None:
    await site.records.commit([prepared()])
    await refused(site, [prepared(version=2)])


async def test_a_decided_version_is_not_prepared_again(site: StoreSite) -> None:
    await site.records.commit([prepared(), PutActive(certified(record()))])
    await refused(site, [prepared()])
    await site.records.commit([PutNothing(ONE, 2, decision())])
    await refused(site, [prepared(version=2)])


async def test_the_holding_certificate_joins_the_prepared_record(site: StoreSite) -> None:
    state = await written(site, [prepared()], [PutHolding(record(), holding())])
    assert state.prepared == PreparedRecord(record(), share(1), T, holding())
    again = await written(site, [PutHolding(record(), holding("another"))])
    assert again == state


async def test_a_foreign_record_is_kept_without_a_share(site: StoreSite) -> None:
    state = await written(site, [PutHolding(record(), holding())])
    assert state.prepared == PreparedRecord(record(), None, holding().transcript, holding())
    assert await site.records.undecided() == [ONE]
    with_share = await written(site, [prepared()])
    assert with_share.prepared == PreparedRecord(record(), share(1), T, holding())


async def test_the_record_with_a_certificate_is_the_prepared_one(site: StoreSite) -> None:
    foreign = record(flavour=1)
    state = await written(site, [prepared()], [PutHolding(foreign, holding())])
    assert state.prepared == PreparedRecord(foreign, None, holding().transcript, holding())
    await refused(site, [PutHolding(record(flavour=2), holding())])


@pytest.mark.parametrize("winner", [0, 1])
async def test_a_share_goes_to_no_other_record(site: StoreSite, winner: int) -> None:
    await site.records.commit([prepared(), PutHolding(record(flavour=1), holding())])
    state = await written(site, [PutActive(certified(record(flavour=winner)))])
    assert state.prepared is None
    assert state.share == (share(1) if winner == 0 else None)


async def test_a_holding_certificate_of_a_decided_version_is_refused(site: StoreSite) -> None:
    await site.records.commit([PutNothing(ONE, 1, decision())])
    await refused(site, [PutHolding(record(), holding())])


async def test_a_holding_certificate_of_the_active_record_is_no_news(site: StoreSite) -> None:
    active = await written(site, [prepared()], [PutActive(certified(record()))])
    assert await written(site, [PutHolding(record(), holding())]) == active


async def test_a_holding_certificate_of_another_version_waits(site: StoreSite) -> None:
    await site.records.commit([prepared()])
    await refused(site, [PutHolding(record(version=2), holding())])


# --- active records --------------------------------------------------------------------------


async def test_the_prepared_share_becomes_the_active_one(site: StoreSite) -> None:
    state = await written(site, [prepared()], [PutActive(certified(record()))])
    assert state == KeyState(active=certified(record()), share=share(1))
    assert await site.records.undecided() == []
    entry = CatalogueEntry(ONE, 1, record().hash, has_share=True, has_document=False)
    assert await site.records.catalogue(None, 10) == [entry]


async def test_the_previous_share_lives_until_the_next_is_active(site: StoreSite) -> None:
    await site.records.commit([prepared(), PutActive(certified(record()))])
    during = await written(site, [prepared(version=2, number=2)])
    assert during.share == share(1)
    assert during.prepared is not None
    assert during.prepared.share == share(2)
    after = await written(site, [PutActive(certified(record(version=2)))])
    assert after == KeyState(active=certified(record(version=2)), share=share(2))


async def test_an_absent_member_has_the_record_without_a_share(site: StoreSite) -> None:
    state = await written(site, [PutActive(certified(record()))])
    assert state == KeyState(active=certified(record()))
    entry = CatalogueEntry(ONE, 1, record().hash, has_share=False, has_document=False)
    assert await site.records.catalogue(None, 10) == [entry]


async def test_a_record_that_came_late_changes_nothing(site: StoreSite) -> None:
    await site.records.commit([PutActive(certified(record(version=3)))])
    state = await written(site, [PutActive(certified(record(version=2)))])
    assert state.active == certified(record(version=3))
    assert await written(site, [PutActive(certified(record(version=3)))]) == state


async def test_two_records_of_one_version_cannot_both_be_decided(site: StoreSite) -> None:
    await site.records.commit([PutActive(certified(record()))])
    await refused(site, [PutActive(certified(record(flavour=1)))])


async def test_a_version_decided_as_nothing_cannot_be_a_record(site: StoreSite) -> None:
    await site.records.commit([PutNothing(ONE, 1, decision())])
    await refused(site, [PutActive(certified(record()))])


async def test_a_version_decided_as_a_record_cannot_be_nothing(site: StoreSite) -> None:
    await site.records.commit([PutActive(certified(record(version=2)))])
    await refused(site, [PutNothing(ONE, 2, decision())])
    assert (await written(site, [PutNothing(ONE, 1, decision())])).skipped == ()


async def test_nothing_erases_what_was_prepared(site: StoreSite) -> None:
    await site.records.commit([prepared(), PutActive(certified(record()))])
    await site.records.commit([prepared(version=2, number=2)])
    state = await written(site, [PutNothing(ONE, 2, decision())])
    assert state == KeyState(active=certified(record()), share=share(1), skipped=(decision(),))
    assert state.next_version == 3
    assert await written(site, [PutNothing(ONE, 2, decision(label="other"))]) == state


async def test_skipped_versions_count_from_the_active_one_without_gaps(site: StoreSite) -> None:
    first, third = decision(label="1"), decision(label="3")
    gap = await written(site, [PutNothing(ONE, 1, first)], [PutNothing(ONE, 3, third)])
    assert gap.skipped == (first,)
    second = decision(label="2")
    filled = await written(site, [PutNothing(ONE, 2, second)])
    assert filled.skipped == (first, second, third)
    decided = certified(record(version=4), skipped=(first, second, third))
    active = await written(site, [PutActive(decided)])
    assert active == KeyState(active=decided)
    assert active.next_version == 5


async def test_records_come_by_the_page(site: StoreSite) -> None:
    """Those in force, in the order of the catalogue, and nothing of keys without one."""
    for number in (3, 1, 2):
        await site.records.commit([PutActive(certified(record(number)))])
    await site.records.commit([PutNothing(key_id(4), 1, decision())])
    assert await site.records.records(None, 2) == [certified(record(1)), certified(record(2))]
    assert await site.records.records(key_id(2), 2) == [certified(record(3))]
    assert await site.records.records(key_id(3), 2) == []


# --- shares that come later ------------------------------------------------------------------


async def absent(site: StoreSite, after: KeyId | None = None, limit: int = 10) -> list[KeyId]:
    return [entry.key_id for entry in await site.records.absent(after, limit)]


def late_share(x: int = 2, value: int | None = None, flavour: int = 0) -> PutShare:
    """The share of the member at `x`, or another value."""
    on_polynomial = 1000 + 1 + (2000 + flavour) * x
    secret = SecretScalar.from_int(on_polynomial if value is None else value)
    return PutShare(ONE, record(flavour=flavour).hash, KeyShare(Scalar(x), secret))


async def test_a_share_comes_later(site: StoreSite) -> None:
    await site.records.commit([PutActive(certified(record())), PutActive(certified(record(2)))])
    assert await absent(site) == [ONE, key_id(2)]
    state = await written(site, [late_share()])
    assert state == KeyState(active=certified(record()), share=late_share().share)
    assert await absent(site) == [key_id(2)]
    assert [entry.has_share for entry in await site.records.catalogue(None, 10)] == [True, False]
    assert await written(site, [late_share()]) == state


async def test_a_share_that_comes_later_must_fit(site: StoreSite) -> None:
    """It is on the record's polynomial, at the place of a member."""
    await refused(site, [late_share()])
    await site.records.commit([PutActive(certified(record()))])
    await refused(site, [late_share(value=4711)])
    await refused(site, [late_share(x=9)])
    await refused(site, [late_share(flavour=1)])
    assert await absent(site) == [ONE]


async def test_a_share_of_an_older_record_comes_too_late(site: StoreSite) -> None:
    await site.records.commit([PutActive(certified(record()))])
    await site.records.commit([PutActive(certified(record(version=2)))])
    await refused(site, [late_share()])


async def test_a_later_share_goes_with_its_record(site: StoreSite) -> None:
    await site.records.commit([PutActive(certified(record())), late_share()])
    during = await written(site, [prepared(version=2, number=2)])
    assert during.share == late_share().share
    assert await absent(site) == []
    after = await written(site, [PutActive(certified(record(version=2)))])
    assert after.share == share(2)


async def aged(
    site: StoreSite, before: int, after: AgedRecord | None = None, limit: int = 10
) -> list[tuple[int, KeyId]]:
    found = await site.records.aged(after, before, limit)
    assert all(each.record_hash == record(each.key_id[-1]).hash for each in found)
    return [(each.installed_at, each.key_id) for each in found]


async def test_records_have_an_age(site: StoreSite) -> None:
    for now, key in ((100, 3), (200, 1), (200, 2)):
        site.now = now
        await site.records.commit([PutActive(certified(record(key)))])
    site.now = 300
    await site.records.commit([PutPrepared(record(4), share(1), T)])
    await site.reopen()
    state = await site.records.load(key_id(3))
    assert state.installed_at == 100
    assert await aged(site, 100) == []
    assert await aged(site, 201) == [(100, key_id(3)), (200, ONE), (200, key_id(2))]
    assert await aged(site, 201, limit=1) == [(100, key_id(3))]
    first = AgedRecord(200, ONE, record().hash)
    assert await aged(site, 201, first) == [(200, key_id(2))]


async def test_a_time_in_the_future_says_nothing_about_the_age(site: StoreSite) -> None:
    site.now = 500
    await site.records.commit([PutActive(certified(record()))])
    assert await aged(site, 1) == []
    site.now = 400
    assert await aged(site, 1) == [(500, ONE)]


async def test_a_record_is_as_old_as_its_version(site: StoreSite) -> None:
    site.now = 100
    await site.records.commit([PutActive(certified(record()))])
    site.now = 200
    state = await written(site, [PutActive(certified(record()))], [late_share()])
    assert state.installed_at == 100
    state = await written(site, [PutActive(certified(record(version=2)))])
    assert state.installed_at == 200


async def test_keys_without_a_share_come_in_pages(site: StoreSite) -> None:
    """Undecided keys are none of them, whether a share is prepared or not."""
    for key in (3, 1, 200, 2):
        await site.records.commit([PutActive(certified(record(key)))])
    await site.records.commit([prepared(4), PutHolding(record(5), holding())])
    assert await absent(site, None, 2) == [key_id(1), key_id(2)]
    assert await absent(site, key_id(2), 2) == [key_id(3), key_id(200)]
    assert await absent(site, key_id(200), 2) == []


# --- document keys ---------------------------------------------------------------------------


async def test_a_document_key_is_voted_for_and_decided(site: StoreSite) -> None:
    await site.records.commit([PutActive(certified(record()))])
    candidate = PutDocumentCandidate(ONE, 1, record().hash, document())
    state = await written(site, [candidate])
    assert state.document_candidate == DocumentCandidate(1, record().hash, document())
    assert await site.records.undecided() == [ONE]
    assert await written(site, [candidate]) == state

    decided = await written(site, [PutDocument(ONE, certified_document())])
    assert decided.document == certified_document()
    assert decided.document_candidate is None
    assert await site.records.undecided() == []
    assert (await site.records.catalogue(None, 1))[0].has_document
    assert await written(site, [PutDocument(ONE, certified_document())]) == decided


async def test_one_attempt_has_one_document_key(site: StoreSite) -> None:
    await site.records.commit([PutDocumentCandidate(ONE, 1, record().hash, document(1))])
    await refused(site, [PutDocumentCandidate(ONE, 1, record().hash, document(2))])
    await refused(site, [PutDocumentCandidate(ONE, 2, record().hash, document(1))])


async def test_an_attempt_decided_as_nothing_makes_room_for_the_next(site: StoreSite) -> None:
    await site.records.commit([PutDocumentCandidate(ONE, 1, record().hash, document(1))])
    nothing = PutDocumentNothing(ONE, 1, decision())
    state = await written(site, [nothing])
    assert state == KeyState(document_skipped=(decision(),))
    assert state.next_document_attempt == 2
    assert await written(site, [nothing]) == state
    await refused(site, [PutDocumentCandidate(ONE, 1, record().hash, document(1))])
    await refused(site, [PutDocument(ONE, certified_document(attempt=1))])
    after = await written(site, [PutDocumentCandidate(ONE, 2, record().hash, document(2))])
    assert after.document_candidate == DocumentCandidate(2, record().hash, document(2))


async def test_there_is_one_document_key_for_ever(site: StoreSite) -> None:
    await site.records.commit([PutDocument(ONE, certified_document(1))])
    await refused(site, [PutDocument(ONE, certified_document(2))])
    await refused(site, [PutDocumentNothing(ONE, 1, decision())])
    await refused(site, [PutDocumentCandidate(ONE, 2, record().hash, document(2))])


async def test_nothing_for_an_earlier_attempt_leaves_the_candidate(site: StoreSite) -> None:
    await site.records.commit([PutDocumentCandidate(ONE, 2, record().hash, document())])
    state = await written(site, [PutDocumentNothing(ONE, 1, decision())])
    assert state.document_candidate == DocumentCandidate(2, record().hash, document())


# --- votes -----------------------------------------------------------------------------------

SUBJECT = digest("subject")


def vote(round_: int, kind: VoteKind, value: str = "a", evidence: bytes = b"") -> CastVote:
    return CastVote(SUBJECT, round_, kind, digest(value), evidence)


async def test_votes_are_kept_in_order_of_round_and_kind(site: StoreSite) -> None:
    await site.records.commit([vote(0, VoteKind.COMMIT, evidence=b"proof")])
    await site.records.commit([vote(1, VoteKind.STATUS), vote(1, VoteKind.PREPARE)])
    await site.reopen()
    a = digest("a")
    assert await site.records.votes(SUBJECT) == [
        StoredVote(0, VoteKind.COMMIT, a, b"proof"),
        StoredVote(1, VoteKind.PREPARE, a, b""),
        StoredVote(1, VoteKind.STATUS, a, b""),
    ]
    assert await site.records.votes(digest("other")) == []


async def test_a_vote_is_cast_once(site: StoreSite) -> None:
    await site.records.commit([vote(0, VoteKind.PREPARE)])
    await site.records.commit([vote(0, VoteKind.PREPARE)])
    await site.reopen()
    with pytest.raises(VoteConflictError, match=r"PREPARE of round 0 was cast for"):
        await site.records.commit([vote(0, VoteKind.PREPARE, "b")])
    await site.records.commit([vote(0, VoteKind.COMMIT, "b"), vote(1, VoteKind.PREPARE, "b")])
    assert len(await site.records.votes(SUBJECT)) == 3


@pytest.mark.parametrize("kind", [VoteKind.PREPARE, VoteKind.COMMIT])
async def test_a_status_ends_the_rounds_below_it(site: StoreSite, kind: VoteKind) -> None:
    await site.records.commit([vote(2, VoteKind.STATUS)])
    await site.reopen()
    with pytest.raises(VoteConflictError, match="after STATUS in round 2"):
        await site.records.commit([vote(1, kind)])
    await site.records.commit([vote(2, kind), vote(3, VoteKind.STATUS)])


async def test_a_status_of_the_same_commit_counts(site: StoreSite) -> None:
    with pytest.raises(VoteConflictError):
        await site.records.commit([vote(1, VoteKind.STATUS), vote(0, VoteKind.COMMIT)])
    assert await site.records.votes(SUBJECT) == []


async def test_a_vote_may_be_for_nothing(site: StoreSite) -> None:
    await site.records.commit([CastVote(SUBJECT, 1, VoteKind.PREPARE, ZERO_HASH)])
    assert [cast.value for cast in await site.records.votes(SUBJECT)] == [ZERO_HASH]


# --- all or nothing --------------------------------------------------------------------------


async def test_a_conflict_undoes_the_whole_commit(site: StoreSite) -> None:
    await site.records.commit([prepared()])
    other = PutActive(certified(record(key=2)))
    await refused(site, [vote(0, VoteKind.PREPARE), other, prepared(flavour=1)])
    assert await site.records.votes(SUBJECT) == []
    assert await site.records.load(key_id(2)) == KeyState()
    await refused(site, [vote(0, VoteKind.PREPARE), vote(0, VoteKind.PREPARE, "b"), other])
    assert await site.records.load(key_id(2)) == KeyState()


async def test_a_cancelled_commit_is_done_or_not_done(site: StoreSite) -> None:
    committing = asyncio.ensure_future(site.records.commit([prepared()]))
    await asyncio.sleep(0)
    committing.cancel()
    await asyncio.wait([committing])
    remembered = await site.records.load(ONE)
    await site.reopen()
    assert await site.records.load(ONE) == remembered


async def test_commits_at_the_same_time_are_all_done(site: StoreSite) -> None:
    keys = range(1, 9)
    writes: list[list[Write]] = [[prepared(key)] for key in keys]
    await asyncio.gather(*(site.records.commit(one) for one in writes))
    await site.reopen()
    assert await site.records.undecided() == [key_id(key) for key in keys]


async def test_the_catalogue_comes_in_pages(site: StoreSite) -> None:
    for key in (3, 1, 200, 2):
        await site.records.commit([PutActive(certified(record(key)))])
    first = await site.records.catalogue(None, 3)
    assert [entry.key_id for entry in first] == [key_id(1), key_id(2), key_id(3)]
    rest = await site.records.catalogue(key_id(3), 3)
    assert [entry.key_id for entry in rest] == [key_id(200)]
    assert await site.records.catalogue(key_id(200), 3) == []


# --- promises --------------------------------------------------------------------------------


def promise(version: int = 2, label: str = "params", document: bytes = ZERO_HASH) -> PutPromise:
    return PutPromise(ONE, version, digest(label), Hash32(document))


ACTIVE: list[Write] = [prepared(), PutActive(certified(record()))]


async def test_a_promise_lives_until_its_version_is_decided(site: StoreSite) -> None:
    state = await written(site, ACTIVE, [promise()])
    assert state.promise == Promise(2, digest("params"), ZERO_HASH)
    assert await site.records.undecided() == [ONE]
    assert await written(site, [promise()]) == state
    after = await written(site, [PutNothing(ONE, 2, decision())])
    assert after.promise is None
    assert after.share == share(1)
    assert await site.records.undecided() == []
    again = await written(site, [promise(3)])
    assert again.promise == Promise(3, digest("params"), ZERO_HASH)


async def test_the_successor_ends_the_promise_and_the_old_share(site: StoreSite) -> None:
    successor = record(version=2, flavour=1)
    await site.records.commit([*ACTIVE, promise()])
    state = await written(site, [PutPrepared(successor, share(2), T)])
    assert state.share == share(1)
    state = await written(site, [PutActive(certified(successor))])
    assert state == KeyState(active=certified(successor), share=share(2))


async def test_who_is_not_in_the_successor_keeps_its_record_only(site: StoreSite) -> None:
    await site.records.commit([*ACTIVE, promise()])
    successor = record(version=2, flavour=1)
    state = await written(
        site, [PutHolding(successor, holding())], [PutActive(certified(successor))]
    )
    assert state == KeyState(active=certified(successor))


async def test_one_promise_per_version(site: StoreSite) -> None:
    await site.records.commit([*ACTIVE, promise()])
    await refused(site, [promise(label="others")])
    await refused(site, [promise(version=3)])


async def test_a_promise_is_for_the_first_undecided_version(site: StoreSite) -> None:
    await site.records.commit([*ACTIVE, PutNothing(ONE, 2, decision())])
    await refused(site, [promise()])
    await refused(site, [promise(version=4)])


async def test_a_promise_names_the_stored_document_key(site: StoreSite) -> None:
    await site.records.commit([*ACTIVE, PutDocument(ONE, certified_document())])
    await refused(site, [promise()])
    state = await written(site, [promise(document=document().hash)])
    assert state.promise == Promise(2, digest("params"), document().hash)


async def test_no_promise_beside_a_vote_for_a_document_key(site: StoreSite) -> None:
    candidate = PutDocumentCandidate(ONE, 1, record().hash, document())
    await site.records.commit([*ACTIVE, candidate])
    await refused(site, [promise()])


async def test_no_vote_for_a_document_key_beside_a_promise(site: StoreSite) -> None:
    await site.records.commit([*ACTIVE, promise()])
    await refused(site, [PutDocumentCandidate(ONE, 1, record().hash, document())])


async def test_attempts_to_store_count_anew_under_every_version(site: StoreSite) -> None:
    candidate = PutDocumentCandidate(ONE, 2, record().hash, document())
    state = await written(site, [*ACTIVE, PutDocumentNothing(ONE, 1, decision())], [candidate])
    assert state.next_document_attempt == 2
    state = await written(site, [PutActive(certified(record(version=2, flavour=1)))])
    assert state.document_skipped == ()
    assert state.document_candidate is None
    first = state.next_document_attempt
    assert first == 2**16 + 1
    state = await written(site, [PutDocumentNothing(ONE, first, decision())])
    assert state.next_document_attempt == first + 1
