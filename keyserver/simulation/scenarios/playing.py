"""Plays a plan: each event of it becomes something that happens to a cluster, and ends again."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import Verdict
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.wire import message_type
from keyserver.simulation.cluster import Cluster, SimulatedNode
from keyserver.simulation.scenarios.plan import (
    ChainSilent,
    ClockSkew,
    CommitFails,
    Crash,
    CrashAtCommit,
    CrashAtEffect,
    CrashAtMessage,
    DiskFull,
    Liar,
    Partition,
    Plan,
    Quality,
    Restored,
    SlowDisk,
)
from keyserver.storage.memory import DiskState

PATIENCE_S = 120.0
"""How long a trap for the nth commit, effect or message stays set."""

MakeLiar = Callable[[Cluster, SimulatedNode, tuple[str, ...]], None]
"""Makes a node tell these lies."""


class Player:
    """Lets happen to a cluster what a plan says; after `play` every fault but liars is over."""

    def __init__(self, cluster: Cluster, plan: Plan, make_liar: MakeLiar) -> None:
        self._cluster = cluster
        self._plan = plan
        self._make_liar = make_liar
        self._quality = cluster.network.faults
        self._began = 0.0
        self._backups: dict[NodeId, DiskState] = {}
        self._silenced: list[SimulatedNode] = []
        """Nodes that cannot ask the chain."""

    def keep_backups(self) -> None:
        """Copy the disks as they are now: what `Restored` brings back."""
        for node in self._cluster.nodes:
            self._backups[node.id] = node.disk.platter.state

    async def play(self, began: float = 0.0) -> None:
        """Play all events, each at its time; returns when the last one is over.

        `began`: when the time of the plan begins.
        """
        self._began = began
        async with asyncio.TaskGroup() as group:
            for event in self._plan.events:
                if self._concerns_us(event):
                    group.create_task(self._one(event))

    def _concerns_us(self, event: object) -> bool:
        node = getattr(event, "node", 0)
        return bool(node < len(self._cluster.nodes))

    async def _one(self, event: object) -> None:
        await asyncio.sleep(max(0.0, self._began + event.at - _now()))  # type: ignore[attr-defined]
        match event:
            case Crash(_, node, down_s):
                await self._crash(self._node(node), down_s)
            case Restored(_, node, down_s):
                await self._restore(self._node(node), down_s)
            case CrashAtEffect():
                await self._crash_at_effect(self._node(event.node), event)
            case CrashAtCommit():
                await self._crash_at_commit(self._node(event.node), event)
            case CrashAtMessage():
                await self._crash_at_message(self._node(event.node), event)
            case ClockSkew(_, node, seconds, for_s):
                self._node(node).clock.skew_s += seconds
                await asyncio.sleep(for_s)
                self._node(node).clock.skew_s -= seconds
            case Partition():
                await self._partition(event)
            case Quality():
                await self._worsen(event)
            case DiskFull(_, node, for_s, reads):
                self._node(node).disk.fail(reads=reads)
                await asyncio.sleep(for_s)
                self._node(node).disk.recover()
            case CommitFails(_, node, nth, written):
                self._node(node).disk.fail_commit(nth, written=written)
            case SlowDisk(_, node, for_s, most_s):
                self._node(node).disk.slowest_s = most_s
                await asyncio.sleep(for_s)
                self._node(node).disk.slowest_s = 0.0
            case ChainSilent():
                await self._silence_chain(self._node(event.node), event.for_s)
            case Liar(_, node, lies):
                self._make_liar(self._cluster, self._node(node), lies)

    def _node(self, place: int) -> SimulatedNode:
        return self._cluster.nodes[place]

    async def _crash(self, node: SimulatedNode, down_s: float) -> None:
        if node.is_up:
            await node.crash()
            await self._boot_again(node, down_s)

    async def _restore(self, node: SimulatedNode, down_s: float) -> None:
        if node.is_up and node.id in self._backups:
            await node.crash()
            node.disk.state = self._backups[node.id]
            await self._boot_again(node, down_s)

    async def _crash_at_effect(self, node: SimulatedNode, event: CrashAtEffect) -> None:
        if not node.is_up:
            return
        node.process.die_at_effect(event.nth)
        if await _happens(node.down):
            await self._boot_again(node, event.down_s)
        else:
            node.process.spare()

    async def _crash_at_commit(self, node: SimulatedNode, event: CrashAtCommit) -> None:
        if not node.is_up:
            return
        node.disk.die_in_commit(event.nth, written=event.written, hit=lambda: node.process.die())
        if await _happens(node.down):
            await self._boot_again(node, event.down_s)
        node.disk.spare()

    async def _boot_again(self, node: SimulatedNode, down_s: float) -> None:
        await asyncio.sleep(down_s)
        if not node.is_up:
            node.boot()

    async def _crash_at_message(self, node: SimulatedNode, event: CrashAtMessage) -> None:
        network, struck = self._cluster.network, asyncio.Event()
        if not node.is_up or network.is_corrupt(node.id):
            return
        kinds = {kind.__name__: number for number, kind in MESSAGE_TABLE.classes.items()}
        left = event.nth

        def strike(_sender: object, _to: object, message: bytes) -> bytes | None:
            nonlocal left
            if struck.is_set():
                return None
            left -= message_type(message) == kinds[event.message]
            if left > 0:
                return message
            struck.set()
            return None

        network.corrupt(node.id, strike)
        happened = await _happens(struck)
        if happened:
            await asyncio.sleep(event.linger_s)
        network.redeem(node.id)
        if happened:
            await self._crash(node, event.down_s)

    async def _partition(self, event: Partition) -> None:
        nodes = self._cluster.nodes
        inside = [nodes[place].id for place in event.group if place < len(nodes)]
        outside = [node.id for node in nodes if node.id not in inside]
        pairs = [(a, b) for a in inside for b in outside]
        for a, b in pairs:
            self._cluster.network.cut(a, b)
        await asyncio.sleep(event.for_s)
        for a, b in pairs:
            self._cluster.network.mend(a, b)

    async def _worsen(self, event: Quality) -> None:
        self._cluster.network.faults = replace(
            self._quality,
            most_delay_s=event.most_delay_s,
            reorder=event.reorder,
            duplicate=event.duplicate,
            lose=event.lose,
            break_connection=event.break_connection,
        )
        await asyncio.sleep(event.for_s)
        self._cluster.network.faults = self._quality

    async def _silence_chain(self, node: SimulatedNode, for_s: float) -> None:
        if node in self._silenced:
            return
        self._silenced.append(node)
        spoken = node.access.verdict
        node.access.verdict = lambda _request, _who: Verdict.UNAVAILABLE
        await asyncio.sleep(for_s)
        node.access.verdict = spoken
        self._silenced.remove(node)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _happens(event: asyncio.Event) -> bool:
    """Wait for something, `PATIENCE_S` at most; whether it happened."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await event.wait()
    except TimeoutError:
        return False
    return True
