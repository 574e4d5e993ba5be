"""A chain in this process, and contracts on it that are called by name."""

from ast import literal_eval
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from web3 import EthereumTesterProvider, Web3
from web3.logs import DISCARD

from keyserver.evm.artifacts import load_artifact

ETHER = 10**18
GAS_LIMIT = 16_777_216
"""The most that one transaction may use (EIP-7825)."""


@cache
def key_of(number: int) -> LocalAccount:
    """An account of a fixed private key; 1 to 10 own a million ether from the start."""
    account: LocalAccount = Account.from_key(number.to_bytes(32, "big"))
    return account


def public_of(number: int) -> bytes:
    """The 64 bytes of that account's public key."""
    public: bytes = key_of(number)._key_obj.public_key.to_bytes()
    return public


@dataclass(frozen=True, slots=True)
class Event:
    """An event by name, with its arguments in order, as a contract emitted it."""

    name: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transaction did: the gas it took and the events, in order."""

    gas: int
    block: int
    events: tuple[Event, ...]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


class RevertError(Exception):
    """A call or transaction reverted; the text is the name of the custom error, if any."""


class Chain:
    """Ether-rich accounts and a clock of one block per transaction."""

    def __init__(self) -> None:
        self.tester = EthereumTester(PyEVMBackend())
        self.w3 = Web3(EthereumTesterProvider(self.tester))
        self._rich = {key_of(number).address for number in range(1, 11)}
        self._signing = set(self._rich)

    def address(self, number: int) -> str:
        """The address of an account that can pay."""
        address = key_of(number).address
        if address not in self._signing:
            self.tester.add_account("0x" + key_of(number).key.hex())
            self._signing.add(address)
        if address not in self._rich:
            self._transact({"from": key_of(1).address, "to": address, "value": 2000 * ETHER})
            self._rich.add(address)
        return str(address)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens on the chain inside is undone afterwards."""
        snapshot, rich = self.tester.take_snapshot(), set(self._rich)
        yield
        self.tester.revert_to_snapshot(snapshot)
        self._rich = rich

    def deploy(self, name: str, *args: Any, owner: int = 1) -> "Contract":
        artifact = load_artifact(name)
        factory = self.w3.eth.contract(abi=list(artifact.abi), bytecode=artifact.bytecode)
        constructor = factory.constructor(*args)
        sender = self.address(owner)
        transaction = {"from": sender, "data": constructor.data_in_transaction}
        receipt = self._transact(transaction)
        if receipt["status"] != 1:
            raise RevertError(f"deploying {name}")
        return Contract(self, name, receipt["contractAddress"], receipt["gasUsed"])

    def balance(self, address: str) -> int:
        return int(self.w3.eth.get_balance(Web3.to_checksum_address(address)))

    @property
    def block(self) -> int:
        return int(self.w3.eth.block_number)

    def mine(self, blocks: int) -> None:
        self.tester.mine_blocks(blocks)

    def _transact(self, transaction: Mapping[str, Any]) -> Any:
        fields = {
            "gas": GAS_LIMIT,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            **transaction,
        }
        sent = self.w3.eth.send_transaction(fields)  # type: ignore[arg-type]
        return self.w3.eth.get_transaction_receipt(sent)


class Contract:
    """A deployed contract; functions are named, or given by signature where the name is not one."""

    def __init__(self, chain: Chain, name: str, address: str, gas: int = 0) -> None:
        self.chain = chain
        self.name = name
        self.address = address
        self.deployment_gas = gas
        self.abi = list(load_artifact(name).abi)
        self._contract = chain.w3.eth.contract(
            address=Web3.to_checksum_address(address), abi=self.abi
        )
        entries = [entry for entry in self.abi if entry["type"] == "error"]
        self._errors = {
            function_abi_to_4byte_selector({**entry, "type": "function"}): entry["name"]  # type: ignore[arg-type]
            for entry in entries
        }
        self._events = {
            event_abi_to_log_topic(entry): entry  # type: ignore[arg-type]
            for entry in self.abi
            if entry["type"] == "event"
        }

    def call(self, function: str, *args: Any, sender: int = 1) -> Any:
        """The result of a read-only call, a list for several values. Raises `RevertError`."""
        return self._ask(function, args, {"from": key_of(sender).address})

    def send(self, function: str, *args: Any, sender: int = 1, value: int = 0) -> Receipt:
        """Mine a transaction. Raises `RevertError` if it fails."""
        receipt = self._mined(function, args, sender, value)
        if receipt["status"] != 1:
            # Ask again for the reason: a receipt has none.
            self._call_to_fail(function, args, sender, value)
        return Receipt(receipt["gasUsed"], receipt["blockNumber"], self.events_of(receipt["logs"]))

    def revert_reason(self, function: str, *args: Any, sender: int = 1, value: int = 0) -> str:
        """Mine a transaction that must fail, and tell the error's name."""
        receipt = self._mined(function, args, sender, value)
        if receipt["status"] == 1:
            raise AssertionError(f"{function}{args} did not revert")
        try:
            self._call_to_fail(function, args, sender, value)
        except RevertError as error:
            return str(error)
        raise AssertionError("unreachable")

    def events_of(self, logs: Any) -> tuple[Event, ...]:
        return tuple(self._event(log) for log in logs)

    def _mined(self, function: str, args: tuple[Any, ...], sender: int, value: int) -> Any:
        fields = {
            "from": self.chain.address(sender),
            "to": self.address,
            "value": value,
            "data": self._contract.encode_abi(function, args),
        }
        return self.chain._transact(fields)

    def _call_to_fail(self, function: str, args: tuple[Any, ...], sender: int, value: int) -> None:
        self._ask(function, args, {"from": key_of(sender).address, "value": value})
        raise AssertionError("failed when mined, not when called afterwards")

    def _ask(self, function: str, args: tuple[Any, ...], fields: Any) -> Any:
        try:
            return self._contract.functions[function](*args).call(fields)
        except TransactionFailed as error:
            raise RevertError(self._reason(str(error))) from None

    def _reason(self, text: str) -> str:
        """The name of the custom error; the chain tells it as the repr of its bytes."""
        data = text.removeprefix("execution reverted: ")
        if not data.startswith(("b'", 'b"')):
            return text
        selector = bytes(literal_eval(data)[:4])
        return str(self._errors.get(selector, selector.hex()))

    def _event(self, log: Any) -> Event:
        entry = self._events[bytes(log["topics"][0])]
        signature = f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})"
        decoder = self._contract.events[signature]()
        receipt: Any = {"logs": [log]}
        (decoded,) = decoder.process_receipt(receipt, errors=DISCARD)
        return Event(
            entry["name"], tuple(decoded["args"][inputs["name"]] for inputs in entry["inputs"])
        )
