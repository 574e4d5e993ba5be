"""`keyserver service-keys`: the keys that a node hands out to services, and who may ask for them.

What services ask goes to the client listener of a node (`--node`), with a token or signed; what
administrators order goes to its operator listener, as with `keyserver seal`.
"""

import asyncio
import base64
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from keyserver.cli import service_keys_credentials
from keyserver.cli.client_nodes import CaFileOption
from keyserver.cli.client_options import KeyFileOption, PasswordFileOption
from keyserver.cli.import_imicros import dump_imicros, import_imicros
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import (
    SEALED,
    UNREACHABLE,
    USAGE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
    time_text,
)
from keyserver.cli.passwords import ask_password
from keyserver.cli.service_keys_owners import delete, export, owners, restore

if TYPE_CHECKING:
    from keyserver.client.service_keys import HandedKey, RequestCredential, ServiceKeysClient
    from keyserver.model.identifiers import NodeId

T = TypeVar("T")

MOST_DATA: Final = 128 * 1024
"""Bytes of input; the node takes 64 KiB, which in base64 are more."""

NodeOption = Annotated[
    str, typer.Option("--node", metavar="URL", help="The client listener of the node: http(s)://…")
]
TokenFileOption = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="The token that shows who asks.")
]
NodeIdOption = Annotated[
    str | None,
    typer.Option("--node-id", metavar="HEX", help="With --key-file: the node that is asked."),
]
OwnerOption = Annotated[
    str | None,
    typer.Option("--owner", metavar="NAME", help="For whom, where an administrator granted it."),
]
AadOption = Annotated[
    str, typer.Option("--aad", metavar="TEXT", help="Associated data: the same for both ways.")
]
FileOption = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="Input; else standard input.")
]

app = typer.Typer(**APP_SETTINGS)
for _command in (owners, export, delete, restore):
    app.command()(_command)
app.add_typer(service_keys_credentials.tokens, name="token")
app.add_typer(service_keys_credentials.grants, name="grant")
app.command("import-imicros")(import_imicros)
app.command("dump-imicros")(dump_imicros)


@app.callback()
def _group() -> None:
    """Keys of services: ask for them, administer owners, tokens and grants."""
    from keyserver.app.memory import forbid_dumps  # deferred, as in all commands

    forbid_dumps()  # keys and tokens pass through here, and the shares of another server


@dataclass(frozen=True, slots=True)
class Asking:
    """Where, and as whom."""

    node: str
    token_file: Path | None
    key_file: Path | None
    password_file: Path | None
    node_id: str | None
    owner: str | None
    ca_file: Path | None


