"""`keyserver admin`: what only the administrator of a network may order."""

import shlex
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli import admin_node_set
from keyserver.cli.admin_run import run, status
from keyserver.cli.admin_sets import (
    ChainIdOption,
    ClusterNameOption,
    FromOption,
    SetContractOption,
    ThresholdOption,
    ToOption,
    find_plan,
    plan_facts,
)
from keyserver.cli.client_options import KeyFileOption, PasswordFileOption, find_account, hex_text
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import USAGE, CommandError, JsonOption, print_facts, print_json

if TYPE_CHECKING:
    from keyserver.client.node_http import HttpRequest
    from keyserver.client.set_change_plan import PlanWarning, SetChangePlan
    from keyserver.client.wallet import Wallet

LONGEST_MINUTES = 7 * 24 * 60
"""How long an order may be good for."""

Facts = dict[str, object]

app = typer.Typer(**APP_SETTINGS)
set_change = typer.Typer(**APP_SETTINGS)
app.add_typer(set_change, name="set-change")
app.add_typer(admin_node_set.app, name="node-set")


@app.callback()
def _group() -> None:
    """Order what concerns the whole network."""


@set_change.callback()
def _set_change_group() -> None:
    """Change the set of nodes that hold the keys.

    While it runs, all nodes that take part are configured: staying, joining and leaving ones.
    """


set_change.command()(run)
set_change.command()(status)


class Form(StrEnum):
    """How an order is signed."""

    LEGACY = "legacy"
    BOUND = "bound"
    BOTH = "both"


NodeOption = Annotated[
    str, typer.Option("--node", metavar="URL", help="The node that the request will be sent to.")
]


@set_change.command()
def plan(
    present: FromOption,
    new: ToOption,
    threshold: ThresholdOption = None,
    cluster_name: ClusterNameOption = "",
    chain_id: ChainIdOption = 0,
    set_contract: SetContractOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a change would do, and what has to be signed for it. Asks no node."""
    # Deferred, as in all commands: the client takes a while to load.
    from keyserver.client.set_change_plan import warnings_of

    found = find_plan(present, new, cluster_name, chain_id, set_contract)
    warnings = warnings_of(found, threshold)
    facts = plan_facts(found)
    if as_json:
        print_json(facts | {"warnings": _told(warnings)})
        return
    print_facts(facts, as_json=False)
    _warn(warnings)


@set_change.command()
def sign(
    present: FromOption,
    new: ToOption,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    form: Annotated[
        Form,
        typer.Option(
            help="legacy: the original's two signatures, good for ever; bound: one that counts once"
        ),
    ] = Form.LEGACY,
    epoch: Annotated[
        int | None,
        typer.Option(help="For a bound order: the number of changes completed before, and one."),
    ] = None,
    valid_minutes: Annotated[
        int,
        typer.Option(help="For a bound order: how long it counts.", min=1, max=LONGEST_MINUTES),
    ] = 60,
    node: NodeOption = "http://127.0.0.1:8082",
    threshold: ThresholdOption = None,
    cluster_name: ClusterNameOption = "",
    chain_id: ChainIdOption = 0,
    set_contract: SetContractOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a change with the administrator's key and print the request for curl. Asks no node."""
    from keyserver.client.node_http import node_url
    from keyserver.client.set_change_plan import warnings_of

    if (form is Form.LEGACY) != (epoch is None):
        rule = "is for bound orders" if form is Form.LEGACY else "is needed for a bound order"
        raise CommandError(f"--epoch: {rule}", exit_code=USAGE)
    url = node_url(node)
    found = find_plan(present, new, cluster_name, chain_id, set_contract)
    wallet = find_account(None, None, None, key_file, password_file).wallet
    signing = _Signing(wallet, found, url)
    facts: Facts = {
        "administrator": hex_text(wallet.public_key),
        "address": hex_text(wallet.address),
    }
    if form is not Form.BOUND:
        facts["legacy"] = signing.legacy()
    if epoch is not None:
        facts["bound"] = signing.bound(epoch, int(time.time()) + 60 * valid_minutes)
    warnings = warnings_of(found, threshold)
    if as_json:
        print_json(facts | {"warnings": _told(warnings)})
        return
    _print_signed(facts)
    _warn(warnings)


@dataclass(frozen=True, slots=True)
class _Signing:
    wallet: "Wallet"
    plan: "SetChangePlan"
    url: str

    def legacy(self) -> Facts:
        """The pair, and the original's request with it."""
        from keyserver.client.set_change import legacy_request
        from keyserver.client.set_change_plan import sign_legacy_order

        order = sign_legacy_order(self.wallet, self.plan)
        signatures: Facts = {
            "old_set_signature": order.old_signature.hex(),
            "new_set_signature": order.new_signature.hex(),
        }
        return signatures | _request_facts(self.url, legacy_request(order))

    def bound(self, epoch: int, not_after: int) -> Facts:
        """The order, and the request of `/v1` with it."""
        from keyserver.client.set_change import bound_request
        from keyserver.client.set_change_plan import bound_digest_of, sign_bound_order

        order = sign_bound_order(self.wallet, self.plan, epoch=epoch, not_after=not_after)
        digest = bound_digest_of(self.plan, epoch=epoch, not_after=not_after)
        signed: Facts = {
            "epoch": epoch,
            "not_after": not_after,
            "digest": hex_text(digest),
            "signature": hex_text(order.signature),
        }
        return signed | _request_facts(self.url, bound_request(order))


def _request_facts(url: str, request: "HttpRequest") -> Facts:
    headers = [word for name, text in request.headers.items() for word in ("-H", f"{name}: {text}")]
    body = request.body.decode()
    words = ["curl", "--data-binary", body, *headers, "-X", request.method, url + request.path]
    return {
        "request": {
            "method": request.method,
            "path": request.path,
            "headers": dict(request.headers),
            "body": body,
        },
        "curl": shlex.join(words),
    }


def _print_signed(facts: Facts) -> None:
    """What was signed as names and values; the requests as lines for a shell."""
    lines: list[object] = []
    plain = {name: value for name, value in facts.items() if not isinstance(value, dict)}
    for form, signed in facts.items():
        if isinstance(signed, dict):
            told = {
                name: value for name, value in signed.items() if name not in ("request", "curl")
            }
            plain |= {f"{form}_{name}": value for name, value in told.items()}
            lines.append(signed["curl"])
    print_facts(plain, as_json=False)
    for line in lines:
        print(f"\n{line}")
    if "legacy" in facts:
        _say("the two signatures count for ever: whoever has them can order this change again")


def _told(warnings: "tuple[PlanWarning, ...]") -> list[dict[str, str]]:
    return [{"code": warning.code, "text": warning.text} for warning in warnings]


def _warn(warnings: "tuple[PlanWarning, ...]") -> None:
    for warning in warnings:
        _say(warning.text)


def _say(text: str) -> None:
    print(f"keyserver: warning: {text}", file=sys.stderr)
