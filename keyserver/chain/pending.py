"""The contracts' own lists of pending requests, against our tasks (W-02, W-13, W-31).

Read at the confirmed block at start, after a reconnect, when this node joins the set, when the set
or a contract's address changes, and every so many blocks. It is the same path as that of a log,
so a missed event is only slower.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from keyserver.chain.client import BlockId, CallResult, ChainClient, ContractCall, Returned
from keyserver.chain.ports import Evaluation
from keyserver.engine.ports import NodeSets
from keyserver.evm.abi import AbiError
from keyserver.model.identifiers import Address, NodeId
from keyserver.services.base import Asked, DeployedServices, ServiceContract
from keyserver.services.fees import BALANCE, NO_KEY, balance_of
from keyserver.services.standing import MAX_PENDING, may_be_wanted
from keyserver.tasks.model import SeenRequest, SetEpoch, Sighting, TaskKey, TaskKind
from keyserver.tasks.ports import TaskStore

log = structlog.get_logger()

Place = tuple[Address, ServiceContract]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the lists were last read for."""

    epoch: SetEpoch
    addresses: frozenset[Address]


class PendingEnumerator:
    """A `ChainObserver` that opens the tasks which logs have not."""

    def __init__(
        self,
        *,
        client: ChainClient,
        store: TaskStore,
        services: DeployedServices,
        node_sets: NodeSets,
        me: NodeId,
        chain_id: int,
        interval: int,
        drain_above: int | None = None,
    ) -> None:
        """`interval`: blocks between two readings; `drain_above`: wei, `None` never collects."""
        self._client = client
        self._store = store
        self._services = services
        self._node_sets = node_sets
        self._me = me
        self._chain_id = chain_id
        self._interval = interval
        self._drain_above = drain_above
        self._last: _Seen | None = None
        self._next_block = 0

    async def on_evaluation(self, evaluation: Evaluation) -> None:
        """Read the lists if it is time; raises `ChainError`, and then reads them next time."""
        snapshot = self._node_sets.snapshot
        if self._me not in snapshot.current:
            self._last = None
            return
        now = _Seen(SetEpoch.of(snapshot), frozenset(self._services.by_address))
        due = evaluation.reread or evaluation.confirmed.number >= self._next_block
        if now == self._last and not due:
            return
        self._last = None
        await self.enumerate(evaluation.confirmed)
        self._last = now
        self._next_block = self._next_reading(evaluation.confirmed.number, now.epoch.last_change)

    def _next_reading(self, confirmed: int, change: int) -> int:
        """After the interval; earlier if the change of the set is not confirmed yet.

        In the block that was read now, votes that the change made the contract forget still count.
        """
        regular = confirmed + self._interval
        return change if confirmed < change < regular else regular

    def on_unavailable(self) -> None:
        """Nothing to do: the next evaluation has `reread` set."""

    async def enumerate(self, block: BlockId) -> int:
        """Open tasks for what is pending at the block; returns how many.

        Raises `ChainError` or `StorageError`. Entries that cannot be read are skipped.
        """
        places = [
            (address, service)
            for address, services in sorted(self._services.by_address.items())
            for service in services
        ]
        counts = await self._ask(block, [(place, place[1].count_call) for place in places])
        items = [
            (place, place[1].item_call(index))
            for place, count in counts
            for index in range(min(_number(count), MAX_PENDING))
        ]
        asked = [
            (place, each)
            for place, data in await self._ask(block, items)
            for each in _read_item(place, data)
        ]
        wanted = await self._wanted(block, asked)
        requests = [*wanted, *await self._worth_collecting(block)]
        return await self._store.admit(requests) if requests else 0

    async def _wanted(
        self, block: BlockId, asked: list[tuple[Place, Asked]]
    ) -> Iterator[SeenRequest]:
        """Those to which the contract wants an answer of this node."""
        seen = Sighting(block.number, block.hash)
        found = [(place, each.at(self._chain_id, place[0], seen)) for place, each in asked]
        me = self._me.address
        calls = [(place, place[1].required_call(each.key, me)) for place, each in found]
        answers = await self._ask(block, calls)
        return (
            each
            for (_, each), (_, required) in zip(found, answers, strict=True)
            if _is_wanted(each, required)
        )

    async def _worth_collecting(self, block: BlockId) -> list[SeenRequest]:
        if self._drain_above is None:
            return []
        addresses = sorted(self._services.by_address)
        call = BALANCE.encode(self._me.address)
        results = await self._client.call_many(
            [ContractCall(address, call) for address in addresses], block
        )
        seen = Sighting(block.number, block.hash)
        keys = [
            TaskKey(self._chain_id, address, TaskKind.COLLECT_FEES, NO_KEY)
            for address, result in zip(addresses, results, strict=True)
            if balance_of(_data(result)) > self._drain_above
        ]
        return [SeenRequest(key, b"", seen) for key in keys]

    async def _ask(
        self, block: BlockId, calls: list[tuple[Place, bytes]]
    ) -> list[tuple[Place, bytes | None]]:
        if not calls:
            return []
        batch = [ContractCall(place[0], data) for place, data in calls]
        results = await self._client.call_many(batch, block)
        return [(place, _data(result)) for (place, _), result in zip(calls, results, strict=True)]


def _data(result: CallResult) -> bytes | None:
    return result.data if isinstance(result, Returned) else None


def _number(data: bytes | None) -> int:
    """The length of a list; a contract that does not tell has none."""
    return int.from_bytes(data, "big") if data is not None and len(data) == 32 else 0


def _is_wanted(request: SeenRequest, required: bytes | None) -> bool:
    """A revert says that this node is no key server there; garbage says nothing."""
    try:
        return required is not None and may_be_wanted(request.key.kind, required)
    except AbiError:
        return False


def _read_item(place: Place, data: bytes | None) -> tuple[Asked, ...]:
    address, service = place
    try:
        if data is None:
            raise AbiError("the contract does not show the entry")
        return service.asked_in_item(data)
    except AbiError as error:
        log.warning(
            "pending_request_skipped",
            contract=address.hex(),
            service=service.name,
            reason=str(error),
        )
        return ()
