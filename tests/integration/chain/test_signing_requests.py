"""Messages to be signed, on the real contracts, answered by several nodes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from coincurve import PublicKey
from eth_account import Account

from keyserver.crypto.hashing import keccak256
from keyserver.crypto.schnorr import Form, verify
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR, MessageSigning
from keyserver.sessions.core import DeniedError, UnavailableError, Verdict
from keyserver.tasks.model import TaskState
from keyserver.tasks.outbox import OutboxState
from tests.support.chain_stack import (
    CHAIN_ID,
    KEY_SERVER_SET,
    SCHEMES,
    SIGNING,
    Deployment,
    Network,
    Stack,
)
from tests.support.fake_cluster import (
    FakeCluster,
    certified_record,
    key_secret,
    node_of,
    secret_of,
)
from tests.support.work_store import FakeWorkStore, ProcessKilled

KEY_ID = KeyId(keccak256(b"document-2"))
"""Of three nodes the first one starts its sessions."""
MESSAGE = Hash32(keccak256(b"I owe you nothing"))
OTHER_MESSAGE = Hash32(keccak256(b"I owe you one"))


@dataclass
class Bench:
    """Three nodes that hold a key, on a chain with both contracts."""

    network: Network
    service: MessageSigning

    @property
    def deployment(self) -> Deployment:
        return self.network.deployment

    def ask(self, message: Hash32 = MESSAGE, sender: int = 0, key_id: KeyId = KEY_ID) -> None:
        self.deployment.request_signature(self.service, key_id, message, sender)

    def events(self, name: str) -> list[tuple[object, ...]]:
        """Those called `EcdsaMessageSigned` and so on."""
        return self.deployment.events(SCHEMES[self.service] + name, SIGNING[self.service])

    async def mine_until(self, name: str, most: int = 30) -> int:
        for count in range(1, most + 1):
            await self.network.mine()
            if self.events(name):
                return count
        raise AssertionError(f"no {name} within {most} blocks")

    def know(self, threshold: int = 1, key_id: KeyId = KEY_ID) -> None:
        nodes = self.network.cluster.nodes
        author = node_of(7).address
        record = certified_record(key_id, author, threshold, nodes)
        self.network.cluster.records[key_id] = record

    def check(self, event: tuple[object, ...], message: Hash32, requester: Address) -> None:
        """The signature of an event is one of the server key, by two other libraries for ECDSA."""
        key_id, who, what, signature = event
        assert (key_id, who, what) == (KEY_ID, requester, message)
        assert isinstance(signature, bytes)
        public = key_secret(KEY_ID).public()
        if self.service is SCHNORR:
            verify(Form.ORIGINAL, public, message, signature)
            return
        flat = signature[:64] + bytes([signature[64] - 27])
        recovered = PublicKey.from_signature_and_message(flat, message, hasher=None)
        assert recovered.format(compressed=False)[1:] == public.raw64
        account = Account._recover_hash(message, signature=signature)
        assert bytes.fromhex(account[2:]) == keccak256(public.raw64)[12:]

    def sent(self, method: str) -> int:
        """How many transactions with this call all nodes have mined."""
        selector = SIGNING[self.service].function(method).selector
        nodes = {bytes(stack.me.address) for stack in self.network.stacks}
        return sum(
            bytes(executed.transaction.data)[:4] == selector
            and bytes(executed.transaction.sender) in nodes
            for block in self.deployment.client.node.blocks(0, 10_000)
            for executed in block.executed
        )


@pytest.fixture(scope="module")
def deployed() -> Deployment:
    deployment = Deployment.of(101, 102, 103)
    deployment.add_signing()
    return deployment


@pytest.fixture
async def network(deployed: Deployment) -> AsyncIterator[Network]:
    node = deployed.client.node
    snapshot = node.snapshot()
    network = Network.of(101, 102, 103, deployment=deployed)
    await network.mine(4)
    yield network
    await network.close()
    node.revert(snapshot)


@pytest.fixture
def bench(network: Network, request: pytest.FixtureRequest) -> Bench:
    bench = Bench(network, getattr(request, "param", ECDSA))
    bench.know()
    return bench


each_bench = pytest.mark.parametrize("bench", SCHEMES, ids=lambda each: each.name, indirect=True)


@each_bench
async def test_a_message_is_signed_once_for_all(bench: Bench) -> None:
    bench.ask()
    # mined in block b, acted upon at b + 3, the key agreed on in b + 4, the signature in b + 5
    assert await bench.mine_until("MessageSigned") == 1 + 3 + 1 + 1
    ((key_id, requester, message, public, threshold),) = bench.events("SigningCommonRetrieved")
    assert (key_id, message, threshold) == (KEY_ID, MESSAGE, 1)
    assert public == key_secret(KEY_ID).public().raw64
    assert requester == bench.deployment.client.account(0)
    (event,) = bench.events("MessageSigned")
    bench.check(event, MESSAGE, requester)
    await bench.network.mine(8)
    assert bench.sent(bench.service.calls.signed.name) == 1
    assert [node for node, _ in bench.network.cluster.signed] == [bench.network.stacks[0].me]
    open_tasks = [
        task
        for stack in bench.network.stacks
        for task in stack.store.tasks.values()
        if task.state.is_open
    ]
    assert open_tasks == []
    starter = bench.network.stacks[0].store.tasks.values()
    assert [task.state for task in starter] == [TaskState.SETTLED] * 2


@each_bench
async def test_several_messages_of_several_accounts_under_one_key(bench: Bench) -> None:
    asked = [(MESSAGE, 0), (OTHER_MESSAGE, 0), (MESSAGE, 1)]
    for message, sender in asked:
        bench.ask(message, sender)
    await bench.mine_until("MessageSigned")
    await bench.network.mine(8)
    events = bench.events("MessageSigned")
    accounts = bench.deployment.client.account
    by_request = {(event[2], event[1]): event for event in events}
    assert len(events) == len(by_request) == 3
    for message, sender in asked:
        bench.check(by_request[message, accounts(sender)], message, accounts(sender))
    assert bench.events("SigningError") == []


@each_bench
async def test_the_same_message_again_is_signed_again(bench: Bench) -> None:
    for count in (1, 2):
        bench.ask()
        await bench.network.mine(10)
        assert len(bench.events("MessageSigned")) == count


@each_bench
async def test_a_stranger_gets_an_error(bench: Bench) -> None:
    for stack in bench.network.stacks:
        stack.permissions.verdict = Verdict.DENIED
    bench.ask()
    await bench.mine_until("SigningError")
    account = bench.deployment.client.account(0)
    assert bench.events("SigningError") == [(KEY_ID, account, MESSAGE)]
    await bench.network.mine(5)
    assert bench.network.cluster.signed == []


async def test_an_unknown_key_is_an_error(bench: Bench) -> None:
    bench.ask(key_id=KeyId(b"\x01" * 32))
    await bench.mine_until("SigningError")


async def test_a_threshold_that_is_too_high_for_ecdsa_only(bench: Bench) -> None:
    bench.know(threshold=2)
    bench.ask()
    await bench.mine_until("SigningError")
    bench.service = SCHNORR
    bench.ask()
    await bench.mine_until("MessageSigned")


async def test_a_permission_taken_away_between_the_stages(bench: Bench) -> None:
    bench.ask()
    bench.network.cluster.failures["sign"] = [UnavailableError("too few holders")]
    await bench.mine_until("SigningCommonRetrieved")
    for stack in bench.network.stacks:
        stack.permissions.verdict = Verdict.DENIED
    await bench.mine_until("SigningError", most=12)
    await bench.network.mine(4)
    assert bench.events("MessageSigned") == []


async def test_participants_that_see_no_permission_end_the_request(bench: Bench) -> None:
    """Whoever's turn it is hears it from the others, and says so; a majority has its turn."""
    bench.network.cluster.failures["sign"] = [DeniedError("no", "AccessDenied")] * 9
    bench.ask()
    await bench.mine_until("SigningError", most=50)
    assert {node for _, node in bench.network.cluster.calls} == {
        stack.me for stack in bench.network.stacks[:2]
    }


