"""What a running node tells: status, keys, requests, fees.

All commands find the node by `--url`, by `--path` (its data directory) or by `--config`, in this
order; without any, by the configuration file at its usual place.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.operator_admin import (
    AdminKeyOption,
    AdminPasswordOption,
    NodeIdOption,
    Signing,
    signed_by,
)
from keyserver.cli.operator_client import OperatorClient, find_operator
from keyserver.cli.output import (
    FAILED,
    USAGE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
    time_text,
)
from keyserver.cli.set_change_lines import standing

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The node's configuration file.")
]
PathOption = Annotated[Path | None, typer.Option("--path", help="The node's data directory.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="Its operator listener: http://HOST:PORT or unix:PATH.")
]

Facts = Mapping[str, Any]  # Any: JSON, as the node sends it

SHORT = 10
"""Characters of an identifier in tables."""

DRAIN_POLL_S = 1.0


def status(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who a running node is, whether it is ready, and what it is doing.

    Exit code 0 also for a node that runs but is not ready; 3 if no node answers.
    """
    facts = find_operator(url, path, config).get("/v1/status")
    if as_json:
        print_json(facts)
        return
    print_facts(_status_lines(facts), as_json=False)
    print()
    rows = [_peer_row(node) for node in facts["node_set"]["nodes"]]
    print_rows(rows, as_json=False, empty="the node set is empty")
    for offence in facts["avoided"]:
        print(_avoided_line(offence))
    for kind, troubles in (("problem", facts["problems"]), ("warning", facts["warnings"])):
        for trouble in troubles:
            print(f"{kind}: {trouble['text']}")


def _status_lines(facts: Facts) -> dict[str, object]:
    chain, node_set = facts["chain"], facts["node_set"]
    lines: dict[str, object] = {
        "node": facts["node_id"],
        "address": facts["address"],
        "version": facts["version"],
        "process": f"{facts['pid']}, up {facts['uptime_s']} s",
        "listens at": facts["peer"],
        "ready": facts["ready"],
        "node set": f"{len(node_set['nodes'])} nodes, epoch {node_set['epoch']}",
        "keys": f"{facts['keys']}, {facts['keys_without_share']} without a share here",
        "sessions": facts["sessions"],
        "tasks": facts["tasks"],
        "answers": facts["answers"],
    }
    if facts["signing"] is not None:
        lines["signatures"] = _signing_line(facts["signing"])
    if facts["set_change"] is not None:
        lines["change of the set"] = standing(facts["set_change"])
    if chain is not None:
        lines["chain"] = (
            f"{chain['chain_id']}, head {chain['head']}, confirmed {chain['confirmed']}, "
            f"lag {chain['lag']}"
        )
        lines["balance"] = f"{chain['balance_wei']} wei"
        lines |= {name.replace("_", " "): at for name, at in chain["contracts"].items()}
    return lines


def _signing_line(signing: Facts) -> str:
    made = [f"{number} {scheme}" for scheme, number in signing["made"].items() if number]
    return f"{', '.join(made) or 'none'}; {signing['presignatures']} ECDSA prepared"


def _avoided_line(offence: Facts) -> str:
    since, until = time_text(offence["since"]), time_text(offence["until"])
    who = f"{_short(offence['culprit'])} ({offence['address']})"
    return f"avoided: {who} {offence['what']}; since {since}, until {until}"


def _peer_row(node: Facts) -> dict[str, object]:
    return {
        "node": _short(node["node_id"]),
        "address": node["address"],
        "at": node["at"],
        "current": node["is_current"],
        "state": node["state"],
    }


keys = typer.Typer(**APP_SETTINGS)


@keys.callback()
def _keys() -> None:
    """List the server keys a node has records of: public facts only."""


@keys.command("list")
def list_keys(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 100,
    after: Annotated[str | None, typer.Option(help="Those after this key id.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List keys in ascending order of their ids."""
    query = f"/v1/keys?limit={limit}" + (f"&after={_hex_id('--after', after)}" if after else "")
    page = find_operator(url, path, config).get(query)
    if as_json:
        print_json(page)
        return
    print_rows(page["keys"], as_json=False, empty="no keys")
    if page["next_after"]:
        print(f"more: --after {page['next_after']}")


@keys.command("show")
def show_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="64 hexadecimal digits.")],
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is public about one key. Exit code 1 for a key the node does not know."""
    digits = _hex_id("ID", key_id)
    facts = find_operator(url, path, config).get(f"/v1/keys/{digits}")
    if as_json:
        print_json(facts)
        return
    committee = facts["committee"]
    print_facts({name: facts[name] for name in facts if name != "committee"}, as_json=False)
    print()
    print_rows(committee, as_json=False)


def requests(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the node owes to contracts: what is pending, why, and what was sent."""
    found = find_operator(url, path, config).get("/v1/requests")["requests"]
    if as_json:
        print_json(found)
        return
    print_rows([_task_row(task) for task in found], as_json=False, empty="nothing is pending")
    answers = [_answer_row(task, answer) for task in found for answer in task["answers"]]
    if answers:
        print()
        print_rows(answers, as_json=False)


def _task_row(task: Facts) -> dict[str, object]:
    return {
        "task": task["id"],
        "kind": task["kind"],
        "key": _short(task["key_id"]),
        "requester": _short(task["requester"]),
        "message": _short(task["message"]),
        "state": task["state"],
        "seen": task["first_seen_block"],
        "attempts": task["attempts"],
        "next": task["next_attempt_block"],
        "why": task["reason"],
    }


def _answer_row(task: Facts, answer: Facts) -> dict[str, object]:
    sent: Sequence[Facts] = answer["transactions"]
    return {
        "task": task["id"],
        "answer": answer["method"],
        "state": answer["state"],
        "nonce": answer["nonce"],
        "transaction": sent[-1]["tx_hash"] if sent else None,
        "mined": answer["mined_block"],
        "why": answer["reason"],
    }


def drain(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until the fees have been paid out.")
    ] = 120.0,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect the fees that service contracts hold for the node, and wait for them.

    Exit code 1 if they have not been paid out in time; the node goes on trying. Where the node has
    administrators, one of them signs (--admin-key).
    """
    signing = Signing(admin_key, password_file, node_id)
    operator = signed_by(find_operator(url, path, config), signing)
    asked = operator.post("/v1/drain")["collecting"]
    left = _wait_until_paid(operator, {fee["contract"] for fee in asked}, wait)
    rows = [{**fee, "paid_out": fee["contract"] not in left} for fee in asked]
    if as_json:
        print_json({"collected": rows})
    else:
        print_rows(rows, as_json=False, empty="there is nothing to collect")
    if left and wait > 0:
        raise CommandError(
            f"not paid out within {wait:g} s: {', '.join(sorted(left))}",
            hint="`keyserver requests` shows what the node is waiting for.",
            exit_code=FAILED,
        )


def _wait_until_paid(operator: OperatorClient, contracts: set[str], wait_s: float) -> set[str]:
    """Those of the contracts that still hold something when the time is up."""
    deadline = time.monotonic() + wait_s
    left = contracts
    while left:
        holding = {
            f["contract"] for f in operator.get("/v1/drain")["fees"] if f["balance_wei"] != "0"
        }
        left = contracts & holding
        if not left or time.monotonic() >= deadline:
            break
        time.sleep(DRAIN_POLL_S)
    return left


def _hex_id(name: str, text: str) -> str:
    digits = text.removeprefix("0x")
    if len(digits) != 64 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        raise CommandError(f"{name}: must be 64 hexadecimal digits", exit_code=USAGE)
    return digits.lower()


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= SHORT else f"{text[:SHORT]}…"
