"""Where attacks on changes of the node set take place: five nodes, of which four are the set."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Address, KeyId
from keyserver.model.keys import DocumentKey, KeyShare
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.model.set_change import SetChange, SetChangeOrder
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError
from keyserver.sessions.core import KeyState, SessionError
from keyserver.simulation.changing import ChangingSet
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.liars import Lie, honest, in_cluster
from keyserver.simulation.loop import run_virtual

KEY = KeyId(b"\x4b" * 32)
OLD, NEW = (0, 1, 2, 3), (1, 2, 3, 4)
"""The first node leaves, the last one joins; the attacker's stays."""

ATTACKER = 2
AUTHOR = Address(b"\xa1" * 20)
DOCUMENT_KEY: Point = mul_base(SecretScalar.from_int(4712))
READER = SecretScalar.from_int(815)
REFUSED = (SessionError, OrderRefusedError, KeysWouldBeLostError)


class Believing:
    """The attacker's own node judges nothing: whatever it is told to carry out is in order."""

    def __init__(self, change: SetChange) -> None:
        self.change = change

    async def judge(self, _: SetChangeOrder) -> SetChange:
        """Say that this change is ordered."""
        return self.change


class ChangingScene:
    """A key of the first four nodes, with a document under it."""

    def __init__(self, cluster: Cluster, changing: ChangingSet) -> None:
        self.cluster, self.changing = cluster, changing
        self.nodes = cluster.nodes
        self.attacker = cluster.nodes[ATTACKER]

    @property
    def others(self) -> list[SimulatedNode]:
        """All nodes but the attacker's."""
        return [node for node in self.nodes if node is not self.attacker]

    async def make_key(self, *, document: bool = True) -> None:
        """The author's key, with the author's document under it."""
        api, credential = self.nodes[0].api, OnChainAddress(CONTRACT, AUTHOR)
        made = await api.generate_server_key(KEY, 1, credential)
        if document:
            await api.store_document_key(KEY, document_for(made.record.public), credential)
        await asyncio.sleep(5)

    def lies(self, lie: Lie) -> None:
        """From now on the attacker's node tells this lie."""
        in_cluster(self.cluster, self.attacker, lie)

    def is_honest_again(self) -> None:
        """No more lies."""
        in_cluster(self.cluster, self.attacker, honest)

    async def carries_out(self, order: SetChangeOrder, change: SetChange | None = None) -> Any:
        """The attacker coordinates an order; with `change`, its own node believes that it is one.

        Returns the report or the error.
        """
        assert self.attacker.changes is not None
        needs = self.attacker.changes._needs
        if change is not None:
            self.attacker.changes._needs = replace(needs, judge=Believing(change))
        try:
            return await self.changing.carry_out(order, self.attacker)
        except REFUSED as error:
            return error
        finally:
            self.attacker.changes._needs = needs
            await asyncio.sleep(90)  # locks end when nothing comes any more

    async def move(self, *, epoch: int = 1) -> None:
        """An honest node carries out the administrator's order."""
        for _ in range(6):
            with contextlib.suppress(*REFUSED):
                await self.changing.carry_out(self.changing.bound(NEW, epoch=epoch), self.nodes[1])
                break
            await asyncio.sleep(60)
        await asyncio.sleep(10)

    async def states(self) -> list[KeyState]:
        """What the nodes have on their disks."""
        return [await node.store.load(KEY) for node in self.nodes]

    async def shares(self) -> list[KeyShare | None]:
        """The nodes' shares."""
        return [state.share for state in await self.states()]

    async def retrieve(self, by: SimulatedNode) -> Point:
        """What the user gets at a node."""
        result = await by.api.retrieve_shadow(KEY, OnChainPublic(CONTRACT, READER.public()))
        shadows = [SecretScalar(ecies.decrypt(READER, sealed)) for sealed in result.shadows]
        return elgamal.recover_document_key(result.decrypted_secret, result.common_point, shadows)

    async def nothing_has_moved(self) -> None:
        """Every node is where it was, and holds what it held."""
        states = await self.states()
        for state in states[:4]:
            assert state.active is not None
            assert state.active.record.version == 1
            assert state.share is not None
        assert states[4].share is None
        for node in self.others:
            assert self.changing.history(node) == ()
        assert await self.retrieve(self.nodes[1]) == DOCUMENT_KEY

    async def has_moved(self) -> None:
        """The key is with the new nodes, and can be used as before."""
        for place, state in enumerate(await self.states()):
            assert state.active is not None
            assert set(state.active.record.nodes) == {self.nodes[place].id for place in NEW}
            assert (state.share is not None) == (place in NEW)
        assert await self.retrieve(self.nodes[4]) == DOCUMENT_KEY

    @property
    def blamed(self) -> set[Any]:
        """Whom the others have caught."""
        return {culprit for node in self.others for culprit in node.recorder.culprits}


Play = Callable[[ChangingScene], Awaitable[None]]


def perform_change(play: Play, *, seed: int = 1) -> None:
    """Play a scene on a fresh cluster, to its end."""

    async def main() -> None:
        cluster = Cluster(5, seed=seed)
        changing = ChangingSet(cluster, OLD)
        async with cluster:
            await play(ChangingScene(cluster, changing))

    run_virtual(main())


def document_for(public: Point) -> DocumentKey:
    """The author's document key under a server key."""
    made = elgamal.encrypt_document_key(public, DOCUMENT_KEY, SeededRandom(b"author"))
    return DocumentKey(made.common, made.encrypted)
