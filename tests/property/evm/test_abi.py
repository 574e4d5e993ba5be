"""Junk from a chain never brings another error than `AbiError`."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from keyserver.evm.abi import AbiError, Event, Function
from keyserver.model.identifiers import Hash32

RESULTS = [
    Function.parse("f()", "address[]"),
    Function.parse("f()", "string"),
    Function.parse("f()", "bytes"),
    Function.parse("f()", "bytes32", "bytes", "bool"),
    Function.parse("f()", "bytes32", "address", "bytes", "bytes"),
]
EVENT = Event.parse("E(bytes32,address,bytes,bytes)")

words = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 400).map(lambda n: n.to_bytes(32, "big")),
    st.just(b"\xff" * 32),
)
junk = st.one_of(st.binary(max_size=300), st.lists(words, max_size=12).map(b"".join))


@given(junk, st.sampled_from(RESULTS))
def test_results(data: bytes, function: Function) -> None:
    with contextlib.suppress(AbiError):
        assert len(function.decode(data)) == len(function.outputs)


@given(junk)
def test_logs(data: bytes) -> None:
    with contextlib.suppress(AbiError):
        assert len(EVENT.decode((EVENT.topic0,), data)) == 4


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=4), junk)
def test_topics(topics: list[bytes], data: bytes) -> None:
    event = Event.parse("E(bool,uint8,bytes)", indexed=2)
    hashes = (event.topic0, *(Hash32(topic) for topic in topics))
    with contextlib.suppress(AbiError):
        assert len(event.decode(hashes, data)) == 3
