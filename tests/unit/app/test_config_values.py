"""Forms of one value that mean the same, and where one value decides over another."""

from pathlib import Path

import pytest

from keyserver.app.config import (
    AccountKey,
    AtAddress,
    FromRegistry,
    HostPort,
    InvalidConfigError,
    Loaded,
    NoContract,
    PrivateKey,
    configured_nodes,
    http_address,
    peer_address,
)
from keyserver.app.config.values import (
    ContractSource,
    parse_contract_source,
    parse_interface,
    parse_self_secret,
)
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address, NodeId
from tests.support.keys import nodes_of
from tests.unit.app.samples import (
    SECRETS,
    address,
    events,
    load_text,
    node_id,
    node_text,
    public,
    secret,
)

MIXED_CASE = "8B2c16E09bfb011C5e4883cEDb105124ccf01aF7"


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_the_nodes_key_in_any_case_with_and_without_0x(prefix: str, change: type[str]) -> None:
    private = parse_self_secret(prefix + change(SECRETS["a"]))
    assert private == PrivateKey(secret("a"))
    account = parse_self_secret(prefix + change(address("a")))
    assert account == AccountKey(node_id("a").address)


@pytest.mark.parametrize("digits", [0, 1, 39, 41, 63, 65, 66, 128])
def test_a_key_of_another_length(digits: int) -> None:
    for text in ("a" * digits, "0x" + "a" * digits):
        with pytest.raises(ValueError, match="Must be either existing account address, or hex"):
            parse_self_secret(text)


@pytest.mark.parametrize("text", [MIXED_CASE, f"0x{MIXED_CASE}", MIXED_CASE.upper()])
def test_a_contract_whatever_its_checksum(text: str) -> None:
    assert parse_contract_source(text) == AtAddress(Address(bytes.fromhex(MIXED_CASE)))


@pytest.mark.parametrize(
    "text", ["", "None", "Registry", "nobody", MIXED_CASE[1:], f"0X{'1' * 40}"]
)
def test_what_is_no_contract(text: str) -> None:
    with pytest.raises(ValueError, match="is no contract"):
        parse_contract_source(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("local", "127.0.0.1"),
        ("all", "0.0.0.0"),
        ("10.1.2.3", "10.1.2.3"),
        ("[::1]", "::1"),
        ("::1", "::1"),
    ],
)
def test_interfaces(text: str, host: str) -> None:
    assert parse_interface(text) == host


@pytest.mark.parametrize("text", ["", "Local", "localhost", "10.1.2", "[10.1.2.3", "10.1.2.3:80"])
def test_what_is_no_interface(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_interface(text)


def test_an_address_of_ipv6_is_shown_in_brackets(tmp_path: Path) -> None:
    config = load_text(tmp_path, node_text('http_interface = "[::1]"')).config
    assert http_address(config) == HostPort("::1", 8082)
    assert str(http_address(config)) == "[::1]:8082"


@pytest.mark.parametrize("contract", ["none", MIXED_CASE])
def test_the_old_key_for_permissions(tmp_path: Path, contract: str) -> None:
    """It counts where the new key is absent, and only if it is true."""

    def loaded(*lines: str) -> Loaded:
        return load_text(tmp_path, node_text().replace('acl_contract = "none"', "\n".join(lines)))

    def source(*lines: str) -> ContractSource:
        return loaded(*lines).config.secretstore.acl_contract

    old, new = "disable_acl_check = true", f'acl_contract = "{contract}"'
    assert source(old) == NoContract()
    assert source("disable_acl_check = false") == source() == FromRegistry()
    assert source(old, new) == parse_contract_source(contract)
    for lines in ([old], [old, new], ["disable_acl_check = false"]):
        assert "old_key" in events(loaded(*lines))


@pytest.mark.parametrize("entry", ["", "{own}@9.9.9.9:9"])
def test_this_node_stands_in_its_set_with_its_own_address(tmp_path: Path, entry: str) -> None:
    """Whether the file lists it or not, and after ports were shifted."""
    other = f"{public('b')}@10.0.0.2:8085"
    own = entry.format(own=public("a"))
    nodes = f'nodes = ["{other}", "", " , {own}"]\ninterface = "10.0.0.1"\nport = 9000'
    text = node_text(nodes) + "[misc]\nports_shift = 7\n"
    config = load_text(tmp_path, text).config
    assert peer_address(config) == HostPort("10.0.0.1", 9007)
    found = {each.node_id: each.at for each in configured_nodes(config, node_id("a"))}
    assert found == {
        node_id("a"): HostPort("10.0.0.1", 9007),
        node_id("b"): HostPort("10.0.0.2", 8085),
    }


def test_a_set_has_at_most_256_nodes(tmp_path: Path) -> None:
    others = [node.hex() for node in nodes_of(256)]
    text = node_text("nodes = [" + ", ".join(f'"{other}@h:1"' for other in others) + "]")
    config = load_text(tmp_path, text).config
    assert len(configured_nodes(config, NodeId(bytes.fromhex(others[0])))) == 256
    with pytest.raises(ConfigError, match=r"nodes: the set would have 257 nodes.*at most 256"):
        configured_nodes(config, node_id("a"))


def test_several_nodes_in_one_entry(tmp_path: Path) -> None:
    nodes = f'nodes = ["{public("b")}@h:1,{public("c")}@[::1]:2,,", "{public("d")}@1.2.3.4:3"]'
    config = load_text(tmp_path, node_text(nodes)).config
    assert [str(each.at) for each in config.secretstore.nodes] == ["h:1", "[::1]:2", "1.2.3.4:3"]


@pytest.mark.parametrize("by_contract", [False, True])
@pytest.mark.parametrize("disabled", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_administrator_and_migration(
    tmp_path: Path, by_contract: bool, disabled: bool, given: bool
) -> None:
    """Section 4.4: three rows start, the fourth only where the set is in the file."""
    more = f'admin_public = "{public("b")}"\n' if given else ""
    text = node_text(f"{more}disable_auto_migrate = {str(disabled).lower()}")
    if by_contract:
        text = text.replace('server_set_contract = "none"', 'server_set_contract = "registry"')
    is_refused = by_contract and given and not disabled
    if is_refused:
        with pytest.raises(InvalidConfigError, match="secret store admininstrator public key is"):
            load_text(tmp_path, text)
        return
    warned = "auto_migrate_without_effect" in events(load_text(tmp_path, text))
    assert warned is (given and not disabled)
