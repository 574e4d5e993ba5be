"""Which source wins, what paths stand for, and what is warned about."""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from keyserver.app.config import (
    STRICT_CREDENTIALS,
    FromRegistry,
    HostPort,
    InvalidConfigError,
    LogTarget,
    NodeEntry,
    UnixSocket,
    configured_nodes,
    contract_sources,
    http_address,
    load,
    operator_address,
    rpc_address,
)
from keyserver.app.config.keys import all_keys
from keyserver.app.config.loader import decode_values, value_from_text
from keyserver.app.config.reference import reference_page
from keyserver.app.config.report import effective_values
from keyserver.app.config.sources import OPTIONS, Source
from keyserver.app.config.writer import STRICT_VALUES, render_file, write_new_file
from keyserver.errors import ConfigError
from tests.unit.app.samples import (
    SECRETS,
    address,
    events,
    load_text,
    node_id,
    node_text,
    public,
)


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    text = node_text("port = 1001\nhttp_port = 1002")
    environ = {"SECRETSTORE_PORT": "2001", "SECRETSTORE_HTTP_PORT": "2002"}
    loaded = load_text(tmp_path, text, environ=environ, arguments=["--secretstore-port", "3001"])
    assert loaded.config.secretstore.port == 3001
    assert loaded.config.secretstore.http_port == 2002
    assert loaded.config.rpc.port == 8545
    assert str(loaded.origin("secretstore.port")) == "command line --secretstore-port"
    assert str(loaded.origin("secretstore.http_port")) == "environment SECRETSTORE_HTTP_PORT"
    assert str(loaded.origin("secretstore.self_secret")) == f"file {tmp_path}/config.toml:2"
    assert loaded.origin("rpc.port").source is Source.DEFAULT


def test_a_switch_of_the_file_cannot_be_undone(tmp_path: Path) -> None:
    text = node_text("disable_http = true")
    loaded = load_text(tmp_path, text, environ={"SECRETSTORE_DISABLE_HTTP": "false"})
    assert loaded.config.secretstore.disable_http is True
    loaded = load_text(
        tmp_path, node_text("disable_http = false"), arguments=["--no-secretstore-http"]
    )
    assert loaded.config.secretstore.disable_http is True


def test_a_value_of_the_environment_can_be_false(tmp_path: Path) -> None:
    text = node_text(keyserver="strict_admin = true")
    loaded = load_text(tmp_path, text, environ={"KEYSERVER_STRICT_ADMIN": "false"})
    assert loaded.config.keyserver.strict_admin is False


def test_lists_and_tables_in_the_environment(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        node_text(),
        environ={
            "KEYSERVER_SEAL_ADMINS": f"0x{address('a')}, {address('b')}",
            "KEYSERVER_RPC_ENDPOINTS": "http://one:1,wss://two/x",
            "KEYSERVER_CHAIN_ID": "5",
            "KEYSERVER_GENERATION_QUORUM": "4",
            "KEYSERVER_POLL_SECONDS": "0.25",
            "KEYSERVER_STRICT_CREDENTIALS": "",
            "SECRETSTORE_NODES": f"{public('b')}@h:1,{public('c')}@[::1]:2",
        },
    )
    own = loaded.config.keyserver
    assert own.seal.admins == (node_id("a").address, node_id("b").address)
    assert own.rpc_endpoints == ("http://one:1", "wss://two/x")
    assert own.generation_quorum == 4
    assert own.poll_seconds == 0.25
    assert own.strict_credentials == ()
    assert loaded.config.secretstore.nodes == (
        NodeEntry(node_id("b"), HostPort("h", 1)),
        NodeEntry(node_id("c"), HostPort("::1", 2)),
    )


def test_every_option_sets_its_key() -> None:
    assert set(OPTIONS.values()) <= set(all_keys())
    assert OPTIONS["--secretstore-secret"] == "secretstore.self_secret"


def test_passwords_may_be_repeated_or_listed(tmp_path: Path) -> None:
    arguments = ["--password=a,b", "--password", "c"]
    loaded = load_text(tmp_path, node_text(), arguments=arguments)
    assert loaded.config.account.password == (Path("a"), Path("b"), Path("c"))


def test_the_default_file_is_read_only_if_it_is_there(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "SECRETSTORE_DISABLE": "true"}
    assert load(None, environ=environ).file is None
    base = tmp_path / ".local/share/io.parity.ethereum"
    base.mkdir(parents=True)
    (base / "config.toml").write_text("[rpc]\nport = 1234\n")
    assert load(None, environ=environ).config.rpc.port == 1234
    assert load(None, environ=environ, use_default_file=False).config.rpc.port == 8545


