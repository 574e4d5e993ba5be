"""`keyserver admin node-set`: the owner's edits of the node set contract."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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
    find_contracts,
    find_place,
    hex_text,
)
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import (
    USAGE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
)

if TYPE_CHECKING:
    from keyserver.client.contracts import Contracts
    from keyserver.client.ethereum import Receipt
    from keyserver.client.node_set import Member, NodeSetContract, Sets
    from keyserver.client.wallet import Wallet
    from keyserver.model.identifiers import Address, NodeId
    from keyserver.model.node_set import NodeAddress

Work = Callable[["NodeSetContract", "Wallet"], Awaitable["Receipt"]]

NodeArgument = Annotated[
    str, typer.Argument(metavar="NODE", help="Its address, or its id (128 hexadecimal digits).")
]
NodeIdArgument = Annotated[
    str, typer.Argument(metavar="NODE_ID", help="128 hexadecimal digits, as `keyserver init` says.")
]
AtArgument = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where other nodes reach it.")]

NODE_ID_DIGITS = 128

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Say which nodes are in the set, as the owner of its contract.

    An edit changes the new set. When that has stayed as it is for five blocks, the nodes move the
    keys by themselves; `keyserver migration status` shows how far they are. Every command takes
    --devnet DIR with --account owner, or --rpc URL with --contracts FILE and --key-file FILE.
    """


@app.command()
def show(
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every node of the current, the new and the migration set."""
    url, addresses = find_contracts(devnet, rpc, contracts)
    sets = asyncio.run(_read(url, addresses))
    rows = _rows(sets)
    running = sets.migration
    if as_json:
        migration = None if running is None else hex_text(running.id)
        print_json({"nodes": rows, "migration": migration})
        return
    print_rows([{**row, "node_id": f"{row['node_id']}"[:12] + "…"} for row in rows], as_json=False)
    if running is not None:
        missing = len(running.members) - len(running.confirmed)
        print(f"migration {hex_text(running.id)}: {missing} confirmations are missing")


@app.command()
def add(
    node_id: NodeIdArgument,
    at: AtArgument,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a node, which should run already: it gets a share of every key."""
    node, address = _node_id(node_id), _at(at)
    _edit(
        lambda contract, owner: contract.add(owner, node, address),
        find_place(devnet, rpc, contracts, account, key_file, password_file),
        as_json=as_json,
    )


@app.command()
def remove(
    node: NodeArgument,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a node: its shares become worthless. Leave it running until the keys have moved."""
    address = _address(node)
    _edit(
        lambda contract, owner: contract.remove(owner, address),
        find_place(devnet, rpc, contracts, account, key_file, password_file),
        as_json=as_json,
    )


@app.command()
def move(
    node: NodeArgument,
    at: AtArgument,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that a node is reached elsewhere from now on; no keys move for that."""
    address, place = _address(node), _at(at)
    _edit(
        lambda contract, owner: contract.move(owner, address, place),
        find_place(devnet, rpc, contracts, account, key_file, password_file),
        as_json=as_json,
    )


@app.command()
def cancel(
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the migration that runs; if the new set still differs, it begins anew after a delay."""
    _edit(
        lambda contract, owner: contract.cancel(owner),
        find_place(devnet, rpc, contracts, account, key_file, password_file),
        as_json=as_json,
    )


# --- what all of them do --------------------------------------------------------------------------


async def _read(url: str, addresses: "Contracts") -> "Sets":
    # Deferred, as everywhere here: web3 takes most of a second.
    from keyserver.client.ethereum import connect
    from keyserver.client.node_set import NodeSetContract

    async with connect(url, chain_id=addresses.chain_id) as ethereum:
        return await NodeSetContract(ethereum, addresses).sets()


def _edit(work: Work, place: Place, *, as_json: bool) -> None:
    """Send the owner's transaction, and say what comes next."""
    receipt = asyncio.run(_edited(work, place))
    print_facts({"block": receipt.block, "gas": receipt.gas_used}, as_json=as_json)
    if not as_json:
        print("Look on with: keyserver migration status")


async def _edited(work: Work, place: Place) -> "Receipt":
    from keyserver.client.ethereum import connect
    from keyserver.client.node_set import NodeSetContract

    async with connect(place.rpc_url, chain_id=place.contracts.chain_id) as ethereum:
        return await work(NodeSetContract(ethereum, place.contracts), place.wallet)


def _rows(sets: "Sets") -> list[dict[str, object]]:
    """A line for every node that is in any of the sets."""
    running = sets.migration
    moving = running.members if running is not None else ()
    confirmed = running.confirmed if running is not None else frozenset()
    known = {member.address: member for member in (*sets.current, *moving, *sets.new)}

    def is_in(members: Sequence["Member"], address: "Address") -> bool:
        return any(member.address == address for member in members)

    return [
        {
            "address": hex_text(member.address),
            "at": member.at,
            "current": is_in(sets.current, member.address),
            "new": is_in(sets.new, member.address),
            "migration": is_in(moving, member.address),
            "confirmed": member.address in confirmed,
            "node_id": hex_text(member.public),
        }
        for member in known.values()
    ]


# --- arguments ------------------------------------------------------------------------------------


def _node_id(text: str) -> "NodeId":
    from keyserver.app.config.values import parse_node_id

    try:
        return parse_node_id(text.removeprefix("0x"))
    except ValueError as problem:
        raise CommandError(f"NODE_ID: {problem}", exit_code=USAGE) from None


def _address(text: str) -> "Address":
    """A node by its address, or by its id."""
    from keyserver.app.config.values import parse_address

    digits = text.removeprefix("0x")
    if len(digits) == NODE_ID_DIGITS:
        return _node_id(digits).address
    try:
        return parse_address(digits)
    except ValueError as problem:
        raise CommandError(f"NODE: {problem}, or a node's id", exit_code=USAGE) from None


def _at(text: str) -> "NodeAddress":
    from keyserver.app.config.values import parse_host_port
    from keyserver.model.node_set import NodeAddress

    try:
        found = parse_host_port(text, lowest=1)
    except ValueError as problem:
        raise CommandError(f"HOST:PORT: {problem}", exit_code=USAGE) from None
    return NodeAddress(found.host, found.port)
