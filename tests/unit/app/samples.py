"""Published test keys (of OpenEthereum and Energy Web) and a short way to load a text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from keyserver.app.accounts import write_key_file
from keyserver.app.config import Loaded, load
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import NodeId

SECRETS = {
    "poa1": "6c26a76e9b31048d170873a791401c7e799a11f0cefc0171cc31a49800967509",
    "a": "68b59ea28e63bca066927a31f064ff9b01d1051f96a37153434b8456d6b34b00",
    "b": "a5163f01a3a8be6d64863fbbf89d2df55ac0165afcde3fee47822904b56756a2",
    "c": "e26f940919991eb5fef330085bd76f11e2cfbcc7c98d8ee2c3986594553b55a8",
    "d": "991d0e9bef9ef0f21d715cdbe2b571e458c1231387a3e5a3d727efb6448a8f24",
    "alice": "7dd8a169a19cfe658cd905fd2fd0c92bb07706bcf01c2e326902b33db51729cb",
    "bob": "6f14825e2688542e71418ddbc012928dc921c3ec42623c5acebe419b6cda513a",
    "charlie": "40f68649b60012c838bf621906dca0a90a4ec25d6b571243da4a9b074922ec2e",
    "admin": "772c54614db416d417774f3efdf0de1921953361fd723c2647901c155354d7e0",
    "admin2": "b591558c50cce26957ffa67b64364ecf1c029f6c6df18e88a2bb98b58298aa96",
}
POA1_PUBLIC = (
    "d01355a9e8858242ae190208716c48734a5bd2c417b0a9181bc563a18c8ca538"
    "cd095d8ab383ed62fba4872c5bd86bad1e82d015e6eabae18546c998d5621923"
)


def secret(name: str) -> SecretScalar:
    return SecretScalar(bytes.fromhex(SECRETS[name]))


def node_id(name: str) -> NodeId:
    return NodeId.of(secret(name).public())


def public(name: str) -> str:
    return node_id(name).hex()


def address(name: str) -> str:
    return node_id(name).address.hex()


def load_text(
    directory: Path,
    text: str,
    *,
    environ: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Loaded:
    """Load `text` as a file of `directory`, which is also the home directory."""
    file = directory / "config.toml"
    file.write_text(text)
    environ = {"HOME": str(directory), **(environ or {})}
    return load(file, environ=environ, arguments=arguments)


def node_text(more: str = "", *, who: str = "a", keyserver: str = "") -> str:
    """A small file that loads, with `more` in its first section."""
    return (
        f'[secretstore]\nself_secret = "{SECRETS[who]}"\nserver_set_contract = "none"\n'
        f'acl_contract = "none"\n{more}\n[keyserver]\n{keyserver}\n'
    )


def write_account(keys: Path, name: str, password: str) -> None:
    """Put a key file for a sample account into `keys`; few rounds, as only its form matters."""
    write_key_file(keys, secret(name), password, iterations=2)


def events(loaded: Loaded) -> list[str]:
    return [warning.event for warning in loaded.warnings]