def test_paths(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        node_text('path = "$BASE/store"', keyserver='operator_listen = "unix:$BASE/op.sock"')
        + '[parity]\nbase_path = "$HOME/base"\n[misc]\nlog_file = "~/log"\n'
        '[account]\npassword = ["relative"]\n',
    )
    config = loaded.config
    base = tmp_path / "base"
    assert config.parity.base_path == base
    assert config.parity.keys_path == base / "keys"
    assert config.secretstore.path == base / "store"
    assert config.misc.log_file == tmp_path / "log"
    assert config.account.password == (Path("relative"),)
    assert config.keyserver.audit.files == (base / "store/audit.jsonl",)
    assert config.keyserver.database_url == f"sqlite:///{base}/store/keyserver.sqlite"
    assert config.keyserver.seal.key_file == base / "store/seal.key"
    assert operator_address(config) == UnixSocket(base / "op.sock")


def test_the_data_home_moves_the_base(tmp_path: Path) -> None:
    environ = {"XDG_DATA_HOME": "/data"}
    loaded = load_text(tmp_path, node_text(), environ=environ)
    assert loaded.config.parity.base_path == Path("/data/io.parity.ethereum")


@pytest.mark.parametrize("source", ["key_env", "passphrase_file"])
def test_another_seal_source_replaces_the_default_key_file(tmp_path: Path, source: str) -> None:
    loaded = load_text(tmp_path, node_text(keyserver=f'[keyserver.seal]\n{source} = "X"'))
    assert loaded.config.keyserver.seal.key_file is None
    assert "seal_key_beside_data" not in events(loaded)


def test_ports_are_shifted_and_interfaces_exposed(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        node_text() + '[rpc]\napis = ["all"]\n',
        arguments=["--ports-shift=100", "--unsafe-expose", "--secretstore-port=9000"],
    )
    config = loaded.config
    assert config.secretstore.port == 9100
    assert http_address(config) == HostPort("0.0.0.0", 8182)
    assert rpc_address(config) == HostPort("0.0.0.0", 8645)
    assert operator_address(config) == HostPort("127.0.0.1", 8090)


@pytest.mark.parametrize(
    ("apis", "served"),
    [
        ('["secretstore"]', True),
        ('["web3,eth,secretstore"]', True),
        ('["all"]', True),
        ('["all", "-secretstore"]', False),
        ('["safe"]', False),
        ("[]", False),
    ],
)
def test_when_json_rpc_is_served(tmp_path: Path, apis: str, served: bool) -> None:
    loaded = load_text(tmp_path, node_text() + f"[rpc]\napis = {apis}\n")
    assert (rpc_address(loaded.config) is not None) is served


def test_own_entry_and_repeated_entries(tmp_path: Path) -> None:
    nodes = f'nodes = ["{public("a")}@1.2.3.4:5,{public("b")}@one:1,,", "{public("b")}@two:2"]'
    loaded = load_text(tmp_path, node_text(nodes))
    entries = configured_nodes(loaded.config, node_id("a"))
    assert [entry.node_id for entry in entries] == sorted([node_id("a"), node_id("b")])
    at = {entry.node_id: str(entry.at) for entry in entries}
    assert at == {node_id("a"): "127.0.0.1:8083", node_id("b"): "two:2"}
    assert "node_listed_twice" in events(loaded)


def test_lenient_keys_are_warned_about_only_when_absent(tmp_path: Path) -> None:
    lenient = events(load_text(tmp_path, node_text()))
    assert lenient.count("lenient_default") == 4
    written = node_text(
        keyserver='forbid_plain_modes = false\nstrict_credentials = []\nacl_depth = "head"\n'
        "strict_admin = true"
    )
    assert "lenient_default" not in events(load_text(tmp_path, written))


def test_no_chain_is_warned_about_where_one_is_needed(tmp_path: Path) -> None:
    text = node_text().replace('acl_contract = "none"', "")
    loaded = load_text(tmp_path, text)
    warned = {item.event: item.text for item in loaded.warnings}
    assert "acl_contract" in warned["chain_endpoint_missing"]
    assert "server_set_contract" not in warned["chain_endpoint_missing"]
    assert "acl_contract" in warned["registry_address_missing"]
    assert "acl_check_disabled" not in warned
    served = load_text(
        tmp_path,
        text + f'rpc_endpoints = ["http://h"]\nchain_id = 1\nregistry_address = "{address("a")}"',
    )
    assert not {"chain_endpoint_missing", "registry_address_missing"} & set(events(served))
    assert contract_sources(served.config)["secretstore.acl_contract"] == FromRegistry()


def test_the_old_acl_key_yields_to_the_new_one(tmp_path: Path) -> None:
    text = node_text("disable_acl_check = true").replace(
        'acl_contract = "none"', 'acl_contract = "registry"'
    )
    loaded = load_text(tmp_path, text)
    assert loaded.config.secretstore.acl_contract == FromRegistry()
    assert any("no effect" in item.text for item in loaded.warnings if item.event == "old_key")