@each_bench
async def test_a_starter_that_is_away_is_stood_in_for(bench: Bench) -> None:
    starter, *others = bench.network.stacks
    bench.network.stacks = others
    for stack in others:
        stack.key_server.peers -= {starter.me}
    bench.ask()
    assert await bench.mine_until("MessageSigned") <= 1 + 3 + 1 + 2
    assert [node for node, _ in bench.network.cluster.signed] == [others[0].me]
    bench.network.stacks = [starter, *others]
    await bench.network.mine(5)
    assert bench.sent(bench.service.calls.signed.name) == 1


@each_bench
async def test_a_starter_that_keeps_the_signature_is_not_needed(bench: Bench) -> None:
    """It has the message signed and publishes nothing: the other signers do, 3 blocks later."""
    starter, *others = bench.network.stacks
    bench.network.cluster.failures["signed"] = [UnavailableError("lost")]
    bench.network.cluster.signers = tuple(stack.me for stack in others)
    bench.ask()
    assert await bench.mine_until("MessageSigned") <= 1 + 3 + 1 + 3 + 2
    assert [node for node, _ in bench.network.cluster.signed] == [starter.me]
    await bench.network.mine(5)
    assert bench.sent(bench.service.calls.signed.name) <= 2  # the second one has no effect
    assert len(bench.events("MessageSigned")) == 1


async def test_a_request_that_a_reorganisation_moves_is_signed_once(bench: Bench) -> None:
    client = bench.deployment.client
    method = SIGNING[ECDSA].function("signMessageEcdsa").encode(KEY_ID, MESSAGE)
    raw = client.sign(bench.deployment.signing[ECDSA], method, value=2 * 10**17)
    client.node.submit(raw)
    await bench.network.mine(4)
    assert bench.network.stacks[0].store.tasks
    client.reorganise(4, {2: [raw]})
    assert bench.events("SigningCommonRetrieved") == []
    await bench.mine_until("MessageSigned")
    await bench.network.mine(6)
    assert len(bench.events("MessageSigned")) == 1
    assert bench.sent("ecdsaMessageSigned") == 1


