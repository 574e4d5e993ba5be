"""Accounts in key files: finding, opening and writing them (configuration, section 4.2).

The format is Web3 Secret Storage, version 3, as eth-account reads and writes it. File names have no
meaning; the `address` inside decides. eth-account is imported where it is needed: it takes half a
second, which commands that open no key file should not pay.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyserver.api.json_text import JsonError, read_json
from keyserver.app.config import AccountKey, Config, ConfigWarning, PrivateKey
from keyserver.app.config.values import parse_address
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.errors import InvalidScalarError
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address, NodeId

_OTHER_FILES = frozenset(
    {
        "thumbs.db",
        "address_book.json",
        "dapps_policy.json",
        "dapps_accounts.json",
        "dapps_history.json",
        "vault.json",
    }
)
"""Files the original keeps in its keys directory that hold no key."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """One encrypted key, not opened yet."""

    path: Path
    address: Address
    content: Mapping[str, Any] = field(repr=False)
    """The parsed JSON."""

    def open(self, password: str) -> SecretScalar | None:
        """Return the key, or None when the password is wrong.

        Raises `ConfigError` when the file is damaged or its key belongs to another address.
        """
        # Deferred: see the module's docstring.
        from eth_account import Account

        try:
            key = bytes(Account.decrypt(dict(self.content), password))
        except ValueError as error:
            if "MAC mismatch" in str(error):
                return None
            raise ConfigError(f"{self.path}: damaged key file ({error})") from None
        except (KeyError, TypeError, NotImplementedError) as error:
            raise ConfigError(f"{self.path}: damaged key file ({error!r})") from None
        try:
            secret = SecretScalar(key.rjust(32, b"\0"))
        except InvalidScalarError:
            raise ConfigError(f"{self.path}: holds no private key") from None
        if NodeId.of(secret.public()).address != self.address:
            raise ConfigError(f"{self.path}: holds the key of another address than it says")
        return secret


class Keystore:
    """The key files and passwords of one configuration."""

    def __init__(self, files: Sequence[KeyFile], passwords: Sequence[str]) -> None:
        self._files = tuple(files)
        self._passwords = tuple(passwords)
        self._opened: dict[Address, SecretScalar] = {}

    def __repr__(self) -> str:
        return f"Keystore({len(self._files)} key files)"

    def has(self, address: Address) -> bool:
        """Whether there is a key file of this address."""
        return any(file.address == address for file in self._files)

    @property
    def has_passwords(self) -> bool:
        """Whether any password is known."""
        return bool(self._passwords)

    def open(self, address: Address) -> SecretScalar | None:
        """Return the key of `address`, or None when no password opens any of its files."""
        if address not in self._opened:
            for file in self._files:
                if file.address == address and (secret := self._try(file)) is not None:
                    self._opened[address] = secret
                    break
        return self._opened.get(address)

    def _try(self, file: KeyFile) -> SecretScalar | None:
        for password in self._passwords:
            if (secret := file.open(password)) is not None:
                return secret
        return None


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The key of this node."""

    secret: SecretScalar
    node_id: NodeId
    warnings: tuple[ConfigWarning, ...] = ()
    """Files of the keys directory that were skipped."""


def load_node_key(config: Config) -> NodeKey:
    """Return the key `self_secret` stands for, after checking the accounts to unlock.

    Raises `ConfigError` with the original's texts when an account, a password or a password file is
    missing or wrong.
    """
    own = config.secretstore.self_secret
    if own is None:
        raise ConfigError("self secret is required when using secretstore")
    if isinstance(own, PrivateKey) and not config.account.unlock:
        read_passwords(config.account.password)  # a file that is named must be readable
        return NodeKey(own.secret, NodeId.of(own.secret.public()))
    keystore, warnings = open_keystore(config)
    check_unlock(config, keystore)
    secret = own.secret if isinstance(own, PrivateKey) else _own_account(own, keystore)
    return NodeKey(secret, NodeId.of(secret.public()), warnings)


def check_accounts(config: Config) -> tuple[ConfigWarning, ...]:
    """Check what `[account]` asks for where there is no key server; tells files that were skipped.

    Raises `ConfigError` for a password file or an account to unlock that does not open.
    """
    keystore, warnings = open_keystore(config)
    check_unlock(config, keystore)
    return warnings


