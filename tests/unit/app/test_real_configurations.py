"""The configurations that are known to be in use, and what they mean (configuration, section 7)."""

from pathlib import Path

import pytest

from keyserver.app.accounts import load_node_key
from keyserver.app.config import (
    AtAddress,
    FromRegistry,
    HostPort,
    InvalidConfigError,
    NoContract,
    configured_nodes,
    http_address,
    operator_address,
    peer_address,
    rpc_address,
)
from keyserver.model.identifiers import Address
from tests.unit.app.samples import (
    POA1_PUBLIC,
    SECRETS,
    address,
    events,
    load_text,
    node_id,
    public,
    write_account,
)


def test_row_1_the_example_of_the_documentation(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        f"""
[secretstore]
disable = false
disable_http = false
self_secret = "{SECRETS["poa1"]}"
server_set_contract = "none"
nodes = [
    "{POA1_PUBLIC}@127.0.0.1:12000",
    "{public("b")}@127.0.0.1:12001",
]
interface = "local"
port = 12000
http_interface = "local"
http_port = 8082
path = "db.poa_ss1/secretstore"
""",
    )
    config = loaded.config
    key = load_node_key(config)
    assert key.node_id.hex() == POA1_PUBLIC
    nodes = configured_nodes(config, key.node_id)
    assert {entry.node_id: entry.at for entry in nodes} == {
        key.node_id: HostPort("127.0.0.1", 12000),
        node_id("b"): HostPort("127.0.0.1", 12001),
    }
    assert config.secretstore.acl_contract == FromRegistry()
    assert config.secretstore.path == Path("db.poa_ss1/secretstore")
    assert config.secretstore.disable_auto_migrate is False
    assert "chain_endpoint_missing" in events(loaded)
    assert "registry_address_missing" in events(loaded)
    assert "nodes_ignored" not in events(loaded)


@pytest.mark.parametrize(
    ("who", "port", "http"), [("poa1", 8083, True), ("b", 8085, False), ("c", 8087, False)]
)
def test_row_2_the_test_repository(tmp_path: Path, who: str, port: int, http: bool) -> None:
    loaded = load_text(
        tmp_path,
        f"""
[secretstore]
disable = false
disable_http = {str(not http).lower()}  # HTTP only on the first
acl_contract = "none"
server_set_contract = "none"
self_secret = "{SECRETS[who]}"
nodes = [
  "{POA1_PUBLIC}@127.0.0.1:8083",   # one
  "{public("b")}@127.0.0.1:8085",
  "{public("c")}@127.0.0.1:8087",   # trailing comma
]
port = {port}
""",
    )
    key = load_node_key(loaded.config)
    assert key.node_id == node_id(who)
    nodes = configured_nodes(loaded.config, key.node_id)
    assert [entry.at.port for entry in sorted(nodes, key=lambda entry: entry.at.port)] == [
        8083,
        8085,
        8087,
    ]
    expected = HostPort("127.0.0.1", 8082) if http else None
    assert http_address(loaded.config) == expected
    assert "acl_check_disabled" in events(loaded)


def test_row_3_the_key_is_in_the_keystore(tmp_path: Path) -> None:
    write_account(tmp_path / "base/keys/DevelopmentChain", "a", "password")
    (tmp_path / "password.file").write_text("password\n")
    loaded = load_text(
        tmp_path,
        f"""
[parity]
chain = "dev"
base_path = "{tmp_path}/base"
[account]
password = ["$HOME/password.file"]
[secretstore]
self_secret = "{address("a")}"
server_set_contract = "none"
nodes = []
""",
    )
    key = load_node_key(loaded.config)
    assert key.node_id.hex().startswith("cf5586ac")
    assert loaded.config.secretstore.acl_contract == FromRegistry()


ROW_4 = """
[secretstore]
disable_acl_check = true
self_secret = "{secret}"
admin_public = "{admin}"
nodes = ["{a}@127.0.0.1:8083", "{b}@127.0.0.1:8085"]
{more}
"""


