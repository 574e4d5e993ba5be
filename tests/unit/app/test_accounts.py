"""Key files: the documented ones, finding them, passwords, and the original's error texts."""

import json
from pathlib import Path

import pytest

from keyserver.app.accounts import (
    load_node_key,
    open_keystore,
    read_passwords,
    write_key_file,
)
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address
from tests.unit.app.samples import (
    POA1_PUBLIC,
    SECRETS,
    address,
    load_text,
    node_id,
    node_text,
    secret,
    write_account,
)

PBKDF2 = """{"id":"93d26182-6e95-473f-933d-68aeea149052","version":3,"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"f8971e491ac47787fd901542e56adf0a"},"ciphertext":"cbe6be02f9cab8d8d547edd6f4fe14d6a40f219814fbb07818b973dbcc1ebd7c","kdf":"pbkdf2","kdfparams":{"c":10240,"dklen":32,"prf":"hmac-sha256","salt":"1f959ebdecf8fb89d41c16f2d7d9d588c26ee4caf7325beeb931a883b8c3044d"},"mac":"525316c354d298a8047fcb03943035654c4d38aa959963af8a64cb34efcf5693"},"address":"6fec6dd05ae650bfc58165cd4802c7ed6f1f8dc9","name":"","meta":"{}"}"""  # noqa: E501
SCRYPT = """{"id":"2cda42fb-5a6c-42f6-af1f-a2caab2dad2b","version":3,"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"152667132ea00937816552671f262a02"},"ciphertext":"5aca5954c278cb36c612215fe53a0fb724321d344db6afb811075c7b5cec3c26","kdf":"scrypt","kdfparams":{"dklen":32,"n":262144,"p":1,"r":8,"salt":"3c0b97948f2ea65e27529ab94dab4d1af2d55232be349f7cb23bbaa28262d993"},"mac":"e7d5f03a66c0e1b81845e8fd6be3836d8ddaa4ab0b9117babb8e2b488ec65eb4"},"address":"6fec6dd05ae650bfc58165cd4802c7ed6f1f8dc9","name":"","meta":"{}"}"""  # noqa: E501
POA1_ADDRESS = "6fec6dd05ae650bfc58165cd4802c7ed6f1f8dc9"


def account_text(who: str, *, passwords: str = '"$BASE/pw"', more: str = "") -> str:
    return (
        node_text().replace(SECRETS["a"], who)
        + f'[parity]\nbase_path = "$HOME"\n{more}\n[account]\npassword = [{passwords}]\n'
    )


def put_key(directory: Path, text: str, name: str = "UTC--whatever") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / name
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", [PBKDF2, SCRYPT, PBKDF2.replace('"crypto"', '"Crypto"')])
def test_the_documented_key_files_open(tmp_path: Path, text: str) -> None:
    put_key(tmp_path / "keys/ethereum", text)
    (tmp_path / "pw").write_text("  nodepwd \n")
    loaded = load_text(tmp_path, account_text(POA1_ADDRESS))
    key = load_node_key(loaded.config)
    assert key.secret == secret("poa1")
    assert key.node_id.hex() == POA1_PUBLIC
    assert key.warnings == ()
    assert SECRETS["poa1"] not in repr(key)


def test_a_private_key_needs_no_file(tmp_path: Path) -> None:
    assert load_node_key(load_text(tmp_path, node_text()).config).node_id == node_id("a")


def test_a_disabled_server_has_no_key(tmp_path: Path) -> None:
    config = load_text(tmp_path, "[secretstore]\ndisable = true\n").config
    with pytest.raises(ConfigError, match="self secret is required"):
        load_node_key(config)


@pytest.mark.parametrize("where", ["keys", "keys/ethereum", "keys/Volta"])
def test_the_keys_directory_and_those_below_are_searched(tmp_path: Path, where: str) -> None:
    write_account(tmp_path / where, "a", "pw")
    (tmp_path / "pw").write_text("pw")
    config = load_text(tmp_path, account_text(address("a").upper())).config
    assert load_node_key(config).node_id == node_id("a")


def test_no_deeper_directory_is_searched(tmp_path: Path) -> None:
    write_account(tmp_path / "keys/a/b", "a", "pw")
    (tmp_path / "pw").write_text("pw")
    config = load_text(tmp_path, account_text(address("a"))).config
    with pytest.raises(ConfigError, match="passed as secret store node key is not found"):
        load_node_key(config)


