"""What is made of evidence: judged, kept, shown, and forgotten in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from structlog.testing import capture_logs

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.blame import AVOIDED_S, MAX_JUDGED, MAX_JUDGED_BYTES, Blame
from keyserver.engine.links import Accusation, unpack_link
from keyserver.engine.ports import MAX_OFFENCES, Identity, Ports
from keyserver.model.identifiers import Address, NodeId, Nonce32
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.sessions.conviction import MAGIC, MAX_EVIDENCE_BYTES, report_of
from keyserver.sessions.core import Policy, Report
from keyserver.sessions.evidence import encode_evidence, evidence_hash
from keyserver.sessions.vote_evidence import TwoVotes
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.cluster import FixedSets, Recorder, ScriptedAccess
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.support.delivery import Delivery
from tests.support.evidence import NODES, samples, two_votes
from tests.support.manual_clock import ManualClock

MEMBERS = [member.id for member in Delivery(NODES).members]
CLUSTER = NodeSet(1, Address(bytes(20)), tuple(sorted(MEMBERS)))
LIAR = two_votes(VoteKind.COMMIT).culprit
ME, PEER, OTHER = (node for node in MEMBERS if node != LIAR)


@dataclass
class Sent:
    """A transport that takes everything down."""

    connected: frozenset[NodeId] = frozenset(MEMBERS) - {ME}
    accusations: list[tuple[NodeId, bytes]] = field(default_factory=list)

    def send(self, to: NodeId, message: bytes) -> bool:
        accusation = unpack_link(message)
        assert isinstance(accusation, Accusation)
        self.accusations.append((to, accusation.evidence))
        return True

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        return None


class Site:
    """A node's blame, over a disk that survives."""

    def __init__(self, me: NodeId = ME, disk: MemoryDisk | None = None) -> None:
        self.disk = disk or MemoryDisk()
        self.sent = Sent()
        self.recorder = Recorder()
        self.clock = ManualClock()
        snapshot = NodeSetSnapshot(CLUSTER, CLUSTER, None, (), 0, 0)
        signer = Delivery(NODES).by_id[me].signer
        ports = Ports(
            self.sent,
            MemoryRecordStore(self.disk),
            ScriptedAccess(),
            FixedSets(snapshot),
            self.clock,
            self.recorder,
            self.recorder,
        )
        identity = Identity(me, signer, Nonce32(bytes(32)), SeededRandom(b"r"), Policy)
        self.blame = Blame(identity, ports)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.blame.run())
        await _settle()
        try:
            yield
            await _settle()
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def report(round_: int = 1) -> Report:
    return report_of(two_votes(VoteKind.COMMIT, round_=round_).evidence)


def accusation(round_: int = 1) -> Accusation:
    return Accusation(0, report(round_).evidence)


async def test_what_this_node_finds_is_kept_and_shown_to_all_others() -> None:
    site = Site()
    async with site.running():
        site.blame.on_report(report())
        site.blame.on_report(report())
    data = report().evidence
    assert site.sent.accusations == [(node, data) for node in sorted({PEER, OTHER})]
    (offence,) = site.blame.offences
    assert (offence.culprit, offence.rule) == (LIAR, "two_votes")
    assert await site.blame.record(offence.evidence) == data
    assert site.blame.avoided == {LIAR}
    assert site.recorder.culprits == {LIAR}


async def test_what_a_peer_shows_is_judged_and_not_passed_on() -> None:
    site = Site()
    async with site.running():
        assert site.blame.on_accusation(PEER, accusation())
        assert site.blame.on_accusation(OTHER, accusation())
    assert len(site.blame.offences) == 1
    assert site.sent.accusations == []
    assert site.recorder.culprits == {LIAR}


async def test_invalid_evidence_is_garbage() -> None:
    site = Site()
    evidence = two_votes(VoteKind.COMMIT).evidence
    assert isinstance(evidence, TwoVotes)
    invented = encode_evidence(replace(evidence, voter=OTHER))
    for data in (invented, b"", report().evidence[:-1]):
        assert not site.blame.on_accusation(PEER, Accusation(0, data))
    assert site.blame.offences == []
    assert site.recorder.culprits == set()


async def test_what_a_newer_program_writes_is_no_garbage() -> None:
    site = Site()
    for newer in (MAGIC + b"\x02\x01", MAGIC + b"\x01\xfe"):
        assert site.blame.on_accusation(PEER, Accusation(0, newer + bytes(9)))
    assert site.blame.offences == []


async def test_nodes_that_nobody_knows_are_not_kept() -> None:
    """Anybody can make keys and convict their owners: that must not fill the disk."""
    site = Site()
    snapshot = site.blame._ports.node_sets.snapshot
    smaller = NodeSet(1, Address(bytes(20)), tuple(sorted({ME, PEER, OTHER})))
    sets: Any = site.blame._ports.node_sets
    sets.snapshot = replace(snapshot, current=smaller, new=smaller)
    assert site.blame.on_accusation(PEER, accusation())
    assert site.blame.offences == []


