"""A world: whole nodes, their chain, and customers that use the contracts, all from one seed.

What goes wrong is in a plan. When it is over, everything must come to its end within a stated time,
and nothing of what must always hold may have been broken (`world_checks`).
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Final, cast

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.simulation.chain import GWEI, VirtualChain
from keyserver.simulation.chain_faults import (
    CHAIN_FAULTS,
    EndpointTrouble,
    FeeSpike,
    PoolLoss,
    Reorganisation,
    Standstill,
)
from keyserver.simulation.cluster import Cluster
from keyserver.simulation.contracts.contract import Contract
from keyserver.simulation.contracts.node_set import Member, NodeSetContract
from keyserver.simulation.contracts.permissions import PermissionsContract
from keyserver.simulation.contracts.service import new_service
from keyserver.simulation.customers import Customer
from keyserver.simulation.network import Faults, Network
from keyserver.simulation.orders import (
    DeniedOrder,
    GenerateOrder,
    GrantOrder,
    Market,
    Order,
    PublicOrder,
    ShadowOrder,
    StoreOrder,
)
from keyserver.simulation.owner import (
    OWNERS_EVENTS,
    SET_EVENTS,
    Cancel,
    ConfirmationsLost,
    Edit,
    ForeignStart,
    Members,
    NewAddress,
    Owner,
    lose_confirmations,
    set_of,
    start_by_hand,
)
from keyserver.simulation.scenarios.lies import make_liar
from keyserver.simulation.scenarios.plan import Ask, ChainSilent, Plan, register
from keyserver.simulation.scenarios.playing import Player
from keyserver.simulation.scenarios.violation import Violation
from keyserver.simulation.whole_node import Surroundings, WholeNode, leaves
from keyserver.simulation.world_checks import check_world, unsettled
from keyserver.simulation.world_rules import (
    CHAIN_ID,
    NODE_SET,
    OWNER,
    OWNER_SECRET,
    PERMISSIONS,
    SERVICE,
    Rules,
    config_of,
    drawn_rules,
)

register(*CHAIN_FAULTS)

PATIENCE_INTERVALS: Final = 24
PATIENCE_BLOCKS: Final = 60
"""When nothing is wrong any more, everything ends within so many blocks and retry intervals."""

MIGRATION_S: Final = 1800.0
"""So long besides where the set changes: what has failed there is tried again after minutes."""

REPENT_BLOCKS: Final = 40
"""After so many blocks liars lie no more: a migration needs the confirmation of all its members."""

LOSING_S: Final = 0.2
"""How often confirmations are looked for that are to be lost."""

REVOKED: Final = 0.5
"""In so many lives the permission is taken back at last."""


class World:
    """Build it and `run` it inside a `run_virtual`."""

    def __init__(self, seed: int, plan: Plan, *, rules: Rules | None = None, keys: int = 1) -> None:
        """`keys`: how many lives of keys there are, one beside the other."""
        self.seed = seed
        self.plan = plan
        self.random = Random(seed)  # noqa: S311 - chooses faults, no secrets
        self.rules = rules or drawn_rules(Random(f"rules {seed}"))  # noqa: S311
        self.network = Network(self.random, Faults())
        self._secrets = SeededRandom(b"world" + seed.to_bytes(8, "big"))
        drawn = [SecretScalar.random(self._secrets) for _ in range(plan.nodes)]
        secrets = sorted(drawn, key=lambda secret: NodeId.of(secret.public()))
        servers = [
            Member(secret.public().raw64, f"127.0.0.1:{7000 + place}")
            for place, secret in enumerate(secrets)
        ]
        self.chain = self._make_chain(servers)
        around = Surroundings(
            seed.to_bytes(8, "big"),
            self.random,
            config_of(self.rules),
            self.network,
            self.chain,
            self.rules.pushes,
        )
        self.nodes = [WholeNode(around, secret, self.rules.endpoints) for secret in secrets]
        reorganisations = [event.depth for event in plan.of_kind(Reorganisation)]
        self.deepest = max(reorganisations, default=0)
        self.market = Market(
            self.chain,
            SERVICE,
            PERMISSIONS,
            depth=max(self.rules.confirmations, self.deepest) + 1,
            hopeless_blocks=self.rules.interval * (plan.nodes + 1),
        )
        owner = Customer(self.chain, OWNER_SECRET)
        self.owner = Owner(owner, NODE_SET, servers, set_of(self.chain, NODE_SET).edited)
        self.customers: list[Customer] = [owner]
        self.orders: list[Order] = []
        self._keys = keys

    @property
    def liars(self) -> frozenset[NodeId]:
        """Nodes that lie."""
        return frozenset(self.nodes[place].id for place in self.plan.liars)

    def node(self, id_: NodeId) -> WholeNode:
        """The node of an id."""
        return next(node for node in self.nodes if node.id == id_)

    def _make_chain(self, servers: Sequence[Member]) -> VirtualChain:
        first: list[Members] = self.plan.of_kind(Members)
        places = first[0].places if first else range(len(servers))
        members = {
            Address(address_of(servers[place].public)): servers[place]
            for place in places
            if place < len(servers)
        }
        listed = tuple(members)
        node_set = NodeSetContract(OWNER, members, listed, listed, initialized=True)
        contracts: dict[Address, Contract] = {
            NODE_SET: node_set,
            SERVICE: new_service(OWNER, NODE_SET),
            PERMISSIONS: PermissionsContract(OWNER),
        }
        return VirtualChain(self.random, contracts, chain_id=CHAIN_ID, block_s=self.rules.block_s)

    # --- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let everything happen, wait for its end and check it; raises `Violation`."""
        for node in self.nodes:
            node.boot()
        blocks = asyncio.ensure_future(self.chain.run())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_after_customers())
                begins = [0.0] * self._keys + [ask.at for ask in self.plan.of_kind(Ask)]
                lives = [group.create_task(self._life(at)) for at in begins]
                await self._play()
                self.heal()
                await self._come_to_the_end(lives)
                raise _OverError
        except* _OverError:
            pass
        except* Violation as broken:
            raise next(leaves(broken)) from None
        finally:
            blocks.cancel()
            for node in self.nodes:
                await node.crash()
        check_world(self)

    async def _come_to_the_end(self, lives: Sequence[asyncio.Task[None]]) -> None:
        healed = self.chain.head.number
        last = healed + PATIENCE_BLOCKS + PATIENCE_INTERVALS * self.rules.interval
        if self.plan.of_kind(Edit):
            last += int(MIGRATION_S / self.rules.block_s)
        while True:
            await self.chain.changed()
            if self.chain.head.number == healed + REPENT_BLOCKS:
                for liar in self.liars:
                    self.network.redeem(liar)
                self._cancel_what_is_refused()
            self._check_orders()
            late = await self._unfinished(lives)
            if not late:
                return
            if self.chain.head.number > last:
                raise Violation("something never comes to its end", "; ".join(late))

    def _cancel_what_is_refused(self) -> None:
        """What is left to an owner whose edits fell into one block with the start of a migration.

        Who has not accepted it before the set was another one refuses it for good.
        """
        contract = set_of(self.chain, NODE_SET)
        running = contract.migration_id
        if running is None or set(contract.migration) in (set(), set(contract.edited)):
            return
        members = [node for node in self.nodes if node.address in contract.migration]
        joined = [node.disk.state.joined_migrations.get((CHAIN_ID, NODE_SET)) for node in members]
        if any(each is None or each.id != running for each in joined):
            self.owner.cancel(running)

    async def _unfinished(self, lives: Sequence[asyncio.Task[None]]) -> list[str]:
        late = [order.name for order in self.orders if not order.is_done]
        if not late and not all(life.done() for life in lives):
            late = ["the next order"]
        return late or await unsettled(self)

    def _check_orders(self) -> None:
        for order in self.orders:
            order.check()

    async def _look_after_customers(self) -> None:
        while True:
            await self.chain.changed()
            for customer in self.customers:
                customer.look()

    # --- what customers do --------------------------------------------------------------------

    def customer(self) -> Customer:
        """Somebody new."""
        customer = Customer(self.chain, SecretScalar.random(self._secrets))
        self.customers.append(customer)
        return customer

    async def _life(self, at: float) -> None:
        """A key is made, used by who may and by who may not."""
        await asyncio.sleep(at)
        author, reader, stranger, later = (self.customer() for _ in range(4))
        key_id, threshold = KeyId(self.random.randbytes(32)), self.plan.threshold
        made = GenerateOrder(self.market, author, key_id, threshold)
        await self._done(made)
        users = GrantOrder(self.market, author, key_id, [reader.address, later.address])
        stored = StoreOrder(self.market, author, made, self._secrets)
        public = PublicOrder(self.market, stranger, made)
        await self._done(users, stored, public)
        told = ShadowOrder(self.market, reader, stored, threshold)
        denied = DeniedOrder(self.market, stranger, key_id)
        await self._done(told, denied)
        if self.random.random() < REVOKED:
            await self._done(GrantOrder(self.market, author, key_id, []))
            await self._done(DeniedOrder(self.market, later, key_id))

    async def _done(self, *orders: Order) -> None:
        """Return when all of these have their outcome."""
        self.orders += orders
        while not all(order.is_done for order in orders):
            await self.chain.changed()
            for order in orders:
                if isinstance(order, GenerateOrder):
                    order.again()

    # --- what goes wrong ----------------------------------------------------------------------

    async def _play(self) -> None:
        """Everything in the plan; returns when the last of it is over."""
        apart = (*CHAIN_FAULTS, *SET_EVENTS, ChainSilent, Ask)
        others = [event for event in self.plan.events if not isinstance(event, apart)]
        plan = Plan(self.plan.nodes, self.plan.threshold, self.plan.quorum, tuple(others))
        player = Player(cast("Cluster", self), plan, make_liar)
        async with asyncio.TaskGroup() as group:
            group.create_task(player.play())
            for event in self.plan.of_kind(*CHAIN_FAULTS, *OWNERS_EVENTS):
                group.create_task(self._happen(event))
            for event in self.plan.of_kind(ChainSilent):
                for place in range(self.rules.endpoints):
                    silent = EndpointTrouble(event.at, event.for_s, event.node, place, "refused")
                    group.create_task(self._happen(silent))

    async def _happen(self, event: Any) -> None:
        await asyncio.sleep(event.at - asyncio.get_running_loop().time())
        match event:
            case Reorganisation(_, depth, lose):
                self.chain.reorganise(depth, lose=lose)
            case FeeSpike(_, for_s, base_fee_gwei):
                await self._spike(base_fee_gwei * GWEI, for_s)
            case PoolLoss():
                for transaction in self.chain.pool.waiting:
                    self.chain.pool.drop(transaction.hash)
            case Standstill(_, for_s):
                self.chain.halted += 1
                await asyncio.sleep(for_s)
                self.chain.halted -= 1
            case EndpointTrouble():
                await self._trouble(event)
            case _:
                await self._change_set(event)

    async def _change_set(self, event: Any) -> None:
        """The owner, or somebody else, does something to the node set."""
        addresses = [node.address for node in self.nodes]
        match event:
            case Edit(_, places):
                self.owner.edit(places, addresses)
            case NewAddress(_, node) if node < len(addresses):
                self.owner.note_address(node, addresses[node])
            case Cancel():
                running = set_of(self.chain, NODE_SET)
                if running.migration and running.migration_id is not None:
                    self.owner.cancel(running.migration_id)
            case ForeignStart(_, node) if node < len(addresses):
                start_by_hand(self.chain, NODE_SET, addresses[node])
            case ConfirmationsLost(at, for_s):
                while asyncio.get_running_loop().time() < at + for_s:
                    lose_confirmations(self.chain)
                    await asyncio.sleep(LOSING_S)

    async def _spike(self, base_fee: int, for_s: float) -> None:
        self.chain.spikes.append(base_fee)
        await asyncio.sleep(for_s)
        self.chain.spikes.remove(base_fee)

    async def _trouble(self, event: EndpointTrouble) -> None:
        if event.node >= len(self.nodes) or event.endpoint >= self.rules.endpoints:
            return
        condition = self.nodes[event.node].conditions[event.endpoint]
        condition.begin(event.trouble, self.chain)
        await asyncio.sleep(event.for_s)
        condition.end(event.trouble)

    def heal(self) -> None:
        """From now on nothing is wrong any more, but that liars lie for a while yet."""
        self.network.heal()
        self.chain.halted = 0
        for node in self.nodes:
            node.disk.recover()
            node.disk.spare()
            node.disk.slowest_s = 0.0
            node.process.spare()
            node.boot()


class _OverError(Exception):
    """Ends what would go on for ever."""
