"""Every key can be given in every place that has it, and the stronger place wins."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyserver.app.config import InvalidConfigError, Loaded, load
from keyserver.app.config.effective import value_of
from keyserver.app.config.keys import Key, all_keys
from keyserver.app.config.sources import OPTIONS, Source
from keyserver.app.config.values import HostPort, NodeEntry, plain
from keyserver.model.identifiers import NodeId
from tests.unit.app.samples import SECRETS, address, node_id, public

OPERATION_LISTS = (["sign_ecdsa"], ["retrieve_plain", "sign_frost"])
ADDRESSES = ([address("a")], [address("b"), address("c")])

SAMPLES: Mapping[str, tuple[object, object]] = {
    "private key or account address": (SECRETS["a"], address("b")),
    "128 hex digits": (public("a"), public("b")),
    'array of "PUBLIC@HOST:PORT"': (
        [f"{public('a')}@one:1"],
        [f"{public('b')}@two:2", f"{public('c')}@[::1]:3"],
    ),
    '"none", "registry" or an address': ("registry", address("c")),
    '"local", "all" or an IP address': ("127.0.0.2", "all"),
    "boolean": (False, True),
    "path": ("/one", "$HOME/two"),
    "array of paths": (["/one"], ["/two", "/three"]),
    "array of strings": (["one"], ["two", "three"]),
    "string": ("one", "two"),
    "array of URLs": (["http://one:1"], ["ws://two", "https://three/x"]),
    "address": (address("a"), address("b")),
    "array of addresses": ADDRESSES,
    "array of operation names": OPERATION_LISTS,
    "array of IP addresses": (["10.0.0.1"], ["10.0.0.0/8", "::1"]),
    "number": (2.5, 0.25),
    '"all" or integer': ("all", 3),
    "`HOST:PORT` or `unix:PATH`": ("127.0.0.1:1", "unix:/two"),
    "URL": ("sqlite:////one", "postgresql://me@db/two"),
    '"depth", "safe" or "finalized"': ("safe", "finalized"),
    '"head" or "both"': ("head", "both"),
    '"console" or "json"': ("console", "json"),
    '"reexec" or "stay"': ("reexec", "stay"),
    "wei": (7, 8),
    "integer": (31_000, 32_000),
}
"""For each kind of value two that differ, as a file has them."""

TOGETHER: Mapping[str, object] = {
    "secretstore.self_secret": SECRETS["a"],
    "secretstore.disable_auto_migrate": True,
    "keyserver.chain_id": 1,
    "keyserver.tls_cert": "/cert",
    "keyserver.tls_key": "/key",
    "keyserver.max_fee_per_gas": 100,
    "keyserver.max_priority_fee_per_gas": 1,
}
"""Keys that others need."""

WITH_VARIABLE = [key.name for key in all_keys().values() if key.variable]
OPTION_OF = {name: option for option, name in OPTIONS.items()}


def samples(key: Key) -> tuple[object, object]:
    kind = key.kind.name.partition(" 0…")[0]
    if key.kind.name in ("integer 0…64", "integer 0…256", "integer 1…3650"):
        return (5, 6)
    return SAMPLES[kind]


def as_text(value: object) -> str:
    """A value as the environment and the command line have it."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(value)
    return str(value)


def loaded(
    directory: Path,
    in_file: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
) -> Loaded:
    tables: dict[str, list[str]] = {}
    for name, value in {**TOGETHER, **in_file}.items():
        key = all_keys()[name]
        tables.setdefault(key.section, []).append(f"{key.short} = {json.dumps(value)}\n")
    file = directory / "config.toml"
    file.write_text("".join(f"[{name}]\n{''.join(lines)}" for name, lines in tables.items()))
    return load(file, environ={"HOME": str(directory), **(environ or {})}, arguments=arguments)


