"""The judgement of origins (HTTP interface, section 8)."""

import pytest

from keyserver.api.cors import Allowed, OriginPolicy

SERVED = Allowed()


@pytest.mark.parametrize("entries", [[], ["none"], ["any"], ["http://a.example"]])
def test_without_an_origin_everybody_is_served(entries: list[str]) -> None:
    assert OriginPolicy(entries).judge(None, "node:8082") == SERVED


def test_a_page_of_the_node_itself_is_served() -> None:
    policy = OriginPolicy([])
    assert policy.judge("http://node:8082", "node:8082") == SERVED
    assert policy.judge("http://NODE:8082", "Node:8082") == SERVED
    assert policy.judge("http://node:8082/page", "node:8082") == SERVED
    assert policy.judge("http://node", "node:8082") is None
    assert policy.judge("http://node:8082", None) is None


@pytest.mark.parametrize("entries", [[], ["none"], [""]])
def test_no_origin(entries: list[str]) -> None:
    policy = OriginPolicy(entries)
    assert not policy.any_origin
    for origin in ("http://a.example", "null", "x", "http://"):
        assert policy.judge(origin, "node") is None


@pytest.mark.parametrize("word", ["any", "*", "all"])
def test_any_origin(word: str) -> None:
    policy = OriginPolicy([word])
    assert policy.any_origin
    assert policy.judge("null", "node") == SERVED
    assert policy.judge("HTTP://A.example:80", "node") == Allowed("http://a.example:80")
    assert policy.judge("http://a.example/x", "node") == Allowed("http://a.example")
    assert policy.judge("not an origin", "node") is None


def test_a_list() -> None:
    policy = OriginPolicy(["http://app.example", "null,HTTPS://*.ex?mple/path"])
    assert not policy.any_origin
    assert policy.judge("null", "node") == SERVED
    assert policy.judge("http://app.example", "node") == Allowed("http://app.example")
    assert policy.judge("http://APP.example", "node") == Allowed("http://app.example")
    assert policy.judge("https://b.c.example", "n") == Allowed("https://b.c.example")
    assert policy.judge("https://b.exxmple", "n") == Allowed("https://b.exxmple")
    assert policy.judge("https://app.example.evil", "n") is None
    assert policy.judge("http://b.example", "n") is None
    assert OriginPolicy(["http://a.example"]).judge("null", "n") is None


def test_a_pattern_without_scheme_is_http() -> None:
    policy = OriginPolicy(["app.example:8080"])
    assert policy.judge("http://app.example:8080", "n") == Allowed("http://app.example:8080")
    assert policy.judge("https://app.example:8080", "n") is None


def test_signs_of_regular_expressions_stand_for_themselves() -> None:
    policy = OriginPolicy(["http://a.example", "http://[::1]:80"])
    assert policy.judge("http://aXexample", "n") is None
    assert policy.judge("http://[::1]:80", "n") == Allowed("http://[::1]:80")


def test_any_among_others_allows_all_but_null() -> None:
    policy = OriginPolicy(["http://a.example", "any"])
    assert policy.judge("http://b.example", "n") == Allowed("http://b.example")
    assert policy.judge("null", "n") is None


def test_an_answer_never_carries_what_is_no_origin() -> None:
    policy = OriginPolicy(["any"])
    for origin in ("http://a b", "http://a\tb", "http://ä.example", "://a", "http:a", "-://a"):
        assert policy.judge(origin, "n") is None
