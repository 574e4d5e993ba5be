"""Who was caught: keeps the evidence, shows it to all peers, and says whom to avoid.

Nobody is believed here. What a session reports and what a peer sends are judged alike, from the
record alone (`keyserver.sessions.evidence`). The culprit stays a member of everything: membership
is decided elsewhere; it is only chosen last for a day (engine design, section 17).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from keyserver.engine.links import Accusation, pack_link
from keyserver.engine.ports import MAX_OFFENCES, Identity, Offence, Ports
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.sessions.core import Report
from keyserver.sessions.evidence import (
    Conviction,
    InvalidEvidenceError,
    UnknownEvidenceError,
    decode_evidence,
    evidence_hash,
    judge,
)

AVOIDED_S: Final = 24 * 3600
"""For how long a node is avoided after it was caught."""

MAX_JUDGED: Final = 32
"""Records of one peer that are judged within `JUDGED_WITHIN_S`; more are not looked at."""

MAX_JUDGED_BYTES: Final = 2**17
"""The same in bytes, or a single record that is longer: judging the worst that fits takes seconds
for 256 nodes with long coordinates, and anybody can make up such nodes."""

JUDGED_WITHIN_S: Final = 60.0

log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]


class Blame:
    """The offences this node knows of."""

    def __init__(self, identity: Identity, ports: Ports) -> None:
        self._me = identity.me
        self._ports = ports
        self._offences: dict[tuple[NodeId, Hash32], Offence] = {}
        self._records: set[Hash32] = set()
        """Hashes of records that need not be judged again."""
        self._judged: dict[NodeId, deque[tuple[float, int]]] = {}
        """When a peer's latest records were judged, and their sizes."""
        self._inbox: asyncio.Queue[Work] = asyncio.Queue()
        """What has to wait for the disk; never more than one per offence or connection."""

    async def run(self) -> None:
        """Recall what is on disk, then keep and show what comes; until cancelled."""
        await self._do(self._recall)
        while True:
            await self._do(await self._inbox.get())

    async def _do(self, work: Work) -> None:
        try:
            await work()
        except StorageError as problem:
            log.error("evidence_not_kept", problem=str(problem))

    # --- what is known ------------------------------------------------------------------------

    @property
    def offences(self) -> Sequence[Offence]:
        """All that are known, the newest first."""
        return sorted(self._offences.values(), key=lambda known: -known.first_seen)

    @property
    def current(self) -> Sequence[Offence]:
        """The newest offence of every node that is avoided now."""
        newest: dict[NodeId, Offence] = {}
        now = self._ports.clock.unix()
        for offence in self.offences:
            # Where the clock was set back, what is noted in the future is not avoided for longer.
            is_recent = abs(now - offence.first_seen) < AVOIDED_S
            if is_recent and offence.culprit != self._me:
                newest.setdefault(offence.culprit, offence)
        return list(newest.values())

    @property
    def avoided(self) -> frozenset[NodeId]:
        """Nodes with an offence younger than a day; never this node itself."""
        return frozenset(offence.culprit for offence in self.current)

    async def record(self, name: Hash32) -> bytes | None:
        """An encoded record by its hash; raises `StorageError`."""
        return await self._ports.store.evidence(name)

    # --- what comes ---------------------------------------------------------------------------

    def on_report(self, report: Report) -> None:
        """A part of this node has caught somebody: keep it, and tell everybody."""
        try:
            conviction = judge(decode_evidence(report.evidence))
        except InvalidEvidenceError as problem:
            log.error("own_evidence_invalid", what=report.what, problem=str(problem))
            return
        offence = self._note(conviction, report.evidence, told_by=None)
        if offence is not None and offence.culprit != self._me:
            for peer in sorted(self._ports.transport.connected - {offence.culprit}):
                self._accuse(peer, report.evidence)

    def on_accusation(self, peer: NodeId, accusation: Accusation) -> bool:
        """A peer shows evidence; false if it convicts nobody, which no correct node sends."""
        data = accusation.evidence
        if evidence_hash(data) in self._records or not self._may_judge(peer, len(data)):
            return True
        try:
            conviction = judge(decode_evidence(data))
        except UnknownEvidenceError as problem:
            log.info("evidence_not_understood", peer=peer, problem=str(problem))
            return True
        except InvalidEvidenceError as problem:
            log.warning("peer_sent_invalid_evidence", peer=peer, problem=str(problem))
            return False
        if conviction.culprit not in self._ports.node_sets.snapshot.all_nodes():
            log.info("evidence_about_a_stranger", peer=peer, culprit=conviction.culprit)
            return True
        self._note(conviction, data, told_by=peer)
        return True

    def on_connected(self, peer: NodeId) -> None:
        """A peer is there that may have missed who is avoided."""
        self._inbox.put_nowait(lambda: self._show_to(peer))

    def _may_judge(self, peer: NodeId, size: int) -> bool:
        now = self._ports.clock.monotonic()
        judged = self._judged.setdefault(peer, deque())
        while judged and now - judged[0][0] >= JUDGED_WITHIN_S:
            judged.popleft()
        too_long = bool(judged) and sum(each for _, each in judged) + size > MAX_JUDGED_BYTES
        if too_long or len(judged) >= MAX_JUDGED:
            return False
        judged.append((now, size))
        return True

    def _note(self, conviction: Conviction, data: bytes, told_by: NodeId | None) -> Offence | None:
        """Remember an offence; `None` if it is known already."""
        culprit, name = conviction.culprit, conviction.offence
        if (culprit, name) in self._offences:
            return None
        offence = Offence(
            culprit,
            name,
            conviction.rule.value,
            conviction.key_id,
            conviction.session,
            self._ports.clock.unix(),
            evidence_hash(data),
        )
        self._offences[culprit, name] = offence
        self._records.add(offence.evidence)
        self._forget_oldest(culprit)
        log.warning(
            "peer_misbehaved",
            culprit=culprit,
            rule=offence.rule,
            evidence=offence.evidence,
            key_id=offence.key_id,
            told_by=told_by,
        )
        self._ports.observer.on_misbehaviour(frozenset({culprit}), offence.rule, data)
        self._inbox.put_nowait(lambda: self._ports.store.keep_evidence(offence, data))
        return offence

    def _forget_oldest(self, culprit: NodeId) -> None:
        """Remember as many offences as the store keeps."""
        own = [known for known in self.offences if known.culprit == culprit]
        for forgotten in own[MAX_OFFENCES:]:
            del self._offences[culprit, forgotten.name]
            self._records.discard(forgotten.evidence)

    # --- disk and peers -----------------------------------------------------------------------

    async def _recall(self) -> None:
        for offence in await self._ports.store.offences():
            self._offences.setdefault((offence.culprit, offence.name), offence)
            self._records.add(offence.evidence)

    async def _show_to(self, peer: NodeId) -> None:
        """One record for each node that is avoided now: enough to have it avoided there, too."""
        for offence in self.current:
            record = await self._ports.store.evidence(offence.evidence)
            if record is not None and offence.culprit != peer:
                self._accuse(peer, record)

    def _accuse(self, peer: NodeId, record: bytes) -> None:
        """What cannot be sent is lost: it is shown again with the next connection."""
        self._ports.transport.send(peer, pack_link(Accusation(0, record)))
