"""What a contract is to the simulated chain: state that is copied, and functions by selector."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, Self

from keyserver.crypto.hashing import keccak256
from keyserver.evm.abi import AbiError, ContractAbi, Event, Function
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address, Hash32


class RevertError(Exception):
    """The contract refuses; nothing of the call happened."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name or "without a reason")
        self.data = error_data(name) if name else b""
        """What the caller gets to see."""


@cache
def error_data(name: str) -> bytes:
    """The data of an error without arguments."""
    return keccak256(f"{name}()".encode("ascii"))[:4]


@dataclass(frozen=True, slots=True)
class Message:
    """A call as the contract sees it."""

    sender: Address
    data: bytes
    value: int
    """Wei sent along."""
    block_number: int
    contracts: "Mapping[Address, Contract]"
    """All contracts of the chain as they stand before this call."""


@dataclass(frozen=True, slots=True)
class EmittedLog:
    """An event before it has a place in a block."""

    topics: tuple[Hash32, ...]
    data: bytes


class Contract(Protocol):
    """State and rules of one contract."""

    def clone(self) -> Self:
        """An independent copy; cheap."""
        ...

    def run(self, message: Message) -> tuple[bytes, list[EmittedLog]]:
        """Carry out a call, changing this object; raises `RevertError`, after which it is void."""
        ...


Method = Callable[[Any, Message, Any], Sequence[Any] | None]
"""A function of a contract: (contract, message, arguments as a tuple) → values to return."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A function that can be called."""

    function: Function
    method: Method
    payable: bool


@cache
def abi_of(name: str) -> ContractAbi:
    """The ABI of a compiled contract."""
    return ContractAbi.of(load_artifact(name).abi)


def entry_points(
    artifact: str, methods: Mapping[str, Method], payable: frozenset[str] = frozenset()
) -> dict[bytes, Entry]:
    """The functions of a compiled contract that `methods` implements, by selector."""
    abi = abi_of(artifact)
    entries = [
        Entry(abi.function(name), method, name in payable) for name, method in methods.items()
    ]
    return {entry.function.selector: entry for entry in entries}


def dispatch(entries: Mapping[bytes, Entry], contract: Any, message: Message) -> bytes:
    """Find the function, decode its arguments, run it, and encode what it returns."""
    entry = entries.get(message.data[:4])
    if entry is None or (message.value and not entry.payable):
        raise RevertError
    values = entry.method(contract, message, _arguments(entry.function, message.data))
    return entry.function.encode_result(*values) if values is not None else b""


def _arguments(function: Function, data: bytes) -> tuple[Any, ...]:
    try:
        return function.decode_call(data)
    except AbiError:
        raise RevertError from None


def emitted(event: Event, *values: Any) -> EmittedLog:
    """A log of this event."""
    return EmittedLog(*event.encode(*values))
