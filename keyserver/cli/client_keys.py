"""`keyserver client generate`, `show` and `node`: server keys, and who keeps them."""

from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_nodes import (
    CaFileOption,
    ConfirmOption,
    DoorOption,
    NodeChoice,
    NodeOption,
    NodesPlace,
    find_door,
    node_urls,
)
from keyserver.cli.client_options import (
    AccountOption,
    ContractsOption,
    DevnetOption,
    KeyFileOption,
    KeyIdArgument,
    PasswordFileOption,
    Place,
    RpcOption,
    hex_text,
    read_key_id,
)
from keyserver.cli.client_running import (
    Facts,
    how_answered,
    run_anywhere,
    run_http,
    run_on_contracts,
    run_on_nodes,
)
from keyserver.cli.output import USAGE, CommandError, JsonOption, print_rows

if TYPE_CHECKING:
    from keyserver.client.http import HttpKeyServers
    from keyserver.client.interface import AnyKeyServers
    from keyserver.client.requests import KeyServers
    from keyserver.client.v1_door import NodeFacts
    from keyserver.model.identifiers import KeyId


def generate(
    key_id: Annotated[
        str | None,
        typer.Argument(metavar="KEY_ID", help="With --node one is drawn that nobody can guess."),
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option(help="One more than this many key servers are needed to use the key."),
    ] = None,
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
    """Have the key servers generate the key of an id."""
    choice = NodeChoice(node, door, confirm_with, ca_file)
    place = find_door(devnet, rpc, contracts, account, key_file, password_file, choice)
    wanted = _new_key_id(place) if key_id is None else read_key_id(key_id)
    chosen = place.threshold if threshold is None else threshold
    if chosen is None:
        raise CommandError(
            "--threshold is needed: how many key servers may fall to an enemy?", exit_code=USAGE
        )

    async def work(servers: "AnyKeyServers") -> Facts:
        answer = await servers.generate_server_key(wanted, chosen)
        return {
            "key_id": hex_text(wanted),
            "public": hex_text(answer.value.public.raw64),
            "threshold": chosen,
            **how_answered(answer),
        }

    run_anywhere(place, work, as_json=as_json)


def _new_key_id(place: Place | NodesPlace) -> "KeyId":
    """An id for who needs no permission contract; with one, it must be reserved first."""
    if isinstance(place, Place):
        raise CommandError(
            "KEY_ID is needed", hint="`keyserver client reserve` gives one.", exit_code=USAGE
        )
    from keyserver.crypto.randomness import SystemRandom

    return place.wallet.new_key_id(SystemRandom())


def show(
    key_id: KeyIdArgument,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask the key servers through the contracts, for a fee.")
    ] = False,
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
    """Show what is known about a key id, and whether this account may use its key.

    The contracts tell who reserved it and who is permitted; with --node, its author asks the key
    servers for the key itself, for free.
    """
    choice = NodeChoice(node, door, confirm_with, ca_file)
    place = find_door(devnet, rpc, contracts, account, key_file, password_file, choice)
    wanted = read_key_id(key_id)
    if isinstance(place, NodesPlace):
        run_on_nodes(place, lambda servers: _told_by_nodes(servers, wanted), as_json=as_json)
    else:
        run_on_contracts(
            place, lambda servers: _told_by_contracts(servers, wanted, ask=ask), as_json=as_json
        )


async def _told_by_contracts(servers: "KeyServers", wanted: "KeyId", *, ask: bool) -> Facts:
    from keyserver.client.permissions import Permissions

    key = await servers.find_key(wanted)
    permissions = Permissions(servers.ethereum, servers.contracts, servers.wallet)
    users, admin = await permissions.users(wanted), await permissions.admin(wanted)
    facts: Facts = {
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


async def _told_by_nodes(servers: "HttpKeyServers", wanted: "KeyId") -> Facts:
    answer = await servers.retrieve_server_key(wanted)
    key = answer.value
    return {
        "key_id": hex_text(wanted),
        "public": hex_text(key.public.raw64),
        "author": None if key.author is None else hex_text(key.author),
        "threshold": key.threshold,
        **how_answered(answer),
    }


def node(
    node: NodeOption = None,
    devnet: DevnetOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what nodes say about themselves, and the network that signatures are for."""
    from keyserver.client.conversation import about_node
    from keyserver.client.node_http import http_transport, node_url

    urls = [node_url(text) for text in node_urls(node, devnet)]

    async def ask() -> list[Facts]:
        async with http_transport(ca_file) as transport:
            return [_node_facts(url, await about_node(transport, url)) for url in urls]

    print_rows(run_http(ask), as_json=as_json)


def _node_facts(url: str, facts: "NodeFacts") -> Facts:
    return {
        "node": url,
        "node_id": hex_text(facts.node_id),
        "address": hex_text(facts.node_id.address),
        "chain_id": facts.domain.chain_id,
        "verifying_contract": hex_text(facts.domain.verifying_contract),
        "version": facts.version,
    }
