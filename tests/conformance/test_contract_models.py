"""The simulated contracts give the results, events and reverts of the compiled ones.

Random calls of key servers, customers and strangers go to both, one block each; now and then every
getter is compared.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from eth.vm.spoof import SpoofTransaction
from eth_utils.address import to_canonical_address, to_checksum_address

from keyserver.chain.client import ContractCall
from keyserver.model.identifiers import ZERO_HASH, Address
from keyserver.simulation.chain import Block, State
from keyserver.simulation.contracts import node_set, permissions, queue
from keyserver.simulation.contracts.contract import Contract, Message, RevertError, abi_of
from keyserver.simulation.contracts.node_set import NodeSetContract
from keyserver.simulation.contracts.permissions import PermissionsContract
from keyserver.simulation.contracts.service import new_service
from tests.contracts.chain import GAS_LIMIT, Chain, public_of

OWNER, SERVERS, CUSTOMERS, STRANGER = 1, (101, 102, 103, 104, 105), (2, 3), 4
EVERYBODY = (OWNER, *SERVERS, *CUSTOMERS, STRANGER)
KEYS = (b"\x11" * 32, b"\x22" * 32)
POINTS = (bytes(range(64)), bytes(range(64, 128)))
ODD_POINT = bytes(63)
FEES = (2 * 10**17, 2 * 10**17, 2 * 10**17, 1)


@dataclass
class Pair:
    """The compiled contracts, and their models at the same addresses."""

    chain: Chain
    random: Random
    members: int
    artifacts: dict[Address, str] = field(default_factory=dict)
    models: dict[Address, Contract] = field(default_factory=dict)
    succeeded: int = 0
    reverted: int = 0

    def __post_init__(self) -> None:
        owner = self.account(OWNER)
        self.set = self._deploy(node_set.ARTIFACT, NodeSetContract(owner))
        self.service = self._deploy(queue.ARTIFACT, new_service(owner, self.set), self.set)
        self.permissions = self._deploy(permissions.ARTIFACT, PermissionsContract(owner))
        for number in SERVERS[: self.members]:
            self.send(OWNER, self.set, "addKeyServer", public_of(number), f"10.0.0.1:{number}")

    def _deploy(self, artifact: str, model: Contract, *arguments: bytes) -> Address:
        where = [to_checksum_address(each) for each in arguments]
        address = Address(to_canonical_address(self.chain.deploy(artifact, *where).address))
        self.artifacts[address], self.models[address] = artifact, model
        return address

    def account(self, number: int) -> Address:
        return Address(to_canonical_address(self.chain.address(number)))

    def send(self, sender: int, to: Address, method: str, *arguments: Any, value: int = 0) -> None:
        """One transaction to both."""
        data = abi_of(self.artifacts[to]).function(method).encode(*arguments)
        self.send_data(sender, to, data, value, method)

    def send_data(self, sender: int, to: Address, data: bytes, value: int, what: str) -> None:
        mined = self.chain.transact(sender, "0x" + to.hex(), data, value)
        changed = self.models[to].clone()
        message = Message(self.account(sender), data, value, mined.block, self.models)
        try:
            output, logs = changed.run(message)
        except RevertError as refused:
            told: tuple[bool, bytes, list[object]] = (False, refused.data, [])
            self.reverted += 1
        else:
            told = True, output, [([*map(bytes, log.topics)], log.data) for log in logs]
            self.models[to] = changed
            self.succeeded += 1
        logged = [([*map(bytes, log["topics"])], bytes(log["data"])) for log in mined.logs]
        assert told == (mined.succeeded, mined.output, logged), what

    def compare(self, to: Address, method: str, *arguments: Any) -> None:
        """One call that changes nothing."""
        data = abi_of(self.artifacts[to]).function(method).encode(*arguments)
        state = State(self.models)
        head = Block(self.chain.block, ZERO_HASH, ZERO_HASH, 0, 0, (), {}, (), state)
        try:
            told, data_told = True, head.call(ContractCall(to, data))
        except RevertError as refused:
            told, data_told = False, refused.data
        assert (told, data_told) == self._read(to, data), (method, arguments)

    def _read(self, to: Address, data: bytes) -> tuple[bool, bytes]:
        """A call of the compiled contract that leaves nothing behind."""
        chain = self.chain.tester.backend.chain
        state = chain.get_vm().state
        unsigned = chain.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=chain.chain_id,
            nonce=state.get_nonce(self.account(STRANGER)),
            max_priority_fee_per_gas=1,
            max_fee_per_gas=10**10,
            gas=GAS_LIMIT,
            to=to,
            value=0,
            data=data,
            access_list=(),
        )
        snapshot = state.snapshot()
        done = state.apply_transaction(SpoofTransaction(unsigned, from_=self.account(STRANGER)))
        state.revert(snapshot)
        return done.is_success, done.output

    # --- random calls ---------------------------------------------------------------------

    def step(self) -> None:
        draw = self.random
        sender = draw.choice(SERVERS) if draw.random() < 0.75 else draw.choice(EVERYBODY)
        key, customer = draw.choice(KEYS), self.account(draw.choice(CUSTOMERS))
        point = draw.choice((*POINTS, POINTS[0], POINTS[0], ODD_POINT))
        threshold = draw.choice((0, 1, 1, 1, 2, 255))
        mask = draw.choice((0b11, 0b11, 0b110, 0b1, 0b111, 1 << 7))
        asked = draw.choice(CUSTOMERS)
        choices: list[tuple[int, int, str, tuple[Any, ...], int]] = [
            (3, asked, "generateServerKey", (key, threshold), draw.choice(FEES)),
            (6, sender, "serverKeyGenerated", (key, point), 0),
            (1, sender, "serverKeyGenerationError", (key,), 0),
            (3, asked, "retrieveServerKey", (key,), draw.choice(FEES)),
            (6, sender, "serverKeyRetrieved", (key, point, threshold), 0),
            (2, sender, "serverKeyRetrievalError", (key,), 0),
            (3, asked, "storeDocumentKey", (key, point, POINTS[1]), draw.choice(FEES)),
            (6, sender, "documentKeyStored", (key,), 0),
            (1, sender, "documentKeyStoreError", (key,), 0),
            (3, asked, "retrieveDocumentKeyShadow", (key, public_of(asked)), draw.choice(FEES)),
            (1, asked, "retrieveDocumentKeyShadow", (key, POINTS[0]), FEES[0]),
            (8, sender, "documentKeyCommonRetrieved", (key, customer, point, threshold), 0),
            (
                8,
                sender,
                "documentKeyPersonalRetrieved",
                (key, customer, mask, point, draw.choice((b"", b"s", b"shadow", bytes(1025)))),
                0,
            ),
            (2, sender, "documentKeyShadowRetrievalError", (key, customer), 0),
            (1, sender, "expireServerKeyGenerationRequest", (key,), 0),
            (1, sender, "expireServerKeyRetrievalRequest", (key,), 0),
            (1, sender, "expireDocumentKeyStoreRequest", (key,), 0),
            (1, sender, "expireDocumentKeyShadowRetrievalRequest", (key, customer), 0),
        ]
        _, who, method, arguments, value = draw.choices(choices, [each[0] for each in choices])[0]
        self.send(who, self.service, method, *arguments, value=value)

    def compare_service(self) -> None:
        for key in KEYS:
            for number in (*SERVERS, STRANGER):
                server = self.account(number)
                for name in ("ServerKeyGeneration", "ServerKeyRetrieval", "DocumentKeyStore"):
                    self.compare(self.service, f"is{name}ResponseRequired", key, server)
                for customer in CUSTOMERS:
                    self.compare(
                        self.service,
                        "isDocumentKeyShadowRetrievalResponseRequired",
                        key,
                        self.account(customer),
                        server,
                    )
        for name in (
            "ServerKeyGeneration",
            "ServerKeyRetrieval",
            "DocumentKeyStore",
            "DocumentKeyShadowRetrieval",
        ):
            lower = name[0].lower() + name[1:]
            self.compare(self.service, f"{lower}RequestsCount")
            self.compare(self.service, f"{lower}Fee")
            for index in range(3):
                self.compare(self.service, f"get{name}Request", index)
        self.compare(self.service, "keyServersCount")
        self.compare(self.service, "keyServerSetAddress")
        self.compare(self.service, "requestLifetimeBlocks")
        for number in EVERYBODY:
            self.compare(self.service, "requireKeyServer", self.account(number))


@pytest.mark.parametrize("number", range(3))
def test_the_services_count_as_the_compiled_contract_does(number: int) -> None:
    chain, random = Chain(rich=SERVERS), Random(number)
    pair = Pair(chain, random, members=(3, 4, 5)[number])
    pair.send(OWNER, pair.set, "completeInitialization")
    for step in range(160):
        pair.step()
        if step % 80 == 79:
            pair.compare_service()
    assert pair.succeeded > 60, pair.succeeded
    assert pair.reverted > 10, pair.reverted


def test_answers_of_an_earlier_set_do_not_count() -> None:
    """Before the initialization is completed the owner may change the current set at once."""
    pair = Pair(Chain(rich=SERVERS), Random(5), members=3)
    for step in range(120):
        pair.step()
        if step % 9 == 8:
            server = pair.random.choice(SERVERS)
            if pair.random.random() < 0.5:
                pair.send(OWNER, pair.set, "addKeyServer", public_of(server), "10.0.0.2:1")
            else:
                pair.send(OWNER, pair.set, "removeKeyServer", pair.account(server))
    pair.compare_service()


def test_fees_go_to_the_servers_and_can_be_drained_once() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(6), members=3)
    customer, server = CUSTOMERS[0], SERVERS[0]
    pair.send(customer, pair.service, "retrieveServerKey", KEYS[0], value=10**17 + 2)
    for number in EVERYBODY:
        pair.compare(pair.service, "keyServerBalance", pair.account(number))
    for _ in range(2):
        pair.send(server, pair.service, "drain")
        pair.compare(pair.service, "keyServerBalance", pair.account(server))


def test_a_request_ends_when_its_time_is_over() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(7), members=3)
    pair.send(CUSTOMERS[0], pair.service, "retrieveServerKey", KEYS[0], value=10**17)
    pair.send(STRANGER, pair.service, "expireServerKeyRetrievalRequest", KEYS[0])
    pair.chain.mine(600)
    pair.send(STRANGER, pair.service, "expireServerKeyRetrievalRequest", KEYS[0])
    assert pair.reverted == 1


def test_bytes_that_are_no_call_are_refused_alike() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(8), members=3)
    whole = abi_of(queue.ARTIFACT).function("generateServerKey").encode(KEYS[0], 1)
    for data in (b"", b"\x01\x02\x03\x04", whole[:4], whole[:-1]):
        pair.send_data(CUSTOMERS[0], pair.service, data, 0, data.hex())
    paid = abi_of(queue.ARTIFACT).function("serverKeyGenerationError").encode(KEYS[0])
    pair.send_data(SERVERS[0], pair.service, paid, 1, "value for a function that takes none")


def test_the_set_tells_its_members_as_the_compiled_contract_does() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(9), members=4)
    stranger, server = pair.account(STRANGER), pair.account(SERVERS[1])
    steps: list[tuple[int, str, tuple[Any, ...]]] = [
        (STRANGER, "addKeyServer", (public_of(STRANGER), "x:1")),
        (OWNER, "addKeyServer", (public_of(SERVERS[0]), "x:1")),
        (OWNER, "addKeyServer", (public_of(STRANGER)[:63], "x:1")),
        (OWNER, "addKeyServer", (public_of(STRANGER), "")),
        (OWNER, "removeKeyServer", (server,)),
        (OWNER, "removeKeyServer", (server,)),
        (OWNER, "completeInitialization", ()),
        (OWNER, "completeInitialization", ()),
        (OWNER, "addKeyServer", (public_of(SERVERS[1]), "10.0.0.3:1")),
        (OWNER, "removeKeyServer", (pair.account(SERVERS[0]),)),
        (OWNER, "updateKeyServerAddress", (server, "10.0.0.4:1")),
        (OWNER, "updateKeyServerAddress", (stranger, "10.0.0.4:1")),
        (OWNER, "updateKeyServerAddress", (server, "")),
        (STRANGER, "updateKeyServerAddress", (server, "10.0.0.4:1")),
    ]
    for sender, method, arguments in steps:
        pair.send(sender, pair.set, method, *arguments)
        for getter in (
            "getCurrentLastChange",
            "getCurrentKeyServersCount",
            "getCurrentKeyServers",
            "getNewKeyServers",
            "getMigrationKeyServers",
            "getMigrationMaster",
            "getMigrationId",
            "isInitialized",
        ):
            pair.compare(pair.set, getter)
        for index in (0, 3):
            pair.compare(pair.set, "getCurrentKeyServer", index)
        for number in (SERVERS[0], SERVERS[1], STRANGER):
            for getter in (
                "getCurrentKeyServerIndex",
                "getCurrentKeyServerPublic",
                "getCurrentKeyServerAddress",
                "getNewKeyServerPublic",
                "getNewKeyServerAddress",
                "isMigrationConfirmed",
            ):
                pair.compare(pair.set, getter, pair.account(number))


def test_permissions_are_kept_as_the_compiled_contract_does() -> None:
    pair = Pair(Chain(), Random(10), members=0)
    users = [pair.account(number) for number in (2, 3, 4)]
    for _ in range(60):
        draw, document = pair.random, pair.random.choice(KEYS)
        listed = draw.sample(users, draw.randint(0, 3))
        method, arguments = draw.choice(
            [
                ("permission", (document, listed)),
                ("permission", (document, [users[0], users[0]])),
                ("setUsers", (document, listed)),
                ("addUser", (document, draw.choice(users))),
                ("setExposed", (document, draw.random() < 0.5)),
                ("removePermission", (document,)),
            ]
        )
        pair.send(draw.choice((OWNER, 2, 3)), pair.permissions, method, *arguments)
        for user in users:
            for each in KEYS:
                pair.compare(pair.permissions, "checkPermissions", user, each)
    assert min(pair.succeeded, pair.reverted) > 5


def test_migrations_go_as_in_the_compiled_contract() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(11), members=3)
    pair.send(OWNER, pair.set, "completeInitialization")
    draw, completed = pair.random, 0
    for step in range(70):
        model = pair.models[pair.set]
        assert isinstance(model, NodeSetContract)
        completed += model.last_change == pair.chain.block
        server, fresh = draw.choice(SERVERS), bytes([1 + step]) * 32
        running = model.migration_id if model.migration and draw.random() < 0.9 else fresh
        choices: list[tuple[int, int, str, tuple[Any, ...]]] = [
            (2, OWNER, "addKeyServer", (public_of(server), "10.0.0.5:1")),
            (2, OWNER, "removeKeyServer", (pair.account(server),)),
            (1, STRANGER, "cancelMigration", (running,)),
            (1, OWNER, "updateKeyServerAddress", (pair.account(server), "10.0.0.6:1")),
            (4, server, "startMigration", (draw.choice((running, fresh, bytes(32))),)),
            (24 if model.migration else 2, server, "confirmMigration", (running,)),
            (1, OWNER, "cancelMigration", (running,)),
        ]
        _, who, method, arguments = draw.choices(choices, [each[0] for each in choices])[0]
        pair.send(who, pair.set, method, *arguments)
        if step % 3 == 0:
            _compare_migration(pair)
    assert min(pair.succeeded, pair.reverted) > 15
    assert completed > 1, "no two migrations were completed"


def _compare_migration(pair: Pair) -> None:
    for getter in (
        "getCurrentLastChange",
        "getCurrentKeyServers",
        "getNewKeyServers",
        "getMigrationKeyServers",
        "getMigrationMaster",
        "getMigrationId",
    ):
        pair.compare(pair.set, getter)
    for number in (SERVERS[0], SERVERS[3]):
        for getter in (
            "getCurrentKeyServerIndex",
            "getMigrationKeyServerPublic",
            "getMigrationKeyServerAddress",
            "isMigrationConfirmed",
        ):
            pair.compare(pair.set, getter, pair.account(number))
