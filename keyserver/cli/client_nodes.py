"""Which nodes are asked over HTTP: the options of the commands that can do without contracts."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_options import Place, find_account, find_place
from keyserver.cli.output import USAGE, CommandError

if TYPE_CHECKING:
    from keyserver.client.wallet import Wallet
    from keyserver.model.bound_requests import SigningDomain


class DoorName(StrEnum):
    """The ways to ask the key servers."""

    CONTRACTS = "contracts"
    V1 = "v1"
    ORIGINAL = "original"


NodeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL", help="Ask this node over HTTP, not the contracts; repeatable, in order."
    ),
]
DoorOption = Annotated[
    DoorName | None,
    typer.Option(
        help="How to ask: v1 is the default with --node; original is for servers of OpenEthereum."
    ),
]
ConfirmOption = Annotated[
    list[str] | None,
    typer.Option(metavar="URL", help="A server key counts only if this node tells the same one."),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Certificates (PEM) to trust instead of the machine's."),
]


@dataclass(frozen=True, slots=True)
class NodeChoice:
    """The options as they were given."""

    node: list[str] | None
    door: DoorName | None
    confirm_with: list[str] | None
    ca_file: Path | None

    @property
    def way(self) -> DoorName:
        """The door that was chosen: contracts, if neither it nor a node was named."""
        return self.door or (DoorName.V1 if self.node else DoorName.CONTRACTS)


@dataclass(frozen=True, slots=True)
class NodesPlace:
    """Which nodes are asked, and who asks."""

    nodes: tuple[str, ...]
    door: DoorName
    confirm_with: tuple[str, ...]
    ca_file: Path | None
    wallet: "Wallet"
    threshold: int | None
    """The devnet's usual one."""
    domain: "SigningDomain | None"
    """The network, where the contracts' addresses are known."""


def find_door(
    devnet: Path | None,
    rpc: str | None,
    contracts: Path | None,
    account: str | None,
    key_file: Path | None,
    password_file: Path | None,
    choice: NodeChoice,
) -> Place | NodesPlace:
    """Put the options together; raises `CommandError` and `ConfigError`."""
    if choice.way is DoorName.CONTRACTS:
        _refuse_node_options(choice)
        return find_place(devnet, rpc, contracts, account, key_file, password_file)
    if rpc is not None:
        raise CommandError("--rpc: the nodes are asked, not the contracts", exit_code=USAGE)
    nodes = node_urls(choice.node, devnet)
    found = find_account(devnet, contracts, account, key_file, password_file)
    return NodesPlace(
        nodes,
        choice.way,
        tuple(choice.confirm_with or ()),
        choice.ca_file,
        found.wallet,
        found.threshold,
        found.domain,
    )


def node_urls(given: list[str] | None, devnet: Path | None) -> tuple[str, ...]:
    """The nodes that are named, or else all of the devnet; raises `CommandError`."""
    if given:
        return tuple(given)
    if devnet is None:
        raise CommandError("Which node?", hint="Give --node URL, or --devnet DIR.", exit_code=USAGE)
    # Deferred: a devnet brings the chain's libraries along.
    from keyserver.devnet.devnet_file import Devnet

    return tuple(node.http for node in Devnet.load(devnet).nodes)


def _refuse_node_options(choice: NodeChoice) -> None:
    given = {"--node": choice.node, "--confirm-with": choice.confirm_with}
    for name, value in {**given, "--ca-file": choice.ca_file}.items():
        if value:
            raise CommandError(f"{name}: is for --door v1 and original", exit_code=USAGE)
