"""Denial of service by one member, and lies about who has what; bounded, shown by measurement.

Counts of what a node keeps and does for one peer, and bytes of memory; no times.
"""

import gc
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from keyserver.crypto import elgamal
from keyserver.engine import recovery
from keyserver.engine.hints import MAX_HINTS
from keyserver.engine.links import (
    MAX_KEYS,
    MAX_PAGE,
    Accusation,
    AnyLink,
    CataloguePage,
    CatalogueRequest,
    Digest,
    DigestRequest,
    Entered,
    Entry,
    Have,
    Keys,
    KeysRequest,
    Subject,
    SubjectKind,
    pack_link,
)
from keyserver.engine.recovery import MAX_CASES_BY_PEER
from keyserver.engine.serving import MAX_WAITING
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId
from keyserver.sessions.retrieval import participant
from keyserver.sessions.writes import VoteKind
from tests.weaknesses import forge
from tests.weaknesses.asking import ON_CHAIN, Asker, request_of, wrong_part
from tests.weaknesses.intruder import rewriting
from tests.weaknesses.scene import KEY, Scene, perform

MEGABYTE = 2**20


def _name(number: int) -> KeyId:
    return KeyId(b"\xdd" + number.to_bytes(31, "big"))


class Growth:
    """How much memory the process holds more at the end than at the beginning."""

    def __enter__(self) -> "Growth":
        gc.collect()
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()
        self.bytes, self.peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()


def test_own_claims_to_hold_shares() -> None:
    """A member claims to hold shares of more keys than can be remembered, and of the one that
    matters, and then says nothing when it is asked. The claims take bounded memory and push out
    nothing that is proven; the user gets the answer from the others."""

    async def play(scene: Scene) -> None:
        await scene.own_key(threshold=1)
        listener = scene.cluster.network._listeners[scene.victim.id]
        with Growth() as growth:
            for number in range(4 * MAX_HINTS):
                have = Have(0, _name(number), Hash32(bytes(32)))
                assert listener.on_message(scene.intruder.id, pack_link(have))
        assert growth.bytes < 24 * MEGABYTE
        scene.intruder.send_link(scene.victim.id, Have(0, KEY, Hash32(bytes(32))))
        scene.intruder.rewrite = lambda *_: None
        for _ in range(3):
            await scene.all_is_well()

    perform(play)


def test_own_catalogue_full_of_nothing() -> None:
    """A member's catalogue names thousands of keys that do not exist, out of order, of the highest
    version, page after page. A node asks for a few, gets nothing, and leaves it alone."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder = scene.intruder
        asked: Counter[type] = Counter()

        def poisoned(question: AnyLink) -> AnyLink | None:
            asked[type(question)] += 1
            match question:
                case DigestRequest(number):
                    return Digest(number, Hash32(b"\x01" * 32), Hash32(b"\x02" * 32))
                case CatalogueRequest(number, after, _):
                    first = 0 if after is None else int.from_bytes(after[1:], "big") + 1
                    made = range(first, first + MAX_PAGE)
                    return CataloguePage(number, tuple(_entry(n) for n in made))
                case KeysRequest(number, _):
                    return Keys(number, ())
            return None

        intruder.reply = poisoned
        with Growth() as growth:
            await scene.settle(60 * 5)
        rounds = asked[DigestRequest]
        assert rounds >= 1
        assert asked[CatalogueRequest] <= rounds
        assert asked[KeysRequest] <= rounds
        assert growth.bytes < 16 * MEGABYTE
        intruder.reply = lambda _: None
        await scene.all_is_well()

    perform(play)


def _entry(number: int) -> Entry:
    return Entry(_name(number), 2**32 - 1, Hash32(number.to_bytes(32, "big")), 0xFF)


def test_own_questions_without_end() -> None:
    """A member asks, and asks again before it has an answer: whole pages, many keys, decisions. So
    many questions are worked on at a time, and then it is cut off."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        listener = scene.cluster.network._listeners[scene.victim.id]
        wanted = tuple(_name(number) for number in range(MAX_KEYS))
        served = 0
        for number in range(10 * MAX_WAITING):
            question = pack_link(KeysRequest(number, wanted))
            if not listener.on_message(scene.intruder.id, question):
                break
            served += 1
        assert served == MAX_WAITING
        await scene.settle()
        assert listener.on_message(scene.intruder.id, pack_link(DigestRequest(1)))
        await scene.all_is_well()

    perform(play)


def test_own_votes_about_things_that_are_not() -> None:
    """A member votes about thousands of versions and attempts of keys that nobody has, so that
    nodes take each up as a case to decide, for ever. They take up a bounded number by one peer's
    word, give them up as nothing when their time comes, and decide what matters meanwhile."""

    async def play(scene: Scene) -> None:
        await scene.generate()
        intruder, victim = scene.intruder, scene.victim
        mine: forge.Signers = {intruder.id: intruder}
        for number in range(4 * MAX_CASES_BY_PEER):
            subject = Subject(SubjectKind.RECORD, _name(number), 1)
            (vote,) = forge.votes(VoteKind.STATUS, subject, 1, ZERO_HASH, mine)
            intruder.send_link(victim.id, Entered(0, subject, 1, ZERO_HASH, vote.signature))
        await scene.settle(5)
        cases = victim.api._catalogue._recovery._cases  # type: ignore[attr-defined]
        by_peer = Counter(case.started_by for case in cases.values())
        assert 0 < by_peer[intruder.id] <= MAX_CASES_BY_PEER
        await scene.store()
        await scene.all_is_well()
        await scene.settle(600)
        assert Counter(c.started_by for c in cases.values())[intruder.id] <= (MAX_CASES_BY_PEER)

    perform(play)


