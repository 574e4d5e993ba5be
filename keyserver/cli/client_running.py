"""Runs the work of a `keyserver client` command, whichever way the key servers are asked."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from keyserver.cli.client_nodes import DoorName, NodesPlace
from keyserver.cli.client_options import Place
from keyserver.cli.output import UNREACHABLE, CommandError, print_facts

if TYPE_CHECKING:
    from keyserver.client.http import HttpKeyServers
    from keyserver.client.interface import AnyKeyServers
    from keyserver.client.requests import KeyServers

T = TypeVar("T")
Facts = dict[str, object]
Watch = Callable[[object], None]


def run_on_contracts(
    place: Place, work: Callable[["KeyServers"], Awaitable[Facts]], *, as_json: bool
) -> None:
    """Connect, do the work with progress on the terminal, and print what came of it."""

    async def connected() -> Facts:
        with shown_progress() as watch:
            async with _contracts(place, watch) as servers:
                return await work(servers)

    print_facts(asyncio.run(connected()), as_json=as_json)


def run_on_nodes(
    place: NodesPlace, work: Callable[["HttpKeyServers"], Awaitable[Facts]], *, as_json: bool
) -> None:
    """The same over HTTP."""
    warn_if_exposed(place)

    async def connected() -> Facts:
        with shown_progress() as watch:
            async with _nodes(place, watch) as servers:
                return await work(servers)

    print_facts(run_http(connected), as_json=as_json)


def run_anywhere(
    place: Place | NodesPlace,
    work: Callable[["AnyKeyServers"], Awaitable[Facts]],
    *,
    as_json: bool,
) -> None:
    """The same on contracts or over HTTP, as was chosen."""
    if isinstance(place, Place):
        run_on_contracts(place, work, as_json=as_json)
    else:
        run_on_nodes(place, work, as_json=as_json)


def run_http(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what asks nodes; a node that is not there has an exit code of its own."""
    from keyserver.client.errors import NodeUnreachableError

    try:
        return asyncio.run(work())
    except NodeUnreachableError as error:
        raise CommandError(
            str(error), hint="Is it running, and is the address right?", exit_code=UNREACHABLE
        ) from error


def how_answered(answer: object) -> Facts:
    """What is told about a request beside its result."""
    from keyserver.client.attempts import NodeAnswer

    if isinstance(answer, NodeAnswer):
        facts: Facts = {"node": answer.node}
        return facts | ({"confirmed_by": list(answer.confirmed_by)} if answer.confirmed_by else {})
    from keyserver.client.requests import Answer

    if isinstance(answer, Answer):
        return {"block": answer.answered_in, "gas": answer.gas_used}
    raise TypeError(f"{type(answer).__name__} is no answer of the key servers")


def warn_if_exposed(place: NodesPlace) -> None:
    """Say what others can do where the way to a node is not encrypted."""
    from keyserver.client.node_http import is_exposed

    exposed = [node for node in place.nodes if is_exposed(node)]
    if not exposed:
        return
    if place.door is DoorName.ORIGINAL:
        _warn(f"{exposed[0]} is not encrypted: who listens can use your signature for ever")
    # Who can alter what one node says in clear text can do so with the answers of all such nodes.
    if all(is_exposed(node) for node in place.confirm_with):
        advice = "give --confirm-with https://HOST:PORT"
        _warn(f"{exposed[0]} is not encrypted: server keys can be swapped; {advice}")


def _warn(text: str) -> None:
    print(f"keyserver: {text}", file=sys.stderr)


@asynccontextmanager
async def _contracts(place: Place, watch: Watch) -> AsyncIterator["KeyServers"]:
    from keyserver.client.ethereum import connect
    from keyserver.client.requests import KeyServers

    async with connect(place.rpc_url, chain_id=place.contracts.chain_id) as ethereum:
        yield KeyServers(ethereum, place.contracts, place.wallet, watch=watch)


@asynccontextmanager
async def _nodes(place: NodesPlace, watch: Watch) -> AsyncIterator["HttpKeyServers"]:
    from keyserver.client.doors import DoorKind
    from keyserver.client.http import connect_nodes

    async with connect_nodes(
        place.nodes,
        place.wallet,
        door=DoorKind(place.door),
        confirm_with=place.confirm_with,
        domain=place.domain,
        ca_file=place.ca_file,
        watch=watch,
    ) as servers:
        yield servers


@contextmanager
def shown_progress() -> Iterator[Watch]:
    """A spinner on a terminal, lines elsewhere; both on standard error."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda progress: print(progress, file=sys.stderr, flush=True)
        return
    with console.status("sending") as status:
        yield lambda progress: status.update(str(progress))
