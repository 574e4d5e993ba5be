"""`keyserver init`: a directory with all that one new node needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from keyserver.app.accounts import write_key_file
from keyserver.app.config.loader import decode_values, value_from_text
from keyserver.app.config.writer import STRICT_VALUES, render_file, write_new_file
from keyserver.cli.output import USAGE, CommandError, JsonOption, print_facts
from keyserver.cli.passwords import choose_password
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import NodeId

_HEADING = (
    "Configuration of a key server, written by `keyserver init`. The reference of all keys is "
    "docs/configuration.md; `keyserver config check FILE` shows the values in force."
)


def init(
    directory: Annotated[
        Path, typer.Option("--dir", help="Directory of the node; made if missing.")
    ] = Path("keyserver-node"),
    password_file: Annotated[
        Path | None,
        typer.Option(help="File whose first line is the key file's password; else it is asked."),
    ] = None,
    rpc: Annotated[
        list[str] | None,
        typer.Option("--rpc", metavar="URL", help="An Ethereum node; may be repeated."),
    ] = None,
    chain_id: Annotated[int | None, typer.Option(help="The chain's id.")] = None,
    registry: Annotated[str | None, typer.Option(help="Address of the name registry.")] = None,
    server_set_contract: Annotated[
        str, typer.Option(help='"none", "registry" or an address.')
    ] = "registry",
    acl_contract: Annotated[
        str, typer.Option(help='"none", "registry" or an address.')
    ] = "registry",
    service_contract: Annotated[
        str, typer.Option(help='"none", "registry" or an address.')
    ] = "none",
    service_contract_ecdsa_sign: Annotated[
        str, typer.Option(help='For ECDSA signatures: "none", "registry" or an address.')
    ] = "none",
    service_contract_schnorr_sign: Annotated[
        str, typer.Option(help='For Schnorr signatures: "none", "registry" or an address.')
    ] = "none",
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="PUBLIC@HOST:PORT", help="Another node; may be repeated."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Such as keyserver.confirmations=6; repeatable."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new node: an encrypted key file and a configuration with comments.

    Nothing that exists is overwritten. The key file's password is in a file as well, since the node
    must open it at every start: the given one, or `node.password` in the directory.
    """
    directory = directory.expanduser().absolute()
    _refuse_used(directory)
    values: dict[str, object] = {
        **_values_for(directory),
        "secretstore.server_set_contract": server_set_contract,
        "secretstore.acl_contract": acl_contract,
        "secretstore.service_contract": service_contract,
        "secretstore.nodes": node or [],
        "keyserver.rpc_endpoints": rpc or [],
        "keyserver.service_contract_ecdsa_sign": service_contract_ecdsa_sign,
        "keyserver.service_contract_schnorr_sign": service_contract_schnorr_sign,
        **STRICT_VALUES,
    }
    if chain_id is not None:
        values["keyserver.chain_id"] = chain_id
    if registry is not None:
        values["keyserver.registry_address"] = registry
    values |= _settings(setting or [])
    secret = SecretScalar.random(SystemRandom())
    node_id = NodeId.of(secret.public())
    values["secretstore.self_secret"] = node_id.address.hex()
    loaded = decode_values(values)  # everything is checked before anything is written
    password = choose_password(password_file)
    iterations = loaded.config.account.keys_iterations
    key_file = write_key_file(directory / "keys", secret, password, iterations=iterations)
    if password_file is None:
        password_file = directory / "node.password"
        write_new_file(password_file, password + "\n")
    values["account.password"] = [str(password_file.expanduser().absolute())]
    config_file = directory / "config.toml"
    write_new_file(config_file, render_file(values, heading=_HEADING))
    facts = {
        "node_id": f"0x{node_id.hex()}",
        "address": f"0x{node_id.address.hex()}",
        "config": str(config_file),
        "key_file": str(key_file),
        "password_file": str(password_file),
    }
    _print(facts, as_json=as_json)


def _values_for(directory: Path) -> dict[str, object]:
    """Where the node keeps what, and the usual listeners."""
    return {
        "parity.base_path": str(directory),
        "parity.keys_path": "$BASE/keys",
        "secretstore.path": "$BASE/data",
        "secretstore.interface": "local",
        "secretstore.port": 8083,
        "secretstore.http_interface": "local",
        "secretstore.http_port": 8082,
        "keyserver.confirmations": 3,
    }


def _refuse_used(directory: Path) -> None:
    """Raise `CommandError` when something is in the way."""
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.exists():
        raise CommandError(
            f"{directory} is not an empty directory, and nothing is overwritten.",
            hint="Give another one with --dir.",
            exit_code=USAGE,
        )


def _settings(pairs: list[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise CommandError(f"--set {pair}: must be KEY=VALUE", exit_code=USAGE)
        if name == "secretstore.self_secret":
            raise CommandError("--set: init makes the node's key itself", exit_code=USAGE)
        values[name] = value_from_text(name, text)
    return values


def _print(facts: Mapping[str, object], *, as_json: bool) -> None:
    print_facts(facts, as_json=as_json)
    if not as_json:
        print(f"\nNext: keyserver run --config {facts['config']}")
