"""Who is asked to deal, what a failure leads to, and when a key is left alone."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.redistributions import LATELY_S, NOT_ACCEPTED, SPARE_ATTEMPTS, Redistributions
from keyserver.engine.refresh_tries import TRIES_A_RUN
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId
from keyserver.model.keys import Certificate, CertifiedRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import Reshare
from keyserver.sessions.core import (
    DeniedError,
    SessionError,
    UnavailableError,
)
from keyserver.sessions.sharing import Succession
from keyserver.sessions.writes import (
    PutActive,
    PutDocument,
    PutNothing,
    PutPrepared,
    PutPromise,
    Write,
)
from keyserver.simulation.loop import run_virtual
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.unit.engine.signed_values import (
    KEY,
    NODES,
    OTHER_SET,
    SET,
    TRANSCRIPT,
    certified,
    certified_document,
    decision,
    holding,
    record,
    share,
    version,
)

CHANGE = Hash32(b"\xcc" * 32)
ME = NODES[0]
FIRST = certified(record(), by=NODES)
NEW = record(version=2, previous=FIRST.record.hash, nodes=OTHER_SET)
MOVED = CertifiedRecord(NEW, Certificate(holding(NEW), decision(version(2), NEW.hash)))
HELD: tuple[Write, ...] = (PutPrepared(FIRST.record, share(), TRANSCRIPT), PutActive(FIRST))

Outcome = SessionError | CertifiedRecord | Callable[[], Any]


@dataclass
class Bench:
    """A node whose sessions end as the test says."""

    outcomes: list[Outcome]
    store: MemoryRecordStore = field(default_factory=lambda: MemoryRecordStore(MemoryDisk()))
    connected: frozenset[NodeId] = frozenset(NODES[1:])
    avoided: frozenset[NodeId] = frozenset()
    fetched: int = 0
    fetch_brings: tuple[Write, ...] = ()
    asked: list[tuple[Reshare, Succession]] = field(default_factory=list)

    def holders(self, _key_id: KeyId) -> frozenset[NodeId]:
        return frozenset()

    async def fetch(self, _key_id: KeyId) -> Any:
        self.fetched += 1
        await self.store.commit(self.fetch_brings)

    def send(self, to: NodeId, message: bytes) -> bool:
        raise AssertionError("nothing is sent outside of sessions")

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        raise AssertionError("sessions are somebody else's")

    async def execute(self, _type: Any, operation: Any, credential: Any, argument: Any) -> Any:
        self.asked.append((operation, argument))
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, CertifiedRecord) else await outcome()

    async def run(
        self,
        *writes: Write,
        target: NodeSet = OTHER_SET,
        change: Hash32 = CHANGE,
    ) -> CertifiedRecord:
        await self.store.commit(writes)
        random = SeededRandom(3)
        each = Redistributions(ME, self, self.store, self, self, random)
        return await each.redistribute(KEY, change, target)

    @property
    def dealers(self) -> list[tuple[NodeId, ...]]:
        return [succession.dealers for _, succession in self.asked]


def play(bench: Bench, *writes: Write, **named: Any) -> CertifiedRecord:
    return run_virtual(bench.run(*writes, **named))


def unavailable(*failed: NodeId) -> UnavailableError:
    return UnavailableError("no", failed=frozenset(failed))


def test_the_request_names_change_and_document_key() -> None:
    stored = certified_document(FIRST.record)
    bench = Bench([MOVED])
    assert play(bench, *HELD, PutDocument(KEY, stored)) == MOVED
    ((operation, succession),) = bench.asked
    assert operation == Reshare(KEY, CHANGE, stored.document.hash)
    assert (succession.record, succession.document) == (FIRST, stored)
    plain = Bench([MOVED])
    play(plain, *HELD)
    assert plain.asked[0][0].document == ZERO_HASH


def test_staying_nodes_deal_before_others_and_caught_ones_last() -> None:
    staying = replace(OTHER_SET, nodes=tuple(sorted((ME, NODES[2]))))
    bench = Bench([MOVED])
    play(bench, *HELD, target=staying)
    assert bench.dealers == [tuple(sorted((ME, NODES[2])))]
    careful = Bench([MOVED], avoided=frozenset({NODES[2]}))
    play(careful, *HELD, target=staying)
    assert NODES[2] not in careful.dealers[0]
    assert ME in careful.dealers[0]


def test_a_node_without_a_share_does_not_deal() -> None:
    bench = Bench([MOVED])
    play(bench, PutActive(FIRST))
    assert ME not in bench.dealers[0]


def test_too_few_holders() -> None:
    with pytest.raises(UnavailableError, match="too few holders"):
        play(Bench([MOVED], connected=frozenset()), *HELD)


def test_an_unknown_key_is_asked_for() -> None:
    bench = Bench([MOVED], fetch_brings=(PutActive(FIRST),))
    assert play(bench) == MOVED
    assert bench.fetched == 1
    with pytest.raises(UnavailableError, match="not known"):
        play(Bench([MOVED]))


def test_who_failed_deals_no_more() -> None:
    bench = Bench([unavailable(ME), unavailable(NODES[1]), MOVED])
    assert play(bench, *HELD) == MOVED
    assert ME not in bench.dealers[1]
    assert not {ME, NODES[1]} & set(bench.dealers[2])


def test_who_failed_for_one_key_deals_for_others_only_where_it_must() -> None:
    """A silent node costs ten seconds; not for every key."""

    async def main() -> None:
        bench = Bench([unavailable(ME), unavailable(NODES[1]), MOVED])
        await bench.store.commit(HELD)
        each = Redistributions(ME, bench, bench.store, bench, bench, SeededRandom(3))
        for _ in range(5):
            await each.redistribute(KEY, CHANGE, OTHER_SET)
        assert len(bench.dealers) == 7
        assert not {ME, NODES[1]} & {node for dealers in bench.dealers[2:] for node in dealers}
        await asyncio.sleep(LATELY_S)
        for _ in range(20):
            await each.redistribute(KEY, CHANGE, OTHER_SET)
        assert {ME, NODES[1]} < {node for dealers in bench.dealers[7:] for node in dealers}

    run_virtual(main())


def test_attempts_come_to_an_end() -> None:
    bench = Bench([unavailable()])
    with pytest.raises(UnavailableError):
        play(bench, *HELD)
    assert len(bench.asked) == SPARE_ATTEMPTS + len(NODES)


def test_a_refresh_is_tried_less_often() -> None:
    """Others let nobody in more often; it comes round again."""
    bench = Bench([unavailable()])
    with pytest.raises(UnavailableError):
        play(bench, *HELD, change=ZERO_HASH, target=SET)
    assert len(bench.asked) == TRIES_A_RUN


def test_a_change_that_this_node_has_not_accepted_is_not_tried_again() -> None:
    """Or not any more: a change of the node set has ended, or one keeps refreshes away."""
    bench = Bench([unavailable(), UnavailableError("not accepted", NOT_ACCEPTED)])
    with pytest.raises(UnavailableError, match="not accepted"):
        play(bench, *HELD)
    assert len(bench.asked) == 2


def test_what_is_final_is_not_tried_again() -> None:
    bench = Bench([DeniedError("no", "NotEnoughNodesForThreshold")])
    with pytest.raises(DeniedError):
        play(bench, *HELD)
    assert len(bench.asked) == 1


def test_a_key_that_a_change_has_moved_stays_as_it_is() -> None:
    bench = Bench([unavailable()])
    assert play(bench, *HELD, PutActive(MOVED)) == MOVED
    assert bench.asked == []


def test_a_refresh_makes_a_new_version_in_any_case() -> None:
    bench = Bench([MOVED])
    play(bench, *HELD, target=SET, change=ZERO_HASH)
    assert bench.asked[0][0].change_id == ZERO_HASH


def test_what_was_decided_all_the_same_is_a_success() -> None:
    """Of a session that failed after the certificate was out; peers know of it."""
    bench = Bench([unavailable()], fetch_brings=(PutActive(MOVED),))
    assert play(bench, *HELD) == MOVED
    assert len(bench.asked) == 1
    refresh = Bench([unavailable()], fetch_brings=(PutActive(MOVED),))
    assert play(refresh, *HELD, change=ZERO_HASH) == MOVED
    assert len(refresh.asked) == 1


def test_the_next_attempt_waits_for_the_decision_about_the_last() -> None:
    bench = Bench([])
    given_up = decision(version(2))

    async def fails() -> None:
        await bench.store.commit((PutNothing(KEY, 2, given_up),))
        raise unavailable()

    bench.outcomes = [fails, MOVED]
    assert play(bench, *HELD) == MOVED
    assert [succession.skipped for _, succession in bench.asked] == [(), (given_up,)]


def test_a_decision_that_does_not_come_is_not_waited_for_for_ever() -> None:
    bench = Bench([])

    async def fails() -> None:
        await bench.store.commit((PutPromise(KEY, 2, TRANSCRIPT, ZERO_HASH),))
        raise unavailable()

    bench.outcomes = [fails, MOVED]
    assert play(bench, *HELD) == MOVED
    assert bench.fetched == 0, "this node decides itself"
