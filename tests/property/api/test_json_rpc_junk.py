"""Whatever is sent to the JSON-RPC module is answered, and never with an unknown kind of error."""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.api.json_rpc import answer_text
from keyserver.api.json_rpc_accounts import DevelopmentKey
from keyserver.api.json_rpc_methods import SecretStoreModule
from keyserver.crypto.randomness import SeededRandom
from tests.support.rpc_listener import accounts_of

DEV = "0x00a329c0648769A73afAc7F9381E08FB43dBEA72"
CODES = {-32700, -32600, -32601, -32602, -32023, -32055}
METHODS = SecretStoreModule(accounts_of([DevelopmentKey()]), SeededRandom(1)).methods

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
values = st.one_of(
    st.just(DEV),
    st.just(""),
    st.binary(max_size=200).map(lambda data: f"0x{data.hex()}"),
    st.binary(min_size=64, max_size=64).map(lambda data: f"0x{data.hex()}"),
    st.lists(st.binary(min_size=60, max_size=150).map(lambda d: f"0x{d.hex()}"), max_size=3),
    junk,
)
requests = st.one_of(
    junk,
    st.fixed_dictionaries(
        {
            "method": st.sampled_from([*METHODS, "eth_chainId"]),
            "params": st.lists(values, max_size=6),
            "id": junk,
        }
    ),
    st.fixed_dictionaries(
        {
            "method": st.sampled_from(list(METHODS)),
            "params": st.lists(values, max_size=4).map(lambda rest: [DEV, "", *rest]),
            "id": st.just(1),
        }
    ),
)


def check(answer: Any) -> None:
    if isinstance(answer, list):
        for each in answer:
            check(each)
        return
    assert ("error" in answer) != ("result" in answer)
    if "error" in answer:
        assert answer["error"]["code"] in CODES


@given(requests)
@settings(max_examples=400, deadline=None)
def test_any_json(request: Any) -> None:
    answer = asyncio.run(answer_text(METHODS, json.dumps(request).encode()))
    if answer:
        check(json.loads(answer))


@given(st.binary())
def test_any_bytes(body: bytes) -> None:
    answer = asyncio.run(answer_text(METHODS, body))
    if answer:
        check(json.loads(answer))