@each_bench
async def test_what_was_asked_before_the_start_is_found_in_the_lists(bench: Bench) -> None:
    """By nodes that know nothing: one request in its first stage, one in its second."""
    bench.network.cluster.failures["sign"] = [UnavailableError("too few holders")] * 2
    bench.ask()
    await bench.mine_until("SigningCommonRetrieved")
    for stack in bench.network.stacks:
        await stack.kill()
    bench.network.cluster.failures.clear()
    bench.ask(OTHER_MESSAGE)
    bench.deployment.client.mine(4)
    for stack in bench.network.stacks:
        stack.store = FakeWorkStore()
        stack.start()
    await bench.network.mine(4)
    assert {event[2] for event in bench.events("MessageSigned")} == {MESSAGE, OTHER_MESSAGE}
    assert len(bench.events("MessageSigned")) == 2


async def test_another_set_of_servers_is_asked_again(bench: Bench) -> None:
    """The contract forgets the votes of the common stage, and who has voted votes again."""
    bench.ask()
    first, second, third = bench.network.stacks
    for stack in (second, third):
        stack.permissions.verdict = Verdict.UNAVAILABLE
    await bench.network.mine(9)
    assert bench.sent("ecdsaSigningCommonRetrieved") == 1
    assert not [task for task in first.store.tasks.values() if task.state is TaskState.ANSWERED]
    change = remove_server(bench.deployment, third, (first, second))
    await third.kill()
    bench.network.stacks = [first, second]
    for stack in bench.network.stacks:
        stack.change_set(change, first.me, second.me)
        stack.permissions.verdict = Verdict.ALLOWED
    await bench.mine_until("MessageSigned", most=10)
    assert bench.sent("ecdsaSigningCommonRetrieved") == 1 + 2


def remove_server(deployment: Deployment, gone: Stack, left: tuple[Stack, ...]) -> int:
    """Complete a migration to the set that is left; returns the block of the change."""
    client, name = deployment.client, Hash32(b"\x07" * 32)
    remove = KEY_SERVER_SET.function("removeKeyServer").encode(gone.me.address)
    client.transact(deployment.key_server_set, remove)
    client.mine()
    steps = [("startMigration", left[0]), *(("confirmMigration", stack) for stack in left)]
    for method, stack in steps:
        signer = TransactionSigner(secret_of(stack.number))
        call = KEY_SERVER_SET.function(method).encode(name)
        nonce = client.node.account_nonce(signer.address)
        fee = DynamicFee(10**11, 10**9)
        to = deployment.key_server_set
        transaction = UnsignedTransaction(CHAIN_ID, nonce, to, call, 1_000_000, fee)
        client.node.submit(signer.sign(transaction).raw)
        client.mine()
    return client.node.head.number


# --- a process that ends at any write --------------------------------------------------------

ROUNDS = 10
ALONE = 101


@dataclass
class Life:
    answers: list[tuple[str, OutboxState]]
    tasks: list[tuple[str, TaskState]]
    signed: int
    kills: int
    writes: int


async def live(deployment: Deployment, kill_before: int | None) -> Life:
    """A signature by a network of one; the chain is put back afterwards."""
    node = deployment.client.node
    snapshot = node.snapshot()
    cluster = FakeCluster((node_of(ALONE),))
    author = node_of(7).address
    cluster.records[KEY_ID] = certified_record(KEY_ID, author, 0, cluster.nodes)
    stack = Stack(deployment, ALONE, cluster, confirmations=1)
    stack.store.lives = kill_before
    kills = 0
    for step in range(ROUNDS):
        if step == 1:
            deployment.request_signature(ECDSA, KEY_ID, MESSAGE)
        head = deployment.client.mine()
        try:
            await stack.see(head)
        except ProcessKilled:
            kills += 1
            await stack.kill()
            stack.store.lives = None
            stack.start()
            await stack.see(head)
    await stack.kill()
    life = Life(
        [(entry.key.method, entry.state) for entry in stack.store.entries.values()],
        [(task.key.kind.name, task.state) for task in stack.store.tasks.values()],
        len(deployment.events("EcdsaMessageSigned", SIGNING[ECDSA])),
        kills,
        stack.store.writes,
    )
    node.revert(snapshot)
    return life


async def test_a_kill_before_any_write_leaves_one_signature() -> None:
    deployment = Deployment.of(ALONE)
    deployment.add_signing()
    undisturbed = await live(deployment, None)
    assert undisturbed.answers == [
        ("ecdsaSigningCommonRetrieved", OutboxState.CONFIRMED),
        ("ecdsaMessageSigned", OutboxState.CONFIRMED),
    ]
    assert undisturbed.signed == 1
    for position in range(undisturbed.writes):
        disturbed = await live(deployment, position)
        assert (disturbed.kills, disturbed.signed) == (1, 1), position
        assert disturbed.answers == undisturbed.answers, position
        assert disturbed.tasks == undisturbed.tasks, position
