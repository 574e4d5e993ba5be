"""A chain in this process, and contracts on it that are called by name."""

from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from eth_utils.address import to_canonical_address, to_checksum_address
from hexbytes import HexBytes
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
class Mined:
    """A transaction in a block of its own; `output` of a reverted one says why."""

    succeeded: bool
    gas: int
    block: int
    logs: tuple[Mapping[str, Any], ...]
    output: bytes
    created: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """An event by name, with its arguments in order, as a contract emitted it."""

    name: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transaction did: the gas it took and the events of the called contract, in order."""

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

    def __init__(self, rich: Iterable[int] = ()) -> None:
        """Accounts 1 to 10 and those in `rich` own ether from the start, others when asked for."""
        self._rich = {*range(1, 11), *rich}
        account = {"balance": 10**6 * ETHER, "nonce": 0, "code": b"", "storage": {}}
        state = {to_canonical_address(key_of(number).address): account for number in self._rich}
        self.tester = EthereumTester(PyEVMBackend(genesis_state=state))
        self.w3 = Web3(EthereumTesterProvider(self.tester))

    def address(self, number: int) -> str:
        """The address of an account that can pay."""
        address = key_of(number).address
        if number not in self._rich:
            self.transact(1, address, value=2000 * ETHER)
            self._rich.add(number)
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
        data = Web3.to_bytes(hexstr=constructor.data_in_transaction)
        mined = self.transact(owner, None, data)
        if mined.created is None:
            raise RevertError(f"deploying {name}")
        return Contract(self, name, mined.created, mined.gas)

    def balance(self, address: str) -> int:
        return int(self.w3.eth.get_balance(Web3.to_checksum_address(address)))

    @property
    def block(self) -> int:
        return int(self.w3.eth.block_number)

    def mine(self, blocks: int) -> None:
        self.tester.mine_blocks(blocks)

    def transact(
        self,
        sender: int,
        to: str | None,
        data: bytes = b"",
        value: int = 0,
        gas_limit: int = GAS_LIMIT,
    ) -> Mined:
        """Mine one transaction, handed to the EVM itself: JSON forms would double the time."""
        self.address(sender)
        chain = self.tester.backend.chain
        unsigned = chain.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=chain.chain_id,
            nonce=chain.get_vm().state.get_nonce(to_canonical_address(key_of(sender).address)),
            max_priority_fee_per_gas=1,
            max_fee_per_gas=10**10,
            gas=gas_limit,
            to=b"" if to is None else to_canonical_address(to),
            value=value,
            data=data,
            access_list=(),
        )
        signed = unsigned.as_signed_transaction(key_of(sender)._key_obj)
        block, receipt, computation = chain.apply_transaction(signed)
        self.tester.backend.mine_blocks()
        created = computation.msg.storage_address if to is None else None
        return Mined(
            computation.is_success,
            receipt.gas_used,
            block.number,
            tuple(_log(*entry) for entry in computation.get_log_entries()),
            computation.output,
            to_checksum_address(created) if created and computation.is_success else None,
        )


def _log(address: bytes, topics: Iterable[int], data: bytes) -> Mapping[str, Any]:
    """A log as `web3` decodes it; nobody asks where it stands."""
    nowhere = dict.fromkeys(("blockHash", "blockNumber", "transactionHash", "transactionIndex"))
    words = [HexBytes(topic.to_bytes(32, "big")) for topic in topics]
    place = {**nowhere, "logIndex": None}
    return {**place, "address": to_checksum_address(address), "topics": words, "data": data}


def _readable(kind: str, value: Any) -> Any:
    """Addresses with their checksum, arrays as lists."""
    if kind.endswith("[]"):
        return [_readable(kind[:-2], item) for item in value]
    return to_checksum_address(value) if kind == "address" else value


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
        self._outputs = {
            entry["name"]: [output["type"] for output in entry["outputs"]]
            for entry in self.abi
            if entry["type"] == "function"
        }
        self._events = {
            event_abi_to_log_topic(entry): entry  # type: ignore[arg-type]
            for entry in self.abi
            if entry["type"] == "event"
        }

    def call(self, function: str, *args: Any, sender: int = 1) -> Any:
        """The result of a read-only call, a list for several values. Raises `RevertError`."""
        return self._ask(function, args, sender)

    def send(self, function: str, *args: Any, sender: int = 1, value: int = 0) -> Receipt:
        """Mine a transaction. Raises `RevertError` if it fails."""
        mined = self._mined(function, args, sender, value)
        if not mined.succeeded:
            raise RevertError(self._reason(mined.output))
        own = [log for log in mined.logs if log["address"] == self.address]
        return Receipt(mined.gas, mined.block, self.events_of(own))

    def revert_reason(self, function: str, *args: Any, sender: int = 1, value: int = 0) -> str:
        """Mine a transaction that must fail, and tell the error's name."""
        mined = self._mined(function, args, sender, value)
        if mined.succeeded:
            raise AssertionError(f"{function}{args} did not revert")
        return self._reason(mined.output)

    def events_of(self, logs: Any) -> tuple[Event, ...]:
        return tuple(self._event(log) for log in logs)

    def _mined(self, function: str, args: tuple[Any, ...], sender: int, value: int) -> Mined:
        data = Web3.to_bytes(hexstr=self._contract.encode_abi(function, args))
        return self.chain.transact(sender, self.address, data, value)

    def _ask(self, function: str, args: tuple[Any, ...], sender: int) -> Any:
        question = {
            "from": to_canonical_address(key_of(sender).address),
            "to": to_canonical_address(self.address),
            "data": Web3.to_bytes(hexstr=self._contract.encode_abi(function, args)),
            "gas": GAS_LIMIT,
        }
        try:
            output = self.chain.tester.backend.call(question)
        except TransactionFailed as error:
            # The chain tells the data of the revert as the repr of its bytes.
            text = str(error)
            data = literal_eval(text) if text.startswith(("b'", 'b"')) else b""
            raise RevertError(self._reason(data)) from None
        types = self._outputs[function]
        values = self.chain.w3.codec.decode(types, output)
        readable = [_readable(kind, value) for kind, value in zip(types, values, strict=True)]
        return readable[0] if len(readable) == 1 else readable

    def _reason(self, data: bytes) -> str:
        """The name of the custom error, or its selector."""
        return str(self._errors.get(data[:4], data[:4].hex()))

    def _event(self, log: Any) -> Event:
        entry = self._events[bytes(log["topics"][0])]
        signature = f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})"
        decoder = self._contract.events[signature]()
        receipt: Any = {"logs": [log]}
        (decoded,) = decoder.process_receipt(receipt, errors=DISCARD)
        return Event(
            entry["name"], tuple(decoded["args"][inputs["name"]] for inputs in entry["inputs"])
        )
