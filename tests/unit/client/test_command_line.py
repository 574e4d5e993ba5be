"""Options of `keyserver client` that cannot be: each is refused in words, before any connection."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account

from keyserver.cli.client_nodes import DoorName, NodeChoice, NodesPlace, find_door
from keyserver.cli.client_options import find_place
from keyserver.cli.client_running import warn_if_exposed
from keyserver.cli.main import main
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.devnet.devnet_file import FILE_NAME, DevnetAccount
from keyserver.devnet.network_state import STATE_NAME, State
from keyserver.errors import ConfigError
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address
from keyserver.model.requests import SigningScheme
from tests.support.server_signatures import sign_with
from tests.unit.devnet.test_devnet_file import DEVNET

KEY_ID = "0x" + "11" * 32


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    path = tmp_path / "contracts.json"
    path.write_text(json.dumps({"contracts": {}, "chain_id": 5}))
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(Account.encrypt(keccak256(b"alice"), "pass", iterations=1)))
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def test_where_and_who_must_be_known(
    capsys: pytest.CaptureFixture[str], contracts: Path, tmp_path: Path
) -> None:
    assert "--devnet DIR, or --rpc" in refused(capsys, "client", "show", KEY_ID)
    rpc = ("--rpc", "http://127.0.0.1:1", "--contracts", contracts)
    assert "--key-file" in refused(capsys, "client", "show", KEY_ID, *rpc)
    named = refused(capsys, "client", "show", KEY_ID, *rpc, "--account", "alice")
    assert "only a devnet" in named
    assert "no devnet" in refused(capsys, "client", "show", KEY_ID, "--devnet", tmp_path)


def test_an_account_opens_with_its_password(
    contracts: Path, key_file: Path, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("pass\n")
    place = find_place(None, "http://127.0.0.1:1", contracts, None, key_file, password)
    assert place.wallet.address.hex() == Account.from_key(keccak256(b"alice")).address[2:].lower()
    assert place.contracts.chain_id == 5
    assert place.address("0x" + "22" * 20) == b"\x22" * 20
    password.write_text("wrong\n")
    with pytest.raises(ConfigError, match="wrong passphrase"):
        find_place(None, "http://127.0.0.1:1", contracts, None, key_file, password)


def test_a_password_is_not_guessed(
    capsys: pytest.CaptureFixture[str], contracts: Path, key_file: Path, tmp_path: Path
) -> None:
    who = ("--rpc", "http://x", "--contracts", contracts, "--key-file", key_file)
    assert "--password-file" in refused(capsys, "client", "show", KEY_ID, *who)
    empty = tmp_path / "empty"
    empty.touch()
    said = refused(capsys, "client", "show", KEY_ID, *who, "--password-file", empty)
    assert "is empty" in said


def test_arguments_are_checked(
    capsys: pytest.CaptureFixture[str], contracts: Path, key_file: Path, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("pass\n")
    place = ("--rpc", "http://x", "--contracts", contracts)
    who = (*place, "--key-file", key_file, "--password-file", password)
    assert "64 hexadecimal digits" in refused(capsys, "client", "show", "0x00", *who)
    assert "not an address" in refused(capsys, "client", "permit", KEY_ID, "bob", *who)
    assert "--threshold" in refused(capsys, "client", "generate", KEY_ID, *who)
    assert "--output" in refused(capsys, "client", "decrypt", tmp_path / "plain", *who)


def test_ways_that_do_not_go_together_are_refused(
    capsys: pytest.CaptureFixture[str], contracts: Path, key_file: Path, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("pass\n")
    who = ("--key-file", key_file, "--password-file", password)
    show, node = ("client", "show", KEY_ID), ("--node", "http://127.0.0.1:1")
    assert "--rpc" in refused(capsys, *show, *who, *node, "--rpc", "http://x")
    assert "Which node?" in refused(capsys, *show, *who, "--door", "v1")
    assert "only a devnet" in refused(capsys, *show, *node, "--account", "alice")
    assert "Who are you?" in refused(capsys, *show, *node)
    assert "is not http(s)" in refused(capsys, *show, *who, "--node", "127.0.0.1:1")
    assert "ca-file" in refused(capsys, *show, *who, *node, "--ca-file", tmp_path / "none")
    place = ("--rpc", "http://x", "--contracts", contracts, *who)
    for option, value in (("--confirm-with", "http://y"), ("--ca-file", password)):
        assert option in refused(capsys, *show, *place, option, value)
    assert "--node" in refused(capsys, *show, *place, *node, "--door", "contracts")
    assert "KEY_ID" in refused(capsys, "client", "generate", "--threshold", "1", *place)
    assert "--threshold" in refused(capsys, "client", "generate", *node, *who)
    assert "Which node?" in refused(capsys, "client", "node")


def test_a_way_that_others_can_read_is_warned_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wallet = Wallet(SecretScalar(keccak256(b"alice")))
    exposed, safe = "http://10.0.0.1:8082", "https://10.0.0.1:8082"

    def warned(node: str, door: DoorName, *confirm_with: str) -> str:
        warn_if_exposed(NodesPlace((node,), door, confirm_with, None, wallet, None, None))
        return capsys.readouterr().err

    assert "can be swapped" in warned(exposed, DoorName.V1)
    assert warned(exposed, DoorName.V1, safe) == ""
    also_exposed = "http://10.0.0.2:8082"
    assert "can be swapped" in warned(exposed, DoorName.V1, also_exposed)
    assert warned(exposed, DoorName.V1, also_exposed, safe) == ""
    assert "signature for ever" in warned(exposed, DoorName.ORIGINAL, safe)
    assert warned(safe, DoorName.ORIGINAL) == ""


def test_a_devnet_names_its_nodes_and_its_network(tmp_path: Path) -> None:
    key_server_set = "0x" + "42" * 20
    contracts = {"OwnedKeyServerSetWithMigration": key_server_set}
    key = keccak256(b"alice").hex()
    accounts = {"alice": DevnetAccount("0x" + "11" * 20, f"0x{key}")}
    devnet = replace(DEVNET, contracts=contracts, chain_id=5, accounts=accounts)
    (tmp_path / FILE_NAME).write_text(devnet.to_json())
    state = State(None, None, "embedded", (None,), None, 2, 1, 1.0)
    (tmp_path / STATE_NAME).write_text(state.to_json())
    place = find_door(
        tmp_path, None, None, "alice", None, None, NodeChoice(None, DoorName.V1, None, None)
    )
    assert isinstance(place, NodesPlace)
    assert place.nodes == tuple(node.http for node in devnet.nodes)
    assert place.domain == SigningDomain(5, Address(b"\x42" * 20))
    assert place.threshold == 2
    assert place.wallet.address == Wallet(SecretScalar(bytes.fromhex(key))).address


# --- signatures ------------------------------------------------------------------------------

SERVER_KEY = SecretScalar.from_int(4711)
PUBLIC = "0x" + SERVER_KEY.public().raw64.hex()
HASH = "0x" + "4d" * 32


def verified(
    capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0
) -> tuple[dict[str, object], str]:
    status = main(["client", "verify", "--public", PUBLIC, "--json", *(str(w) for w in words)])
    told = capsys.readouterr()
    assert status == code, told.err
    return (json.loads(told.out) if told.out else {}), told.err


@pytest.mark.parametrize("scheme", list(SigningScheme))
def test_a_signature_is_verified_without_asking_anybody(
    capsys: pytest.CaptureFixture[str], scheme: SigningScheme
) -> None:
    name = scheme.name.lower()
    signature = sign_with(scheme, SERVER_KEY, bytes.fromhex(HASH[2:])).hex()
    facts, _ = verified(capsys, "--scheme", name, "--hash", HASH, f"0x{signature}")
    assert (facts["holds"], facts["scheme"], facts["public"]) == (True, name, PUBLIC)
    assert facts["signature"] == f"0x{signature}"
    _, said = verified(capsys, "--scheme", name, "--hash", "4e" * 32, signature, code=1)
    assert "does not hold" in said


def test_an_ecdsa_signature_is_told_as_ethereum_takes_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "contract.pdf"
    file.write_bytes(b"agreed")
    signature = sign_with(SigningScheme.ECDSA, SERVER_KEY, keccak256(b"agreed"))
    facts, _ = verified(capsys, "--file", file, signature.hex())
    digest, on_chain = bytes.fromhex(str(facts["message_hash"])[2:]), str(facts["for_ethereum"])
    assert digest == keccak256(b"agreed")
    signer = Account._recover_hash(digest, signature=bytes.fromhex(on_chain[2:]))
    assert facts["signer"] == signer.lower()
    again, _ = verified(capsys, "--file", file, on_chain)
    assert again == facts


def test_what_is_signed_must_be_said_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    for words in ([], ["--hash", HASH, "--file", str(file)]):
        _, said = verified(capsys, *words, "00" * 65, code=2)
        assert "--hash or --file" in said
    _, said = verified(capsys, "--hash", "4d" * 31, "00" * 65, code=2)
    assert "is not a message hash" in said
    _, said = verified(capsys, "--hash", HASH, "nonsense", code=2)
    assert "SIGNATURE" in said
    for blanks in ("00 " * 65, "00" * 65 + "\n", " " + "00" * 65):
        _, said = verified(capsys, "--hash", HASH, blanks, code=2)
        assert "SIGNATURE: is not hexadecimal" in said
    _, said = verified(capsys, "--hash", "4d " * 32, "00" * 65, code=2)
    assert "is not a message hash" in said
    _, said = verified(capsys, "--file", tmp_path / "missing", "00" * 65, code=1)
    assert "missing: No such file" in said
    said = refused(capsys, "client", "sign", KEY_ID)
    assert "--hash or --file" in said
    off_the_curve = ("--public", "55" * 64)
    said = refused(capsys, "client", "sign", KEY_ID, "--hash", HASH, *off_the_curve)
    assert "--public: " in said


def test_options_of_signing_that_would_be_of_no_effect_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    node = ("--node", "http://127.0.0.1:1")
    given = ("--hash", HASH, "--public", PUBLIC)
    sign = ("client", "sign", KEY_ID, *given, *node)
    said = refused(capsys, *sign, "--confirm-with", "http://127.0.0.1:2")
    assert "--confirm-with: " in said
    assert "--public" in said
    curl = ("client", "curl")
    for words in (
        ("retrieve-server-key", KEY_ID),
        ("retrieve-plain", KEY_ID),
        ("generate-both", KEY_ID, "--threshold", "1"),
    ):
        for option, value in (("--hash", HASH), ("--scheme", "ecdsa"), ("--scheme", "frost")):
            said = refused(capsys, *curl, *words, *node, option, value)
            assert f"{option}: is for sign" in said
    said = refused(capsys, *curl, "sign", KEY_ID, *node, "--hash", HASH, "--threshold", "1")
    assert "--threshold is for the operations that generate" in said
    said = refused(capsys, *curl, "retrieve-plain", KEY_ID, "--door", "contracts")
    assert "contracts are not asked with curl" in said


def test_frost_is_refused_where_there_is_none_before_anybody_is_asked(
    capsys: pytest.CaptureFixture[str], contracts: Path
) -> None:
    """Also before a key file, or its password, is asked for."""
    frost = ("client", "sign", KEY_ID, "--hash", HASH, "--scheme", "frost")
    for place in (
        (),
        ("--rpc", "http://127.0.0.1:1", "--contracts", contracts),
        ("--devnet", "nowhere"),
    ):
        said = refused(capsys, *frost, *place)
        assert "no contract for FROST" in said
        assert "--node URL" in said
    node = ("--node", "http://127.0.0.1:1")
    for said in (
        refused(capsys, *frost, *node, "--door", "original"),
        refused(capsys, "client", "curl", *frost[1:], *node, "--door", "original"),
    ):
        assert "no FROST" in said
        assert "--door v1" in said
    assert "Who are you?" in refused(capsys, *frost, *node)
