"""Keys that move to other nodes by an administrator's orders, whatever goes wrong meanwhile.

The administrator repeats an order until it is done, at one node after the other; somebody reads a
document all the time. An order needs every node, so liars have to repent before it can be done.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.model.set_change import BoundOrder
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError
from keyserver.sessions.core import SessionError
from keyserver.simulation.changing import ChangingSet
from keyserver.simulation.cluster import CONTRACT, Cluster, CrashedError, SimulatedNode
from keyserver.simulation.owner import SET_EVENTS, Edit, Members, Refreshing
from keyserver.simulation.scenarios.invariants import STEP_S, until_idle
from keyserver.simulation.scenarios.lies import make_liar
from keyserver.simulation.scenarios.moved_keys import check_moved_key
from keyserver.simulation.scenarios.plan import Plan
from keyserver.simulation.scenarios.playing import Player
from keyserver.simulation.scenarios.violation import Violation, require

READ_EVERY_S = 2.0
MORE, MAKE_EVERY_S = 2, 8.0
"""Keys that are made meanwhile, and the longest pause between two."""

REPENT_S = 40.0
"""When liars stop lying."""

ATTEMPTS, PAUSE_S = 60, 40.0
"""How often an order is given; together longer than all faults and the pauses after them."""

SETTLED_S = 4 * 3600.0
AUTHOR = Address(b"\xa1" * 20)
NOT_NOW = (SessionError, OrderRefusedError, KeysWouldBeLostError, CrashedError, StorageError)


async def play_moving(seed: int, plan: Plan) -> None:
    """Two keys, and the changes of the plan; raises `Violation`."""
    cluster = Cluster(plan.nodes, seed=seed)
    first: list[Members] = plan.of_kind(Members)
    places = first[0].places if first else range(plan.nodes)
    changing = ChangingSet(cluster, [place for place in places if place < plan.nodes])
    for refreshing in plan.of_kind(Refreshing):
        cluster.refresh_interval_s = refreshing.every_s
    async with cluster:
        await _Moving(plan, cluster, changing).run()


@dataclass
class _Moving:
    plan: Plan
    cluster: Cluster
    changing: ChangingSet
    keys: list[KeyId] = field(default_factory=list)
    sets: list[frozenset[NodeId]] = field(default_factory=list)
    changes: list[Hash32] = field(default_factory=list)
    """The names of the changes that were done."""

    def __post_init__(self) -> None:
        self.reader = SecretScalar.from_int(815)
        self.document_key: Point = mul_base(SecretScalar.from_int(4712))

    @property
    def honest(self) -> list[SimulatedNode]:
        nodes = enumerate(self.cluster.nodes)
        return [node for place, node in nodes if place not in self.plan.liars]

    @property
    def liars(self) -> frozenset[NodeId]:
        return frozenset(self.cluster.nodes[place].id for place in self.plan.liars)

    async def run(self) -> None:
        """Everything, from the making of the keys to the last check."""
        current = self.changing.current_of(self.cluster.nodes[0])
        self.sets.append(frozenset(current))
        await self._make_keys()
        player = asyncio.ensure_future(self._play())
        reading = asyncio.ensure_future(self._read())
        making = asyncio.ensure_future(self._make_more())
        try:
            for epoch, edit in enumerate(self.plan.of_kind(Edit), 1):
                await self._change(edit, epoch)
            await player
        finally:
            background = (player, reading, making)
            for task in background:
                task.cancel()
            done = await asyncio.gather(*background, return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, Violation):
                raise outcome
        await self._end_refreshes()
        await self._settle()
        await self._check()

    async def _end_refreshes(self) -> None:
        """Start all nodes again without them: then there is an end to new versions."""
        if self.cluster.refresh_interval_s:
            self.cluster.refresh_interval_s = 0
            for node in self.cluster.nodes:
                await node.crash()
                node.boot()

    # --- what people do ---------------------------------------------------------------------------

    async def _make_keys(self) -> None:
        by = next(node for node in self.cluster.nodes if node.id in self.sets[0])
        credential = OnChainAddress(CONTRACT, AUTHOR)
        for number in (1, 2):
            key_id = KeyId(bytes([number]) * 32)
            made = await by.api.generate_server_key(key_id, self.plan.threshold, credential)
            self.keys.append(key_id)
            if number == 1:
                sealed = elgamal.encrypt_document_key(
                    made.record.public, self.document_key, SeededRandom(b"author")
                )
                document = DocumentKey(sealed.common, sealed.encrypted)
                await by.api.store_document_key(key_id, document, credential)

    async def _make_more(self) -> None:
        """Make keys while others move: wherever they are made, they end with the last set."""
        for number in range(3, 3 + MORE):
            await asyncio.sleep(self.cluster.random.uniform(0, MAKE_EVERY_S))
            key_id, credential = KeyId(bytes([number]) * 32), OnChainAddress(CONTRACT, AUTHOR)
            members = self.sets[-1]
            able = [node for node in self.honest if node.id in members]
            self.keys.append(key_id)
            with contextlib.suppress(*NOT_NOW):
                await self._generate(able[number % len(able)], key_id, credential)

    async def _generate(
        self, node: SimulatedNode, key_id: KeyId, credential: OnChainAddress
    ) -> None:
        threshold = self.plan.threshold
        await node.call(lambda api: api.generate_server_key(key_id, threshold, credential))

    async def _read(self) -> None:
        """Read without end: whatever comes must be right."""
        turn = 0
        while True:
            await asyncio.sleep(READ_EVERY_S)
            turn += 1
            node = self.honest[turn % len(self.honest)]
            with contextlib.suppress(*NOT_NOW):
                await self._retrieve(node)

    async def _retrieve(self, node: SimulatedNode) -> None:
        credential = OnChainPublic(CONTRACT, self.reader.public())
        result = await node.call(lambda api: api.retrieve_shadow(self.keys[0], credential))
        shadows = [SecretScalar(ecies.decrypt(self.reader, each)) for each in result.shadows]
        told = elgamal.recover_document_key(result.decrypted_secret, result.common_point, shadows)
        require(told == self.document_key, "a wrong document key was retrieved")

    async def _change(self, edit: Edit, epoch: int) -> None:
        """Give the order until every honest node has written it down; to a liar first."""
        first = min(self.plan.liars, default=0)
        await asyncio.sleep(max(0.0, edit.at - asyncio.get_running_loop().time()))
        order = self.changing.bound(edit.places, epoch=epoch)
        for attempt in range(ATTEMPTS):
            node = self.cluster.nodes[(first + attempt) % self.plan.nodes]
            with contextlib.suppress(*NOT_NOW):
                report = await self.changing.carry_out(order, node)
                self.changes.append(report.change.id)
                self.sets.append(frozenset(order.new_nodes))
                return
            await asyncio.sleep(PAUSE_S)
        raise Violation("a change is never completed", await self._standing(order))

    async def _standing(self, order: BoundOrder) -> str:
        written = [len(self.changing.history(node)) for node in self.cluster.nodes]
        return f"to {len(order.new_nodes)} nodes, written down: {written}"

    async def _play(self) -> None:
        others = tuple(event for event in self.plan.events if not isinstance(event, SET_EVENTS))
        player = Player(self.cluster, replace(self.plan, events=others), make_liar)
        await player.play()
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, REPENT_S - loop.time()) if self.liars else 0.0)
        self.cluster.network.heal()
        for node in self.cluster.nodes:
            self.cluster.network.redeem(node.id)
            node.disk.recover()
            node.disk.spare()
            node.disk.slowest_s = 0.0
            node.process.spare()
            if not node.is_up:
                node.boot()

    # --- what must hold ---------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Wait until every key is where it belongs; never: `Violation`."""
        waited = 0.0
        while waited < SETTLED_S:
            late = [words for key_id in self.keys for words in await self._late(key_id)]
            if not late:
                return
            await asyncio.sleep(STEP_S)
            waited += STEP_S
        raise Violation("something never comes to its end", "; ".join(late))

    async def _late(self, key_id: KeyId) -> list[str]:
        found, last = [], self.sets[-1]
        states = [await node.store.load(key_id) for node in self.honest]
        exists = any(state.active is not None for state in states)
        for node, state in zip(self.honest, states, strict=True):
            bound = state.prepared or state.promise or state.document_candidate
            moved = state.active is not None and set(state.active.record.nodes) == last
            if bound or (exists and node.id in last and not moved):
                found.append(f"{node.id.short}: undecided")
            elif exists and (state.share is not None) is not (node.id in last):
                found.append(f"{node.id.short}: share")
        return found

    async def _check(self) -> None:
        for node in self.honest:
            require(node.is_sound, "a part of a node has ended", node.id.short)
            told = [change.id for change in self.changing.history(node)]
            require(told == self.changes, "nodes tell different histories of the set")
        named = set().union(*(node.recorder.culprits for node in self.honest))
        require(named <= self.liars, "an honest node was blamed")
        for key_id in self.keys:
            disks = {node.id: node.disk.platter.state.keys for node in self.honest}
            stored = {node: keys[key_id] for node, keys in disks.items() if key_id in keys}
            check_moved_key(key_id, stored, self.sets)
        await until_idle(self.honest)
        for node in self.honest:
            if node.id in self.sets[-1]:
                await self._retrieve(node)
                return
