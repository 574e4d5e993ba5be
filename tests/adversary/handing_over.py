"""Plays a row of a redistribution or of a set change, and takes down what came of it.

One node of the set is replaced, or all are, or none is. The liars sit at the same places of the old
and of the new set: where the two have no node in common there are as many again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord, DocumentKey, KeyShare
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.model.set_change import CompletedChange
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError
from keyserver.sessions.core import KeyState, SessionError
from keyserver.sessions.set_change.phases import Report
from keyserver.simulation.adversary.floods import with_old_randomness
from keyserver.simulation.adversary.redistribution import FORMS
from keyserver.simulation.adversary.rows import Acts, Part, Protocol, Replays, Row
from keyserver.simulation.changing import ChangingSet
from keyserver.simulation.cluster import CONTRACT, Cluster, CrashedError, SimulatedNode
from tests.adversary.cheating import Cheating
from tests.adversary.sizes import Size
from tests.adversary.view import View

KEY, EARLIER_KEY = KeyId(b"\x01" * 32), KeyId(b"\x02" * 32)
AUTHOR = Address(b"\xa1" * 20)
READER = SecretScalar.from_int(815)
DOCUMENT_KEY: Point = mul_base(SecretScalar.from_int(4712))
CHANGE = Hash32(b"\xcc" * 32)
SETTLING_S, UNSETTLED_S = 900.0, 240.0
ATTEMPTS, PAUSE_S = 4, 45.0
"""As often as a change of the set tries a key: a version may be given up in a later round only."""
CHANGES = frozenset({*FORMS, Protocol.SET_CHANGE})
"""What is played here."""

FAILURES = (SessionError, OrderRefusedError, KeysWouldBeLostError, CrashedError)


@dataclass(frozen=True)
class Tried:
    """What an attempt came to."""

    result: CertifiedRecord | Report | None = None
    error: Exception | None = None


@dataclass
class HandingOver:
    """One row in one network."""

    row: Row
    size: Size
    cluster: Cluster
    cheating: Cheating
    old: list[SimulatedNode]
    new: list[SimulatedNode]
    changing: ChangingSet | None
    """Where a whole set changes; else a key is redistributed by itself."""
    tried: list[Tried] = field(default_factory=list)
    states: dict[NodeId, KeyState] = field(default_factory=dict)
    """Of the honest nodes, in the end."""
    after_liar: dict[NodeId, KeyState] = field(default_factory=dict)
    shares_before: dict[NodeId, KeyShare] = field(default_factory=dict)
    quiet: bool = False
    histories_after_liar: set[int] = field(default_factory=set)

    @property
    def honest(self) -> list[SimulatedNode]:
        """Honest nodes of either set."""
        return [node for node in self.cheating.honest if node in self.old or node in self.new]

    @property
    def liar_leads(self) -> bool:
        return self.row.part is Part.COORDINATOR

    @property
    def rehearsed(self) -> bool:
        """Whether a session goes before: of a change with a past the liars can tell another one."""
        return self.repeats or self.row.message in ("ChangeFrozen", "ChangeDone")

    @property
    def repeats(self) -> bool:
        """Whether the liars remember what they said in it."""
        return isinstance(self.row.deed, Replays) or self.row.deed == Acts(with_old_randomness)

    @property
    def target(self) -> NodeSet:
        """The set that the key is to go to."""
        current = self.cluster.sets.snapshot.current
        return NodeSet.of(current.chain_id, current.contract, {node.id for node in self.new})

    # --- the course -------------------------------------------------------------------------------

    async def play(self) -> None:
        """From the making of the key to where nothing is open any more."""
        await self._make(KEY)
        if self.repeats:
            await self._make(EARLIER_KEY)
        self.shares_before = await self._shares(self.cluster.nodes)
        self.cluster.successions.targets = {CHANGE: self.target, ZERO_HASH: self.target}
        leader = self._liar() if self.liar_leads else self._leader()
        if self.rehearsed and not self.repeats:
            await self._rehearse(leader)
        await self.cheating.corrupt()
        if self.repeats:
            await self._rehearse(leader)
        self.cheating.begin()
        await self.cheating.act()
        if self.liar_leads:
            self.tried.append(await self.attempt(leader))
            await self._settled()
            self.after_liar = dict(self.states)
            self.histories_after_liar = {len(self.history(node)) for node in self.honest}
            if self.changing is not None and not leader.is_up:
                leader.boot()  # an administrator's order needs everybody
                await asyncio.sleep(SETTLING_S)
        await self._lead()
        await self._settled()

    def _liar(self) -> SimulatedNode:
        """Who leads; where all nodes are others, one of those that join."""
        liars = self.cheating.liars
        return liars[-1] if self.row.protocol is Protocol.HANDOVER else liars[0]

    async def _make(self, key_id: KeyId) -> None:
        api, credential = self.old[0].api, OnChainAddress(CONTRACT, AUTHOR)
        made = await api.generate_server_key(key_id, self.size.threshold, credential)
        sealed = elgamal.encrypt_document_key(
            made.record.public, DOCUMENT_KEY, SeededRandom(b"author")
        )
        document = DocumentKey(sealed.common, sealed.encrypted)
        await api.store_document_key(key_id, document, credential)
        await asyncio.sleep(5)

    async def _shares(self, nodes: list[SimulatedNode]) -> dict[NodeId, KeyShare]:
        states = {node.id: await node.store.load(KEY) for node in nodes}
        return {node: state.share for node, state in states.items() if state.share is not None}

    async def _rehearse(self, leader: SimulatedNode) -> None:
        self.cheating.rehearsing = True
        await self.cheating.act()
        if self.changing is None:
            tried = await self.attempt(leader, EARLIER_KEY)
            assert tried.error is None, f"the rehearsal failed: {tried.error!r}"
        else:
            order = self.changing.bound([self._place(node) for node in self.old], epoch=1)
            await self.changing.carry_out(order, leader)
        await asyncio.sleep(1)
        self.cheating.rehearsing = False

    def _place(self, node: SimulatedNode) -> int:
        return self.cluster.nodes.index(node)

    async def _lead(self) -> None:
        """An honest node leads; what liars led before may have to be given up first."""
        for _ in range(ATTEMPTS if self.size.is_safe else 1):
            self.tried.append(await self.attempt(self._leader()))
            if self.tried[-1].error is None:
                return
            await asyncio.sleep(PAUSE_S)

    def _leader(self) -> SimulatedNode:
        """An honest node: one that leaves, but a master has to stay."""
        stay = [node for node in self.honest if node in self.old and node in self.new]
        return self.honest[0] if self.changing is None else (*stay, self.honest[-1])[0]

    async def attempt(self, by: SimulatedNode, key_id: KeyId = KEY) -> Tried:
        """Have a node lead the protocol of the row."""
        try:
            if self.changing is not None:
                return Tried(await self._change(self.changing, by))
            return Tried(await self._redistribute(by, key_id))
        except FAILURES as error:
            return Tried(error=error)

    async def _redistribute(self, by: SimulatedNode, key_id: KeyId) -> CertifiedRecord:
        change = ZERO_HASH if self.row.protocol is Protocol.REFRESH else CHANGE

        async def work(_: object) -> CertifiedRecord:
            assert by.redistributions is not None
            return await by.redistributions.redistribute(key_id, change, self.target)

        return await by.call(work)

    async def _change(self, changing: ChangingSet, by: SimulatedNode) -> Report:
        """Of a member's lies a migration tells more: it goes on without who fails."""
        new = [self._place(node) for node in self.new]
        if self.liar_leads:
            order = changing.bound(new, epoch=2 if self.rehearsed else 1)
            return await changing.carry_out(order, by)
        return await changing.carry_out(changing.migrate(new, by), by)

    def history(self, node: SimulatedNode) -> tuple[CompletedChange, ...]:
        """The changes that a node has written down."""
        return () if self.changing is None else self.changing.history(node)

    async def _settled(self) -> None:
        """Wait until honest nodes have nothing undecided and agree, for a quarter of an hour."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (SETTLING_S if self.size.is_safe else UNSETTLED_S)
        while True:
            self.states = {node.id: await node.store.load(KEY) for node in self.honest}
            self.quiet = self._is_quiet()
            if loop.time() > end or self.quiet:
                return
            await asyncio.sleep(5)

    def _is_quiet(self) -> bool:
        states = self.states.values()
        decided = not any(s.prepared or s.document_candidate or s.promise for s in states)
        records = {s.active.record.hash for s in states if s.active}
        documents = {s.document.document for s in states if s.document}
        idle = not any(node.api._driver.open_sessions for node in self.honest)
        holders = {node for node, state in self.states.items() if state.share}
        if not (decided and idle and len(records) == len(documents) == 1):
            return False
        record = next(s.active.record for s in states if s.active)
        return holders == {node for node in self.states if node in record.coordinates}

    async def retrieve(self, by: SimulatedNode) -> Point:
        """The document key, as somebody who may have it gets it from a node."""
        credential = OnChainPublic(CONTRACT, READER.public())
        result = await by.api.retrieve_shadow(KEY, credential)
        shadows = [SecretScalar(ecies.decrypt(READER, sealed)) for sealed in result.shadows]
        common = result.common_point
        return elgamal.recover_document_key(result.decrypted_secret, common, shadows)


def _places(row: Row, size: Size) -> tuple[range, range, frozenset[int]]:
    """The old set, the new one, and the liars."""
    n, liars = size.nodes, set(range(1, 1 + size.liars))
    if row.protocol is Protocol.REFRESH:
        return range(n), range(n), frozenset(liars)
    if row.protocol is Protocol.HANDOVER:
        return range(n), range(n, 2 * n), frozenset(liars | {n + place for place in liars})
    return range(n), range(1, n + 1), frozenset(liars)


Check = Callable[[HandingOver], Awaitable[None]]


async def handing_over_of(
    row: Row, size: Size, seed: int = 1, check: Check | None = None
) -> HandingOver:
    """Play a row in a network of its own."""
    old, new, liars = _places(row, size)
    cluster = Cluster(max(new.stop, old.stop), seed=seed)
    changing = ChangingSet(cluster, old) if row.protocol is Protocol.SET_CHANGE else None
    if changing is None:
        make_current(cluster, [cluster.nodes[place] for place in old])
    async with cluster:
        named = frozenset(cluster.nodes[place].id for place in liars)
        cheating = Cheating(row, cluster, View(named))
        cluster.network.overhear(cheating.hear)
        both = [[cluster.nodes[place] for place in places] for places in (old, new)]
        game = HandingOver(row, size, cluster, cheating, both[0], both[1], changing)
        await game.play()
        if check is not None:
            await check(game)
        return game


def make_current(cluster: Cluster, nodes: list[SimulatedNode]) -> None:
    """Have everybody take these nodes for the set; who is configured stays."""
    snapshot = cluster.sets.snapshot
    own = snapshot.current
    current = NodeSet.of(own.chain_id, own.contract, {node.id for node in nodes})
    cluster.sets.snapshot = replace(snapshot, current=current)
