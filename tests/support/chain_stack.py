"""The durable-work half of a node over an in-process chain, driven block by block.

`Deployment` puts the real contracts on the chain; a `Stack` is one node's intake, pending
enumerator, queue and sender with a fake key server; `Network` moves the chain and lets every
stack come to rest after each block.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from keyserver.chain.client import BlockId, BlockRef, ChainClient, ContractCall, Returned
from keyserver.chain.fees import FeeLimits
from keyserver.chain.intake import TaskIntake
from keyserver.chain.pending import PendingEnumerator
from keyserver.chain.ports import ChainView, Evaluation, LogBatch
from keyserver.chain.reader import PinnedReader
from keyserver.chain.sender import Sender, SenderLimits
from keyserver.chain.work_driver import WorkDriver
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.evm.transaction import TransactionSigner
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.services.base import HandlerTools, ServiceContract
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR, MessageSigning
from keyserver.services.registry import COMBINED, handlers
from keyserver.sessions.core import Verdict
from keyserver.tasks.answers import OutcomeRecorder
from keyserver.tasks.queue import TaskQueue
from tests.support.eth_tester_client import EthTesterClient
from tests.support.fake_cluster import FakeCluster, FakeKeyServer, node_of, secret_of
from tests.support.work_store import FakeWorkStore, ProcessKilled

CHAIN_ID = 1337
INTERVAL = 30
GWEI = 10**9
LIMITS = SenderLimits(
    fees=FeeLimits(max_fee=500 * GWEI, max_priority_fee=10 * GWEI),
    gas=10_000_000,
    resend_after=10,
    min_balance=10**17,
)
SERVICE = ContractAbi.of(load_artifact("SecretStoreService").abi)
KEY_SERVER_SET = ContractAbi.of(load_artifact("OwnedKeyServerSetWithMigration").abi)
SCHEMES = {ECDSA: "Ecdsa", SCHNORR: "Schnorr"}
"""How the names in the signing contracts call them."""
SIGNING = {
    service: ContractAbi.of(load_artifact(f"SecretStore{scheme}SigningService").abi)
    for service, scheme in SCHEMES.items()
}


@dataclass
class Deployment:
    """The contracts on a chain, with key servers of these numbers (private keys)."""

    client: EthTesterClient
    numbers: tuple[int, ...]
    key_server_set: Address
    service: Address
    signing: dict[MessageSigning, Address] = field(default_factory=dict)
    """Where the signing contracts are, once `add_signing` was called."""

    @classmethod
    def of(cls, *numbers: int) -> "Deployment":
        client = EthTesterClient.start(
            chain_id=CHAIN_ID, funded=[node_of(number).address for number in numbers]
        )
        key_server_set = client.deploy(load_artifact("OwnedKeyServerSetWithMigration").bytecode)
        creation = load_artifact("SecretStoreService").bytecode
        service = client.deploy(creation + key_server_set.rjust(32, b"\0"))
        here = cls(client, numbers, key_server_set, service)
        add = KEY_SERVER_SET.function("addKeyServer")
        for number in numbers:
            address = f"127.0.0.1:{8000 + number}"
            client.transact(key_server_set, add.encode(node_of(number), address))
            client.mine()
        done = KEY_SERVER_SET.function("completeInitialization")
        client.transact(key_server_set, done.encode())
        client.mine()
        return here

    def request(self, method: str, *arguments: object, sender: int = 0) -> Hash32:
        """Put a client's request into the mempool, with a fee that suffices."""
        data = SERVICE.function(method).encode(*arguments)
        return self.client.transact(self.service, data, sender=sender, value=2 * 10**17)

    def add_signing(self) -> None:
        """Put both signing contracts on the chain."""
        for service, scheme in SCHEMES.items():
            code = load_artifact(f"SecretStore{scheme}SigningService").bytecode
            self.signing[service] = self.client.deploy(code + self.key_server_set.rjust(32, b"\0"))

    def request_signature(
        self, service: MessageSigning, key_id: KeyId, message: Hash32, sender: int = 0
    ) -> Hash32:
        """Put a request for a signature into the mempool, with a fee that suffices."""
        method = SIGNING[service].function("signMessage" + SCHEMES[service])
        data = method.encode(key_id, message)
        return self.client.transact(self.signing[service], data, sender=sender, value=2 * 10**17)

    def events(
        self, name: str, abi: ContractAbi = SERVICE, *, since: int = 0
    ) -> list[tuple[object, ...]]:
        """All events of this name or signature so far, or since a block, decoded."""
        event = abi.event(name)
        blocks = self.client.node.blocks(since, self.client.node.head.number)
        return [
            event.decode([Hash32(topic) for topic in log.topics], log.data)
            for block in blocks
            for log in block.logs
            if log.topics and log.topics[0] == event.topic0
        ]

    async def pending(self, counter: str) -> int:
        """The length of a pending list at the head."""
        call = ContractCall(self.service, SERVICE.function(counter).encode())
        result = await self.client.call(call)
        assert isinstance(result, Returned)
        return int.from_bytes(result.data, "big")