def _own_account(own: AccountKey, keystore: Keystore) -> SecretScalar:
    shown = f"0x{own.address.hex()}"
    if not keystore.has(own.address):
        raise ConfigError(f"Account {shown} passed as secret store node key is not found")
    if not keystore.has_passwords:
        raise ConfigError(f"No password found for the secret store node account {shown}")
    secret = keystore.open(own.address)
    if secret is None:
        raise ConfigError(f"No valid password for the secret store node account {shown}")
    return secret


def check_unlock(config: Config, keystore: Keystore) -> None:
    """Check that each account of `[account] unlock` opens; raises `ConfigError`."""
    for address in config.account.unlock:
        shown = f"0x{address.hex()}"
        if not keystore.has(address):
            raise ConfigError(f"Account {shown} not found for the current chain.")
        if not keystore.has_passwords:
            raise ConfigError(f"No password found to unlock account {shown}")
        if keystore.open(address) is None:
            raise ConfigError(f"No valid password to unlock account {shown}")


def find_key_files(config: Config, address: Address) -> tuple[KeyFile, ...]:
    """Return the key files of an account as they are now; those that do not parse are skipped."""
    directories = _directories(config.parity.keys_path, config.parity.chain)
    files = (file for directory in directories for file in _key_files(directory, []))
    return tuple(file for file in files if file.address == address)


def open_keystore(config: Config) -> tuple[Keystore, tuple[ConfigWarning, ...]]:
    """Read the keys directory and the password files."""
    warnings: list[ConfigWarning] = []
    directories = _directories(config.parity.keys_path, config.parity.chain)
    files = [file for directory in directories for file in _key_files(directory, warnings)]
    return Keystore(files, read_passwords(config.account.password)), tuple(warnings)


def read_passwords(files: Iterable[Path]) -> tuple[str, ...]:
    """Return each line of each file, trimmed, as one password; raises `ConfigError`."""
    passwords: list[str] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(
                f"{file} Unable to read password file. Ensure it exists and permissions are "
                "correct."
            ) from None
        if text:
            lines = text.removesuffix("\n").split("\n")
            passwords += [line.strip() for line in lines]
    return tuple(passwords)


def _directories(keys_path: Path, chain: str) -> list[Path]:
    """The keys directory and its direct subdirectories, the one of the chain first."""
    if not keys_path.is_dir():
        return []
    below = sorted(path for path in keys_path.iterdir() if path.is_dir())
    preferred = _directory_of_chain(Path(chain))
    below.sort(key=lambda path: path.name != preferred)
    return [*below, keys_path] if preferred else [keys_path, *below]


def _directory_of_chain(specification: Path) -> str | None:
    """The keys subdirectory a chain specification names, where `chain` is a readable file."""
    try:
        content = read_json(specification.read_bytes())
    except (OSError, JsonError):
        return None
    if not isinstance(content, dict):
        return None
    name = content.get("dataDir", content.get("name"))
    return name if isinstance(name, str) else None


def _key_files(directory: Path, warnings: list[ConfigWarning]) -> Iterator[KeyFile]:
    for path in sorted(directory.iterdir()):
        hidden = path.name.startswith(".") or path.name in _OTHER_FILES
        if hidden or not path.is_file():
            continue
        try:
            yield _parse_key_file(path)
        except ValueError as error:
            text = f"{path} is skipped: no key file ({error})"
            warnings.append(ConfigWarning("key_file_skipped", (), text))


def _parse_key_file(path: Path) -> KeyFile:
    """Read one file; raises `ValueError` when it is no key file of version 3."""
    try:
        content = read_json(path.read_bytes())
    except OSError as error:
        raise ValueError(error.strerror) from None
    except JsonError:
        raise ValueError("not JSON") from None
    if not isinstance(content, dict) or content.get("version") != 3:
        raise ValueError("not version 3")
    address = content.get("address")
    if not isinstance(address, str):
        raise ValueError("no address")
    return KeyFile(path, parse_address(address), content)


def write_key_file(
    directory: Path, secret: SecretScalar, password: str, *, iterations: int
) -> Path:
    """Write a key encrypted with PBKDF2 to a new file that only its owner can read.

    Raises `ConfigError` when the directory cannot be written.
    """
    # Deferred: see the module's docstring.
    from eth_account import Account

    address = NodeId.of(secret.public()).address
    content = Account.encrypt(secret.expose(), password, kdf="pbkdf2", iterations=iterations)
    content["address"] = address.hex()  # lower case, as the original writes it
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    path = directory / f"UTC--{stamp}--{address.hex()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return path