@pytest.mark.parametrize("field", ["dataDir", "name"])
def test_the_directory_of_the_chain_comes_first(tmp_path: Path, field: str) -> None:
    write_account(tmp_path / "keys/Right", "a", "pw")
    # The same address with a broken file, which would stop the start if it were tried first.
    broken = json.loads(PBKDF2) | {"address": address("a")}
    put_key(tmp_path / "keys/Wrong", json.dumps(broken))
    put_key(tmp_path / "keys", json.dumps(broken))
    (tmp_path / "pw").write_text("pw\nnodepwd\n")
    (tmp_path / "chain.json").write_text(json.dumps({field: "Right"}))
    text = account_text(address("a"), more=f'chain = "{tmp_path}/chain.json"')
    assert load_node_key(load_text(tmp_path, text).config).node_id == node_id("a")
    with pytest.raises(ConfigError, match="holds the key of another address"):
        load_node_key(load_text(tmp_path, account_text(address("a"))).config)


@pytest.mark.parametrize("content", ["[1]", "no json", "{}", "[" * 100_000, '{"name": 1}'])
def test_a_chain_file_without_a_name_is_no_help(tmp_path: Path, content: str) -> None:
    write_account(tmp_path / "keys/ethereum", "a", "pw")
    (tmp_path / "pw").write_text("pw")
    (tmp_path / "chain.json").write_text(content)
    text = account_text(address("a"), more=f'chain = "{tmp_path}/chain.json"')
    assert load_node_key(load_text(tmp_path, text).config).node_id == node_id("a")


