"""Gets this node the shares it has missed, without an operator (engine design, section 14.2).

A node that was away when a key was made learns of its record when it is back, and then of t + 1
holders that are there asks for its share. Which keys lack one follows from the store: nothing is
remembered over a restart. What cannot be had now is tried again, later and later. A record or share
that is there, but cannot be used, is as good as absent; once after the start all are looked at.

A node that is not in the current set asks for nothing: its shares were taken from it on purpose.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from keyserver.crypto.randomness import RandomSource
from keyserver.engine.credentials import CredentialSource
from keyserver.engine.links import Have, pack_link
from keyserver.engine.ports import CatalogueEntry, Identity, Ports
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord, KeyRecord
from keyserver.model.quorums import Quorums
from keyserver.model.requests import AddShare, AnyOperation, NodeCredential
from keyserver.sessions.core import SessionError, SessionType, UnavailableError
from keyserver.sessions.share_addition import SHARE_ADDITION, Target

AT_ONCE: Final = 8
"""Keys for which a share is asked at the same time: clients come first."""

PAGE: Final = 256
"""Keys that are looked up at a time."""

PAUSE_S: Final = 1.0
"""Between two looks at the store, however much happens."""

FOUND_AT_ONCE: Final = 16
"""Lost records that are asked for between two looks at the keys without a share."""

PAUSE_PER_CHECK: Final = 10
"""The pause after a page of shares was looked at, as a multiple of what that took: it is a tenth of
what the machine can do, and done within an hour with a million keys."""

PAUSE_PER_READING: Final = 20
"""The same, as a multiple of what reading took: with a million keys that is seconds, and any peer
can bring news every second. A pause is no longer than the longest rest."""

FIRST_REST_S: Final = 5.0
"""How long a key rests after its first failure; twice as long after each further one."""

LONGEST_REST_S: Final = 60.0

log = structlog.get_logger()


class Sessions(Protocol):
    """Who runs sessions (`keyserver.engine.driver`)."""

    async def execute(
        self,
        session_type: SessionType[Any],
        operation: AnyOperation,
        credential: CredentialSource,
        argument: Any,
    ) -> Any:
        """Run a session as coordinator; returns its result or raises its `SessionError`."""
        ...


class Holders(Protocol):
    """What is known of other nodes (`keyserver.engine.catalogue`)."""

    @property
    def news(self) -> asyncio.Event:
        """Set when there may be new records here, or new holders."""
        ...

    @property
    def avoided(self) -> frozenset[NodeId]:
        """Nodes that are asked last."""
        ...

    def holders(self, key_id: KeyId) -> frozenset[NodeId]:
        """Nodes that say they hold a share, beyond those of the certificate."""
        ...

    async def fetch(self, key_id: KeyId) -> object:
        """Ask the connected peers for a key; what is new and proven is in the store then."""
        ...


@dataclass(frozen=True, slots=True)
class _Rest:
    """A key that is left alone for a while."""

    record_hash: Hash32
    failures: int
    until: float


class ShareAdditions:
    """Looks for keys without a share of this node, and adds them."""

    def __init__(
        self, identity: Identity, ports: Ports, sessions: Sessions, holders: Holders
    ) -> None:
        self._identity = identity
        self._ports = ports
        self._sessions = sessions
        self._holders = holders
        self._resting: dict[KeyId, _Rest] = {}
        self._foreign: set[Hash32] = set()
        """Records of committees that this node is not in."""
        self._lost: set[KeyId] = set()
        """Keys of whose records something is there, but nothing that can be used."""
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reading_s = 0.0
        """How long reading took in this look."""
        self.running = 0
        """How many keys are asked for now."""

    async def run(self) -> None:
        """Look whenever there is news or a rest is over, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._check_all())
            await self._look_for_ever()

    async def _check_all(self) -> None:
        """Read everything once, so that what is damaged is found before it is needed."""
        after: KeyId | None = None
        while True:
            began = self._now()
            try:
                page = await self._ports.store.catalogue(after, PAGE)
                damaged = [entry for entry in page if not await self._is_sound(entry)]
            except StorageError as problem:
                log.error("shares_not_checked", problem=str(problem))
                return
            if damaged:
                log.warning("keys_damaged", keys=len(damaged), first=damaged[0].key_id)
                self._holders.news.set()
            if not page:
                return
            after = page[-1].key_id
            await asyncio.sleep(PAUSE_PER_CHECK * (self._now() - began))

    async def _is_sound(self, entry: CatalogueEntry) -> bool:
        """Whether record and share can be used, as far as they are said to be there."""
        try:
            state = await self._ports.store.load(entry.key_id)
        except StorageError as problem:
            log.error("key_unusable", key_id=entry.key_id, problem=str(problem))
            return True
        if state.active is None:
            self._lost.add(entry.key_id)
            return False
        has_moved = state.active.record.hash != entry.record_hash
        return has_moved or not entry.has_share or state.share is not None

    async def _find_lost(self) -> None:
        """Ask for records anew; a share that is still there fits again then."""
        for key_id in sorted(self._lost)[:FOUND_AT_ONCE]:
            await self._holders.fetch(key_id)
            if (await self._ports.store.load(key_id)).active is not None:
                log.info("record_found_again", key_id=key_id)
                self._lost.discard(key_id)

    async def _look_for_ever(self) -> None:
        while True:
            self._holders.news.clear()
            self._reading_s = 0.0
            try:
                await self._find_lost()
                await self._look()
            except StorageError as problem:
                log.error("absent_keys_not_read", problem=str(problem))
            pause_s = min(PAUSE_PER_READING * self._reading_s, LONGEST_REST_S)
            await asyncio.sleep(max(PAUSE_S, pause_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_next()):
                    await self._holders.news.wait()

    def _now(self) -> float:
        return self._ports.clock.monotonic()

    @property
    def _is_member(self) -> bool:
        return self._identity.me in self._ports.node_sets.snapshot.current

    def _until_next(self) -> float | None:
        """Seconds until the first rest is over; `None` if no key rests.

        Who joins becomes a member without any news, and may lack shares by then.
        """
        if not self._is_member:
            return FIRST_REST_S
        ends = [rest.until for rest in self._resting.values()]
        return max(min(ends) - self._now(), 0) if ends else None

    async def _look(self) -> None:
        """Go through the keys without a share, page by page."""
        if not self._is_member:
            return
        after: KeyId | None = None
        seen: set[KeyId] = set()
        while page := await self._page(after):
            async with asyncio.TaskGroup() as tasks:
                for entry in page:
                    seen.add(entry.key_id)
                    if self._is_due(entry):
                        tasks.create_task(self._obtain(entry.key_id))
            after = page[-1].key_id
        for key_id in self._resting.keys() - seen:
            del self._resting[key_id]

    async def _page(self, after: KeyId | None) -> Sequence[CatalogueEntry]:
        began = self._now()
        page = await self._ports.store.absent(after, PAGE)
        self._reading_s += self._now() - began
        return page

    def _is_due(self, entry: CatalogueEntry) -> bool:
        rest = self._resting.get(entry.key_id)
        rests = rest is not None and rest.record_hash == entry.record_hash
        over = rest is None or rest.until <= self._now()
        return entry.record_hash not in self._foreign and (over or not rests)

    async def _obtain(self, key_id: KeyId) -> None:
        async with self._slots:
            self.running += 1
            try:
                await self._try(key_id)
            except StorageError as problem:
                log.error("key_unusable", key_id=key_id, problem=str(problem))
            finally:
                self.running -= 1

    async def _try(self, key_id: KeyId) -> None:
        state = await self._ports.store.load(key_id)
        if state.active is None or state.share is not None:
            return
        record = state.active.record
        if self._identity.me not in record.coordinates:
            self._foreign.add(record.hash)
            return
        if await self._attempts(state.active):
            self._resting.pop(key_id, None)
            self._tell(record)
        else:
            self._rest(record)

    def _rest(self, record: KeyRecord) -> None:
        before = self._resting.get(record.key_id)
        failures = before.failures if before and before.record_hash == record.hash else 0
        seconds = min(FIRST_REST_S * 2**failures, LONGEST_REST_S)
        until = self._now() + seconds
        self._resting[record.key_id] = _Rest(record.hash, failures + 1, until)

    async def _attempts(self, certified: CertifiedRecord) -> bool:
        """At most f + 1 sessions, each without the donors that failed in those before."""
        record = certified.record
        faulty = Quorums.of(len(record.committee), self._identity.policy().max_faulty).faulty
        failed: frozenset[NodeId] = frozenset()
        for _ in range(faulty + 1):
            donors = self._donors(certified, failed)
            if donors is None:
                break
            target = Target(record.hash, donors)
            try:
                await self._sessions.execute(
                    SHARE_ADDITION, AddShare(record.key_id), lambda _: NodeCredential(), target
                )
            except SessionError as error:
                failed |= error.failed if isinstance(error, UnavailableError) else frozenset()
                log.info("share_not_added", key_id=record.key_id, why=str(error))
            else:
                log.info("share_added", key_id=record.key_id, version=record.version)
                return True
        return False

    def _donors(
        self, certified: CertifiedRecord, failed: frozenset[NodeId]
    ) -> tuple[NodeId, ...] | None:
        """t + 1 connected holders in canonical order; `None` if there are not so many."""
        record = certified.record
        signers = {entry.node for entry in certified.certificate.holding.signatures}
        known = (signers | self._holders.holders(record.key_id)) & set(record.nodes)
        able = (known & self._ports.transport.connected) - failed - {self._identity.me}
        if len(able) < record.required_nodes:
            return None
        avoided = self._holders.avoided
        chosen = _shuffled(sorted(able - avoided), self._identity.random)
        chosen += _shuffled(sorted(able & avoided), self._identity.random)
        return tuple(sorted(chosen[: record.required_nodes]))

    def _tell(self, record: KeyRecord) -> None:
        """Everybody may ask this node now; who does not hear it asks others."""
        have = pack_link(Have(0, record.key_id, record.hash))
        for peer in sorted(self._ports.transport.connected):
            self._ports.transport.send(peer, have)


def _shuffled(nodes: Sequence[NodeId], random: RandomSource) -> list[NodeId]:
    keyed = [(random.bytes(8), node) for node in nodes]
    return [node for _, node in sorted(keyed)]