def _row_4(who: str, more: str) -> str:
    return ROW_4.format(
        secret=SECRETS[who], admin=public("admin"), a=public("a"), b=public("b"), more=more
    )


def test_row_4_an_administrator_and_automatic_migration_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="with auto-migration enabled") as caught:
        load_text(tmp_path, _row_4("a", ""))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("who", "begins", "count"),
    [("a", "cf5586ac", 2), ("b", "62d53d5d", 2), ("c", "a7cc7a8e", 3), ("d", "54319671", 3)],
)
def test_row_4_starts_when_the_set_is_the_list(
    tmp_path: Path, who: str, begins: str, count: int
) -> None:
    loaded = load_text(tmp_path, _row_4(who, 'server_set_contract = "none"'))
    key = load_node_key(loaded.config)
    assert key.node_id.hex().startswith(begins)
    assert len(configured_nodes(loaded.config, key.node_id)) == count
    assert loaded.config.secretstore.acl_contract == NoContract()
    assert loaded.config.secretstore.admin_public == node_id("admin")
    assert {"old_key", "auto_migrate_without_effect", "acl_check_disabled"} <= set(events(loaded))


def test_row_4_ignores_the_list_when_the_set_is_a_contract(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, _row_4("a", "disable_auto_migrate = true"))
    assert loaded.config.secretstore.server_set_contract == FromRegistry()
    assert "nodes_ignored" in events(loaded)


@pytest.mark.parametrize(
    ("who", "port", "http", "rpc"),
    [("alice", 8083, 8090, 8545), ("bob", 8085, 8091, 8547), ("charlie", 8087, 8092, 8549)],
)
@pytest.mark.parametrize("admin", ["admin2", "alice"])  # rows 5 and 6
def test_rows_5_and_6_the_energy_web_test_network(
    tmp_path: Path, who: str, port: int, http: int, rpc: int, admin: str
) -> None:
    write_account(tmp_path / "keys/Tobalaba", who, f"{who}pwd")
    (tmp_path / "pwd").write_text(f"{who}pwd")  # no newline at the end
    loaded = load_text(
        tmp_path,
        f"""
[parity]
chain = "tobalaba.json"
base_path = "{tmp_path}"
identity = "somebody"
[network]
port = 30303
reserved_peers = "peers"
[rpc]
apis = ["all"]
interface = "all"
cors = ["all"]
hosts = ["all"]
port = {rpc}
[websockets]
disable = true
[account]
unlock = ["0x{address(who)}"]
password = ["{tmp_path}/pwd"]
[secretstore]
disable = false
disable_auto_migrate = true
disable_http = false
acl_contract = "none"
server_set_contract = "none"
admin_public = "{public(admin)}"
self_secret = "{address(who)}"
interface = "all"
port = {port}
http_interface = "all"
http_port = {http}
nodes = ["{public("alice")}@127.0.0.1:8083", "{public("bob")}@127.0.0.1:8085",
         "{public("charlie")}@127.0.0.1:8087"]
""",
    )
    config = loaded.config
    key = load_node_key(config)
    assert key.node_id == node_id(who)
    nodes = configured_nodes(config, key.node_id)
    assert len(nodes) == 3
    own = next(entry for entry in nodes if entry.node_id == key.node_id)
    assert own.at == HostPort("0.0.0.0", port)
    assert http_address(config) == HostPort("0.0.0.0", http)
    assert rpc_address(config) == HostPort("0.0.0.0", rpc)
    assert config.secretstore.admin_public == node_id(admin)
    # The operator listener makes way for the old file's use of its port.
    wanted = operator_address(config)
    assert isinstance(wanted, HostPort)
    assert wanted == HostPort("127.0.0.1", 0 if http == 8090 else 8090)
    ignored = next(item for item in loaded.warnings if item.event == "ignored_settings")
    assert ignored.level == "info"
    for name in ("[network]", "[websockets]", "[parity] identity"):
        assert name in ignored.text