def test_own_attempts_burnt_before_the_author_comes() -> None:
    """A member votes on the next attempt to store, or the next version, again and again, so that it
    is given up before the author comes. The author's attempt is another one then, and succeeds."""

    async def play(scene: Scene) -> None:
        await scene.generate()
        intruder = scene.intruder
        mine: forge.Signers = {intruder.id: intruder}
        for attempt in (1, 2):
            subject = Subject(SubjectKind.DOCUMENT, KEY, attempt)
            (vote,) = forge.votes(VoteKind.STATUS, subject, 1, ZERO_HASH, mine)
            for node in scene.honest:
                intruder.send_link(node.id, Entered(0, subject, 1, ZERO_HASH, vote.signature))
            await scene.settle(400)
        states = await scene.states()
        assert {len(state.document_skipped) for state in states} == {2}, "the attack works so far"
        await scene.store()
        await scene.all_is_well()

    perform(play)


def _vote_on(scene: Scene, subject: Subject) -> None:
    """Tell everybody that round 1 has begun for a subject."""
    intruder = scene.intruder
    mine: forge.Signers = {intruder.id: intruder}
    (vote,) = forge.votes(VoteKind.STATUS, subject, 1, ZERO_HASH, mine)
    for node in scene.honest:
        intruder.send_link(node.id, Entered(0, subject, 1, ZERO_HASH, vote.signature))


def test_own_attempts_burnt_for_hours() -> None:
    """The same for six hours, every two minutes: what was given up is kept for ever and goes along
    with every proposal, so it must not grow as fast as a member votes."""

    async def play(scene: Scene) -> None:
        await scene.generate()
        for _ in range(6 * 30):
            state = await scene.victim.store.load(KEY)
            _vote_on(scene, Subject(SubjectKind.DOCUMENT, KEY, state.next_document_attempt))
            await scene.settle(120)
        state = await scene.victim.store.load(KEY)
        assert len(state.document_skipped) <= 12
        await scene.store()
        await scene.all_is_well()

    perform(play)


def test_own_keys_given_up_before_anybody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member has one key after the other given up that nobody has asked for: every node keeps the
    decision for ever. One peer may bring about so many a day (here: forty-eight)."""
    monkeypatch.setattr(recovery, "MAX_BROUGHT_A_DAY", 48)

    async def play(scene: Scene) -> None:
        await scene.own_key()
        names = [_name(number) for number in range(96)]
        for start in range(0, len(names), 32):
            for name in names[start : start + 32]:
                _vote_on(scene, Subject(SubjectKind.RECORD, name, 1))
            await scene.settle(600)
        given_up = [name for name in names if (await scene.victim.store.load(name)).skipped]
        assert 32 <= len(given_up) <= 48
        await scene.all_is_well()

    perform(play)


def test_own_evidence_turned_against_others() -> None:
    """A member that was convicted itself takes the evidence, writes other nodes' names into it,
    alters it everywhere, and accuses everybody else with that: nobody but itself is avoided."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder, victim = scene.intruder, scene.victim
        records: set[bytes] = set()
        for node in scene.honest:
            node.recorder.on_misbehaviour = (  # type: ignore[method-assign]
                lambda culprits, what, evidence: records.add(evidence)
            )
        intruder.rewrite = rewriting(Partial=lambda _, part: wrong_part(intruder, part))
        for _ in range(4):
            await scene.retrieve()
        assert records, "it was caught"
        catalogue = victim.api._catalogue
        assert catalogue.avoided == {intruder.id}  # type: ignore[attr-defined]
        tried = 0
        for record in list(records):
            for other in _altered(record, intruder.id, [node.id for node in scene.honest]):
                for node in scene.honest:
                    intruder.send_link(node.id, Accusation(0, other))
                    await scene.settle(1)
                    tried += 1
        assert tried > 40
        await scene.settle(120)
        for node in scene.honest:
            assert node.api._catalogue.avoided == {intruder.id}  # type: ignore[attr-defined]
        await scene.all_is_well()

    perform(play)


def _altered(record: bytes, own: NodeId, others: list[NodeId]) -> list[bytes]:
    mine = own.point.compressed
    renamed = [record.replace(mine, other.point.compressed) for other in others]
    flipped = [
        record[:place] + bytes([record[place] ^ 1]) + record[place + 1 :]
        for place in range(5, len(record), max(1, len(record) // 12))
    ]
    assert mine in record
    return [*renamed, *flipped, record[:-1], record + b"\0"]


def test_own_work_for_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much a node computes for messages of one peer, in operations with its share: one per
    session that is allowed, none for one that is not, however often the peer asks."""
    made, counted = elgamal.shadow_partial, Counter[str]()

    def counting(*args: Any) -> Any:
        counted["partial"] += 1
        return made(*args)

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        monkeypatch.setattr(f"{participant.__name__}.shadow_partial", counting)
        request = request_of(scene.on_chain_user())
        counter = scene.intruder.next_counter()
        for _ in range(20):
            await asker.ask_as(counter, request, mode=ON_CHAIN)
        once = counted["partial"]
        scene.deny(lambda _: False)
        for _ in range(20):
            await asker.ask(request, mode=ON_CHAIN)
        assert once == len(scene.honest)
        assert counted["partial"] == once

    perform(play)
