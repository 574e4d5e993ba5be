"""`keyserver client encrypt` and `decrypt`: files, from one account to another."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_nodes import (
    CaFileOption,
    ConfirmOption,
    DoorOption,
    NodeChoice,
    NodeOption,
    find_door,
)
from keyserver.cli.client_options import (
    AccountOption,
    ContractsOption,
    DevnetOption,
    KeyFileOption,
    PasswordFileOption,
    RpcOption,
    hex_text,
    read_key_id,
)
from keyserver.cli.client_running import Facts, how_answered, run_anywhere
from keyserver.cli.output import USAGE, CommandError, JsonOption

if TYPE_CHECKING:
    from keyserver.client.interface import AnyKeyServers

ENCRYPTED = ".encrypted"

ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


def encrypt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to encrypt.")],
    key_id: Annotated[str, typer.Option(help="Id of a server key of this account.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default FILE.encrypted.")
    ] = None,
    force: ForceOption = False,
    node: NodeOption = None,
    door: DoorOption = None,
    confirm_with: ConfirmOption = None,
    ca_file: CaFileOption = None,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encrypt a file under a new document key and store that key with the key servers.

    Give away two files: the encrypted one and its description, of the same name with .json.
    """
    from keyserver.client.sharing import share_file
    from keyserver.crypto.randomness import SystemRandom

    choice = NodeChoice(node, door, confirm_with, ca_file)
    place = find_door(devnet, rpc, contracts, account, key_file, password_file, choice)
    wanted, target = read_key_id(key_id), output or file.with_name(file.name + ENCRYPTED)

    async def work(servers: "AnyKeyServers") -> Facts:
        shared = await share_file(servers, wanted, file, target, SystemRandom(), overwrite=force)
        return {
            "key_id": hex_text(wanted),
            "encrypted": str(shared.encrypted),
            "description": str(shared.description),
            **how_answered(shared.answer),
        }

    run_anywhere(place, work, as_json=as_json)


def decrypt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The encrypted file.")],
    key_id: Annotated[
        str | None, typer.Option(help="Id of its key, for a file without a description.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default FILE without .encrypted.")
    ] = None,
    force: ForceOption = False,
    node: NodeOption = None,
    door: DoorOption = None,
    confirm_with: ConfirmOption = None,
    ca_file: CaFileOption = None,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retrieve a document key as this account, which needs permission, and decrypt the file.

    Without a description beside it, as for files of the original's clients, nobody can tell whether
    the file was altered; a warning says so.
    """
    from keyserver.client.sharing import open_file

    choice = NodeChoice(node, door, confirm_with, ca_file)
    place = find_door(devnet, rpc, contracts, account, key_file, password_file, choice)
    if output is None:
        if file.suffix != ENCRYPTED:
            raise CommandError(
                f"--output is needed: {file} has no {ENCRYPTED} to cut off", exit_code=USAGE
            )
        output = file.with_suffix("")
    wanted, target = None if key_id is None else read_key_id(key_id), output

    async def work(servers: "AnyKeyServers") -> Facts:
        opened = await open_file(servers, file, target, key_id=wanted, overwrite=force)
        if not opened.was_checked:
            print(
                f"keyserver: {file} has no description: it cannot be told whether it was altered",
                file=sys.stderr,
            )
        return {
            "decrypted": str(target),
            "checked": opened.was_checked,
            **how_answered(opened.answer),
        }

    run_anywhere(place, work, as_json=as_json)
