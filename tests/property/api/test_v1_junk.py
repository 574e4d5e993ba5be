"""`/v1` against junk: headers, bodies, paths. Always an answer, never one without a cause."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.api.json_text import JsonError
from keyserver.api.v1_credentials import HEADER, read_header
from keyserver.api.v1_errors import ProblemError
from keyserver.api.v1_json import read_object
from tests.support.asgi import call
from tests.support.bound_requests import KEY, NOW, POLICY, signed, v1_app_of
from tests.support.scripted_node import ScriptedNode

GRAMMAR = re.compile(
    r"v1 (?P<expiry>[0-9]+) (0x)?[0-9a-fA-F]{64} (0x)?[0-9a-fA-F]{128}0[0-3]", re.ASCII
)
"""The header, written down a second time."""

GENERATE = signed("POST", KEY, 1, b"\x00\x01", {"threshold": 1}, not_after=NOW)
RIGHT = GENERATE.header

noise = st.text(
    st.characters(max_codepoint=0xFF, exclude_categories=["Cc"]), min_size=1, max_size=8
)


@st.composite
def near_headers(draw: st.DrawFn) -> str:
    """The right header with a piece cut out, doubled, or replaced."""
    start = draw(st.integers(0, len(RIGHT)))
    end = draw(st.integers(start, min(len(RIGHT), start + 12)))
    piece = draw(
        st.one_of(st.just(""), st.just(2 * RIGHT[start:end]), noise, st.sampled_from("0 9aFgx\t,"))
    )
    return RIGHT[:start] + piece + RIGHT[end:]


def accepted(value: str) -> bool:
    match = GRAMMAR.fullmatch(value)
    if match is None:
        return False
    expiry = match["expiry"]
    return str(int(expiry)) == expiry and int(expiry) < 2**64


@given(st.one_of(near_headers(), st.text(), st.just(RIGHT)))
@settings(max_examples=300, deadline=None)
def test_the_header_is_read_as_its_grammar_says(value: str) -> None:
    if not accepted(value):
        with pytest.raises(ProblemError) as refused:
            read_header([value])
        assert refused.value.problem.status == 401
        assert len(value) < 40 or value[-40:] not in refused.value.problem.message
        return
    read = read_header([value])
    parts = f"v1 {read.not_after} {read.nonce.hex()} {read.signature.hex()}"
    assert value.replace(" 0x", " ").lower() == parts


@given(near_headers())
@settings(max_examples=80, deadline=None)
async def test_a_damaged_credential_is_refused_or_somebody_elses(value: str) -> None:
    node = ScriptedNode(policy=POLICY)
    try:
        header = value.encode("latin-1").decode("latin-1")
    except UnicodeEncodeError:
        return
    app = v1_app_of(node)
    answer = await call(app, "GET", KEY, [(HEADER, header)])
    assert answer.status in {200, 401}
    if answer.status == 200:
        assert accepted(header)
    else:
        assert json.loads(answer.text)["error"]["code"] in {"UNAUTHENTICATED", "SIGNATURE_EXPIRED"}


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.one_of(st.binary(), jsons.map(lambda value: json.dumps(value).encode())))
@settings(max_examples=300, deadline=None)
def test_a_body_is_an_object_or_refused(body: bytes) -> None:
    try:
        value = read_object(body)
    except JsonError:
        return
    assert isinstance(value, dict)
    assert value == json.loads(body)


paths = st.one_of(
    st.text(max_size=30).map(lambda text: f"/v1/{text}"),
    st.lists(
        st.sampled_from(["server-keys", "ab" * 32, "document-key", "shadow", "node", "..", "%2f"]),
        max_size=5,
    ).map(lambda parts: "/v1/" + "/".join(parts)),
)
methods = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "TRACE", "get", "X"])


@given(methods, paths, st.one_of(st.just(b""), st.binary(max_size=50)), st.lists(noise, max_size=2))
@settings(max_examples=150, deadline=None)
async def test_everything_is_answered_in_one_form(
    method: str, path: str, body: bytes, values: list[str]
) -> None:
    target = path.encode().decode("latin-1")
    app, headers = v1_app_of(ScriptedNode(policy=POLICY)), [(HEADER, value) for value in values]
    answer = await call(app, method, target, headers, body)
    assert answer.status in {200, 204, 400, 401, 404, 405}
    if answer.status >= 400:
        told: dict[str, Any] = json.loads(answer.text)
        assert list(told) == ["error"]
        assert list(told["error"]) == ["code", "message", "retriable"]
