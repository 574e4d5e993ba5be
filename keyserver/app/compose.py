"""The composition root: makes every part of a node from its configuration and joins them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from keyserver.app.accounts import NodeKey
from keyserver.app.clock import SystemClock
from keyserver.app.compose_chain import (
    ChainReading,
    ChainSide,
    compose_client,
    compose_following,
    compose_reading,
    compose_work,
)
from keyserver.app.compose_engine import Engine, compose_engine
from keyserver.app.compose_migrations import MigrationReading
from keyserver.app.config import Config, Loaded, NoContract, configured_nodes
from keyserver.app.config.effective import keys_needing_chain
from keyserver.app.late_binding import LateOutcomes
from keyserver.app.mesh_follower import MeshFollower
from keyserver.app.metrics import Metrics
from keyserver.app.observer import PeerReturns, SessionCounter
from keyserver.app.set_changes import AdministratorsChanges, LeftShares, OrderJudges
from keyserver.app.signing import LocalSigner
from keyserver.app.store import Store
from keyserver.app.without_chain import AccessWithoutChain, NoNodeSets
from keyserver.chain.node_set import NodeSetTracker, StaticNodeSets
from keyserver.chain.rpc_client import RpcClient
from keyserver.chain.watcher import Watcher
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.administrator_orders import AdministratorOptions, AdministratorOrders
from keyserver.engine.catalogue import Catalogue
from keyserver.engine.driver import Driver
from keyserver.engine.key_server import KeyServer
from keyserver.engine.ports import AccessPolicy, Identity, NodeSets, Ports
from keyserver.engine.refreshes import Refreshes
from keyserver.engine.set_change_lock import ChangeLock
from keyserver.engine.set_change_needs import ChangeNeeds, ChangeOptions, KeyMover
from keyserver.engine.set_changes import SetChanges
from keyserver.engine.share_additions import ShareAdditions
from keyserver.model.identifiers import Address, Hash32, NodeId, Nonce32
from keyserver.model.node_set import (
    NodeAddress,
    NodeSet,
    cluster_id,
    static_set_contract,
)
from keyserver.model.requests import Operation
from keyserver.model.set_change import CompletedChange
from keyserver.net.mesh import Mesh
from keyserver.net.node_key import LocalNodeKey
from keyserver.sessions.core import Policy
from keyserver.storage.database import Database
from keyserver.storage.work import SqlWorkStore

DAY_S = 24 * 60 * 60


@dataclass(frozen=True)
class Node:
    """All parts of a node, ready to run."""

    config: Config
    me: NodeId
    version: str
    clock: SystemClock
    metrics: Metrics
    store: Store
    node_sets: NodeSets
    driver: Driver
    catalogue: Catalogue
    key_server: KeyServer
    share_additions: ShareAdditions
    set_changes: SetChanges
    refreshes: Refreshes
    administrators_changes: AdministratorsChanges | None
    """`None` where no administrator may change the node set."""
    mesh: Mesh
    peers: PeerReturns
    chain: ChainSide | None
    """`None` where no contract is used, or no Ethereum node is configured."""


def compose(
    loaded: Loaded, key: NodeKey, store: Store, *, clock: SystemClock, random: RandomSource
) -> Node:
    """Make a node; nothing runs yet, and no connection is opened. Call on the event loop."""
    config, me = loaded.config, key.node_id
    boot_nonce = Nonce32(random.bytes(32))
    static_sets = _static_sets(config, me, store.completed)
    reading = _chain_reading(config, me, static_sets, store.completed, clock)
    node_sets = static_sets or _node_sets(config, reading)
    metrics, outcomes = Metrics(), LateOutcomes()
    mesh = _mesh(config, key, node_sets, boot_nonce=boot_nonce, clock=clock, random=random)
    follower = _follow(mesh, node_sets, store.completed)
    policy = PolicySource(config, node_sets, reading)
    identity = Identity(me, LocalSigner(key.secret), boot_nonce, random, policy)
    access, observer = _access(config, reading), SessionCounter(metrics)
    lock, orders = ChangeLock(), _administrators_orders(config, static_sets, store, clock)
    key_sets = node_sets if reading is None else reading.key_sets
    migrations = reading.migrations if reading is not None else None
    ports = Ports(mesh, store.records, access, key_sets, clock, outcomes, observer, lock)

    def needs_of(mover: KeyMover) -> ChangeNeeds:
        return ChangeNeeds(
            judge=OrderJudges(orders, migrations.late if migrations else None),
            mover=mover,
            eraser=LeftShares(store.records),
            store=store.set_changes,
            options=lambda: _change_options(config),
            on_completed=_on_completed(static_sets, migrations, follower),
        )

    engine = compose_engine(
        identity,
        ports,
        lock,
        needs_of,
        refresh_interval_s=round(config.keyserver.refresh_interval_days * DAY_S),
        presignatures=config.keyserver.presignatures,
    )
    by_administrators = None
    if orders is not None:
        by_administrators = AdministratorsChanges(
            orders, engine.set_changes, lambda: engine.driver.connected
        )
    chain = _chain_side(config, key, reading, engine, store, clock, random)
    outcomes.listener = chain.work.recorder if chain else None
    return Node(
        config=config,
        me=me,
        version=version("keyserver"),
        clock=clock,
        metrics=metrics,
        store=store,
        node_sets=node_sets,
        driver=engine.driver,
        catalogue=engine.catalogue,
        key_server=engine.key_server,
        share_additions=engine.share_additions,
        set_changes=engine.set_changes,
        refreshes=engine.refreshes,
        administrators_changes=by_administrators,
        mesh=mesh,
        peers=chain.work.returns_to(engine.driver) if chain else PeerReturns(engine.driver, None),
        chain=chain,
    )


# --- the chain --------------------------------------------------------------------------------


def follows_chain(config: Config) -> bool:
    """Whether a contract is used, so that the node needs a chain."""
    return bool(keys_needing_chain(config))


def takes_orders(config: Config) -> bool:
    """Whether an administrator may change the node set."""
    store = config.secretstore
    return store.server_set_contract == NoContract() and store.admin_public is not None


@dataclass(frozen=True, slots=True)
class Following:
    """A chain that is followed without acting on it."""

    watcher: Watcher
    client: RpcClient


def compose_follower(
    config: Config,
    me: NodeId,
    database: Database,
    completed: Sequence[CompletedChange],
    *,
    clock: SystemClock,
) -> Following | None:
    """Make what follows the chain for a sealed node; `None` where no chain is used."""
    static_sets = _static_sets(config, me, completed)
    reading = _chain_reading(config, me, static_sets, completed, clock)
    if reading is None:
        return None
    store = SqlWorkStore(database, reading.chain_id)
    watcher = compose_following(config, reading=reading, me=me, store=store, clock=clock)
    return Following(watcher, reading.client)


def _chain_reading(
    config: Config,
    me: NodeId,
    static_sets: StaticNodeSets | None,
    completed: Sequence[CompletedChange],
    clock: SystemClock,
) -> ChainReading | None:
    if not follows_chain(config) or not config.keyserver.rpc_endpoints:
        return None
    client = compose_client(config, clock=clock)
    return compose_reading(
        config,
        client=client,
        me=me,
        static_sets=static_sets,
        completed=completed,
        clock=clock,
    )


def _chain_side(
    config: Config,
    key: NodeKey,
    reading: ChainReading | None,
    engine: Engine,
    store: Store,
    clock: SystemClock,
    random: RandomSource,
) -> ChainSide | None:
    if reading is None:
        return None
    work = compose_work(
        config,
        reading=reading,
        me=key.node_id,
        secret=key.secret,
        engine=engine,
        records=store.records,
        store=SqlWorkStore(store.database, reading.chain_id),
        completed=store.completed,
        clock=clock,
        random=random,
    )
    return ChainSide(reading, work)


def _node_sets(config: Config, reading: ChainReading | None) -> NodeSets:
    return NoNodeSets(config.keyserver.chain_id or 0) if reading is None else reading.node_sets


def _access(config: Config, reading: ChainReading | None) -> AccessPolicy:
    if reading is not None:
        return reading.access
    return AccessWithoutChain(open_to_all=config.secretstore.acl_contract == NoContract())


class PolicySource:
    """What the operator allows, following the service contracts while the node runs."""

    def __init__(self, config: Config, node_sets: NodeSets, reading: ChainReading | None) -> None:
        own = config.keyserver
        quorum = own.generation_quorum
        self._max_faulty = own.max_faulty
        self._generation_quorum = None if isinstance(quorum, str) else quorum
        self._strict = frozenset(Operation[name.upper()] for name in own.strict_credentials)
        self._forbid_plain_modes = own.forbid_plain_modes
        self._generators = frozenset(own.generators)
        self._chain_id = own.chain_id or 0
        self._node_sets = node_sets
        self._reading = reading

    def __call__(self) -> Policy:
        """The policy as of now."""
        return Policy(
            max_faulty=self._max_faulty,
            generation_quorum=self._generation_quorum,
            strict_credentials=self._strict,
            forbid_plain_modes=self._forbid_plain_modes,
            generators=self._generators,
            service_contracts=self._service_contracts,
            chain_id=self._chain_id,
            verifying_contract=self._node_sets.snapshot.current.contract,
        )

    @property
    def _service_contracts(self) -> frozenset[tuple[Address, Operation]]:
        return self._reading.directory.operations if self._reading else frozenset()


# --- the node set and the connections ---------------------------------------------------------


def _static_sets(
    config: Config, me: NodeId, completed: Sequence[CompletedChange]
) -> StaticNodeSets | None:
    """The configured node set; `None` where a contract has it."""
    if config.secretstore.server_set_contract != NoContract():
        return None
    nodes = configured_nodes(config, me)
    contract = static_set_contract(config.keyserver.cluster_name)
    node_set = NodeSet.of(
        config.keyserver.chain_id or 0, contract, {entry.node_id for entry in nodes}
    )
    addresses = {entry.node_id: NodeAddress(entry.at.host, entry.at.port) for entry in nodes}
    return StaticNodeSets(node_set, addresses, completed[-1] if completed else None)


# --- changes of the node set ------------------------------------------------------------------


def _administrators_orders(
    config: Config, static_sets: StaticNodeSets | None, store: Store, clock: SystemClock
) -> AdministratorOrders | None:
    """Judges the orders of administrators; `None` where none may give any."""
    own, administrator = config.keyserver, config.secretstore.admin_public
    if static_sets is None or administrator is None or not takes_orders(config):
        return None
    return AdministratorOrders(
        lambda: static_sets.configured,
        AdministratorOptions(administrator, own.strict_admin, own.allow_repeated_change),
        store.set_changes,
        clock.unix,
    )


def _change_options(config: Config) -> ChangeOptions:
    own = config.keyserver
    return ChangeOptions(own.allow_key_loss, own.serve_during_change)


def _on_completed(
    static_sets: StaticNodeSets | None,
    migrations: MigrationReading | None,
    follower: MeshFollower,
) -> Callable[[CompletedChange], None]:
    """Who is told that a change is complete."""

    def tell(change: CompletedChange) -> None:
        if static_sets is not None:
            static_sets.on_completed(change)
        if migrations is not None:
            migrations.on_completed(change)
            follower.on_completed(change)

    return tell


def _mesh(
    config: Config,
    key: NodeKey,
    node_sets: NodeSets,
    *,
    boot_nonce: Nonce32,
    clock: SystemClock,
    random: RandomSource,
) -> Mesh:
    own, store = config.keyserver, config.secretstore

    def own_cluster_id() -> Hash32:
        contract = node_sets.snapshot.current.contract
        return cluster_id(own.chain_id or 0, contract, own.cluster_name, own.max_faulty)

    return Mesh(
        key=LocalNodeKey(key.secret),
        cluster_id=own_cluster_id,
        set_id=lambda: node_sets.snapshot.current.id,
        boot_nonce=boot_nonce,
        listen=NodeAddress(store.interface, store.port),
        clock=clock,
        random=random,
        software=f"keyserver/{version('keyserver')}".encode(),
    )


def _follow(mesh: Mesh, node_sets: NodeSets, completed: Sequence[CompletedChange]) -> MeshFollower:
    """Let the connections follow the node set."""
    if not isinstance(node_sets, NodeSetTracker):
        follower = MeshFollower(mesh, node_sets, None)
    else:
        follower = MeshFollower(mesh, node_sets, completed[-1] if completed else None)
        node_sets.add_listener(follower)
    follower.show()
    return follower
