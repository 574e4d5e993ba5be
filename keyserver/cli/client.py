"""`keyserver client`: share documents through the contracts of the key servers."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_options import (
    AccountOption,
    ContractsOption,
    DevnetOption,
    KeyFileOption,
    PasswordFileOption,
    Place,
    RpcOption,
    find_place,
    hex_text,
    read_key_id,
)
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import USAGE, CommandError, JsonOption, print_facts

if TYPE_CHECKING:
    from keyserver.client.requests import KeyServers, Progress

ENCRYPTED = ".encrypted"

KeyIdArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="32 bytes in hexadecimal.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Share documents through the key servers.

    In order: reserve a key id, permit others to use it, generate its server key, encrypt a file.
    Who is permitted decrypts it. Every command takes --devnet DIR with --account NAME, or --rpc
    URL with --contracts FILE and --key-file FILE.
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

    _run(place, work, as_json=as_json)


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

    _run(place, work, as_json=as_json)


@app.command()
def generate(
    key_id: KeyIdArgument,
    threshold: Annotated[
        int | None,
        typer.Option(help="One more than this many key servers are needed to use the key."),
    ] = None,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the key servers generate the key of an id."""
    place = find_place(devnet, rpc, contracts, account, key_file, password_file)
    wanted = read_key_id(key_id)
    chosen = place.threshold if threshold is None else threshold
    if chosen is None:
        raise CommandError(
            "--threshold is needed: how many key servers may fall to an enemy?", exit_code=USAGE
        )

    async def work(servers: "KeyServers") -> dict[str, object]:
        answer = await servers.generate_server_key(wanted, chosen)
        return {
            "key_id": hex_text(wanted),
            "public": hex_text(answer.value.public.raw64),
            "threshold": chosen,
            "block": answer.answered_in,
            "gas": answer.gas_used,
        }

    _run(place, work, as_json=as_json)


@app.command()
def encrypt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to encrypt.")],
    key_id: Annotated[str, typer.Option(help="Id of a server key of this account.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default FILE.encrypted.")
    ] = None,
    force: ForceOption = False,
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

    place = find_place(devnet, rpc, contracts, account, key_file, password_file)
    wanted, target = read_key_id(key_id), output or file.with_name(file.name + ENCRYPTED)

    async def work(servers: "KeyServers") -> dict[str, object]:
        shared = await share_file(servers, wanted, file, target, SystemRandom(), overwrite=force)
        return {
            "key_id": hex_text(wanted),
            "encrypted": str(shared.encrypted),
            "description": str(shared.description),
            "block": shared.answer.answered_in,
            "gas": shared.answer.gas_used,
        }

    _run(place, work, as_json=as_json)


@app.command()
def decrypt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The encrypted file.")],
    key_id: Annotated[
        str | None, typer.Option(help="Id of its key, for a file without a description.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default FILE without .encrypted.")
    ] = None,
    force: ForceOption = False,
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

    place = find_place(devnet, rpc, contracts, account, key_file, password_file)
    if output is None:
        if file.suffix != ENCRYPTED:
            raise CommandError(
                f"--output is needed: {file} has no {ENCRYPTED} to cut off", exit_code=USAGE
            )
        output = file.with_suffix("")
    wanted, target = None if key_id is None else read_key_id(key_id), output

    async def work(servers: "KeyServers") -> dict[str, object]:
        answer = await open_file(servers, file, target, key_id=wanted, overwrite=force)
        if not answer.value:
            print(
                f"keyserver: {file} has no description: it cannot be told whether it was altered",
                file=sys.stderr,
            )
        return {
            "decrypted": str(target),
            "checked": answer.value,
            "block": answer.answered_in,
            "gas": answer.gas_used,
        }

    _run(place, work, as_json=as_json)


@app.command()
def show(
    key_id: KeyIdArgument,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask the key servers for the key, for a fee.")
    ] = False,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the contracts tell about a key id, and whether this account may use its key."""
    from keyserver.client.permissions import Permissions

    place = find_place(devnet, rpc, contracts, account, key_file, password_file)
    wanted = read_key_id(key_id)

    async def work(servers: "KeyServers") -> dict[str, object]:
        key = await servers.find_key(wanted)
        permissions = Permissions(servers.ethereum, servers.contracts, servers.wallet)
        users, admin = await permissions.users(wanted), await permissions.admin(wanted)
        facts: dict[str, object] = {
            "key_id": hex_text(wanted),
            "public": None if key is None else hex_text(key.public.raw64),
            "author": None if key is None or key.author is None else hex_text(key.author),
            "threshold": None if key is None else key.threshold,
            "generated_in_block": None if key is None else key.generated_in,
            "has_document": key is not None and key.has_document,
            "reserved_by": None if admin is None else hex_text(admin),
            "permitted": None if users is None else [hex_text(user) for user in users],
            "this_account_may": await permissions.allows(servers.wallet.address, wanted),
        }
        if ask:
            answer = await servers.retrieve_server_key(wanted)
            facts["public"] = hex_text(answer.value.public.raw64)
            facts["threshold"] = answer.value.threshold
        return facts

    _run(place, work, as_json=as_json)


def _run(
    place: Place,
    work: Callable[["KeyServers"], Awaitable[dict[str, object]]],
    *,
    as_json: bool,
) -> None:
    """Connect, do the work with progress on the terminal, and print what came of it."""

    async def connected() -> dict[str, object]:
        with _progress() as watch:
            async with _servers(place, watch) as servers:
                return await work(servers)

    print_facts(asyncio.run(connected()), as_json=as_json)


@asynccontextmanager
async def _servers(
    place: Place, watch: Callable[["Progress"], None]
) -> AsyncIterator["KeyServers"]:
    from keyserver.client.ethereum import connect
    from keyserver.client.requests import KeyServers

    async with connect(place.rpc_url, chain_id=place.contracts.chain_id) as ethereum:
        yield KeyServers(ethereum, place.contracts, place.wallet, watch=watch)


@contextmanager
def _progress() -> Iterator[Callable[["Progress"], None]]:
    """A spinner on a terminal, lines elsewhere; both on standard error."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda progress: print(progress, file=sys.stderr, flush=True)
        return
    with console.status("sending") as status:
        yield lambda progress: status.update(str(progress))
