"""Calls, results and logs."""

from typing import Any

import pytest

from keyserver.evm.abi import AbiError, ContractAbi, Event, EventInput, Function
from keyserver.model.identifiers import Address, Hash32

ALICE = Address(bytes(range(1, 21)))
KEY = bytes(range(32))

GET_ADDRESS = Function.parse("getAddress(bytes32,string)", "address")
PERSONAL = Event.parse("DocumentKeyPersonalRetrieved(bytes32,address,bytes,bytes)", indexed=2)


def test_selectors_and_topics_are_the_published_ones() -> None:
    assert GET_ADDRESS.selector.hex() == "6795dbcd"
    assert Function.parse("getCurrentKeyServers()", "address[]").selector.hex() == "5e9f171d"
    assert PERSONAL.topic0.hex() == (
        "04ad358f86bfdff4535760571ca0e7940d88e47306f2df3fc9ed9247039ecda7"
    )


def test_a_call_round_trips() -> None:
    data = GET_ADDRESS.encode(KEY, "A")
    assert data[:4] == GET_ADDRESS.selector
    assert GET_ADDRESS.decode_call(data) == (KEY, "A")


def test_a_result_is_typed() -> None:
    assert GET_ADDRESS.decode_single(bytes(12) + ALICE) == ALICE
    servers = Function.parse("getCurrentKeyServers()", "address[]")
    encoded = Function.parse("f(address[])").encode([ALICE, ALICE])[4:]
    assert servers.decode(encoded) == ((ALICE, ALICE),)
    assert servers.encode_result((ALICE, ALICE)) == encoded
    with pytest.raises(AbiError, match="getAddress"):
        GET_ADDRESS.encode_result(KEY)


@pytest.mark.parametrize(
    ("function", "data"),
    [
        (GET_ADDRESS, b""),
        (GET_ADDRESS, bytes(31)),
        (GET_ADDRESS, b"\x01" + bytes(31)),  # an address with bits above it
        (Function.parse("f()", "bool"), bytes(31) + b"\x02"),
        (Function.parse("f()", "string"), bytes(31) + b"\x20" + bytes(31) + b"\x01" + b"\xff" * 32),
        (Function.parse("f()", "address[]"), b"\xff" * 64),
    ],
)
def test_a_result_that_is_not_what_the_abi_says_is_refused(function: Function, data: bytes) -> None:
    with pytest.raises(AbiError, match=function.name):
        function.decode(data)


def test_a_call_with_other_arguments_is_refused() -> None:
    with pytest.raises(AbiError, match="got 1 arguments"):
        GET_ADDRESS.encode(KEY)
    with pytest.raises(AbiError, match="getAddress"):
        GET_ADDRESS.encode(KEY + b"x", "A")


def test_the_data_of_another_call_is_refused() -> None:
    with pytest.raises(AbiError, match="another function"):
        GET_ADDRESS.decode_call(bytes(4))


def test_a_log_round_trips_in_order_of_declaration() -> None:
    event = Event(
        "E",
        (
            EventInput("a", "uint8"),
            EventInput("b", "address", indexed=True),
            EventInput("c", "bytes"),
        ),
    )
    topics, data = event.encode(7, ALICE, b"abc")
    assert event.decode(topics, data) == (7, ALICE, b"abc")


def test_a_log_without_padding_at_the_end_decodes() -> None:
    topics, data = PERSONAL.encode(KEY, ALICE, bytes(64), b"\x11" * 145)
    unpadded = data[:337]
    assert len(data) == 352
    assert PERSONAL.decode(topics, unpadded) == (KEY, ALICE, bytes(64), b"\x11" * 145)


def test_a_log_with_a_value_cut_short_is_refused() -> None:
    topics, data = PERSONAL.encode(KEY, ALICE, bytes(64), b"\x11" * 145)
    with pytest.raises(AbiError):
        PERSONAL.decode(topics, data[:336])


def test_a_log_of_another_event_is_refused() -> None:
    topics, data = PERSONAL.encode(KEY, ALICE, bytes(64), b"x")
    other = (Hash32(bytes(32)), *topics[1:])
    for wrong in ((), other, topics[:2]):
        with pytest.raises(AbiError):
            PERSONAL.decode(wrong, data)


def test_an_event_with_other_values_is_refused() -> None:
    with pytest.raises(AbiError, match="got 1 values"):
        PERSONAL.encode(KEY)


def test_of_an_indexed_value_without_fixed_size_only_the_hash_is_there() -> None:
    event = Event.parse("E(string)", indexed=1)
    assert event.decode((event.topic0, Hash32(KEY)), b"") == (KEY,)
    with pytest.raises(AbiError, match="only a hash"):
        event.encode("text")


@pytest.mark.parametrize("signature", ["f", "f(", "(uint8)", "f(uint8, uint8)", "f((uint8))"])
def test_a_signature_of_another_form_is_refused(signature: str) -> None:
    with pytest.raises(AbiError, match="signature"):
        Function.parse(signature)


ABI: list[dict[str, Any]] = [
    {"type": "constructor", "inputs": []},
    {
        "type": "function",
        "name": "f",
        "inputs": [{"type": "tuple[]", "components": [{"type": "uint8"}, {"type": "address"}]}],
        "outputs": [{"type": "bool"}],
    },
    {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "uint8", "indexed": True}]},
    {"type": "event", "name": "E", "inputs": []},
    {"type": "event", "name": "F", "inputs": []},
]


def test_a_contract_is_read_from_the_compilers_list() -> None:
    contract = ContractAbi.of(ABI)
    function = contract.function("f")
    assert function.signature == "f((uint8,address)[])"
    assert function.outputs == ("bool",)
    assert contract.function("f((uint8,address)[])") == function
    assert contract.event("F") == Event("F", ())
    assert contract.event("E(uint8)").inputs == (EventInput("a", "uint8", indexed=True),)


def test_an_unknown_or_ambiguous_name_is_refused() -> None:
    contract = ContractAbi.of(ABI)
    with pytest.raises(AbiError, match="function g"):
        contract.function("g")
    with pytest.raises(AbiError, match="event E"):
        contract.event("E")
