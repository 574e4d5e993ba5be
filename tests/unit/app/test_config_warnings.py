"""What the operator is told at every start: each file, and exactly the warnings it deserves."""

from pathlib import Path

import pytest

from keyserver.app.config import STRICT_CREDENTIALS, Loaded
from keyserver.app.config.rules import LENIENT_KEYS
from keyserver.app.config.writer import STRICT_VALUES
from tests.unit.app.samples import SECRETS, address, load_text, public

STRICT = (
    f"strict_credentials = {list(STRICT_CREDENTIALS)}\nforbid_plain_modes = true\n"
    'acl_depth = "both"\nstrict_admin = true\n'
)
CHAIN = f'rpc_endpoints = ["http://h"]\nchain_id = 1\nregistry_address = "{address("b")}"\n'
LENIENT = {("lenient_default", name) for name in LENIENT_KEYS}


def text_of(
    secretstore: str = "",
    keyserver: str = "",
    more: str = "",
    *,
    secret: str = address("a"),
    strict: str = STRICT,
    contracts: str = 'server_set_contract = "none"\nacl_contract = "registry"\n',
    seal: str = '[keyserver.seal]\nkey_env = "SEAL"\n',
) -> str:
    """A file without any reason for a warning, and what a test changes in it."""
    return (
        f'[secretstore]\nself_secret = "{secret}"\n{contracts}{secretstore}\n'
        f"[keyserver]\n{CHAIN}{strict}{keyserver}\n{seal}{more}\n"
    )


def warned(loaded: Loaded) -> set[tuple[str, str]]:
    """Each warning by its event and the first key it names; none may come twice."""
    found = [(item.event, item.keys[0] if item.keys else "") for item in loaded.warnings]
    assert len(set(found)) == len(found), found
    return set(found)


