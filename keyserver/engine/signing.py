"""Joint signatures: finds the key, chooses who signs, and tries again without those who failed.

Engine design, sections 11, 12 and 17. An ECDSA signature takes a presignature out of the stock, or
has one made first; `keep_stocked` makes some in advance for keys that are signed with. Nodes that
were caught, or have failed of late, sign only where the others are too few.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NoReturn

import structlog

from keyserver.engine.credentials import CredentialSource, signer_of
from keyserver.engine.driver import Driver
from keyserver.engine.knowledge import Knowledge, Known
from keyserver.engine.ports import RecordStore
from keyserver.engine.presignature_stock import PresignatureStock
from keyserver.engine.signing_counts import SigningCounts
from keyserver.errors import StorageError
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import KeyRecord
from keyserver.model.quorums import Quorums
from keyserver.model.requests import NodeCredential, Presign, SigningScheme, SignMessage
from keyserver.sessions.core import DeniedError, Refusal, StaleError, UnavailableError, Verdict
from keyserver.sessions.ecdsa_presigning import ECDSA_PRESIGNING, OwnPresignature
from keyserver.sessions.ecdsa_presigning import Target as PresigningTarget
from keyserver.sessions.ecdsa_signing import ECDSA_SIGNING, AloneTarget
from keyserver.sessions.ecdsa_signing import Target as EcdsaTarget
from keyserver.sessions.frost_signing import FROST_SIGNING
from keyserver.sessions.frost_signing import Target as FrostTarget
from keyserver.sessions.outcomes import EcdsaResult, SignatureResult
from keyserver.sessions.refusals import consensus_refused

REST_S: Final = 30.0
"""How long a key rests after a presignature could not be made in advance."""

IDLE_S: Final = 0.05
"""When nobody has asked for so long, presignatures are made: the answer leaves first."""

QUIET_S: Final = 2.0
"""How long they wait for such a moment."""

DOUBT_S: Final = 300.0
"""How long a node that has failed in a signature is chosen last."""

log = structlog.get_logger()

Holders = Callable[[Known, int], Sequence[NodeId]]
"""Whom to ask for shares, in order, where so many are needed."""


class Signing:
    """The signatures that this node coordinates."""

    def __init__(
        self,
        driver: Driver,
        store: RecordStore,
        knowledge: Knowledge,
        *,
        holders: Holders,
        stock: PresignatureStock,
        in_advance: int = 0,
    ) -> None:
        """`in_advance`: how many presignatures `keep_stocked` has ready for each key."""
        self._driver = driver
        self._store = store
        self._knowledge = knowledge
        self._holders = holders
        self._stock = stock
        self._in_advance = in_advance
        self.counts = SigningCounts()
        self._used: dict[KeyId, None] = {}
        self._wake = asyncio.Event()
        self._under_way = 0
        self._idle = asyncio.Event()
        """Set when the last signature under way has ended."""
        self._idle.set()
        self._ended = 0
        """How many signatures have ended."""
        self._failed_at: dict[NodeId, float] = {}

    @property
    def ready(self) -> int:
        """How many presignatures are there to be signed with."""
        return len(self._stock)

    async def sign(
        self, operation: SignMessage, credential: CredentialSource
    ) -> SignatureResult | EcdsaResult:
        """Have a message signed; raises `DeniedError` or `UnavailableError`."""
        known = await self._known(operation.key_id)
        if operation.scheme is not SigningScheme.ECDSA:
            return await self._schnorr(operation, credential, known)
        record = known.record.record
        if 2 * record.threshold + 1 > len(record.committee):
            raise DeniedError("the key has too few holders for ECDSA", "ConsensusUnreachable")
        await self._check_permission(operation, credential)
        with self._with_precedence():
            result = await self._ecdsa(operation, credential, known)
        self._used[operation.key_id] = None
        self._wake.set()
        return result

    async def _check_permission(self, operation: SignMessage, credential: CredentialSource) -> None:
        """Raise for whom this node's own view of the chain denies the key.

        A refused request costs a presignature, whoever refuses it: without this, accounts that
        cost nothing could have any number made. A contract's requests were looked at before.
        """
        requester = signer_of(credential)
        if requester is None:
            return
        if await self._driver.own_verdict(operation, requester) is Verdict.DENIED:
            raise DeniedError("the requester has no permission", "ConsensusUnreachable")

    async def _known(self, key_id: KeyId) -> Known:
        """From this node's own store if it is there: no peer is asked then."""
        state = await self._store.load(key_id)
        if state.active is not None:
            return Known(state, state.active)
        return await self._knowledge.key(key_id)

    def _attempts(self, record: KeyRecord) -> int:
        committee = len(record.committee)
        return Quorums.of(committee, self._driver.policy.max_faulty).faulty + 1

    # --- Schnorr ----------------------------------------------------------------------------------

    async def _schnorr(
        self, operation: SignMessage, credential: CredentialSource, known: Known
    ) -> SignatureResult:
        """At most f + 1 sessions, each without the nodes that failed in those before."""
        record, failed = known.record.record, frozenset[NodeId]()
        holders = tuple(self._holders(known, record.required_nodes))
        attempts = self._attempts(record)
        while True:
            attempts -= 1
            target = FrostTarget(known.record, holders, failed)
            try:
                result = await self._driver.execute(FROST_SIGNING, operation, credential, target)
            except UnavailableError as error:
                failed |= error.failed
                others = set(holders) & self._driver.connected - failed
                if not attempts or not error.failed or len(others) < record.required_nodes:
                    raise
            else:
                assert isinstance(result, SignatureResult)
                return result

    # --- ECDSA ------------------------------------------------------------------------------------

    async def _ecdsa(
        self, operation: SignMessage, credential: CredentialSource, known: Known
    ) -> EcdsaResult:
        """At most f + 1 attempts, with those who failed before only where others are too few.

        Who failed may have been started anew, and then lacks the presignature and nothing else.
        Each attempt asks some of the holders only: what they refuse for good is added up, and an
        attempt that has brought a new refusal does not count. That another version is in force is
        believed if more say so than may lie.
        """
        failed, refusing, stale = frozenset[NodeId](), frozenset[NodeId](), frozenset[NodeId]()
        attempts = self._attempts(known.record.record)
        while True:
            try:
                target = await self._target(known, failed)
                result = await self._driver.execute(ECDSA_SIGNING, operation, credential, target)
            except UnavailableError as error:
                failed |= error.failed
                self._doubt(error.failed - error.refusing)
                if error.refusing <= refusing:
                    attempts -= 1
                refusing |= error.refusing
                self._check_not_refused(known, refusing)
                stale |= error.failed if isinstance(error, StaleError) else frozenset()
                is_behind = len(stale) >= self._attempts(known.record.record)
                if is_behind or not attempts or not error.failed:
                    raise
            else:
                assert isinstance(result, EcdsaResult)
                return result

    def _check_not_refused(self, known: Known, refusing: frozenset[NodeId]) -> None:
        """Raise if so many refuse for good that too few are left (engine design, section 17)."""
        record = known.record.record
        needed = 2 * record.threshold + 1
        refused = consensus_refused(
            dict.fromkeys(refusing, Refusal.DENIED),
            nodes=len(self._holders(known, needed)),
            needed=needed,
            faulty=self._attempts(record) - 1,
        )
        if refused is not None:
            raise refused

    async def _target(self, known: Known, failed: frozenset[NodeId]) -> EcdsaTarget | AloneTarget:
        record = known.record.record
        holders = self._holders(known, 2 * record.threshold + 1)
        if record.threshold == 0:
            (alone,) = self._chosen(known, failed)
            return AloneTarget(known.record, alone, len(holders))
        presignature = await self._presignature(known, failed)
        return EcdsaTarget(known.record, presignature, len(holders))

    async def _presignature(self, known: Known, failed: frozenset[NodeId]) -> OwnPresignature:
        """One of the best nodes there are, from the stock if there is such a one."""
        record, connected = known.record.record, self._driver.connected - failed
        needed = 2 * record.threshold + 1
        for nodes in (connected - self._doubtful, connected):
            presignature = self._stock.take(record.key_id, record.hash, nodes)
            if presignature is not None:
                return presignature
            if len(nodes.intersection(self._holders(known, needed))) >= needed:
                break  # those who are better than what is in stock
        return await self._presign(known, failed)

    @property
    def _doubtful(self) -> frozenset[NodeId]:
        """Nodes that were caught, or have failed of late."""
        now = asyncio.get_running_loop().time()
        self._failed_at = {node: at for node, at in self._failed_at.items() if now < at + DOUBT_S}
        return self._driver.avoided | self._failed_at.keys()

    def _doubt(self, failed: frozenset[NodeId]) -> None:
        now = asyncio.get_running_loop().time()
        self._failed_at |= dict.fromkeys(failed, now)

    def _chosen(self, known: Known, failed: frozenset[NodeId]) -> tuple[NodeId, ...]:
        """2t + 1 connected holders in canonical order; those in doubt, and who failed now, last."""
        needed = 2 * known.record.record.threshold + 1
        connected = self._driver.connected
        able = [node for node in self._holders(known, needed) if node in connected]
        if len(able) < needed:
            raise UnavailableError("too few holders are connected")
        doubtful = self._doubtful
        able.sort(key=lambda node: (node in failed, node in doubtful))
        return tuple(sorted(able[:needed]))

    async def _presign(self, known: Known, failed: frozenset[NodeId]) -> OwnPresignature:
        record, operation = known.record, Presign(known.record.record.key_id)
        with self.counts.counted_presigning():
            target = PresigningTarget(record, self._chosen(known, failed))
            made = await self._driver.execute(
                ECDSA_PRESIGNING, operation, lambda _: NodeCredential(), target
            )
        assert isinstance(made, OwnPresignature)
        return made

    # --- in advance -------------------------------------------------------------------------------

    async def keep_stocked(self) -> NoReturn:
        """Have presignatures made for keys that were signed with, one at a time, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for key_id in tuple(self._used):
                await self._stock_up(key_id)

    async def _stock_up(self, key_id: KeyId) -> None:
        """Make up for what was used of a key; give it a rest where that fails."""
        try:
            while await self._is_wanting(key_id):
                await self._wait_until_idle()
                self._stock.add(await self._presign(await self._known(key_id), frozenset()))
        except (UnavailableError, StorageError) as problem:
            log.info("presigning_failed", key_id=key_id, problem=str(problem))
            self.counts.last_failure = str(problem)
            if isinstance(problem, UnavailableError):
                self._doubt(problem.failed)
            loop = asyncio.get_running_loop()
            loop.call_later(REST_S, self._wake.set)
            return
        except DeniedError as problem:
            log.info("presigning_given_up", key_id=key_id, problem=str(problem))
            self.counts.last_failure = None
        del self._used[key_id]

    @contextlib.contextmanager
    def _with_precedence(self) -> Iterator[None]:
        """A signature is under way: what is made in advance makes way."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            self._ended += 1
            if not self._under_way:
                self._idle.set()

    async def _wait_until_idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                while True:
                    await self._idle.wait()
                    ended = self._ended
                    await asyncio.sleep(IDLE_S)
                    if self._idle.is_set() and self._ended == ended:
                        return

    async def _is_wanting(self, key_id: KeyId) -> bool:
        known = await self._known(key_id)
        record = known.record.record
        if record.threshold == 0 or not self._stock.has_room:
            return False
        return self._stock.count(key_id, record.hash) < self._in_advance
