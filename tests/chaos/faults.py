"""Carries out the faults of a schedule, and undoes them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

from tests.chaos.background import meanwhile
from tests.chaos.chain import CALM_BASE_FEE, Anvil
from tests.chaos.endpoints import Manner
from tests.chaos.links import Links
from tests.chaos.nodes import Supervisor
from tests.chaos.schedule import EVERY_NAME, Fault, FaultKind

GWEI = 10**9
SPIKE = 150 * GWEI
ABOVE_LIMIT = 900 * GWEI
"""The nodes pay 500 gwei at most."""
DROPPED_SHARE = 0.6
LOOK_S = 0.1


class FaultRunner:
    """Has things go wrong as scheduled, several at a time."""

    def __init__(self, supervisor: Supervisor, links: Links, chain: Anvil, random: Random) -> None:
        self.done: Counter[str] = Counter()
        self.depths: Counter[int] = Counter()
        self.lost_by_reorganisation = 0
        self.dropped = 0
        self._supervisor = supervisor
        self._links = links
        self._chain = chain
        self._random = random
        self._nodes = [seat.account for seat in supervisor.seats]
        self._numbers = [seat.number for seat in supervisor.seats]
        self._mining = asyncio.Lock()
        self._all_kinds = asyncio.Event()

    async def run(self, faults: Sequence[Fault]) -> None:
        """Carry out all; when cancelled, what is going on is undone first."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                left = began + fault.at_s - asyncio.get_running_loop().time()
                await asyncio.sleep(max(0.0, left))
                group.create_task(self._carry_out(fault))
        self._all_kinds.set()

    async def _carry_out(self, fault: Fault) -> None:
        async with self._under(fault):
            self.done[fault.name] += 1
            if self.done.keys() >= EVERY_NAME:
                self._all_kinds.set()
            await asyncio.sleep(fault.lasts_s)

    async def had_all_kinds(self) -> None:
        """Return when every kind of fault has been, or none is left."""
        await self._all_kinds.wait()

    def _under(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        match fault.kind:
            case FaultKind.KILL | FaultKind.KILL_ALL:
                return self._killed(fault)
            case FaultKind.PAUSE:
                return self._paused(fault)
            case FaultKind.CUT | FaultKind.HOLD | FaultKind.DELAY:
                return self._bad_link(fault)
            case FaultKind.ISOLATE | FaultKind.SPLIT:
                return self._parted(fault)
            case FaultKind.REORGANISE:
                return self._reorganised(fault)
            case FaultKind.DROP:
                return self._dropping(fault)
            case FaultKind.FEE_SPIKE | FaultKind.FEE_ABOVE_LIMIT:
                return self._dear(fault)
            case FaultKind.ENDPOINT:
                return self._bad_endpoint(fault)

    # --- nodes --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _killed(self, fault: Fault) -> AsyncIterator[None]:
        for node in fault.nodes:
            self._supervisor.kill(node)
        try:
            yield
        finally:
            for node in fault.nodes:
                self._supervisor.revive(node)

    @asynccontextmanager
    async def _paused(self, fault: Fault) -> AsyncIterator[None]:
        for node in fault.nodes:
            self._supervisor.pause(node)
        try:
            yield
        finally:
            for node in fault.nodes:
                self._supervisor.resume(node)

    # --- links --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _bad_link(self, fault: Fault) -> AsyncIterator[None]:
        one, other = fault.nodes
        match fault.kind:
            case FaultKind.CUT:
                self._links.cut(one, other)
            case FaultKind.HOLD:
                self._links.hold(one, other)
            case _:
                self._links.delay(one, other, fault.delay_s)
        try:
            yield
        finally:
            self._links.heal(one, other)

    @asynccontextmanager
    async def _parted(self, fault: Fault) -> AsyncIterator[None]:
        rest = [node for node in self._numbers if node not in fault.nodes]
        pairs = [(one, other) for one in fault.nodes for other in rest]
        for one, other in pairs:
            self._links.cut(one, other)
        try:
            yield
        finally:
            for one, other in pairs:
                self._links.heal(one, other)

    # --- the chain ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _reorganised(self, fault: Fault) -> AsyncIterator[None]:
        async with self._mining:
            done = await self._chain.reorganise(fault.depth, self._nodes, fault.fate, self._random)
        self.depths[done.depth] += 1
        self.lost_by_reorganisation += done.lost
        yield

    @asynccontextmanager
    async def _dropping(self, fault: Fault) -> AsyncIterator[None]:
        async with meanwhile(self._drop()):
            yield

    async def _drop(self) -> None:
        while True:
            self.dropped += await self._chain.drop_from_pool(
                self._nodes, DROPPED_SHARE, self._random
            )
            await asyncio.sleep(LOOK_S)

    @asynccontextmanager
    async def _dear(self, fault: Fault) -> AsyncIterator[None]:
        fee = SPIKE if fault.kind is FaultKind.FEE_SPIKE else ABOVE_LIMIT
        try:
            async with meanwhile(self._hold_fee(fee)):
                yield
        finally:
            await self._chain.base_fee(CALM_BASE_FEE)

    async def _hold_fee(self, fee: int) -> None:
        while True:
            await self._chain.base_fee(fee)
            await asyncio.sleep(0.5)

    # --- endpoints ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _bad_endpoint(self, fault: Fault) -> AsyncIterator[None]:
        proxy = self._supervisor.seats[fault.nodes[0]].endpoints[fault.endpoint]
        await proxy.behave(fault.manner)
        try:
            yield
        finally:
            await proxy.behave(Manner.HONEST)