def test_other_files_are_skipped(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write_account(keys, "a", "pw")
    put_key(keys, "not json", "strange")
    put_key(keys, '{"version": 3, "address": ' + "[" * 100_000, "deep")
    put_key(keys, '{"version": 1}', "old")
    put_key(keys, '{"version": 3}', "nobody")
    put_key(keys, '{"version": 3, "address": "xyz"}', "unreadable")
    put_key(keys, "not json", "address_book.json")
    put_key(keys, "not json", ".hidden")
    (tmp_path / "pw").write_text("pw")
    keystore, warnings = open_keystore(load_text(tmp_path, account_text(address("a"))).config)
    assert keystore.has(node_id("a").address)
    assert repr(keystore) == "Keystore(1 key files)"
    skipped = sorted(item.text.partition(" ")[0].rpartition("/")[2] for item in warnings)
    assert skipped == ["deep", "nobody", "old", "strange", "unreadable"]
    assert {item.event for item in warnings} == {"key_file_skipped"}


@pytest.mark.parametrize(
    "name",
    [
        "thumbs.db",
        "address_book.json",
        "dapps_policy.json",
        "dapps_accounts.json",
        "dapps_history.json",
        "vault.json",
        ".hidden",
    ],
)
def test_files_that_are_no_key_files_by_their_names(tmp_path: Path, name: str) -> None:
    """Not even where they look like one; and nobody is warned about them."""
    put_key(tmp_path / "keys", PBKDF2, name)
    config = load_text(tmp_path, account_text(POA1_ADDRESS, passwords="")).config
    keystore, warnings = open_keystore(config)
    assert not keystore.has(Address(bytes.fromhex(POA1_ADDRESS)))
    assert warnings == ()
    put_key(tmp_path / "keys", PBKDF2, f"x{name}")
    assert open_keystore(config)[0].has(Address(bytes.fromhex(POA1_ADDRESS)))


def test_a_directory_is_no_key_file(tmp_path: Path) -> None:
    write_account(tmp_path / "keys", "a", "pw")
    (tmp_path / "keys" / "node.json").mkdir()
    config = load_text(tmp_path, account_text(address("a"), passwords="")).config
    keystore, warnings = open_keystore(config)
    assert keystore.has(node_id("a").address)
    assert warnings == ()


def test_all_passwords_are_tried(tmp_path: Path) -> None:
    write_account(tmp_path / "keys", "a", "third")
    (tmp_path / "one").write_text("first\r\n\nsecond\n")
    (tmp_path / "two").write_text("\tthird ")
    text = account_text(address("a"), passwords='"~/one", "$HOME/two"')
    assert load_node_key(load_text(tmp_path, text).config).node_id == node_id("a")
    files = [tmp_path / "one", tmp_path / "two"]
    assert read_passwords(files) == ("first", "", "second", "third")
    (tmp_path / "empty").write_text("")
    assert read_passwords([tmp_path / "empty"]) == ()


def test_the_errors_of_the_nodes_account(tmp_path: Path) -> None:
    write_account(tmp_path / "keys", "a", "pw")
    (tmp_path / "pw").write_text("wrong\n")
    shown = f"0x{address('a')}"
    cases = {
        f"Account 0x{address('b')} passed as secret store node key is not found": account_text(
            address("b")
        ),
        f"No password found for the secret store node account {shown}": account_text(
            address("a"), passwords=""
        ),
        f"No valid password for the secret store node account {shown}": account_text(address("a")),
        f"{tmp_path}/none Unable to read password file. Ensure it exists and permissions are "
        "correct.": account_text(address("a"), passwords='"$HOME/none"'),
    }
    for expected, text in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_node_key(load_text(tmp_path, text).config)
        assert str(caught.value) == expected


def test_an_unreadable_password_file_stops_also_without_accounts(tmp_path: Path) -> None:
    text = account_text(SECRETS["a"], passwords='"$HOME/none"')
    with pytest.raises(ConfigError, match="Unable to read password file"):
        load_node_key(load_text(tmp_path, text).config)


def test_accounts_to_unlock_must_open(tmp_path: Path) -> None:
    write_account(tmp_path / "keys", "a", "pw")
    (tmp_path / "pw").write_text("pw")
    (tmp_path / "bad").write_text("bad")

    def unlock(who: str, passwords: str) -> None:
        text = account_text(SECRETS["c"], passwords=passwords) + f'unlock = ["0x{address(who)}"]\n'
        load_node_key(load_text(tmp_path, text).config)

    unlock("a", '"$HOME/pw"')
    with pytest.raises(ConfigError, match=r"^Account 0x\w+ not found for the current chain\.$"):
        unlock("b", '"$HOME/pw"')
    with pytest.raises(ConfigError, match=r"^No password found to unlock account 0x\w+$"):
        unlock("a", "")
    with pytest.raises(ConfigError, match=r"^No valid password to unlock account 0x\w+$"):
        unlock("a", '"$HOME/bad"')


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"kdf":"pbkdf2"', '"kdf":"argon"'),
        ('"iv":', '"xv":'),
        ('"ciphertext":"', '"ciphertext":"zz'),
        ('"crypto":{', '"krypto":{'),
    ],
)
def test_a_damaged_key_file_is_named(tmp_path: Path, old: str, new: str) -> None:
    file = put_key(tmp_path / "keys", PBKDF2.replace(old, new))
    (tmp_path / "pw").write_text("nodepwd")
    config = load_text(tmp_path, account_text(POA1_ADDRESS)).config
    with pytest.raises(ConfigError, match="damaged key file") as caught:
        load_node_key(config)
    assert str(file) in str(caught.value)


def test_a_new_key_file_is_private_and_as_documented(tmp_path: Path) -> None:
    path = write_key_file(tmp_path / "new/keys", secret("a"), "pw", iterations=7)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    content = json.loads(path.read_text())
    assert content["version"] == 3
    assert content["address"] == address("a")
    assert content["crypto"]["kdf"] == "pbkdf2"
    assert content["crypto"]["kdfparams"]["c"] == 7
    assert content["crypto"]["cipher"] == "aes-128-ctr"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_key_file(tmp_path / "file", secret("a"), "pw", iterations=7)


def test_a_short_key_is_filled_up(tmp_path: Path) -> None:
    """A key file may hold the key without its leading zero bytes."""
    from eth_account import Account  # as in the module tested

    from keyserver.crypto.curve import SecretScalar
    from keyserver.model.identifiers import NodeId

    small = SecretScalar.from_int(7)
    owner = NodeId.of(small.public()).address
    content = Account.encrypt(small.expose(), "pw", kdf="pbkdf2", iterations=2)
    from keyserver.app.accounts import KeyFile

    file = KeyFile(tmp_path / "x", Address(owner), content)
    assert file.open("pw") == small
    assert file.open("no") is None
