"""The node as its operator sees it: the operator listener's `NodeView`."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

from keyserver.api.facts import (
    ChainFacts,
    FeeFacts,
    KeyFacts,
    KeyLine,
    NodeSetFacts,
    OffenceFacts,
    PeerFacts,
    StatusFacts,
    TaskFacts,
    Trouble,
)
from keyserver.api.operator_set_change import SetChangeFacts
from keyserver.app.blame_facts import offence_facts
from keyserver.app.compose import Node, follows_chain
from keyserver.app.compose_chain import ChainSide
from keyserver.app.config import ConfigWarning
from keyserver.app.health import Condition, troubles_of, warnings_of
from keyserver.app.key_facts import key_facts
from keyserver.app.refresh_facts import measure_refreshes, refresh_troubles
from keyserver.app.set_change_facts import set_change_facts, set_change_troubles
from keyserver.app.set_change_metrics import measure_set_change
from keyserver.app.signing_facts import measure_signing, signing_facts, signing_troubles
from keyserver.app.work_facts import task_facts
from keyserver.chain.client import ContractCall, Returned
from keyserver.chain.name_registry import ContractDirectory
from keyserver.chain.ports import ChainView
from keyserver.errors import ChainError, StorageError
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.services.fees import BALANCE, NO_KEY, balance_of
from keyserver.storage.counting import WorkCounts, count_keys, count_shares, count_work
from keyserver.tasks.migration_status import MigrationStatus
from keyserver.tasks.model import SeenRequest, Sighting, TaskKey, TaskKind

BALANCE_AGE_S: Final = 60.0
"""How old a balance may be that metrics show: they must not cost a call each time."""

NO_ENDPOINT: Final = "no Ethereum node is configured (rpc_endpoints), but contracts are"


class OperatorView:
    """Reads the parts of a running node; changes nothing but by `collect_fees`."""

    def __init__(self, node: Node, warnings: Sequence[ConfigWarning]) -> None:
        """`warnings`: what the configuration's loader wants the operator to know."""
        self._node = node
        self._warnings = tuple(
            Trouble(warning.event, warning.text)
            for warning in warnings
            if warning.level == "warning"
        )
        self._started = node.clock.monotonic()
        self._balance: int | None = None
        self._balance_at: float | None = None
        self._requests_counted: Counter[str] = Counter()
        self.peer_address: str | None = None
        """Where the node listens for others, once it does."""

    # --- health -------------------------------------------------------------------------------

    async def troubles(self) -> Sequence[Trouble]:
        """Why the node cannot serve now; empty when it is ready."""
        node = self._node
        return troubles_of(
            Condition(
                me=node.me,
                snapshot=node.node_sets.snapshot,
                connected=node.mesh.connected,
                max_faulty=node.config.keyserver.max_faulty,
                chain_problem=self._chain_problem(),
                database_problem=await self._database_problem(),
            )
        )

    def _chain_problem(self) -> str | None:
        if self._node.chain is None:
            return NO_ENDPOINT if follows_chain(self._node.config) else None
        view = self._node.chain.work.watcher.view
        return view.problem if view.problem or view.head else "no block has been seen yet"

    async def _database_problem(self) -> str | None:
        try:
            await self._node.store.records.catalogue(None, 1)
        except StorageError as error:
            return str(error)
        return None

    # --- status -------------------------------------------------------------------------------

    async def status(self) -> StatusFacts:
        """The node at a glance; raises `StorageError`."""
        node, chain = self._node, self._node.chain
        troubles = await self.troubles()
        counts = await self._work_counts()
        tasks: Counter[str] = Counter()
        for (_, state), count in counts.tasks.items():
            tasks[state] += count
        if chain is not None:
            await self._refresh_balance(chain, older_than_s=0.0)
        keys = await count_keys(node.store.database)
        set_change = await self.set_change()
        return StatusFacts(
            node_id=node.me,
            address=node.me.address,
            version=node.version,
            pid=os.getpid(),
            uptime_s=int(node.clock.monotonic() - self._started),
            peer=self.peer_address,
            ready=not troubles,
            problems=tuple(troubles),
            warnings=(
                *self._current_warnings(),
                *set_change_troubles(set_change),
                *refresh_troubles(node.refreshes),
                *signing_troubles(node.key_server.signing),
            ),
            chain=None if chain is None else await self._chain_facts(chain),
            node_set=self._node_set_facts(),
            sessions=node.driver.open_sessions,
            keys=keys,
            keys_without_share=keys - await count_shares(node.store.database),
            tasks=tasks,
            answers=counts.answers,
            avoided=offence_facts(node.catalogue.blame.current),
            set_change=set_change,
            signing=signing_facts(node.key_server.signing),
        )

    async def set_change(self) -> SetChangeFacts:
        """Changes of the node set; raises `StorageError`."""
        node = self._node
        return set_change_facts(
            await node.store.set_changes.completed(),
            node.set_changes.change,
            node.set_changes.progress,
            await self._migration(),
            is_exclusive=node.set_changes.is_exclusive,
        )

    async def _migration(self) -> MigrationStatus | None:
        chain = self._node.chain
        migrations = None if chain is None else chain.work.migrations
        return None if migrations is None else await migrations.driver.status()

    def _current_warnings(self) -> tuple[Trouble, ...]:
        directory = self._directory()
        return warnings_of(
            configuration=self._warnings,
            contract_problems={} if directory is None else directory.problems,
            balance=self._balance,
            least_balance=self._node.config.keyserver.min_balance,
        )

    def _directory(self) -> ContractDirectory | None:
        return None if self._node.chain is None else self._node.chain.reading.directory

    async def _chain_facts(self, chain: ChainSide) -> ChainFacts:
        view, reading = chain.work.watcher.view, chain.reading
        return ChainFacts(
            chain_id=reading.chain_id,
            head=None if view.head is None else view.head.number,
            confirmed=None if view.confirmed is None else view.confirmed.number,
            lag=await _lag(chain, view),
            problem=self._chain_problem(),
            contracts={option: reading.directory.address(option) for option in reading.options},
            balance_wei=None if self._balance is None else str(self._balance),
            requests=dict(sorted(reading.client.request_counts.items())),
        )

    def _node_set_facts(self) -> NodeSetFacts:
        snapshot = self._node.node_sets.snapshot
        members = sorted(snapshot.all_nodes() | {self._node.me})
        return NodeSetFacts(
            contract=snapshot.current.contract,
            epoch=snapshot.epoch,
            block=snapshot.block_number,
            stale=snapshot.stale,
            migrating=snapshot.migration is not None,
            isolated=self._node.me not in snapshot.current,
            nodes=tuple(self._peer_facts(node) for node in members),
        )

    def peers(self) -> Sequence[PeerFacts]:
        """The other nodes, of the set in force and of the one to come."""
        members = self._node_set_facts().nodes
        return [member for member in members if member.node_id != self._node.me]

    def _peer_facts(self, node: NodeId) -> PeerFacts:
        snapshot = self._node.node_sets.snapshot
        at = snapshot.address_by_node.get(node)
        state = "connected" if node in self._node.mesh.connected else "disconnected"
        return PeerFacts(
            node_id=node,
            address=node.address,
            at=None if at is None else str(at),
            is_current=node in snapshot.current,
            state="self" if node == self._node.me else state,
        )

    async def _work_counts(self) -> WorkCounts:
        if self._node.chain is None:
            return WorkCounts({}, {})
        return await count_work(self._node.store.database, self._node.chain.reading.chain_id)

    async def _refresh_balance(self, chain: ChainSide, *, older_than_s: float) -> None:
        """Look at the account again; while the chain cannot be asked, the last value stays."""
        now = self._node.clock.monotonic()
        if self._balance_at is not None and now - self._balance_at < older_than_s:
            return
        if not chain.work.watcher.view.synced:
            return
        try:
            self._balance = await chain.reading.client.balance(self._node.me.address)
        except ChainError:
            return
        self._balance_at = now

    # --- metrics ------------------------------------------------------------------------------

    async def metrics(self) -> bytes:
        """All metrics, the gauges as of now; raises `StorageError`."""
        node, metrics = self._node, self._node.metrics
        states = Counter(peer.state for peer in self._node_set_facts().nodes)
        for state in ("connected", "disconnected"):
            metrics.peers.labels(state).set(states[state])
        keys = await count_keys(node.store.database)
        metrics.keys.set(keys)
        metrics.keys_without_share.set(keys - await count_shares(node.store.database))
        metrics.share_additions_running.set(node.share_additions.running)
        metrics.sessions_running.set(node.driver.open_sessions)
        metrics.avoided_nodes.set(len(node.catalogue.blame.avoided))
        measure_set_change(metrics.set_change, await self.set_change())
        measure_refreshes(metrics.refreshes, node.refreshes)
        measure_signing(metrics.signing, node.key_server.signing)
        if node.chain is not None:
            await self._measure_chain(node.chain)
        return metrics.render()

    async def _measure_chain(self, chain: ChainSide) -> None:
        metrics, view = self._node.metrics, chain.work.watcher.view
        if view.head is not None and view.confirmed is not None:
            metrics.head_block.set(view.head.number)
            metrics.confirmed_block.set(view.confirmed.number)
            metrics.lag_blocks.set(await _lag(chain, view) or 0)
        counts = await self._work_counts()
        metrics.tasks.clear()
        for (kind, state), count in counts.tasks.items():
            metrics.tasks.labels(kind, state).set(count)
        metrics.outbox.clear()
        for state, count in counts.answers.items():
            metrics.outbox.labels(state).set(count)
        for method, count in chain.reading.client.request_counts.items():
            metrics.chain_calls.labels(method).inc(count - self._requests_counted[method])
            self._requests_counted[method] = count
        await self._refresh_balance(chain, older_than_s=BALANCE_AGE_S)
        if self._balance is not None:
            metrics.balance_wei.set(self._balance)

    # --- keys and requests --------------------------------------------------------------------

    async def keys(self, after: KeyId | None, limit: int) -> Sequence[KeyLine]:
        """Keys in ascending order, those after `after`; raises `StorageError`."""
        entries = await self._node.store.records.catalogue(after, limit)
        return [
            KeyLine(entry.key_id, entry.version, entry.has_share, entry.has_document)
            for entry in entries
        ]

    async def key(self, key_id: KeyId) -> KeyFacts | None:
        """One key; raises `StorageError` if its record cannot be read."""
        return await key_facts(self._node.store, key_id, self._node.catalogue.holders(key_id))

    async def requests(self) -> Sequence[TaskFacts]:
        """Everything that is still owed; raises `StorageError`."""
        if self._node.chain is None:
            return []
        return await task_facts(self._node.chain.work.store)

    # --- evidence -----------------------------------------------------------------------------

    async def offences(self) -> Sequence[OffenceFacts]:
        """What other nodes were convicted of, the newest first."""
        return offence_facts(self._node.catalogue.blame.offences)

    async def evidence(self, name: Hash32) -> bytes | None:
        """A record by its hash; raises `StorageError`."""
        return await self._node.catalogue.blame.record(name)

    # --- fees ---------------------------------------------------------------------------------

    async def fees(self) -> Sequence[FeeFacts]:
        """What the service contracts hold for this node; raises `ChainError`."""
        chain = self._chain()
        by_address = chain.reading.directory.by_address
        addresses = sorted(by_address)
        call = BALANCE.encode(self._node.me.address)
        results = await chain.reading.client.call_many(
            [ContractCall(address, call) for address in addresses]
        )
        return [
            FeeFacts(
                address,
                tuple(service.name for service in by_address[address]),
                str(balance_of(result.data if isinstance(result, Returned) else None)),
            )
            for address, result in zip(addresses, results, strict=True)
        ]

    async def collect_fees(self) -> Sequence[FeeFacts]:
        """Open a task for every contract that holds something; raises `ChainError`."""
        chain = self._chain()
        found = [fee for fee in await self.fees() if fee.balance_wei != "0"]
        head = chain.work.watcher.view.head
        if head is None or not chain.work.watcher.view.synced:
            raise ChainError(self._chain_problem() or "the chain is not in sync")
        seen = Sighting(head.number, head.hash)
        await chain.work.store.admit(
            [SeenRequest(_collecting(chain, fee.contract), b"", seen) for fee in found]
        )
        chain.work.queue.wake()
        return found

    def _chain(self) -> ChainSide:
        if self._node.chain is None:
            raise ChainError("this node follows no chain")
        return self._node.chain


def _collecting(chain: ChainSide, contract: Address) -> TaskKey:
    return TaskKey(chain.reading.chain_id, contract, TaskKind.COLLECT_FEES, NO_KEY)


async def _lag(chain: ChainSide, view: ChainView) -> int | None:
    """Confirmed blocks whose logs have not become tasks yet."""
    history = await chain.work.store.history()
    if view.confirmed is None or not history:
        return None
    return max(view.confirmed.number - history[-1].number, 0)
