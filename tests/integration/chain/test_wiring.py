"""The parts of the chain package put together as a node does, one contract per service."""

import asyncio
from dataclasses import dataclass, field

from keyserver.chain.access import OpenAccess
from keyserver.chain.intake import TaskIntake
from keyserver.chain.name_registry import SET_OPTION, ContractDirectory, FixedContract
from keyserver.chain.node_set import NodeSetTracker
from keyserver.chain.pending import PendingEnumerator
from keyserver.chain.ports import ChainTip
from keyserver.chain.reader import PinnedReader
from keyserver.chain.sender import Sender
from keyserver.chain.watcher import Watcher, WatcherSettings
from keyserver.chain.work_driver import WorkDriver
from keyserver.crypto.hashing import keccak256
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.evm.transaction import TransactionSigner
from keyserver.model.identifiers import Address, KeyId
from keyserver.services.base import HandlerTools
from keyserver.services.registry import COMBINED, CONTRACTS, handlers
from keyserver.storage.memory import MemoryDisk, MemoryWorkStore
from keyserver.tasks.answers import OutcomeRecorder
from keyserver.tasks.queue import TaskQueue
from tests.support.chain_stack import CHAIN_ID, LIMITS, SERVICE, Deployment
from tests.support.fake_cluster import FakeCluster, FakeKeyServer, node_of, point_of, secret_of
from tests.support.manual_clock import ManualClock

NUMBER = 101
KEY_ID = KeyId(keccak256(b"document-1"))
ARTIFACT = {
    "server_key_generation": "SecretStoreServerKeyGenerationService",
    "server_key_retrieval": "SecretStoreServerKeyRetrievalService",
    "document_key_store": "SecretStoreDocumentKeyStoreService",
    "document_key_retrieval": "SecretStoreDocumentKeyShadowRetrievalService",
}


@dataclass
class LateTip:
    """Stands for the watcher until that exists: it needs the observers, they need its view."""

    watcher: list[Watcher] = field(default_factory=list)

    @property
    def view(self):  # type: ignore[no-untyped-def]
        return self.watcher[0].view

    async def next_evaluation(self) -> None:
        await self.watcher[0].next_evaluation()


async def test_four_contracts_at_four_addresses() -> None:
    deployment = Deployment.of(NUMBER)
    client = deployment.client
    addresses: dict[str, Address] = {}
    for name, artifact in ARTIFACT.items():
        code = load_artifact(artifact).bytecode
        addresses[name] = client.deploy(code + deployment.key_server_set.rjust(32, b"\0"))
    sources = {each.option: FixedContract(addresses[each.name]) for each in COMBINED}
    directory = ContractDirectory(
        client=client,
        registry=None,
        sources={**sources, SET_OPTION: FixedContract(deployment.key_server_set)},
        services=CONTRACTS,
        retry_interval_blocks=30,
    )
    me, clock = node_of(NUMBER), ManualClock()
    sets = NodeSetTracker(
        client=client,
        contracts=directory,
        chain_id=CHAIN_ID,
        me=me,
        with_migration=True,
        clock=clock,
    )
    store = MemoryWorkStore(MemoryDisk(), CHAIN_ID)
    late = LateTip()
    tip: ChainTip = late
    reader = PinnedReader(client, tip)
    cluster = FakeCluster((me,))
    tools = HandlerTools(me, FakeKeyServer(cluster, me), sets, reader, OpenAccess(), 30)
    queue = TaskQueue(
        store=store,
        handlers=handlers(tools),
        me=me,
        interval=30,
        on_answer=lambda: sender.wake(),
    )
    sender = Sender(
        client=client,
        store=store,
        reader=reader,
        node_sets=sets,
        signer=TransactionSigner(secret_of(NUMBER)),
        chain_id=CHAIN_ID,
        limits=LIMITS,
        on_task=queue.wake,
    )
    recorder = OutcomeRecorder(queue, CHAIN_ID)
    cluster.listeners[me] = recorder
    pending = PendingEnumerator(
        client=client,
        store=store,
        services=directory,
        node_sets=sets,
        me=me,
        chain_id=CHAIN_ID,
        interval=30,
    )
    watcher = Watcher(
        client=client,
        sink=TaskIntake(store=store, services=directory, node_sets=sets, me=me, chain_id=CHAIN_ID),
        contracts=directory,
        observers=[
            sets,
            pending,
            WorkDriver(queue=queue, store=store, node_sets=sets),
            sender,
        ],
        clock=clock,
        settings=WatcherSettings(confirmations=1, max_head_age_s=0),
    )
    late.watcher.append(watcher)
    running = [
        asyncio.create_task(each)
        for each in (watcher.run(), queue.run(), recorder.run(), sender.run())
    ]

    async def mine_until(name: str, event: str) -> None:
        """Mine when everything rests, until the contract has emitted the event."""
        abi = ContractAbi.of(load_artifact(ARTIFACT[name]).abi)
        topic = abi.event(event).topic0
        for _ in range(12):
            client.mine()
            for _ in range(400):
                await asyncio.sleep(0)
            head = client.node.head.number
            if await client.logs([addresses[name]], 0, head, [topic]):
                return
        raise AssertionError(f"no {event}")

    def ask(name: str, method: str, *arguments: object) -> None:
        data = SERVICE.function(method).encode(*arguments)
        client.transact(addresses[name], data, sender=1, value=2 * 10**17)

    ask("server_key_generation", "generateServerKey", KEY_ID, 0)
    await mine_until("server_key_generation", "ServerKeyGenerated")
    ask("server_key_retrieval", "retrieveServerKey", KEY_ID)
    await mine_until("server_key_retrieval", "ServerKeyRetrieved(bytes32,bytes)")
    points = point_of(201).raw64, point_of(202).raw64
    ask("document_key_store", "storeDocumentKey", KEY_ID, *points)
    await mine_until("document_key_store", "DocumentKeyStored")
    requester = point_of(2).raw64
    ask("document_key_retrieval", "retrieveDocumentKeyShadow", KEY_ID, requester)
    await mine_until("document_key_retrieval", "DocumentKeyPersonalRetrieved")

    for task in running:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