@dataclass
class Services:
    by_address: Mapping[Address, tuple[ServiceContract, ...]]


@dataclass
class Sets:
    snapshot: NodeSetSnapshot


@dataclass
class Permissions:
    verdict: Verdict = Verdict.ALLOWED
    asked: int = 0

    async def check(self, requester: Address, key_id: KeyId) -> Verdict:
        self.asked += 1
        return self.verdict


class Tip:
    """The view of the chain that a test has set."""

    def __init__(self) -> None:
        self.view = ChainView(None, None, "not started")

    async def next_evaluation(self) -> None:
        raise NotImplementedError


@dataclass
class Stack:
    """One node's durable work."""

    deployment: Deployment
    number: int
    cluster: FakeCluster
    confirmations: int = 3
    interval: int = INTERVAL
    limits: SenderLimits = LIMITS
    chain: ChainClient | None = None
    """What it talks to, if not the deployment's client itself."""
    drain_above: int | None = None
    store: FakeWorkStore = field(default_factory=FakeWorkStore)
    permissions: Permissions = field(default_factory=Permissions)

    def __post_init__(self) -> None:
        self.me: NodeId = node_of(self.number)
        nodes = NodeSet.of(CHAIN_ID, self.deployment.key_server_set, set(self.cluster.nodes))
        self.sets = Sets(NodeSetSnapshot(nodes, nodes, None, (), epoch=0, block_number=0))
        signing = {place: (service,) for service, place in self.deployment.signing.items()}
        self.services = Services({self.deployment.service: COMBINED, **signing})
        self.start()

    def start(self) -> None:
        """Begin, or begin again after `kill`, with what the store holds."""
        client = self.chain or self.deployment.client
        self.tip = Tip()
        reader = PinnedReader(client, self.tip)
        self.key_server = FakeKeyServer(self.cluster, self.me)
        tools = HandlerTools(
            self.me, self.key_server, self.sets, reader, self.permissions, self.interval
        )
        self.queue = TaskQueue(
            store=self.store,
            handlers=handlers(tools, drain_above=self.drain_above),
            me=self.me,
            interval=self.interval,
            on_answer=lambda: self.sender.wake(),
        )
        self.recorder = OutcomeRecorder(self.queue, CHAIN_ID)
        self.cluster.listeners[self.me] = self.recorder
        self.sender = Sender(
            client=client,
            store=self.store,
            reader=reader,
            node_sets=self.sets,
            signer=TransactionSigner(secret_of(self.number)),
            chain_id=CHAIN_ID,
            limits=self.limits,
            on_task=self.queue.wake,
        )
        self.intake = TaskIntake(
            store=self.store,
            services=self.services,
            node_sets=self.sets,
            me=self.me,
            chain_id=CHAIN_ID,
        )
        self.pending = PendingEnumerator(
            client=client,
            store=self.store,
            services=self.services,
            node_sets=self.sets,
            me=self.me,
            chain_id=CHAIN_ID,
            interval=self.interval,
            drain_above=self.drain_above,
        )
        self.driver = WorkDriver(queue=self.queue, store=self.store, node_sets=self.sets)
        self.fresh = True
        self.running = [
            asyncio.create_task(self.queue.run()),
            asyncio.create_task(self.recorder.run()),
        ]

    async def kill(self) -> None:
        """End the process: whatever was not written is gone."""
        self.cluster.listeners.pop(self.me, None)
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def see(self, head: BlockRef) -> None:
        """Evaluate a new head, as the watcher does, and come to rest."""
        confirmed = await self._confirmed(head)
        self.tip.view = ChainView(head, confirmed, None)
        await self.intake.accept(await self.batch(confirmed))
        evaluation = Evaluation(head, confirmed, frozenset(), reread=self.fresh)
        self.fresh = False
        await self.pending.on_evaluation(evaluation)
        await self.driver.on_evaluation(evaluation)
        await self.sender.on_evaluation(evaluation)
        await self.rest()

    async def rest(self) -> None:
        """Return when nothing moves without a new block; raises `ProcessKilled` if it died."""
        for _ in range(3):
            for _ in range(2000):
                await asyncio.sleep(0)
                if self.queue.idle:
                    break
            drained = asyncio.ensure_future(self.recorder.drained())
            await asyncio.wait({drained, *self.running}, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            if any(task.done() for task in self.running):
                raise ProcessKilled
        await self.sender.advance()

    def change_set(self, last_change: int, *members: NodeId) -> None:
        """Let this node see another current set, since this block."""
        nodes = NodeSet.of(
            CHAIN_ID, self.deployment.key_server_set, set(members or self.cluster.nodes)
        )
        self.sets.snapshot = NodeSetSnapshot(
            nodes, nodes, None, (), epoch=last_change, block_number=last_change
        )

    async def _confirmed(self, head: BlockRef) -> BlockId:
        number = max(head.number - self.confirmations, 0)
        block = await self.deployment.client.block(number)
        assert block is not None
        return block.id

    async def batch(self, confirmed: BlockId) -> LogBatch:
        """What the watcher would hand over for this confirmed block."""
        client = self.deployment.client
        history = await self.intake.history()
        kept: list[BlockId] = []
        for known in history:
            block = await client.block(known.number)
            if block is not None and block.hash == known.hash:
                kept.append(known)
        dropped = tuple(block for block in history if block not in kept)
        first = kept[-1].number + 1 if kept else confirmed.number
        blocks = [await client.block(n) for n in range(first, confirmed.number + 1)]
        logs = await client.logs([*self.services.by_address], first, confirmed.number)
        return LogBatch(dropped, logs if blocks else (), tuple(b.id for b in blocks if b))


@dataclass
class Network:
    """Several nodes on one chain."""

    deployment: Deployment
    stacks: list[Stack]
    cluster: FakeCluster

    @classmethod
    def of(
        cls,
        *numbers: int,
        confirmations: int = 3,
        interval: int = INTERVAL,
        deployment: Deployment | None = None,
    ) -> "Network":
        """Nodes with these private keys on a new chain, in the order of their ids."""
        deployment = deployment or Deployment.of(*numbers)
        cluster = FakeCluster(tuple(sorted(node_of(number) for number in numbers)))
        ordered = sorted(numbers, key=node_of)
        stacks = [Stack(deployment, number, cluster, confirmations, interval) for number in ordered]
        return cls(deployment, stacks, cluster)

    async def mine(self, count: int = 1) -> None:
        """Mine blocks and let every node act on each."""
        for _ in range(count):
            head = self.deployment.client.mine()
            for stack in self.stacks:
                await stack.see(head)
            for stack in self.stacks:  # what one node has brought about, the others answer
                await stack.rest()

    async def mine_until(self, event: str, most: int = 30) -> int:
        """Mine until there is such an event; returns how many blocks it took."""
        for count in range(1, most + 1):
            await self.mine()
            if self.deployment.events(event):
                return count
        raise AssertionError(f"no {event} within {most} blocks")

    async def close(self) -> None:
        """Stop every node."""
        for stack in self.stacks:
            await stack.kill()
