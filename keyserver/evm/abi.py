"""Contract calls, results and logs as typed values.

A `Function` or an `Event` comes either from a signature in the source or from an ABI in JSON
(`ContractAbi`). Calls and results follow the ABI specification to the letter. Logs are decoded
leniently: the originally published contracts do not pad the last `bytes` of an event to whole
words (contracts, section 1).

In values, an `address` is an `Address`, an array is a tuple, all else is as eth-abi has it: `int`,
`bool`, `bytes` (also for `bytes32`), `str`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError

from keyserver.crypto.hashing import keccak256
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import Address, Hash32

Item = TypeVar("Item", "Function", "Event")


class AbiError(KeyServerError):
    """Bytes that are not what the ABI says, or arguments that do not fit it."""


@dataclass(frozen=True)
class Function:
    """A function of a contract: its name, the types it takes and those it returns."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()

    @classmethod
    def parse(cls, signature: str, *outputs: str) -> "Function":
        """From `name(type,…)` without spaces; only for functions that take no tuples.

        Raises `AbiError` for another form.
        """
        name, inputs = _split_signature(signature)
        return cls(name, inputs, outputs)

    @cached_property
    def signature(self) -> str:
        """The canonical form `name(type,…)`."""
        return f"{self.name}({','.join(self.inputs)})"

    @cached_property
    def selector(self) -> bytes:
        """The first four bytes of a call."""
        return keccak256(self.signature.encode("ascii"))[:4]

    def encode(self, *arguments: Any) -> bytes:
        """The data of a call; raises `AbiError` if the arguments do not fit."""
        if len(arguments) != len(self.inputs):
            raise AbiError(f"{self.signature}: got {len(arguments)} arguments")
        return self.selector + _encode(self.signature, self.inputs, arguments)

    def decode_call(self, data: bytes) -> tuple[Any, ...]:
        """The arguments of a call of this function; raises `AbiError`."""
        if data[:4] != self.selector:
            raise AbiError(f"{self.signature}: the data calls another function")
        return _decode(self.signature, self.inputs, data[4:], strict=True)

    def encode_result(self, *values: Any) -> bytes:
        """What a call that returns these values gives back; raises `AbiError`."""
        return _encode(self.signature, self.outputs, values)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The values that a call returned; raises `AbiError`, also for an empty answer.

        Nothing at all comes back from an address without code.
        """
        return _decode(self.signature, self.outputs, data, strict=True)

    def decode_single(self, data: bytes) -> Any:
        """The value of a function that returns exactly one; raises `AbiError`."""
        (value,) = self.decode(data)
        return value


@dataclass(frozen=True, slots=True)
class EventInput:
    """A parameter of an event."""

    name: str
    type: str
    indexed: bool = False


@dataclass(frozen=True)
class Event:
    """An event of a contract (never an anonymous one)."""

    name: str
    inputs: tuple[EventInput, ...]

    @classmethod
    def parse(cls, signature: str, *, indexed: int = 0) -> "Event":
        """From `name(type,…)` without spaces, the first `indexed` parameters being indexed."""
        name, types = _split_signature(signature)
        return cls(name, tuple(EventInput("", kind, i < indexed) for i, kind in enumerate(types)))

    @cached_property
    def signature(self) -> str:
        """The canonical form `name(type,…)`."""
        return f"{self.name}({','.join(entry.type for entry in self.inputs)})"

    @cached_property
    def topic0(self) -> Hash32:
        """The first topic of every such log."""
        return Hash32(keccak256(self.signature.encode("ascii")))

    @cached_property
    def _topic_types(self) -> tuple[str, ...]:
        # Of an indexed value without fixed size only the hash is in the log.
        return tuple(_in_topic(entry.type) for entry in self.inputs if entry.indexed)

    @cached_property
    def _data_types(self) -> tuple[str, ...]:
        return tuple(entry.type for entry in self.inputs if not entry.indexed)

    def decode(self, topics: Sequence[bytes], data: bytes) -> tuple[Any, ...]:
        """All parameters in the order of declaration; raises `AbiError`.

        Missing padding at the end of the data is accepted, a missing value is not.
        """
        if not topics or topics[0] != self.topic0:
            raise AbiError(f"{self.signature}: the log is of another event")
        if len(topics) - 1 != len(self._topic_types):
            raise AbiError(f"{self.signature}: {len(topics) - 1} indexed parameters in the log")
        indexed = iter(_decode_leniently(self.signature, self._topic_types, b"".join(topics[1:])))
        plain = iter(_decode_leniently(self.signature, self._data_types, data))
        return tuple(next(indexed if entry.indexed else plain) for entry in self.inputs)

    def encode(self, *values: Any) -> tuple[tuple[Hash32, ...], bytes]:
        """Topics and data of such a log; raises `AbiError`, also for indexed dynamic types."""
        if len(values) != len(self.inputs):
            raise AbiError(f"{self.signature}: got {len(values)} values")
        pairs = list(zip(self.inputs, values, strict=True))
        topics = [
            Hash32(_encode(self.signature, (entry.type,), (value,)))
            for entry, value in pairs
            if entry.indexed and self._is_word(entry)
        ]
        data = [value for entry, value in pairs if not entry.indexed]
        return (self.topic0, *topics), _encode(self.signature, self._data_types, data)

    def _is_word(self, entry: EventInput) -> bool:
        if _in_topic(entry.type) != entry.type:
            raise AbiError(f"{self.signature}: an indexed {entry.type} is only a hash in the log")
        return True


@dataclass(frozen=True)
class ContractAbi:
    """The functions and events of one contract, by signature and, where it is unique, by name."""

    functions: Mapping[str, Function]
    events: Mapping[str, Event]

    @classmethod
    def of(cls, entries: Iterable[Mapping[str, Any]]) -> "ContractAbi":
        """From the `abi` list that the compiler writes."""
        listed = list(entries)
        functions = [_function(entry) for entry in listed if entry["type"] == "function"]
        events = [_event(entry) for entry in listed if entry["type"] == "event"]
        return cls(_by_signature_and_name(functions), _by_signature_and_name(events))

    def function(self, name: str) -> Function:
        """The function of this signature or unique name; raises `AbiError`."""
        if name not in self.functions:
            raise AbiError(f"the contract has no single function {name}")
        return self.functions[name]

    def event(self, name: str) -> Event:
        """The event of this signature or unique name; raises `AbiError`."""
        if name not in self.events:
            raise AbiError(f"the contract has no single event {name}")
        return self.events[name]


def _by_signature_and_name(items: list[Item]) -> dict[str, Item]:
    names = [item.name for item in items]
    by_name = {item.name: item for item in items if names.count(item.name) == 1}
    return by_name | {item.signature: item for item in items}


def _function(entry: Mapping[str, Any]) -> Function:
    inputs = tuple(_type_of(parameter) for parameter in entry["inputs"])
    return Function(entry["name"], inputs, tuple(_type_of(each) for each in entry["outputs"]))


def _event(entry: Mapping[str, Any]) -> Event:
    inputs = tuple(
        EventInput(parameter["name"], _type_of(parameter), parameter["indexed"])
        for parameter in entry["inputs"]
    )
    return Event(entry["name"], inputs)


def _type_of(parameter: Mapping[str, Any]) -> str:
    kind: str = parameter["type"]
    if kind.startswith("tuple"):
        inner = ",".join(_type_of(component) for component in parameter["components"])
        return f"({inner}){kind.removeprefix('tuple')}"
    return kind


def _split_signature(signature: str) -> tuple[str, tuple[str, ...]]:
    name, opening, rest = signature.partition("(")
    if not (name and opening and rest.endswith(")")) or "(" in rest or " " in signature:
        raise AbiError(f"signature {signature!r}: expected name(type,…) without spaces or tuples")
    return name, tuple(rest[:-1].split(",")) if rest != ")" else ()


def _in_topic(kind: str) -> str:
    return "bytes32" if kind in ("bytes", "string") or kind[-1] in ")]" else kind


def _encode(what: str, types: Sequence[str], values: Sequence[Any]) -> bytes:
    try:
        return abi_encode(types, values)
    except (EncodingError, TypeError) as error:
        raise AbiError(f"{what}: {error}") from error


def _decode(what: str, types: Sequence[str], data: bytes, *, strict: bool) -> tuple[Any, ...]:
    try:
        values = abi_decode(types, data, strict=strict)
    except (DecodingError, ValueError, OverflowError) as error:
        # eth-abi lets broken UTF-8 and absurd offsets through as their plain Python errors.
        raise AbiError(f"{what}: {len(data)} bytes do not decode: {error}") from error
    return tuple(_typed(kind, value) for kind, value in zip(types, values, strict=True))


def _decode_leniently(what: str, types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    missing = -len(data) % 32
    values = _decode(what, types, data + bytes(missing), strict=False)
    # What is missing must be padding: then it makes no difference what stands there.
    if missing and values != _decode(what, types, data + b"\xff" * missing, strict=False):
        raise AbiError(f"{what}: {len(data)} bytes end within a value")
    return values


def _typed(kind: str, value: Any) -> Any:
    if kind == "address":
        return Address(bytes.fromhex(value[2:]))
    if kind.endswith("]"):
        element = kind[: kind.rindex("[")]
        return tuple(_typed(element, each) for each in value)
    return value
