"""The parser of paths against a second reading of the grammar, and junk against everything."""

import re
from random import Random
from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.api.cors import OriginPolicy
from keyserver.api.json_rpc import HostPolicy
from keyserver.api.node_ids import parse_new_set
from keyserver.api.original_paths import ChangeNodeSet, Generate, parse
from tests.support.random_paths import random_path

HEX = "0123456789abcdefABCDEF"
ID, SIG, POINT = "[0-9a-fA-F]{64}", "[0-9a-fA-F]{130}", "[0-9a-fA-F]{128}"
NUMBER = r"\+?[0-9]+"
GRAMMAR = {
    "POST": [
        f"/+(?:shadow/)?{ID}/{SIG}/(?P<number>{NUMBER})",
        f"/+shadow/{ID}/{SIG}/{POINT}/{POINT}",
        f"/+admin/servers_set_change/{SIG}/{SIG}",
    ],
    "GET": [
        f"/+(?:server/|shadow/)?{ID}/{SIG}",
        f"/+(?:schnorr|ecdsa)/{ID}/{SIG}/{ID}",
    ],
}
"""The table of the interface, written down as regular expressions."""


def accepted(method: str, raw_path: bytes) -> bool:
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return False
    for row in GRAMMAR.get(method, []):
        match = re.fullmatch(row, path)
        if match is not None:
            number = match.groupdict().get("number")
            return number is None or int(number) < 2**64
    return False


methods = st.sampled_from(["GET", "POST", "PUT", "HEAD", "get", ""])


def hexadecimal(size: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=2 * size, max_size=2 * size)


numbers = st.one_of(
    st.integers(0, 2**65).map(str),
    st.integers(0, 300).map(lambda n: f"+{n}"),
    st.integers(0, 9).map(lambda n: "0" * 50 + str(n)),
    st.sampled_from(["-1", "", "+", "1.0", "0x1", "1 ", "١"]),
)
fields = st.one_of(hexadecimal(32), hexadecimal(65), hexadecimal(64), numbers)
prefixes = st.sampled_from(
    [
        *("", "/", "/shadow/", "//shadow/", "/server/", "/schnorr/", "/ecdsa/", "/SHADOW/"),
        *("shadow/", "/admin/servers_set_change/", "/admin/", "/v1/"),
    ]
)


@st.composite
def near_paths(draw: st.DrawFn) -> str:
    """Mostly right: id and signature first, then up to two fields."""
    start = draw(prefixes)
    first = "" if "admin" in start else draw(hexadecimal(32)) + "/"
    segments = [first + draw(hexadecimal(65)), *draw(st.lists(fields, max_size=2))]
    path = start + "/".join(segments)
    where = draw(st.integers(0, len(path)))
    noise = draw(st.sampled_from(["", "", "", "/", "%2f", "%30", "g", "0x", " ", "%", "ä", "\n"]))
    return path[:where] + noise + path[where:]


@given(methods, near_paths())
@settings(max_examples=1500, deadline=None)
def test_the_parser_accepts_what_the_table_says(method: str, path: str) -> None:
    raw_path = path.encode()
    parsed = parse(method, raw_path)
    assert (parsed is not None) == accepted(method, raw_path)
    if isinstance(parsed, Generate):
        digits = unquote_to_bytes(raw_path).decode().rsplit("/", 1)[1]
        assert parsed.threshold == int(digits)


@given(st.text(), st.binary())
def test_junk_is_no_request(method: str, raw_path: bytes) -> None:
    assert (parse(method, raw_path) is not None) == accepted(method, raw_path)


def test_random_paths() -> None:
    random = Random(3)
    known = 0
    for _ in range(10_000):
        raw_path = random_path(random).encode("latin-1").partition(b"?")[0]
        for method in ("GET", "POST"):
            parsed = parse(method, raw_path)
            assert (parsed is not None) == accepted(method, raw_path)
            known += parsed is not None and not isinstance(parsed, ChangeNodeSet)
    assert known > 0


@given(hexadecimal(32), hexadecimal(65))
def test_a_parsed_call_shows_no_signature(key_id: str, signature: str) -> None:
    parsed = parse("GET", f"/{key_id}/{signature}".encode())
    assert parsed is not None
    assert repr(parsed).find(repr(bytes.fromhex(signature))) == -1


@given(st.binary())
def test_any_body_is_a_set_or_none(body: bytes) -> None:
    assert parse_new_set(body) is None or body.lstrip()[:1] == b"["


@given(st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_any_origin_is_judged(origin: str, host: str, entries: list[str]) -> None:
    allowed = OriginPolicy(entries).judge(origin, host)
    if allowed is not None and allowed.header is not None:
        assert re.fullmatch(r"[a-z][a-z0-9+.-]*://[!-~]+", allowed.header)


@given(st.text())
def test_any_host_is_judged(host: str) -> None:
    assert HostPolicy(("all",), "127.0.0.1").allows(host)
    HostPolicy(("none",), "127.0.0.1").allows(host)
