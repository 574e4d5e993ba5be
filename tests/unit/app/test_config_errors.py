"""What stops the start: each case gives one clear line and nothing secret."""

import errno
from pathlib import Path

import pytest

from keyserver.app.config import InvalidConfigError, load
from keyserver.app.config.problems import INVALID_FILE
from tests.unit.app.samples import SECRETS, events, load_text, node_text, public

ZERO = "0" * 64
ORDER = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
OFF_CURVE = "11" * 64


def problems_of(directory: Path, text: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        load_text(directory, text)
    return str(caught.value).splitlines()


def with_secret(value: str) -> str:
    return node_text().replace(SECRETS["a"], value)


VALUES = {
    "63 digits": (with_secret(SECRETS["a"][1:]), "Invalid secret store secret. Must be either"),
    "zero key": (with_secret(ZERO), "invalid secret: "),
    "key of the order": (with_secret(ORDER), "invalid secret: "),
    "no hex": (with_secret("x" * 64), "Invalid secret store secret"),
    "big port": (node_text("port = 70000"), "port: must be a whole number in 0…65535, not 70000"),
    "node without @": (node_text('nodes = ["nobody"]'), "Invalid secret store node: nobody"),
    "node with two @": (
        node_text(f'nodes = ["{public("b")}@a@b:1"]'),
        "Invalid secret store node: ",
    ),
    "node with bad hex": (
        node_text(f'nodes = ["{"g" * 128}@127.0.0.1:1"]'),
        "Invalid public key in secret store node: ",
    ),
    "node off the curve": (
        node_text(f'nodes = ["{OFF_CURVE}@127.0.0.1:1"]'),
        "Invalid public key in secret store node: ",
    ),
    "node with a named port": (
        node_text(f'nodes = ["{public("b")}@127.0.0.1:http"]'),
        "Invalid port in secret store node: http",
    ),
    "node with two colons": (
        node_text(f'nodes = ["{public("b")}@127.0.0.1:1:2"]'),
        "Invalid secret store node: ",
    ),
    "node with a broken IPv6": (
        node_text(f'nodes = ["{public("b")}@[::g]:1"]'),
        "Invalid secret store node: ",
    ),
    "contract nobody": (node_text('service_contract = "nobody"'), '"nobody" is no contract'),
    "empty contract": (node_text('service_contract = ""'), '"" is no contract'),
    "admin of 127 digits": (
        node_text(f'admin_public = "{public("b")[1:]}"'),
        "Invalid secret store admin public: ",
    ),
    "admin off the curve": (
        node_text(f'admin_public = "{OFF_CURVE}"'),
        "Invalid secret store admin public: not a point",
    ),
    "interface by name": (node_text('interface = "localhost"'), 'must be "local", "all" or an IP'),
    "endpoint without chain": (
        node_text(keyserver='rpc_endpoints = ["http://h:1"]'),
        "chain_id: is required with rpc_endpoints",
    ),
    "endpoint of a file": (
        node_text(keyserver='rpc_endpoints = ["/ipc"]\nchain_id = 1'),
        "an endpoint must be a URL",
    ),
    "endpoint with a bad port": (
        node_text(keyserver='rpc_endpoints = ["http://h:99999"]\nchain_id = 1'),
        "an endpoint must be a URL",
    ),
    "misspelt operation": (
        node_text(keyserver='strict_credentials = ["retrieve_plane"]'),
        'did you mean "retrieve_plain"?',
    ),
    "misspelt finality": (
        node_text(keyserver='finality = "finalised"'),
        'must be "depth", "safe" or "finalized", not "finalised"; did you mean "finalized"?',
    ),
    "one half of TLS": (node_text(keyserver='tls_cert = "c"'), "tls_cert, tls_key: one is of no"),
    "open operator listener": (
        node_text(keyserver='operator_listen = "10.0.0.1:8090"'),
        "operator_listen: 10.0.0.1:8090 can be reached",
    ),
    "operator without port": (
        node_text(keyserver='operator_listen = "10.0.0.1"'),
        "operator_listen: must be HOST:PORT",
    ),
    "two seal keys": (
        node_text(keyserver='[keyserver.seal]\nkey_file = "a"\nkey_env = "B"'),
        "give only one of them",
    ),
    "same port twice": (node_text("http_port = 8083"), "wants 127.0.0.1:8083 as"),
    "shifted over the end": (
        node_text("port = 65530") + "[misc]\nports_shift = 10\n",
        "[secretstore] port: is 65540 with [misc] ports_shift",
    ),
    "priority above the fee": (
        node_text(keyserver="max_fee_per_gas = 5"),
        "max_priority_fee_per_gas: must not exceed",
    ),
    "a file that is no part of a URL": (
        node_text('path = "/data/#1"'),
        "[secretstore] path: the file of a database must have neither ? nor #",
    ),
    "a database with a query": (
        node_text(keyserver='database_url = "sqlite:////data/file?mode=ro"'),
        "database_url: the file of a database must have neither ? nor #",
    ),
    "other database": (
        node_text(keyserver='database_url = "mysql://u:hunter2@h/d"'),
        "database_url: must be sqlite:///FILE or postgresql://",
    ),
    "a database at no port": (
        node_text(keyserver='database_url = "postgresql://u:hunter2@h:99999/d"'),
        "[keyserver] database_url: port must be a number in 1…65535",
    ),
    "a database at an empty port": (
        node_text(keyserver='database_url = "postgresql://h:/d"'),
        "[keyserver] database_url: port must be a number in 1…65535",
    ),
    "more faulty nodes than nodes": (
        node_text(keyserver="max_faulty = 65536"),
        "[keyserver] max_faulty: must be a whole number in 0…256, not 65536",
    ),
    "a chain id for no database": (
        node_text(keyserver="chain_id = 9223372036854775808"),
        "chain_id: must be a whole number 1 or more, at most 9223372036854775807",
    ),
    "a number too long to be written out": (
        node_text(keyserver=f"start_block = 0x{'f' * 4000}"),
        "start_block: must be a whole number 0 or more, at most 9223372036854775807",
    ),
    "key files without rounds": (
        node_text() + "[account]\nkeys_iterations = 0\n",
        "[account] keys_iterations: must be a whole number in 1…10000000, not 0",
    ),
    "key files that take forever": (
        node_text() + "[account]\nkeys_iterations = 4294967296\n",
        "[account] keys_iterations: must be a whole number in 1…10000000, not 4294967296",
    ),
    "a poll without end": (
        node_text(keyserver=f"poll_seconds = 1{'0' * 400}"),
        "poll_seconds: must be a number above 0, at most 1000000000",
    ),
    "a poll of infinity": (
        node_text(keyserver="poll_seconds = inf"),
        "poll_seconds: must be a number above 0, at most 1000000000",
    ),
    "a poll of no number": (
        node_text(keyserver="poll_seconds = nan"),
        "poll_seconds: must be a number above 0, not nan",
    ),
    "a quorum beyond counting": (
        node_text(keyserver="generation_quorum = 9223372036854775808"),
        'must be "all" or a whole number 1 or more, at most 9223372036854775807',
    ),
    "a path with an end in it": (
        node_text(keyserver='[keyserver.seal]\nkey_file = "a\\u0000b"'),
        "key_file: must not contain the character U+0000",
    ),
    "no log level": (
        node_text() + '[misc]\nlogging = "secretstore=loud"\n',
        '"loud" is no log level',
    ),
    "a quorum of none": (node_text(keyserver="generation_quorum = 0"), "1 or more, not 0"),
    "empty path": (node_text('path = ""'), "path: must name a path"),
    "a proxy by name": (node_text(keyserver='trusted_proxies = ["proxy"]'), "must be an IP"),
    "a poll without time": (node_text(keyserver="poll_seconds = 0"), "must be a number above 0"),
    "an administrator and migration": (
        node_text(f'admin_public = "{public("b")}"').replace(
            'server_set_contract = "none"', 'server_set_contract = "registry"'
        ),
        "secret store admininstrator public key is specified with auto-migration enabled",
    ),
    "an unusual unix path": (
        node_text(keyserver='operator_listen = "unix:"'),
        "must name a path after unix:",
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_wrong_value_gives_one_line(tmp_path: Path, case: str) -> None:
    text, expected = VALUES[case]
    lines = problems_of(tmp_path, text)
    assert len(lines) == 1, lines
    assert expected in lines[0]
    for secret in (SECRETS["a"][1:], ORDER, "hunter2"):
        assert secret not in lines[0]


FORMS = {
    "quoted port": (node_text('port = "8083"'), "[secretstore] port: must be a whole number"),
    "nodes no array": (node_text('nodes = "x"'), "[secretstore] nodes: must be an array of str"),
    "switch as number": (node_text("disable_http = 1"), "disable_http: must be true or false"),
    "secret as number": (with_secret("1").replace('"1"', "1"), "must be a string in quotes"),
    "misspelt key": (
        node_text('acl_contrat = "none"'),
        '[secretstore] acl_contrat: unknown key; did you mean "acl_contract"?',
    ),
    "misspelt section": (
        '[secretstor]\nself_secret = "1"\n',
        '[secretstor]: unknown section; did you mean "secretstore"?',
    ),
    "misspelt subkey": (
        node_text(keyserver='[keyserver.seal]\nkey_fil = "x"'),
        '[keyserver.seal] key_fil: unknown key; did you mean "key_file"?',
    ),
    "misspelt table": (
        node_text(keyserver='[keyserver.seel]\nkey_file = "x"'),
        '[keyserver] seel: unknown key; did you mean "seal"?',
    ),
    "table as a value": (node_text(keyserver="seal = 1"), "[keyserver] seal: must be a table"),
    "key outside": ("port = 1\n" + node_text(), "port: stands outside of any section"),
    "quorum of text": (node_text(keyserver='generation_quorum = "most"'), 'must be "all" or a'),
    "poll as text": (node_text(keyserver='poll_seconds = "1"'), "must be a number above 0"),
    "syntax": ("[secretstore\n", "line 1, column"),
    "a number beyond writing": (
        node_text(keyserver=f"chain_id = {'9' * 5000}"),
        "holds a number of thousands of digits, or",
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_wrong_form_says_so_and_where(tmp_path: Path, case: str) -> None:
    text, expected = FORMS[case]
    lines = problems_of(tmp_path, text)
    assert lines[0] == INVALID_FILE
    assert len(lines) == 2, lines
    assert expected in lines[1]
    assert lines[1].startswith(f"{tmp_path}/config.toml")


def test_arrays_nested_too_deeply_for_the_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(_: str) -> dict[str, object]:
        raise RecursionError

    monkeypatch.setattr("keyserver.app.config.sources.tomllib.loads", loads)
    first, second = problems_of(tmp_path, node_text())
    assert first == INVALID_FILE
    assert second.startswith(f"{tmp_path}/config.toml: ")
    assert second.endswith("arrays nested hundreds of times")


def test_all_problems_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    lines = problems_of(
        tmp_path,
        "[secretstore]\nport = 70000\nhttp_port = -1\nacl_contract = 'x'\n"
        "[misc]\nports_shift = 'a'\n[keyserver]\nfinality = 'x'\n",
    )
    numbered = sorted(line.removeprefix(f"{tmp_path}/config.toml:")[:2] for line in lines[1:])
    assert numbered == ["2:", "3:", "4:", "6:", "8:"]


def test_a_missing_file_that_was_named(tmp_path: Path) -> None:
    missing = tmp_path / "nothing.toml"
    with pytest.raises(InvalidConfigError) as caught:
        load(missing, environ={"HOME": str(tmp_path)})
    expected = (
        f"There was an error reading your config file at: {missing} (No such file or directory)"
    )
    assert str(caught.value) == expected


def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xff\xfe")
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(InvalidConfigError, match=r"x\.toml \(it is not UTF-8\)"):
        load(file, environ=environ)
    with pytest.raises(InvalidConfigError, match=r"\(Is a directory\)"):
        load(tmp_path, environ=environ)

    def closed(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(InvalidConfigError, match=r"x\.toml \(Permission denied\)"):
        load(file, environ=environ)


def test_the_environment_is_named_in_its_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        load_text(
            tmp_path,
            node_text(),
            environ={
                "SECRETSTORE_PORT": "http",
                "KEYSERVER_STRICT_ADMIN": "maybe",
                "KEYSERVER_POLL_SECONDS": "often",
                "SECRETSTORE_SELF_SECRET": SECRETS["a"][1:],
            },
        )
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "KEYSERVER_POLL_SECONDS",
        "KEYSERVER_STRICT_ADMIN",
        "SECRETSTORE_PORT",
        "SECRETSTORE_SELF_SECRET",
    ]
    assert SECRETS["a"][1:] not in str(caught.value)


def test_a_variable_that_is_no_text(tmp_path: Path) -> None:
    environ = {"KEYSERVER_CLUSTER_NAME": "\udcff", "SECRETSTORE_PATH": "/data/\udcff"}
    with pytest.raises(InvalidConfigError) as caught:
        load_text(tmp_path, node_text(), environ=environ)
    assert str(caught.value).splitlines() == [
        "SECRETSTORE_PATH: must be UTF-8",
        "KEYSERVER_CLUSTER_NAME: must be UTF-8",
    ]


def test_options_are_named_in_their_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        load_text(
            tmp_path,
            node_text(),
            arguments=["--secretstore-prt=1", "--secretstore-port=x", "--secretstore-path"],
        )
    assert str(caught.value).splitlines() == [
        '--secretstore-prt: unknown option; did you mean "--secretstore-port"?',
        "--secretstore-port: must be a whole number in 0…65535",
        "--secretstore-path: needs a value",
    ]


def test_a_misspelt_variable_is_warned_about(tmp_path: Path) -> None:
    environ = {"KEYSERVER_STRICT_ADMN": "true", "KEYSERVER_SEAL": "x", "MY_KEY": "1"}
    loaded = load_text(tmp_path, node_text(), environ=environ)
    warned = [item for item in loaded.warnings if item.event == "unknown_environment_variable"]
    assert len(warned) == 2
    assert 'did you mean "KEYSERVER_STRICT_ADMIN"?' in warned[1].text
    named = node_text(keyserver='[keyserver.seal]\nkey_env = "KEYSERVER_SEAL"')
    loaded = load_text(tmp_path, named, environ={"KEYSERVER_SEAL": "x"})
    assert "unknown_environment_variable" not in events(loaded)


def test_two_directories_that_are_no_part_of_a_url(tmp_path: Path) -> None:
    both = problems_of(tmp_path, node_text('path = "#1"') + '[parity]\nbase_path = "#2"\n')
    assert len(both) == 2
    assert ":5: [secretstore] path: " in both[0]
    assert ":9: [parity] base_path: " in both[1]


def test_a_home_directory_that_is_no_part_of_a_url() -> None:
    expected = r"database_url: its default, in the home directory: .* neither \? nor #"
    with pytest.raises(InvalidConfigError, match=expected):
        load(None, use_default_file=False, environ={"HOME": "/home/#1"})
