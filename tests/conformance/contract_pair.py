"""Compiled contracts and their models, called alike."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

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
    topics: set[bytes] = field(default_factory=set)
    """Of all events so far."""

    def __post_init__(self) -> None:
        owner = self.account(OWNER)
        self.set = self.deploy(node_set.ARTIFACT, NodeSetContract(owner))
        self.service = self.deploy(queue.ARTIFACT, new_service(owner, self.set), self.set)
        self.permissions = self.deploy(permissions.ARTIFACT, PermissionsContract(owner))
        for number in SERVERS[: self.members]:
            self.send(OWNER, self.set, "addKeyServer", public_of(number), f"10.0.0.1:{number}")

    def deploy(self, artifact: str, model: Contract, *arguments: bytes) -> Address:
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
            self.topics |= {bytes(log.topics[0]) for log in logs}
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
