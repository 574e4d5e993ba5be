"""`init`, `config check`, `config reference` and `account new`, as a person types them."""

import io
import json
from pathlib import Path

import pytest
import typer

from keyserver.app.accounts import load_node_key
from keyserver.app.config import load
from keyserver.app.config.reference import reference_page
from keyserver.app.config.values import AtAddress, FromRegistry, NoContract
from keyserver.cli.main import main
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import Address, NodeId
from tests.unit.app.samples import SECRETS, address, events, node_text, public, write_account


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)


def written(directory: Path, text: str) -> str:
    file = directory / "node.toml"
    file.write_text(text)
    return str(file)


def test_check_shows_the_node_and_its_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRETSTORE_HTTP_PORT", "9001")
    file = written(tmp_path, node_text("port = 9000"))
    assert main(["config", "check", file]) == 0
    text = capsys.readouterr().out
    assert f"0x{public('a')}" in text
    assert f"file {file}:5" in text
    assert "environment SECRETSTORE_HTTP_PORT" in text
    assert "warning: Running SecretStore with disabled ACL check" in text
    assert "keyserver.presignatures" not in text
    assert SECRETS["a"] not in text
    assert main(["config", "check", file, "--all"]) == 0
    assert "keyserver.presignatures" in capsys.readouterr().out


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, node_text("port = 9000"))
    assert main(["config", "check", file, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is True
    assert facts["node_id"] == f"0x{public('a')}"
    assert facts["address"] == f"0x{address('a')}"
    assert facts["values"]["secretstore.port"] == {
        "value": 9000,
        "source": "file",
        "detail": f"{file}:5",
        "meaning": "Port for other nodes.",
        "moved_by": None,
    }
    assert facts["listeners"] == {
        "clients": "http://127.0.0.1:8082",
        "other_nodes": "127.0.0.1:9000",
        "operator": "127.0.0.1:8090",
    }
    assert facts["values"]["keyserver.confirmations"]["source"] == "default"
    assert "acl_check_disabled" in [item["event"] for item in facts["warnings"]]


def test_check_explains_what_other_keys_have_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = node_text(f'port = 9000\nnodes = ["{public("b")}@h:1", "{public("c")}@h:2"]')
    file = written(tmp_path, text + "[misc]\nports_shift = 5\nunsafe_expose = true\n")
    assert main(["config", "check", file]) == 0
    output = capsys.readouterr().out
    shifted = f"secretstore.port = 9005  # file {file}:5, changed by [misc] ports_shift"
    assert f"{shifted}\n    Port for other nodes.\n" in output
    nodes = f'secretstore.nodes = [\n    "{public("b")}@h:1",\n    "{public("c")}@h:2",\n]'
    assert f"{nodes}  # file {file}:6\n" in output
    assert main(["config", "check", file, "--all"]) == 0
    output = capsys.readouterr().out
    assert 'rpc.interface = "0.0.0.0"  # default, changed by [misc] unsafe_expose\n' in output
    assert "keyserver.drain_above = (not set)  # default\n" in output
    assert "keyserver.poll_seconds = 1.0  # default\n" in output


def test_check_of_a_client_without_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "[secretstore]\ndisable = true\n")
    assert main(["config", "check", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key_server"] == "disabled"


def test_check_of_a_node_whose_key_is_in_its_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `seal init` says to leave the configuration."""
    file = written(tmp_path, '[secretstore]\nserver_set_contract = "none"\n')
    assert main(["config", "check", file, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is True
    assert "keyserver seal init" in facts["node_key"]
    assert "node_id" not in facts
    absent = f'[account]\npassword = ["{tmp_path}/no"]\n'
    assert main(["config", "check", written(tmp_path, f"[secretstore]\n{absent}")]) == 2
    assert "Unable to read password file." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ('password = ["{}/no"]', "{}/no Unable to read password file."),
        (f'unlock = ["{address("b")}"]', "not found for the current chain."),
        (f'unlock = ["{address("a")}"]', "No password found to unlock account"),
        (f'unlock = ["{address("a")}"]\npassword = ["{{}}/pw"]', "No valid password to unlock"),
    ],
)
def test_check_of_a_client_opens_its_accounts(
    tmp_path: Path, account: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are the JSON-RPC module's, which needs no key server."""
    write_account(tmp_path / "keys", "a", "other")
    (tmp_path / "pw").write_text("pw\n")
    text = f'[secretstore]\ndisable = true\n[parity]\nkeys_path = "{tmp_path}/keys"\n[account]\n'
    file = written(tmp_path, text + account.format(tmp_path))
    assert main(["config", "check", file]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected.format(tmp_path) in line


def test_check_of_a_client_names_files_that_are_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "notes").write_text("no key")
    text = f'[secretstore]\ndisable = true\n[parity]\nkeys_path = "{tmp_path}/keys"\n'
    assert main(["config", "check", written(tmp_path, text)]) == 0
    assert f"warning: {tmp_path}/keys/notes is skipped" in capsys.readouterr().out


@pytest.mark.parametrize(("more", "status"), [("", 2), ("disable_http = true", 0)])
def test_check_loads_the_certificate(
    tmp_path: Path, more: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where clients are served; elsewhere nobody would see it."""
    tls = f'tls_cert = "{tmp_path}/none.pem"\ntls_key = "{tmp_path}/none.key"'
    assert main(["config", "check", written(tmp_path, node_text(more, keyserver=tls))]) == status
    assert ("[keyserver] tls_cert, tls_key: " in capsys.readouterr().err) is (status == 2)


def account_file(tmp_path: Path, who: str, password: str | None) -> str:
    write_account(tmp_path / "keys", "a", "pw")
    (tmp_path / "pw").write_text("wrong\n" if password == "wrong" else "pw\n")
    passwords = "" if password is None else f'"{tmp_path}/{"pw" if password != "gone" else "no"}"'
    return (
        node_text().replace(SECRETS["a"], address(who))
        + f'[parity]\nkeys_path = "{tmp_path}/keys"\n[account]\npassword = [{passwords}]\n'
    )


@pytest.mark.parametrize(
    ("who", "password", "expected"),
    [
        ("b", "pw", "passed as secret store node key is not found"),
        ("a", "wrong", "No valid password for the secret store node account"),
        ("a", None, "No password found for the secret store node account"),
        ("a", "gone", "Unable to read password file"),
    ],
)
def test_check_opens_the_account(
    tmp_path: Path,
    who: str,
    password: str | None,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = written(tmp_path, account_file(tmp_path, who, password))
    assert main(["config", "check", file]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (node_text('acl_contrat = "none"'), 2),
        ("[secretstor]\n", 2),
        ("x = = 1", 2),
        (node_text("port = 70000"), 1),
        (node_text('nodes = "x"'), 2),
    ],
)
def test_check_tells_what_is_wrong(
    tmp_path: Path, text: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, text)
    assert main(["config", "check", file]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == lines
    assert main(["config", "check", file, "--json"]) == 2
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is False
    assert len(facts["problems"]) == lines


def test_check_of_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(tmp_path / "no")]) == 2
    told = f"There was an error reading your config file at: {tmp_path}/no"
    expected = f"keyserver: {told} (No such file or directory)\n"
    assert capsys.readouterr().err == expected


def test_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "reference"]) == 0
    assert capsys.readouterr().out == reference_page()


def init(directory: Path, *more: str) -> int:
    password = directory.parent / "pw"
    password.write_text("pw\n")
    start = ["init", "--dir", str(directory), "--password-file", str(password)]
    return main([*start, "--set", "account.keys_iterations=2", *more])


def test_init_makes_a_node_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "node"
    code = init(
        directory,
        "--rpc=http://127.0.0.1:8545",
        "--chain-id=5",
        f"--registry={address('a')}",
        f"--service-contract={address('b')}",
        f"--service-contract-ecdsa-sign={address('c')}",
        "--service-contract-schnorr-sign=registry",
        f"--node={public('b')}@h:1",
        "--set=keyserver.confirmations=0",
        "--json",
    )
    assert code == 0
    facts = json.loads(capsys.readouterr().out)
    loaded = load(Path(facts["config"]))
    key = load_node_key(loaded.config)
    assert facts["node_id"] == f"0x{key.node_id.hex()}"
    assert facts["address"] == f"0x{key.node_id.address.hex()}"
    config = loaded.config
    assert config.keyserver.confirmations == 0
    assert config.keyserver.chain_id == 5
    ecdsa = config.keyserver.service_contract_ecdsa_sign
    assert ecdsa == AtAddress(Address(bytes.fromhex(address("c"))))
    assert config.keyserver.service_contract_schnorr_sign == FromRegistry()
    assert config.keyserver.acl_depth == "both"
    assert config.keyserver.forbid_plain_modes is True
    assert config.keyserver.strict_admin is True
    assert len(config.keyserver.strict_credentials) == 5
    assert config.secretstore.path == directory / "data"
    assert "lenient_default" not in events(loaded)
    for file in (facts["config"], facts["key_file"]):
        assert Path(file).stat().st_mode & 0o777 == 0o600
    text = Path(facts["config"]).read_text()
    assert key.secret.expose().hex() not in text
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(comments) > 20


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "node"
    assert init(directory) == 0
    assert "Next: keyserver run --config" in capsys.readouterr().out
    own = load(directory / "config.toml").config.keyserver
    assert own.service_contract_ecdsa_sign == own.service_contract_schnorr_sign == NoContract()
    before = (directory / "config.toml").read_bytes()
    assert init(directory) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert (directory / "config.toml").read_bytes() == before
    assert len(list((directory / "keys").iterdir())) == 1


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--rpc=ftp://x", "an endpoint must be a URL"),
        ("--rpc=http://x", "chain_id: is required with rpc_endpoints"),
        ("--registry=0x12", "registry_address: must be 40 hexadecimal digits"),
        ("--acl-contract=nobody", '"nobody" is no contract'),
        ("--service-contract-ecdsa-sign=nobody", '"nobody" is no contract'),
        ("--service-contract-schnorr-sign=nobody", '"nobody" is no contract'),
        ("--node=x", "Invalid secret store node: x"),
        ("--set=keyserver.confirmatons=1", 'did you mean "keyserver.confirmations"?'),
        ("--set=keyserver.confirmations=many", "keyserver.confirmations: must be a whole number"),
        ("--set=nothing", "--set nothing: must be KEY=VALUE"),
        ("--set=secretstore.self_secret=1", "init makes the node's key itself"),
    ],
)
def test_init_writes_nothing_when_something_is_wrong(
    tmp_path: Path, option: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "node"
    assert init(directory, option) == 2
    assert expected in capsys.readouterr().err
    assert not directory.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def typing(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Let somebody at a terminal type these passwords."""
    rest = list(answers)
    monkeypatch.setattr("sys.stdin", Terminal())

    def prompt(text: str, *, hide_input: bool, err: bool, **_: object) -> str:
        assert hide_input
        assert err
        return rest.pop(0)

    monkeypatch.setattr(typer, "prompt", prompt)


def test_init_asks_for_the_password_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "node"
    arguments = ["init", "--dir", str(directory), "--set", "account.keys_iterations=2"]
    typing(monkeypatch, "one", "two")
    assert main(arguments) == 2
    assert "differ" in capsys.readouterr().err
    typing(monkeypatch, " ", " ")
    assert main(arguments) == 2
    assert "must not be empty" in capsys.readouterr().err
    assert not directory.exists()
    typing(monkeypatch, "one", "one")
    assert main([*arguments, "--json"]) == 0
    output = capsys.readouterr().out
    file = Path(json.loads(output)["password_file"])
    assert file == directory / "node.password"
    assert file.read_text() == "one\n"
    assert file.stat().st_mode & 0o777 == 0o600
    load_node_key(load(directory / "config.toml").config)


def test_init_without_terminal_and_file_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["init", "--dir", str(tmp_path / "node")]) == 2
    assert "give --password-file FILE" in capsys.readouterr().err
    (tmp_path / "empty").write_text("\n")
    arguments = ["init", "--dir", str(tmp_path / "n"), "--password-file", str(tmp_path / "empty")]
    assert main(arguments) == 2
    assert "the first line must be the password" in capsys.readouterr().err


def test_account_new_prints_both_halves_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", "new", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["private_key"]) == 66
    assert len(facts["public_key"]) == 130
    secret = SecretScalar(bytes.fromhex(facts["private_key"][2:]))
    node_id = NodeId.of(secret.public())
    assert facts["public_key"] == f"0x{node_id.hex()}"
    assert facts["address"] == f"0x{node_id.address.hex()}"
    assert main(["account", "new"]) == 0
    assert "private key  0x" in capsys.readouterr().out


def test_account_new_in_a_key_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pw").write_text("pw")
    arguments = ["--keys-dir", str(tmp_path / "keys"), "--password-file", str(tmp_path / "pw")]
    assert main(["account", "new", *arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert "private_key" not in facts
    content = json.loads(Path(facts["key_file"]).read_text())
    assert content["address"] == facts["address"][2:]
