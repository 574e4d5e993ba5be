"""The composition root's part that deals with the chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyserver.app.compose_engine import Engine
from keyserver.app.compose_migrations import (
    ChainStore,
    MigrationReading,
    Migrations,
    compose_migrations,
)
from keyserver.app.config import (
    AtAddress,
    Config,
    FromRegistry,
    NoContract,
    contract_sources,
)
from keyserver.app.late_binding import LateMigrations, LateTip
from keyserver.app.observer import PeerReturns
from keyserver.chain.access import (
    AclDepth,
    ChainAccess,
    OpenAccess,
    PendingRequests,
    PermissionContract,
)
from keyserver.chain.backoff import ANY_FRACTION, Backoff, Fraction
from keyserver.chain.client import BlockTag
from keyserver.chain.endpoint import Endpoint
from keyserver.chain.fees import FeeLimits
from keyserver.chain.intake import TaskIntake
from keyserver.chain.migration_sessions import Records
from keyserver.chain.moved_sets import MovedNodeSets
from keyserver.chain.name_registry import (
    ACL_NAMES,
    ACL_OPTION,
    COMBINED_NAMES,
    COMBINED_OPTION,
    SET_NAMES,
    SET_OPTION,
    ContractDirectory,
    ContractSource,
    FixedContract,
    RegisteredContract,
)
from keyserver.chain.node_set import NodeSetTracker, StaticNodeSets
from keyserver.chain.pending import PendingEnumerator
from keyserver.chain.ports import ChainObserver
from keyserver.chain.reader import PinnedReader
from keyserver.chain.rpc_client import RpcClient, endpoint_for
from keyserver.chain.sender import Sender, SenderLimits
from keyserver.chain.watcher import Watcher, WatcherSettings
from keyserver.chain.work_driver import WorkDriver
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock, NodeSets, TransportListener
from keyserver.evm.transaction import TransactionSigner
from keyserver.model.identifiers import NodeId
from keyserver.model.set_change import CompletedChange
from keyserver.services.base import HandlerTools
from keyserver.services.registry import CONTRACTS, handlers
from keyserver.tasks.answers import OutcomeRecorder
from keyserver.tasks.queue import TaskQueue

COLLECT_ANYTHING = 0
"""What the operator or `drain_above` has asked to collect is collected, however little it is."""

_NAMES: Mapping[str, tuple[str, ...]] = {
    SET_OPTION: SET_NAMES,
    ACL_OPTION: ACL_NAMES,
    COMBINED_OPTION: COMBINED_NAMES,
    **{service.option: (service.registry_name,) for service in CONTRACTS},
}
"""Registry entries of every contract this node can use, by configuration key."""


@dataclass(frozen=True)
class ChainReading:
    """What is read from the chain, and asked about it."""

    chain_id: int
    client: RpcClient
    directory: ContractDirectory
    tip: LateTip
    node_sets: NodeSetTracker | StaticNodeSets
    """As the contract says: what answers to contracts go by."""
    migrations: MigrationReading | None
    """`None` with a static set, and where the operator wants no migrations."""
    permissions: PermissionContract | OpenAccess
    access: ChainAccess
    options: tuple[str, ...]
    """Configuration keys of all contracts that are used."""

    @property
    def key_sets(self) -> NodeSets:
        """The sets that keys belong on: what the engine goes by."""
        return self.node_sets if self.migrations is None else self.migrations.moved


@dataclass(frozen=True)
class ChainWork:
    """What is done about it: tasks, and answers on their way into the chain."""

    store: ChainStore
    queue: TaskQueue
    recorder: OutcomeRecorder
    sender: Sender
    watcher: Watcher
    migrations: Migrations | None

    def returns_to(self, listener: TransportListener) -> PeerReturns:
        """Tell tasks and migrations of connections, beside `listener`."""
        wake = self.migrations.driver.wake if self.migrations is not None else None
        return PeerReturns(listener, self.queue.hasten, wake)


@dataclass(frozen=True)
class ChainSide:
    """Both halves of what a node does with the chain."""

    reading: ChainReading
    work: ChainWork


def compose_client(
    config: Config,
    *,
    endpoints: Sequence[Endpoint] | None = None,
    clock: Clock,
    fraction: Fraction = ANY_FRACTION,
) -> RpcClient:
    """Make the access to the chain; `endpoints` in place of those that the configuration names."""
    own = config.keyserver
    return RpcClient(
        endpoints or [endpoint_for(url) for url in own.rpc_endpoints],
        chain_id=_chain_id(config),
        poll_s=own.poll_seconds,
        clock=clock,
        fraction=fraction,
    )


def _chain_id(config: Config) -> int:
    chain_id = config.keyserver.chain_id
    assert chain_id is not None, "the configuration's rules want it with rpc_endpoints"
    return chain_id


def compose_reading(
    config: Config,
    *,
    client: RpcClient,
    me: NodeId,
    static_sets: StaticNodeSets | None,
    completed: Sequence[CompletedChange],
    clock: Clock,
) -> ChainReading:
    """Make what reads the chain; `static_sets` where the node set is configured.

    `completed`: the changes of the node set that are on this node's disk.
    """
    own, chain_id = config.keyserver, _chain_id(config)
    sources = directory_sources(config)
    directory = ContractDirectory(
        client=client,
        registry=own.registry_address,
        sources=sources,
        services=CONTRACTS,
        retry_interval_blocks=own.retry_interval_blocks,
    )
    tip = LateTip()
    node_sets = static_sets or NodeSetTracker(
        client=client,
        contracts=directory,
        chain_id=chain_id,
        me=me,
        with_migration=not config.secretstore.disable_auto_migrate,
        clock=clock,
    )
    permissions: PermissionContract | OpenAccess = OpenAccess()
    if config.secretstore.acl_contract != NoContract():
        permissions = PermissionContract(
            client=client,
            tip=tip,
            contracts=directory,
            node_sets=node_sets,
            depth=AclDepth(own.acl_depth),
        )
    access = ChainAccess(
        tip=tip,
        node_sets=node_sets,
        pending=PendingRequests(client, directory),
        permissions=permissions,
    )
    migrations = None
    if isinstance(node_sets, NodeSetTracker) and not config.secretstore.disable_auto_migrate:
        moved = MovedNodeSets(node_sets, completed)
        migrations = MigrationReading(node_sets, moved, LateMigrations())
    return ChainReading(
        chain_id,
        client,
        directory,
        tip,
        node_sets,
        migrations,
        permissions,
        access,
        tuple(sources),
    )


def directory_sources(config: Config) -> dict[str, ContractSource]:
    """Where the contracts are that are used, by configuration key without its section."""
    sources: dict[str, ContractSource] = {}
    for key, source in contract_sources(config).items():
        option = key.rpartition(".")[2]
        names = _NAMES.get(option)
        match source:
            case AtAddress(address) if names:
                sources[option] = FixedContract(address)
            case FromRegistry() if names:
                sources[option] = RegisteredContract(names)
            case _:
                pass
    return sources


def compose_work(
    config: Config,
    *,
    reading: ChainReading,
    me: NodeId,
    secret: SecretScalar,
    engine: Engine,
    records: Records,
    store: ChainStore,
    completed: Sequence[CompletedChange],
    clock: Clock,
    random: RandomSource,
    fraction: Fraction = ANY_FRACTION,
) -> ChainWork:
    """Make what acts on the chain's requests; sets the late parts of `reading`.

    `records`, `completed`: the keys, and the changes of the node set, on this node's disk;
    `fraction`: the jitter of how long it waits after trouble with the chain.
    """
    own = config.keyserver
    client, chain_id, node_sets = reading.client, reading.chain_id, reading.node_sets
    reader = PinnedReader(client, reading.tip)
    interval = own.retry_interval_blocks
    tools = HandlerTools(me, engine.key_server, node_sets, reader, reading.permissions, interval)
    migrations = None
    if reading.migrations is not None:
        migrations = compose_migrations(
            reading.migrations,
            chain_id=chain_id,
            client=client,
            tip=reading.tip,
            me=me,
            engine=engine,
            records=records,
            store=store,
            completed=completed,
            clock=clock,
            random=random,
            on_task=lambda: queue.wake(),
        )
    queue = TaskQueue(
        store=store,
        handlers={
            **handlers(tools, drain_above=COLLECT_ANYTHING),
            **(migrations.handlers if migrations is not None else {}),
        },
        me=me,
        interval=interval,
        on_answer=lambda: sender.wake(),
    )
    sender = Sender(
        client=client,
        store=store,
        reader=reader,
        node_sets=node_sets,
        signer=TransactionSigner(secret),
        chain_id=chain_id,
        limits=SenderLimits(
            fees=FeeLimits(own.max_fee_per_gas, own.max_priority_fee_per_gas),
            gas=own.response_gas_limit,
            resend_after=own.resend_after_blocks,
            min_balance=own.min_balance,
        ),
        on_task=queue.wake,
    )
    pending = _pending(config, reading, me=me, store=store)
    work_driver = WorkDriver(queue=queue, store=store, node_sets=node_sets)
    observers: list[ChainObserver] = [pending, work_driver, sender]
    if migrations is not None:
        observers.insert(0, migrations.driver)
    watcher = _watcher(
        config, reading, observers, me=me, store=store, clock=clock, fraction=fraction
    )
    recorder = OutcomeRecorder(queue, chain_id)
    return ChainWork(store, queue, recorder, sender, watcher, migrations)


def compose_following(
    config: Config, *, reading: ChainReading, me: NodeId, store: ChainStore, clock: Clock
) -> Watcher:
    """Make what follows the chain and stores its requests as tasks, without acting on any.

    That is what a sealed node does (sealing, C2): it needs no secret.
    """
    pending = _pending(config, reading, me=me, store=store)
    return _watcher(
        config, reading, [pending], me=me, store=store, clock=clock, fraction=ANY_FRACTION
    )


def _pending(
    config: Config, reading: ChainReading, *, me: NodeId, store: ChainStore
) -> PendingEnumerator:
    return PendingEnumerator(
        client=reading.client,
        store=store,
        services=reading.directory,
        node_sets=reading.node_sets,
        me=me,
        chain_id=reading.chain_id,
        interval=config.keyserver.retry_interval_blocks,
        drain_above=config.keyserver.drain_above,
    )


def _watcher(
    config: Config,
    reading: ChainReading,
    observers: Sequence[ChainObserver],
    *,
    me: NodeId,
    store: ChainStore,
    clock: Clock,
    fraction: Fraction,
) -> Watcher:
    """Make the watcher, and let `reading` go by what it sees; the node set is followed first."""
    node_sets = reading.node_sets
    tracked = [node_sets] if isinstance(node_sets, NodeSetTracker) else []
    watcher = Watcher(
        client=reading.client,
        sink=TaskIntake(
            store=store,
            services=reading.directory,
            node_sets=node_sets,
            me=me,
            chain_id=reading.chain_id,
        ),
        contracts=reading.directory,
        observers=[*tracked, *observers],
        clock=clock,
        settings=watcher_settings(config),
        backoff=Backoff(fraction),
    )
    reading.tip.source = watcher
    return watcher


def watcher_settings(config: Config) -> WatcherSettings:
    """The configuration group *chain*, as the watcher takes it."""
    own = config.keyserver
    return WatcherSettings(
        confirmations=own.confirmations,
        finality=None if own.finality == "depth" else BlockTag(own.finality),
        start_block=own.start_block,
        log_chunk_blocks=own.log_chunk_blocks,
        retry_interval_blocks=own.retry_interval_blocks,
        max_head_age_s=own.max_head_age_seconds,
    )