def test_row_7_contracts_by_address(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        f"""
[network]
reserved_peers = "/x"
node_key = "{SECRETS["b"]}"
[secretstore]
self_secret = "{SECRETS["a"]}"
nodes = ["{public("a")}@10.0.0.1:8083", "{public("b")}@10.0.0.2:8083"]
server_set_contract = "none"
acl_contract = "E0bF6f8A3bCb36e1b7E49A6c8A9A11A4f5dE1A2b"
service_contract_srv_gen = "B25f6b8A3bCb36e1b7E49A6c8A9A11A4f5dE1A2c"
service_contract_srv_retr = "b25f6b8a3bcb36e1b7e49a6c8a9a11a4f5de1a2d"
service_contract_doc_store = "0xB25f6b8A3bCb36e1b7E49A6c8A9A11A4f5dE1A2e"
service_contract_doc_sretr = "B25F6B8A3BCB36E1B7E49A6C8A9A11A4F5DE1A2F"
""",
    )
    store = loaded.config.secretstore
    expected = Address(bytes.fromhex("b25f6b8a3bcb36e1b7e49a6c8a9a11a4f5de1a2c"))
    assert store.service_contract_srv_gen == AtAddress(expected)
    assert isinstance(store.service_contract_doc_store, AtAddress)
    assert isinstance(store.service_contract_doc_sretr, AtAddress)
    assert isinstance(store.acl_contract, AtAddress)
    assert store.service_contract == NoContract()
    text = " ".join(item.text for item in loaded.warnings)
    assert "service_contract_srv_gen" in text  # needs a chain, and no endpoint is there
    assert SECRETS["b"] not in text


def test_rows_8_and_9_the_tutorial(tmp_path: Path) -> None:
    write_account(tmp_path / "keys", "a", "pw")
    (tmp_path / "pw").write_text("pw\n")
    common = f"""
[parity]
keys_path = "{tmp_path}/keys"
[account]
password = ["{tmp_path}/pw"]
[ui]
force = false
[ipc]
disable = true
[dapps]
disable = true
[secretstore]
self_secret = "{address("a")}"
server_set_contract = "none"
acl_contract = "none"
nodes = []
port = 8010
http_port = 8011
"""
    loaded = load_text(tmp_path, common)
    key = load_node_key(loaded.config)
    assert [entry.node_id for entry in configured_nodes(loaded.config, key.node_id)] == [
        node_id("a")
    ]
    assert http_address(loaded.config) == HostPort("127.0.0.1", 8011)
    quiet = load_text(tmp_path, common + "disable_http = true\n[mining]\nreseal_on_txs = 'none'\n")
    assert http_address(quiet.config) is None
    assert peer_address(quiet.config) == HostPort("127.0.0.1", 8010)


def test_row_10_a_client_needs_no_key(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        '[rpc]\nport = 8545\napis = ["secretstore"]\n[secretstore]\ndisable = true\n',
    )
    assert rpc_address(loaded.config) == HostPort("127.0.0.1", 8545)
    assert peer_address(loaded.config) is None
    assert http_address(loaded.config) is None
    assert operator_address(loaded.config) is None
    assert events(loaded) == []


def test_row_11_the_only_node_is_the_node_itself(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        f"""
[secretstore]
self_secret = "{SECRETS["a"]}"
server_set_contract = "none"
acl_contract = "none"
interface = "all"
port = 12000
http_interface = "all"
http_port = 12001
nodes = ["{public("a")}@172.15.0.13:12000"]
path = "/var/lib/secretstore"
""",
    )
    nodes = configured_nodes(loaded.config, node_id("a"))
    assert [str(entry.at) for entry in nodes] == ["0.0.0.0:12000"]
    assert loaded.config.keyserver.database_url == (
        "sqlite:////var/lib/secretstore/keyserver.sqlite"
    )


def test_row_12_comments_and_blanks(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        f"""
[secretstore]
#disable_acl_check = true
self_secret = "{SECRETS["a"]}"
server_set_contract = "none"
port = 8083   \t
http_port = 8082 \t  # for clients
""",
    )
    assert loaded.config.secretstore.acl_contract == FromRegistry()
    assert "old_key" not in events(loaded)