def test_log_targets(tmp_path: Path) -> None:
    text = (
        node_text()
        + '[misc]\nlogging = "warn, secretstore=debug,secretstore_net=TRACE,rpc,miner=off,OFF"\n'
    )
    assert load_text(tmp_path, text).config.misc.logging == (
        LogTarget("", "warn"),
        LogTarget("secretstore", "debug"),
        LogTarget("secretstore_net", "trace"),
        LogTarget("rpc", "trace"),
        LogTarget("miner", "off"),
        LogTarget("", "off"),
    )


def test_no_secret_is_shown(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        node_text(
            keyserver='rpc_endpoints = ["https://user:hunter2@host:8545/v3/hunter2?k=hunter2"]\n'
            'chain_id = 1\ndatabase_url = "postgresql://me:hunter2@db/keys?password=hunter2"'
        ),
        environ={"KEYSERVER_SEAL_KEY_ENV": "SEAL"},
    )
    shown = json.dumps([asdict(item) for item in effective_values(loaded)], default=str)
    for text in (shown, repr(loaded), str(loaded.config), repr(loaded.config.secretstore)):
        assert SECRETS["a"] not in text
        assert "hunter2" not in text
    values = {item.key: item.value for item in effective_values(loaded)}
    assert values["secretstore.self_secret"] == "(private key)"
    assert values["keyserver.rpc_endpoints"] == ["https://…@host:8545/…"]
    assert values["keyserver.database_url"] == "postgresql://…@db/keys"


def test_effective_values_are_written_as_in_a_file(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        node_text(
            f'nodes = ["{public("b")}@[::1]:5"]\nservice_contract = "{address("b")}"',
            keyserver='trusted_proxies = ["10.0.0.0/8"]\noperator_listen = "[::1]:0"',
        ),
    )
    values = {item.key: item.value for item in effective_values(loaded)}
    assert set(values) == set(all_keys())
    json.dumps(values)
    assert values["secretstore.nodes"] == [f"{public('b')}@[::1]:5"]
    assert values["secretstore.service_contract"] == f"0x{address('b')}"
    assert values["secretstore.server_set_contract"] == "none"
    assert values["keyserver.trusted_proxies"] == ["10.0.0.0/8"]
    assert values["keyserver.operator_listen"] == "[::1]:0"
    assert values["keyserver.chain_id"] is None


def test_the_configuration_is_frozen(tmp_path: Path) -> None:
    config = load_text(tmp_path, node_text()).config
    with pytest.raises(ValueError, match="frozen"):
        config.secretstore.port = 1


def test_a_rendered_file_reads_back(tmp_path: Path) -> None:
    values: dict[str, object] = {
        **STRICT_VALUES,
        "secretstore.self_secret": address("a"),
        "secretstore.nodes": [f"{public('b')}@h:1"],
        "secretstore.port": 9000,
        "keyserver.seal.key_file": tmp_path / 'odd "name"',
        "keyserver.poll_seconds": 0.5,
        "secretstore.acl_contract": FromRegistry(),
    }
    text = render_file(values, heading="A test.")
    tables = tomllib.loads(text)
    assert tables["keyserver"]["strict_credentials"] == list(STRICT_CREDENTIALS)
    assert text.startswith("# A test.\n")
    loaded = load_text(tmp_path, text)
    assert "lenient_default" not in events(loaded)
    assert loaded.config.keyserver.seal.key_file == tmp_path / 'odd "name"'
    assert decode_values(values).config.secretstore.port == 9000
    with pytest.raises(ConfigError, match=r'did you mean "secretstore.port"'):
        render_file({"secretstore.prt": 1}, heading="")


def test_values_for_a_new_file_are_checked() -> None:
    with pytest.raises(InvalidConfigError, match=r"new file: .*port: must be") as caught:
        decode_values({"secretstore.port": "x", "secretstore.disable": True, "keyserver.x": 1})
    assert "keyserver.x: unknown key" in str(caught.value)
    assert value_from_text("keyserver.generators", "a,b") == ["a", "b"]
    with pytest.raises(InvalidConfigError, match=r'did you mean "keyserver.generators"'):
        value_from_text("keyserver.generator", "a")
    with pytest.raises(InvalidConfigError, match=r"keyserver.chain_id: must be a whole number"):
        value_from_text("keyserver.chain_id", "one")


def test_new_files_are_private_and_never_replace(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_new_file(file, "1")
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="exists already"):
        write_new_file(file, "2")
    assert file.read_text() == "1"


def test_the_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs/configuration.md"
    assert page.read_text(encoding="utf-8") == reference_page(), (
        "run: keyserver config reference > docs/configuration.md"
    )
    for key in all_keys().values():
        assert key.description, key.name