async def test_a_node_does_not_accuse_or_avoid_itself() -> None:
    site = Site(me=LIAR)
    async with site.running():
        site.blame.on_report(report())
    assert site.sent.accusations == []
    assert site.blame.avoided == frozenset()
    assert len(site.blame.offences) == 1, "its operator should hear of it"


async def test_an_own_mistake_is_not_told_as_evidence() -> None:
    site = Site()
    site.blame.on_report(Report(frozenset({OTHER}), "lied", b"evidence"))
    assert site.blame.offences == []
    assert site.recorder.culprits == set()


async def test_it_is_over_after_a_day() -> None:
    site = Site()
    async with site.running():
        site.blame.on_report(report())
        site.clock.advance(AVOIDED_S - 1)
        assert site.blame.avoided == {LIAR}
        site.clock.advance(1)
        assert site.blame.avoided == frozenset()
        assert len(site.blame.offences) == 1
        site.blame.on_report(report(2))
        assert site.blame.avoided == {LIAR}
        assert [offence.first_seen for offence in site.blame.current] == [site.clock.unix()]


async def test_a_restart_changes_nothing() -> None:
    before = Site()
    async with before.running():
        before.blame.on_report(report())
    after = Site(disk=before.disk)
    assert after.blame.avoided == frozenset()
    async with after.running():
        assert after.blame.offences == before.blame.offences
        assert after.blame.avoided == {LIAR}
        assert after.blame.on_accusation(PEER, accusation())
    assert after.recorder.culprits == set(), "it is not news"


async def test_a_peer_that_was_away_is_shown_the_newest_offence_of_each() -> None:
    site = Site()
    partial = report_of(samples()["wrong partial"].evidence)
    async with site.running():
        site.blame.on_report(report(1))
        site.clock.advance(5)
        site.blame.on_report(report(2))
        site.sent.accusations.clear()
        site.blame.on_connected(PEER)
        site.blame.on_connected(LIAR)
        await _settle()
        assert site.sent.accusations == [(PEER, report(2).evidence)]
    assert evidence_hash(partial.evidence) not in {o.evidence for o in site.blame.offences}


async def test_what_came_before_the_start_is_kept_too() -> None:
    site = Site()
    site.blame.on_report(report())
    async with site.running():
        pass
    assert len(site.disk.state.evidence) == 1


async def test_a_flood_of_offences_is_bounded() -> None:
    site = Site()
    async with site.running():
        for round_ in range(1, MAX_OFFENCES + 5):
            site.clock.advance(1)
            site.blame.on_report(report(round_))
    assert len(site.blame.offences) == len(site.disk.state.evidence) == MAX_OFFENCES
    assert site.blame.offences[0].evidence == evidence_hash(report(MAX_OFFENCES + 4).evidence)


async def test_a_peer_is_judged_for_so_often_and_no_more() -> None:
    site = Site()
    async with site.running():
        for round_ in range(1, MAX_JUDGED + 20):
            assert site.blame.on_accusation(PEER, accusation(round_))
        assert site.blame.on_accusation(PEER, Accusation(0, b"not even looked at"))
        assert not site.blame.on_accusation(OTHER, Accusation(0, b"another peer's is"))
        site.clock.advance(61)
        assert not site.blame.on_accusation(PEER, Accusation(0, b"looked at again"))


async def test_a_peer_is_judged_for_so_many_bytes_and_no_more() -> None:
    """A record of 256 invented nodes takes seconds to judge: a peer gets only a few of these."""
    site = Site()
    longest = Accusation(0, bytes(MAX_EVIDENCE_BYTES))
    half = Accusation(0, bytes(MAX_JUDGED_BYTES // 2))
    async with site.running():
        assert not site.blame.on_accusation(PEER, longest), "judged: it is the only one"
        assert site.blame.on_accusation(PEER, half), "not looked at"
        assert not site.blame.on_accusation(OTHER, half)
        assert not site.blame.on_accusation(OTHER, half)
        assert site.blame.on_accusation(OTHER, Accusation(0, b"not looked at"))
        site.clock.advance(60)
        assert not site.blame.on_accusation(OTHER, half)


async def test_a_clock_that_was_ahead_makes_nobody_avoided_for_long() -> None:
    site = Site()
    async with site.running():
        site.clock.advance(365 * AVOIDED_S)
        site.blame.on_report(report())
        site.clock.advance(-365 * AVOIDED_S)
        assert site.blame.avoided == frozenset()
        assert len(site.blame.offences) == 1


async def test_a_disk_that_fails_costs_the_evidence_only() -> None:
    site = Site()
    site.disk.fail_commit()
    structlog.reset_defaults()
    with capture_logs() as logs:
        async with site.running():
            site.blame.on_report(report(1))
            await _settle()
            site.blame.on_report(report(2))
    assert len(site.blame.offences) == 2
    assert len(site.disk.state.evidence) == 1
    assert [line["event"] for line in logs].count("evidence_not_kept") == 1
    told = next(line for line in logs if line["event"] == "peer_misbehaved")
    assert (told["culprit"], told["rule"]) == (LIAR, "two_votes")
    assert told["evidence"] == evidence_hash(report(1).evidence)
