"""Which nodes a change is about: the options that the commands of `admin set-change` share."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.output import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyserver.client.set_change_plan import SetChangePlan
    from keyserver.model.bound_requests import SigningDomain
    from keyserver.model.identifiers import NodeId

MOST_SHOWN = 24
"""Characters of an argument that an error repeats."""

_NODES = "ID, ID@HOST:PORT as in `nodes`, or @FILE with a JSON array of these; repeatable."

FromOption = Annotated[
    list[str],
    typer.Option("--from", metavar="NODE", help=f"A node that holds the keys now: {_NODES}"),
]
ToOption = Annotated[
    list[str],
    typer.Option("--to", metavar="NODE", help="A node that shall hold them after the change."),
]
ThresholdOption = Annotated[
    int | None,
    typer.Option(help="The largest threshold of the keys, to be warned of.", min=0, max=254),
]
ClusterNameOption = Annotated[
    str, typer.Option(help="[keyserver] cluster_name of the nodes; bound orders count there only.")
]
ChainIdOption = Annotated[
    int,
    typer.Option(help="[keyserver] chain_id of the nodes; 0: none.", min=0, max=2**64 - 1),
]
SetContractOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="The node set contract, where the nodes have their set from one."
    ),
]


def find_plan(
    present: list[str],
    new: list[str],
    cluster_name: str,
    chain_id: int,
    set_contract: str | None,
) -> "SetChangePlan":
    """Put the options together; raises `CommandError` and `ConfigError`."""
    from keyserver.client.set_change_plan import plan_set_change

    domain = _domain(cluster_name, chain_id, set_contract)
    return plan_set_change(domain, _read_nodes("--from", present), _read_nodes("--to", new))


def plan_facts(plan: "SetChangePlan") -> dict[str, object]:
    """What a plan says, ready for JSON."""
    from keyserver.client.set_change import LEGACY_PATH, new_set_body
    from keyserver.model.set_change import set_hash

    return {
        "staying": hex_list(plan.staying),
        "joining": hex_list(plan.joining),
        "leaving": hex_list(plan.leaving),
        "old_set": hex_list(plan.old.nodes),
        "new_set": hex_list(plan.new.nodes),
        "old_set_hash": f"0x{set_hash(plan.old.nodes).hex()}",
        "new_set_hash": f"0x{set_hash(plan.new.nodes).hex()}",
        "old_set_id": f"0x{plan.old.id.hex()}",
        "new_set_id": f"0x{plan.new.id.hex()}",
        "request": {
            "method": "POST",
            "path": f"{LEGACY_PATH}/{{old_sig}}/{{new_sig}}",
            "body": new_set_body(plan.new.nodes),
        },
    }


def hex_list(nodes: "Iterable[NodeId]") -> list[str]:
    """Ids as they are shown."""
    return [f"0x{node.hex()}" for node in nodes]


def _domain(cluster_name: str, chain_id: int, set_contract: str | None) -> "SigningDomain":
    from keyserver.app.config.values import parse_address
    from keyserver.model.bound_requests import SigningDomain
    from keyserver.model.node_set import static_set_contract

    if set_contract is None:
        return SigningDomain(chain_id, static_set_contract(cluster_name))
    if cluster_name:
        raise CommandError(
            "--cluster-name: names a set that is configured, not one of a contract", exit_code=USAGE
        )
    try:
        return SigningDomain(chain_id, parse_address(set_contract))
    except ValueError as error:
        raise CommandError(f"--set-contract: {error}", exit_code=USAGE) from None


def _read_nodes(option: str, given: list[str]) -> list["NodeId"]:
    nodes = []
    for text in given:
        if text.startswith("@"):
            nodes += [_node(f"{option} {text}", each) for each in _read_file(option, text[1:])]
        else:
            nodes.append(_node(option, text))
    return nodes


def _read_file(option: str, name: str) -> list[str]:
    try:
        found = json.loads(Path(name).read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise CommandError(f"{option} @{name}: must be a JSON array of node ids", exit_code=USAGE)
    return found


def _node(where: str, text: str) -> "NodeId":
    from keyserver.app.config.values import parse_node_id

    try:
        return parse_node_id(text.partition("@")[0])
    except ValueError as error:
        raise CommandError(f"{where}: {_shortened(text)}: {error}", exit_code=USAGE) from None


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