@pytest.mark.parametrize("name", WITH_VARIABLE)
def test_a_variable_wins_over_the_file(tmp_path: Path, name: str) -> None:
    """And means what the same value means in a file, for every key of the two sections."""
    key = all_keys()[name]
    assert key.variable is not None
    weak, strong = samples(key)
    found = loaded(tmp_path, {name: weak}, {key.variable: as_text(strong)})
    assert value_of(found.config, name) == value_of(loaded(tmp_path, {name: strong}).config, name)
    if name != "secretstore.disable":
        assert value_of(found.config, name) != value_of(loaded(tmp_path, {name: weak}).config, name)
    assert found.origin(name).source is Source.ENVIRONMENT
    assert found.origin(name).detail == key.variable


@pytest.mark.parametrize("name", OPTION_OF)
def test_an_option_wins_over_variable_and_file(tmp_path: Path, name: str) -> None:
    key, option = all_keys()[name], OPTION_OF[name]
    weak, strong = samples(key) if key.kind.name != "integer 0…65535" else (31_000, 32_000)
    environ = {key.variable: as_text(weak)} if key.variable else {}
    arguments = (option,) if key.is_switch else (f"{option}={as_text(strong)}",)
    found = loaded(tmp_path, {name: weak}, environ, arguments)
    assert value_of(found.config, name) == value_of(loaded(tmp_path, {name: strong}).config, name)
    assert str(found.origin(name)) == f"command line {option}"
    if not key.is_switch:
        apart = loaded(tmp_path, {name: weak}, environ, (option, as_text(strong)))
        assert value_of(apart.config, name) == value_of(found.config, name)


@pytest.mark.parametrize("name", [name for name in WITH_VARIABLE if all_keys()[name].is_switch])
def test_a_switch_that_is_on_stays_on(tmp_path: Path, name: str) -> None:
    variable = all_keys()[name].variable
    assert variable is not None
    found = loaded(tmp_path, {name: True}, {variable: "false"})
    assert value_of(found.config, name) is True
    assert found.origin(name).source is Source.FILE


@pytest.mark.parametrize("name", WITH_VARIABLE)
def test_an_empty_variable_is_an_empty_list_or_an_error(tmp_path: Path, name: str) -> None:
    """A variable that is set to nothing is never taken for a variable that is not set."""
    key = all_keys()[name]
    assert key.variable is not None
    if key.kind.name.startswith("array"):
        weak, _ = samples(key)
        assert value_of(loaded(tmp_path, {name: weak}, {key.variable: ""}).config, name) == ()
    elif key.kind.name != "string":
        with pytest.raises(InvalidConfigError, match=key.variable):
            loaded(tmp_path, {}, {key.variable: ""})


nodes = st.lists(
    st.builds(
        NodeEntry,
        st.sampled_from([node_id(who) for who in ("a", "b", "c", "d")]),
        st.builds(
            HostPort,
            st.one_of(st.from_regex(r"[a-z][a-z0-9-]{0,5}[a-z]", fullmatch=True), st.just("::1")),
            st.integers(1, 65535),
        ),
    ),
    max_size=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(in_file=nodes, in_environment=st.none() | nodes, on_line=st.none() | nodes)
def test_the_strongest_list_of_nodes_wins_whole(
    tmp_path: Path,
    in_file: list[NodeEntry],
    in_environment: list[NodeEntry] | None,
    on_line: list[NodeEntry] | None,
) -> None:
    """Lists are not joined across places."""
    name = "secretstore.nodes"
    environ = {}
    if in_environment is not None:
        environ["SECRETSTORE_NODES"] = ",".join(map(str, in_environment))
    arguments: tuple[str, ...] = ()
    if on_line is not None:
        arguments = (f"--secretstore-nodes={','.join(map(str, on_line))}",)
    found = loaded(tmp_path, {name: plain(in_file)}, environ, arguments)
    strongest = next(each for each in (on_line, in_environment, in_file) if each is not None)
    assert found.config.secretstore.nodes == tuple(strongest)
    assert all(isinstance(entry.node_id, NodeId) for entry in found.config.secretstore.nodes)