@app.command()
def get(
    service: Annotated[str, typer.Argument(help="Whose key.")],
    node: NodeOption,
    key_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="An earlier key; else the current one.")
    ] = None,
    token_file: TokenFileOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    node_id: NodeIdOption = None,
    owner: OwnerOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a key: the current one, made if there is none, or an earlier one by its id."""
    asking = Asking(node, token_file, key_file, password_file, node_id, owner, ca_file)

    async def work(keys: "ServiceKeysClient") -> "HandedKey":
        return await (keys.current(service) if key_id is None else keys.by_id(service, key_id))

    key = _run(asking, work)
    facts = {
        "id": key.id,
        "key": key.key.expose().hex(),
        "service": key.service,
        "owner": key.owner,
        "created_at": key.created_at if as_json else time_text(key.created_at // 1000),
        "expires_at": key.expires_at if as_json else time_text(key.expires_at // 1000),
        "current": key.current,
    }
    print_facts(facts, as_json=as_json)


@app.command("list")
def list_keys(
    node: NodeOption,
    service: Annotated[
        str | None, typer.Argument(help="Its versions; without it, all services.")
    ] = None,
    token_file: TokenFileOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    node_id: NodeIdOption = None,
    owner: OwnerOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List services that have keys, or the versions of one service's key, without the keys."""
    asking = Asking(node, token_file, key_file, password_file, node_id, owner, ca_file)
    rows = _run(asking, _all_services if service is None else _all_versions(service))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        for name in ("created_at", "expires_at"):
            if name in row:
                row[name] = time_text(row[name] // 1000)
    print_rows(rows, as_json=False, empty="no keys")


@app.command()
def encrypt(
    service: Annotated[str, typer.Argument(help="With whose key.")],
    node: NodeOption,
    file: FileOption = None,
    aad: AadOption = "",
    token_file: TokenFileOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    node_id: NodeIdOption = None,
    owner: OwnerOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have up to 64 KiB encrypted with the current key, and print the ciphertext."""
    asking = Asking(node, token_file, key_file, password_file, node_id, owner, ca_file)
    data = _input(file)
    ciphertext = _run(asking, lambda keys: keys.encrypt(service, data, aad.encode()))
    if as_json:
        print_json({"ciphertext": ciphertext})
    else:
        print(ciphertext)


@app.command()
def decrypt(
    service: Annotated[str, typer.Argument(help="With whose key.")],
    node: NodeOption,
    file: FileOption = None,
    aad: AadOption = "",
    token_file: TokenFileOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    node_id: NodeIdOption = None,
    owner: OwnerOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have it decrypted; the bytes go to standard output as they are, with --json as base64."""
    asking = Asking(node, token_file, key_file, password_file, node_id, owner, ca_file)
    ciphertext = _input(file).decode("ascii", errors="replace").strip()
    plaintext = _run(asking, lambda keys: keys.decrypt(service, ciphertext, aad.encode()))
    if as_json:
        print_json({"plaintext": base64.b64encode(plaintext).decode()})
        return
    sys.stdout.buffer.write(plaintext)
    sys.stdout.buffer.flush()


# --- the work ---------------------------------------------------------------------------------


# Any: rows as the node sends them.
async def _all_services(keys: "ServiceKeysClient") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = await keys.services(after)
        rows += page["services"]
        after = page["next_after"]
    return rows


def _all_versions(
    service: str,
) -> Callable[["ServiceKeysClient"], Awaitable[list[dict[str, Any]]]]:
    async def work(keys: "ServiceKeysClient") -> list[dict[str, Any]]:
        page = await keys.versions(service)
        rows: list[dict[str, Any]] = page["versions"]
        while page["next_before"] is not None:
            page = await keys.versions(service, page["next_before"])
            rows += page["versions"]
        return rows

    return work


def _run(asking: Asking, work: Callable[["ServiceKeysClient"], Awaitable[T]]) -> T:
    """Ask the node; one that is sealed or not there has an exit code of its own."""
    # Deferred, as in all commands: what speaks HTTP takes a while to load.
    from keyserver.client.errors import NodeNotReadyError, NodeUnreachableError
    from keyserver.client.service_keys import connect_service_keys

    async def connected() -> T:
        credential = _credential(asking)
        async with connect_service_keys(
            asking.node, credential, owner=asking.owner, ca_file=asking.ca_file
        ) as keys:
            if asking.key_file is not None:
                await _require_node(asking, keys)
            return await work(keys)

    try:
        return asyncio.run(connected())
    except NodeUnreachableError as error:
        hint = "Is it running, and is the address right?"
        raise CommandError(str(error), hint=hint, exit_code=UNREACHABLE) from None
    except NodeNotReadyError as error:
        exit_code = SEALED if error.error_code == "SEALED" else UNREACHABLE
        raise CommandError(str(error), exit_code=exit_code) from None


async def _require_node(asking: Asking, keys: "ServiceKeysClient") -> None:
    """Raise `CommandError` if a signature for one node would go to another.

    It would stand for somebody else there, with keys of an owner that nobody is.
    """
    from keyserver.client.errors import BadAnswerError

    wanted = _node_id(asking)
    try:
        told = await keys.told_node()
    except BadAnswerError:
        return  # it does not say; what is asked of it shows why
    if told != wanted:
        raise CommandError(
            f"--node-id: the request would be signed for 0x{wanted.hex()}, but the node at "
            f"{asking.node} says that it is 0x{told.hex()}",
            hint="If that is the node you mean, compare the id with what its operator knows "
            "(`keyserver seal status`), then give that one.",
            exit_code=USAGE,
        )


def _credential(asking: Asking) -> "RequestCredential":
    # Deferred: key files and the curve.
    from keyserver.client.service_keys import AccountCredential, TokenCredential
    from keyserver.sealing.key_sources import read_private_file

    if (asking.token_file is None) == (asking.key_file is None):
        raise CommandError(
            "Who asks?", hint="Give one of --token-file FILE and --key-file FILE.", exit_code=USAGE
        )
    if asking.token_file is not None:
        text = read_private_file(asking.token_file).decode("ascii", errors="replace")
        return TokenCredential(text)
    return AccountCredential(*_account(asking))


def _account(asking: Asking) -> tuple[Any, Any]:
    """Key of the account and id of the node; Any: their modules are heavy to import."""
    from keyserver.client.deployment_plan import read_key
    from keyserver.crypto.curve import SecretScalar

    node_id = _node_id(asking)
    file = asking.key_file
    assert file is not None, "one of the two is given"
    account = read_key(file, lambda: ask_password(f"Password of {file}", asking.password_file))
    return SecretScalar(bytes(account.key)), node_id


def _node_id(asking: Asking) -> "NodeId":
    from keyserver.model.identifiers import NodeId  # deferred, as above

    if asking.node_id is None:
        raise CommandError(
            "--node-id: whoever signs must know for which node; the one asked could name another",
            hint="The node's operator knows it: `keyserver seal status`.",
            exit_code=USAGE,
        )
    try:
        return NodeId(bytes.fromhex(asking.node_id.removeprefix("0x")))
    except ValueError:
        raise CommandError("--node-id: must be 128 hexadecimal digits", exit_code=USAGE) from None


def _input(file: Path | None) -> bytes:
    if file is None:
        data = sys.stdin.buffer.read(MOST_DATA + 1)
    else:
        with file.open("rb") as opened:
            data = opened.read(MOST_DATA + 1)
    if len(data) > MOST_DATA:
        raise CommandError("The input is too long: 64 KiB are taken.", exit_code=USAGE)
    return data