FILES: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "all is well": (text_of(), set()),
    "an old file": (text_of(strict=""), LENIENT),
    **{
        f"without {name}": (
            text_of(
                strict="".join(
                    line for line in STRICT.splitlines(keepends=True) if not line.startswith(short)
                )
            ),
            {("lenient_default", name)},
        )
        for name in LENIENT_KEYS
        for short in [name.removeprefix("keyserver.")]
    },
    "a private key": (
        text_of(secret=SECRETS["a"]),
        {("private_key_in_clear", "secretstore.self_secret")},
    ),
    "clients from elsewhere": (
        text_of('http_interface = "all"'),
        {("http_without_tls", "secretstore.http_interface")},
    ),
    "clients from elsewhere, encrypted": (
        text_of('http_interface = "all"', 'tls_cert = "c"\ntls_key = "k"'),
        set(),
    ),
    "clients from elsewhere, switched off": (
        text_of('http_interface = "all"\ndisable_http = true'),
        set(),
    ),
    "exposed": (
        text_of(more="[misc]\nunsafe_expose = true"),
        {("http_without_tls", "secretstore.http_interface")},
    ),
    "another loopback address": (text_of('http_interface = "127.0.0.7"'), set()),
    "JSON-RPC": (text_of(more='[rpc]\napis = ["all"]'), set()),
    "JSON-RPC for all": (
        text_of(more='[rpc]\napis = ["all"]\ninterface = "10.0.0.1"'),
        {("json_rpc_without_tls", "rpc.interface")},
    ),
    "no JSON-RPC for all": (text_of(more='[rpc]\ninterface = "all"'), set()),
    "no permissions": (
        text_of(contracts='server_set_contract = "none"\nacl_contract = "none"\n'),
        {("acl_check_disabled", "secretstore.acl_contract")},
    ),
    "no permissions in the old way": (
        text_of(contracts='server_set_contract = "none"\ndisable_acl_check = true\n'),
        {
            ("acl_check_disabled", "secretstore.acl_contract"),
            ("old_key", "secretstore.disable_acl_check"),
        },
    ),
    "an old key that yields": (
        text_of("disable_acl_check = true"),
        {("old_key", "secretstore.disable_acl_check")},
    ),
    "nodes beside a contract": (
        text_of(f'nodes = ["{public("b")}@h:1"]', contracts=""),
        {("nodes_ignored", "secretstore.nodes")},
    ),
    "one node twice": (
        text_of(f'nodes = ["{public("b")}@h:1", "{public("b")}@h:2"]'),
        {("node_listed_twice", "secretstore.nodes")},
    ),
    "an administrator of a fixed set": (
        text_of(f'admin_public = "{public("admin")}"'),
        {("auto_migrate_without_effect", "secretstore.admin_public")},
    ),
    "no Ethereum node": (
        text_of().replace(CHAIN, f'registry_address = "{address("b")}"\n'),
        {("chain_endpoint_missing", "keyserver.rpc_endpoints")},
    ),
    "no registry": (
        text_of().replace(f'registry_address = "{address("b")}"\n', ""),
        {("registry_address_missing", "keyserver.registry_address")},
    ),
    "no registry, and none needed": (
        text_of(
            contracts=f'server_set_contract = "none"\nacl_contract = "{address("b")}"\n'
        ).replace(f'registry_address = "{address("b")}"\n', ""),
        set(),
    ),
    "a seal key beside the data": (
        text_of(seal=""),
        {("seal_key_beside_data", "keyserver.seal.key_file")},
    ),
    "a seal key below the data": (
        text_of(seal='[keyserver.seal]\nkey_file = "$BASE/secretstore/x/key"\n'),
        {("seal_key_beside_data", "keyserver.seal.key_file")},
    ),
    "a seal key elsewhere": (text_of(seal='[keyserver.seal]\nkey_file = "/etc/key"\n'), set()),
    "sections of the Ethereum node": (
        text_of(more="[network]\nport = 30303\n[mining]\nauthor = 'x'"),
        {("ignored_settings", "")},
    ),
    "what is not there yet": (
        text_of(seal='[keyserver.seal]\nkey_file = "/etc/key"\non_seal = "stay"\n'),
        {("keys_without_effect", "keyserver.seal.on_seal")},
    ),
    "what is not there yet, as it is anyway": (
        text_of(seal='[keyserver.seal]\nkey_file = "/etc/key"\non_seal = "reexec"\n'),
        set(),
    ),
    "a client": ('[rpc]\napis = ["all"]\n[secretstore]\ndisable = true\n', set()),
    "a client for all": (
        '[rpc]\napis = ["all"]\ninterface = "all"\n[secretstore]\ndisable = true\n',
        {("json_rpc_without_tls", "rpc.interface")},
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_each_file_and_its_warnings(tmp_path: Path, case: str) -> None:
    text, expected = FILES[case]
    assert warned(load_text(tmp_path, text)) == expected


def test_a_warning_names_its_keys_and_what_to_do(tmp_path: Path) -> None:
    """`strict: …` is what `keyserver init` writes."""
    texts = {item.keys[0]: item.text for item in load_text(tmp_path, text_of(strict="")).warnings}
    assert texts.keys() == STRICT_VALUES.keys()
    assert "[keyserver] forbid_plain_modes is not set" in texts["keyserver.forbid_plain_modes"]
    assert "(strict: forbid_plain_modes = true)" in texts["keyserver.forbid_plain_modes"]
    assert '(strict: acl_depth = "both")' in texts["keyserver.acl_depth"]
    assert '["generate_both", ' in texts["keyserver.strict_credentials"]


def test_a_private_key_is_named_by_its_place_and_not_shown(tmp_path: Path) -> None:
    file = load_text(tmp_path, text_of(secret=SECRETS["a"]))
    (item,) = file.warnings
    assert f"file {tmp_path}/config.toml:2" in item.text
    elsewhere = load_text(
        tmp_path, text_of(), environ={"SECRETSTORE_SELF_SECRET": f"0x{SECRETS['a']}"}
    )
    (other,) = elsewhere.warnings
    assert "environment SECRETSTORE_SELF_SECRET" in other.text
    assert SECRETS["a"] not in item.text + other.text
