"""`keyserver client`: share documents and sign through the key servers."""

from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_curl import curl
from keyserver.cli.client_files import decrypt, encrypt
from keyserver.cli.client_keys import generate, node, show
from keyserver.cli.client_options import (
    AccountOption,
    ContractsOption,
    DevnetOption,
    KeyFileOption,
    KeyIdArgument,
    PasswordFileOption,
    RpcOption,
    find_place,
    hex_text,
    read_key_id,
)
from keyserver.cli.client_running import run_on_contracts
from keyserver.cli.client_signing import sign, verify
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import JsonOption

if TYPE_CHECKING:
    from keyserver.client.requests import KeyServers

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Share documents through the key servers, and sign with the keys they hold together.

    In order: reserve a key id, permit others to use it, generate its server key, encrypt a file.
    Who is permitted decrypts it, and has messages signed. Every command takes --devnet DIR with
    --account NAME, or --rpc URL with --contracts FILE and --key-file FILE. With --node URL the key
    servers are asked over HTTP, without contracts and fees.
    """


@app.command()
def reserve(
    key_id: Annotated[
        str | None, typer.Option(help="Take this id; by default one nobody can guess is drawn.")
    ] = None,
    permit: Annotated[
        list[str] | None,
        typer.Option("--permit", metavar="ACCOUNT", help="Permit this account; repeatable."),
    ] = None,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reserve a key id: from then on this account says who may use its key."""
    # Deferred, as everywhere here: web3 takes most of a second.
    from keyserver.client.permissions import Permissions
    from keyserver.crypto.randomness import SystemRandom

    place = find_place(devnet, rpc, contracts, account, key_file, password_file)
    wanted = place.wallet.new_key_id(SystemRandom()) if key_id is None else read_key_id(key_id)
    users = [place.address(text) for text in permit or []]

    async def work(servers: "KeyServers") -> dict[str, object]:
        permissions = Permissions(servers.ethereum, servers.contracts, servers.wallet)
        receipts = [await permissions.reserve(wanted)]
        if users:
            receipts += await permissions.permit(wanted, users)
        gas = sum(receipt.gas_used for receipt in receipts)
        return {"key_id": hex_text(wanted), "permitted": [hex_text(u) for u in users], "gas": gas}

    run_on_contracts(place, work, as_json=as_json)


@app.command()
def permit(
    key_id: KeyIdArgument,
    users: Annotated[list[str], typer.Argument(metavar="ACCOUNT...", help="Who may use it.")],
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let other accounts use the key of an id that this account has reserved."""
    from keyserver.client.permissions import Permissions

    place = find_place(devnet, rpc, contracts, account, key_file, password_file)
    wanted, permitted = read_key_id(key_id), [place.address(text) for text in users]

    async def work(servers: "KeyServers") -> dict[str, object]:
        permissions = Permissions(servers.ethereum, servers.contracts, servers.wallet)
        receipts = await permissions.permit(wanted, permitted)
        gas = sum(receipt.gas_used for receipt in receipts)
        return {
            "key_id": hex_text(wanted),
            "permitted": [hex_text(u) for u in permitted],
            "gas": gas,
        }

    run_on_contracts(place, work, as_json=as_json)


for command in (generate, encrypt, decrypt, sign, verify, show, node, curl):
    app.command()(command)
