"""Has the shares of a key redistributed, by whichever holders can (engine design, section 13).

A session that fails may leave promises behind: its version is decided first, as a record or as
*nothing*, before the next one is tried. A dealer that fails is asked again only where others are
too few. A node that is waited for in vain costs seconds: it is not asked for the next keys, and
gets its shares of them later. Two nodes that want the same key at the same time can take each
other's promises: the pauses between attempts are random and grow.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import structlog

from keyserver.crypto.randomness import RandomSource
from keyserver.engine.credentials import CredentialSource
from keyserver.engine.knowledge import Found
from keyserver.engine.ports import RecordStore, Transport
from keyserver.engine.refresh_tries import TRIES_A_RUN
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import AnyOperation, NodeCredential, Reshare
from keyserver.sessions.core import (
    Context,
    Event,
    KeyState,
    SessionType,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.sharing import REDISTRIBUTION, Succession

SPARE_ATTEMPTS: Final = 3
"""Sessions beyond one for every node that could fail as a dealer: something may be in the way."""

DECIDED_WITHIN_S: Final = 20.0
"""How long to wait for the decision about a version that a session has left undecided."""

UNBOUND_S: Final = 2.0
"""The same, where this node itself has promised nothing: perhaps nobody has."""

FIRST_PAUSE_S: Final = 0.1
"""The longest pause before the second attempt; twice as long before each further one."""

LONGEST_PAUSE_S: Final = 5.0

LATELY_S: Final = 600.0
"""How long a node that has failed as a dealer deals for other keys only where it must, and one that
was waited for in vain is not asked."""

NOT_ACCEPTED: Final = "AccessDenied"
"""This node takes no part in the change itself, or not any more."""

LOOK_EVERY_S: Final = 0.1
"""How often to look whether it is there."""

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


class Peers(Protocol):
    """What is known of other nodes (`keyserver.engine.catalogue`)."""

    @property
    def avoided(self) -> frozenset[NodeId]:
        """Nodes that deal only where there are too few others."""
        ...

    def holders(self, key_id: KeyId) -> frozenset[NodeId]:
        """Nodes that say they hold a share, beyond those of the certificate."""
        ...

    async def fetch(self, key_id: KeyId) -> Found:
        """Ask the connected peers for a key; what is new and proven is in the store then."""
        ...


class _Lately:
    """Nodes that have done something lately."""

    def __init__(self) -> None:
        self._at: dict[NodeId, float] = {}

    def note(self, nodes: Iterable[NodeId]) -> None:
        """They have done it now."""
        self._at.update(dict.fromkeys(nodes, _now()))

    def lately(self) -> frozenset[NodeId]:
        """All that have done it not long ago."""
        since = _now() - LATELY_S
        return frozenset(node for node, at in self._at.items() if at > since)


class Redistributions:
    """Redistributes keys as coordinator, any number of them at the same time."""

    def __init__(
        self,
        me: NodeId,
        sessions: Sessions,
        store: RecordStore,
        transport: Transport,
        peers: Peers,
        random: RandomSource,
    ) -> None:
        self._me = me
        self._sessions = sessions
        self._store = store
        self._transport = transport
        self._peers = peers
        self._random = random
        self._failed = _Lately()
        """As dealers."""
        self._silent = _Lately()
        """Waited for in vain."""

    async def redistribute(
        self, key_id: KeyId, change_id: Hash32, target: NodeSet
    ) -> CertifiedRecord:
        """Have the next version of a key be on `target`; returns it when it is decided.

        `change_id` names a change that the nodes have accepted, or is zeros for a refresh, which
        makes a new version in any case; a key that a change has moved already stays as it is.
        Raises a `SessionError` when it cannot be done: then the version before is in force.
        """
        state = await self._known(key_id)
        failed: frozenset[NodeId] = frozenset()
        all_needed = False
        first = _version(state)
        attempts = SPARE_ATTEMPTS + len(_active(state).record.committee)
        if change_id == ZERO_HASH:
            attempts = TRIES_A_RUN
        for attempt in range(attempts):
            before = _active(state)
            moved = before.record.set_id == target.id
            if moved and (change_id != ZERO_HASH or before.record.version > first):
                return before
            dealers = self._dealers(before, state, target, failed)
            spared = frozenset() if all_needed else self._silent.lately() - set(dealers)
            try:
                return await self._attempt(state, change_id, target, dealers, spared)
            except UnavailableError as error:
                log.info("key_not_redistributed", key_id=key_id, why=str(error))
                if attempt == attempts - 1 or error.code == NOT_ACCEPTED:
                    raise
                failed |= error.failed
                all_needed = all_needed or not error.failed
                await asyncio.sleep(self._pause_s(attempt))
                state = await self._settled(key_id, state)
        raise AssertionError("the last attempt has returned or raised")

    async def _attempt(
        self,
        state: KeyState,
        change_id: Hash32,
        target: NodeSet,
        dealers: tuple[NodeId, ...],
        spared: frozenset[NodeId],
    ) -> CertifiedRecord:
        """One session; takes note of who has failed in it, or has kept it waiting."""
        before, session = _active(state), _Sparing(spared)
        document = state.document.document.hash if state.document else ZERO_HASH
        try:
            result = await self._sessions.execute(
                session.type,
                Reshare(before.record.key_id, change_id, document),
                lambda _: NodeCredential(),
                Succession(before, state.skipped, state.document, dealers),
            )
        except UnavailableError as error:
            self._failed.note(error.failed)
            raise
        finally:
            if session.silent:
                self._silent.note(session.silent)
                log.info("nodes_waited_for_in_vain", nodes=sorted(session.silent))
        assert isinstance(result, CertifiedRecord)
        return result

    async def _known(self, key_id: KeyId) -> KeyState:
        state = await self._store.load(key_id)
        if state.active is None:
            await self._peers.fetch(key_id)
            state = await self._store.load(key_id)
        if state.active is None:
            raise UnavailableError("the key is not known here", "ServerKeyIsNotFound")
        return state

    def _dealers(
        self,
        certified: CertifiedRecord,
        state: KeyState,
        target: NodeSet,
        failed: frozenset[NodeId],
    ) -> tuple[NodeId, ...]:
        """t + 1 connected holders: staying nodes first, those that failed or were caught last."""
        record = certified.record
        signers = {entry.node for entry in certified.certificate.holding.signatures}
        known = (signers | self._peers.holders(record.key_id)) & set(record.nodes)
        known = (known & self._transport.connected) - {self._me}
        if state.share is not None:
            known.add(self._me)
        avoided = self._peers.avoided | self._failed.lately() | self._silent.lately()
        able = _shuffled(sorted(known), self._random)
        able.sort(key=lambda node: (node in failed, node in avoided, node not in target))
        if len(able) < record.required_nodes:
            raise UnavailableError("too few holders can deal", "ConsensusTemporaryUnreachable")
        return tuple(sorted(able[: record.required_nodes]))

    def _pause_s(self, attempt: int) -> float:
        longest = min(FIRST_PAUSE_S * 2.0**attempt, LONGEST_PAUSE_S)
        return longest * int.from_bytes(self._random.bytes(2), "big") / 2**16

    async def _settled(self, key_id: KeyId, before: KeyState) -> KeyState:
        """What is known once the version is decided; or what is known, if that takes too long."""
        decides = self._me in _active(before).record.nodes
        waited = 0.0
        while True:
            state = await self._store.load(key_id)
            bound = state.promise is not None or state.prepared is not None
            limit = DECIDED_WITHIN_S if bound else UNBOUND_S
            if _progress(state) > _progress(before) or waited >= limit:
                return state
            if not decides or not bound:
                await self._peers.fetch(key_id)
            await asyncio.sleep(LOOK_EVERY_S)
            waited += LOOK_EVERY_S


def _now() -> float:
    """Seconds, by the clock of the event loop."""
    return asyncio.get_running_loop().time()


class _Sparing:
    """A redistribution that is not proposed to some nodes, unless it cannot do without them."""

    def __init__(self, spared: frozenset[NodeId]) -> None:
        self._spared = spared
        self.silent: frozenset[NodeId] = frozenset()
        """Who was waited for until the time was up."""

    @property
    def type(self) -> SessionType[Any]:
        """For a coordinator; to be run once."""
        return replace(REDISTRIBUTION, start=self._start, step=self._step)

    def _start(self, ctx: Context, succession: Succession) -> Step[Any]:
        others = replace(ctx, connected=ctx.connected - self._spared)
        try:
            return REDISTRIBUTION.start(others, succession)
        except UnavailableError:
            return REDISTRIBUTION.start(ctx, succession)

    def _step(self, ctx: Context, phase: Any, event: Event) -> Step[Any]:
        if isinstance(event, TimerFired):
            self.silent |= phase.round.waiting - {ctx.me}
        return REDISTRIBUTION.step(ctx, phase, event)


def _active(state: KeyState) -> CertifiedRecord:
    assert state.active is not None
    return state.active


def _version(state: KeyState) -> int:
    return _active(state).record.version


def _progress(state: KeyState) -> tuple[int, bool]:
    """What only grows: decided versions, and whether there is a document key."""
    return state.next_version, state.document is not None


def _shuffled(nodes: Sequence[NodeId], random: RandomSource) -> list[NodeId]:
    keyed = [(random.bytes(8), node) for node in nodes]
    return [node for _, node in sorted(keyed)]
