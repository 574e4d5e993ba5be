"""Who asks and where: the options all commands of `keyserver client` share."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from keyserver.cli.asking import ask_hidden
from keyserver.cli.output import USAGE, CommandError

if TYPE_CHECKING:
    from keyserver.client.contracts import Contracts
    from keyserver.client.wallet import Wallet
    from keyserver.model.bound_requests import SigningDomain
    from keyserver.model.identifiers import Address, KeyId

DevnetOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Use the devnet in this directory.")
]
RpcOption = Annotated[
    str | None, typer.Option(metavar="URL", help="An Ethereum node, http(s) or ws(s).")
]
ContractsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="JSON file with the contracts' addresses, as the deployment saves it."
    ),
]
AccountOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="An account of the devnet, such as alice.")
]
KeyFileOption = Annotated[Path | None, typer.Option(metavar="FILE", help="The account's key file.")]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Its first line is the key file's password; else asked."),
]
KeyIdArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="32 bytes in hexadecimal.")]

_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})*)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the contracts are and who asks."""

    rpc_url: str
    contracts: "Contracts"
    wallet: "Wallet"
    names: dict[str, "Address"]
    """Accounts that may be called by name."""
    threshold: int | None
    """The devnet's usual one."""

    def address(self, text: str) -> "Address":
        """An account by name or address; raises `CommandError`."""
        from keyserver.model.identifiers import Address

        if text in self.names:
            return self.names[text]
        return Address(
            read_hex(text, 20, "an address" if not self.names else "a name or an address")
        )


def find_place(
    devnet: Path | None,
    rpc: str | None,
    contracts: Path | None,
    account: str | None,
    key_file: Path | None,
    password_file: Path | None,
) -> Place:
    """Put the options together; raises `CommandError` and `ConfigError`."""
    if devnet is not None:
        return _devnet_place(devnet, account, key_file, password_file)
    url, found = find_contracts(None, rpc, contracts)
    if account is not None:
        raise CommandError("--account: only a devnet has accounts with names", exit_code=USAGE)
    return Place(url, found, _wallet(key_file, password_file), {}, None)


def find_contracts(
    devnet: Path | None, rpc: str | None, contracts: Path | None
) -> "tuple[str, Contracts]":
    """URL of the chain and the contracts' addresses; raises `CommandError` and `ConfigError`."""
    # Deferred, as everywhere here: web3 takes most of a second.
    from keyserver.client.contracts import Contracts

    if devnet is not None:
        from keyserver.devnet.devnet_file import FILE_NAME
        from keyserver.devnet.network import Network

        network = Network.load(devnet)
        return network.devnet.rpc_url, Contracts.load(network.directory / FILE_NAME)
    if rpc is None or contracts is None:
        raise CommandError(
            "Where are the contracts?",
            hint="Give --devnet DIR, or --rpc URL and --contracts FILE.",
            exit_code=USAGE,
        )
    return rpc, Contracts.load(contracts)


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """Who asks, and what is known about the network beside its nodes."""

    wallet: "Wallet"
    threshold: int | None
    domain: "SigningDomain | None"


def find_account(
    devnet: Path | None,
    contracts: Path | None,
    account: str | None,
    key_file: Path | None,
    password_file: Path | None,
) -> FoundAccount:
    """Who asks, where no Ethereum node is needed; raises `CommandError` and `ConfigError`."""
    if devnet is not None:
        place = _devnet_place(devnet, account, key_file, password_file)
        return FoundAccount(place.wallet, place.threshold, _domain_of(place.contracts))
    if account is not None:
        raise CommandError("--account: only a devnet has accounts with names", exit_code=USAGE)
    domain = None
    if contracts is not None:
        from keyserver.client.contracts import Contracts

        domain = _domain_of(Contracts.load(contracts))
    return FoundAccount(_wallet(key_file, password_file), None, domain)


def _domain_of(contracts: "Contracts") -> "SigningDomain | None":
    """The network that signatures are for, where the addresses tell."""
    from keyserver.client.contracts import KEY_SERVER_SET
    from keyserver.model.bound_requests import SigningDomain

    address = contracts.find(KEY_SERVER_SET)
    if address is None or contracts.chain_id is None:
        return None
    return SigningDomain(contracts.chain_id, address)


def _devnet_place(
    directory: Path, account: str | None, key_file: Path | None, password_file: Path | None
) -> Place:
    from keyserver.client.contracts import Contracts
    from keyserver.client.wallet import Wallet
    from keyserver.crypto.curve import SecretScalar
    from keyserver.devnet.devnet_file import FILE_NAME
    from keyserver.devnet.network import Network
    from keyserver.model.identifiers import Address

    network = Network.load(directory)
    known = network.devnet.accounts
    if key_file is not None:
        wallet = _wallet(key_file, password_file)
    elif account is not None and account in known:
        wallet = Wallet(SecretScalar(bytes.fromhex(known[account].private_key[2:])))
    else:
        raise CommandError(
            f"--account: {account!r} is unknown" if account else "Who are you?",
            hint=f"Give --account with one of {', '.join(known)}, or --key-file FILE.",
            exit_code=USAGE,
        )
    names = {name: Address(bytes.fromhex(each.address[2:])) for name, each in known.items()}
    contracts = Contracts.load(network.directory / FILE_NAME)
    return Place(network.devnet.rpc_url, contracts, wallet, names, network.state.threshold)


def _wallet(key_file: Path | None, password_file: Path | None) -> "Wallet":
    """Open a key file; raises `ConfigError`."""
    from keyserver.client.deployment_plan import read_key
    from keyserver.client.wallet import Wallet
    from keyserver.crypto.curve import SecretScalar

    if key_file is None:
        raise CommandError(
            "Who are you?",
            hint="Give --key-file FILE; `keyserver account new --keys-dir DIR` makes one.",
            exit_code=USAGE,
        )
    account = read_key(key_file, lambda: _password(key_file, password_file))
    return Wallet(SecretScalar(bytes(account.key)))


def _password(key_file: Path, password_file: Path | None) -> str:
    from keyserver.app.accounts import read_passwords

    if password_file is not None:
        passwords = read_passwords([password_file])
        if not passwords:
            raise CommandError(f"{password_file}: is empty", exit_code=USAGE)
        return passwords[0]
    if not sys.stdin.isatty():
        raise CommandError(
            "The key file's password is needed: --password-file FILE", exit_code=USAGE
        )
    return ask_hidden(f"Password of {key_file}")


def read_key_id(text: str) -> "KeyId":
    """A key id from the command line; raises `CommandError`."""
    from keyserver.model.identifiers import KeyId

    return KeyId(read_hex(text, 32, "a key id"))


def read_hex(text: str, size: int, what: str) -> bytes:
    """Bytes from the command line, with or without 0x; raises `CommandError`."""
    value = hex_bytes(text)
    if value is None or len(value) != size:
        raise CommandError(
            f"{text!r} is not {what}",
            hint=f"{size} bytes are {2 * size} hexadecimal digits.",
            exit_code=USAGE,
        )
    return value


def hex_bytes(text: str) -> bytes | None:
    """What hexadecimal digits, with or without 0x and with no blanks, say; None if they do not."""
    match = _HEX.fullmatch(text)
    return None if match is None else bytes.fromhex(match[1])


def hex_text(value: bytes) -> str:
    """Bytes as they are shown."""
    return "0x" + value.hex()
