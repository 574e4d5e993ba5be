"""Having a node carry out a signed change of the node set, and watching it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_nodes import CaFileOption
from keyserver.cli.client_running import shown_progress
from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
from keyserver.cli.operator_client import OperatorClient, find_operator
from keyserver.cli.output import (
    UNREACHABLE,
    USAGE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
)
from keyserver.cli.set_change_lines import (
    ENDED,
    Facts,
    change_lines,
    kept_rows,
    progress_line,
    short_ids,
)

if TYPE_CHECKING:
    from keyserver.model.set_change import AdministratorOrder

PATH = "/v1/set-change"
POLL_S = 1.0
MOST_KEPT = 10
"""Keys that a failed change is told with; `status` has more."""

AGAIN = "The same order can be sent again: it goes on where it stopped."


class SignedForm(StrEnum):
    """Which of two signed orders is meant."""

    LEGACY = "legacy"
    BOUND = "bound"


def run(
    order: Annotated[
        Path, typer.Argument(metavar="ORDER", help="What `sign --json` printed, in a file.")
    ],
    node: Annotated[
        str, typer.Option(metavar="URL", help="The node that carries it out, where clients ask it.")
    ] = "http://127.0.0.1:8082",
    form: Annotated[
        SignedForm | None, typer.Option(help="Which order, if the file has both.")
    ] = None,
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a node carry out a signed change; returns when every key is on the new set.

    With --config, --path or --url of the same node's operator listener, shows how far it is. Exit
    code 0: done; 1: refused or failed, with the node's reason; 3: no answer from the node.
    """
    from keyserver.client.node_http import node_url

    place = node_url(node)
    found = _read_order(order, form)
    operator = find_operator(url, path, config) if url or path or config else None
    # Asked before anything is sent: an address that is wrong is told at once.
    watch = None if operator is None else _Watch(operator, operator.get(PATH)["coordinated"])
    _warn_if_exposed(place, found)
    asyncio.run(_carry_out(place, found, watch, ca_file))
    facts = None if operator is None else operator.get(PATH)
    if as_json:
        print_json({"outcome": "done", "node": place, "set_change": facts})
        return
    print("done: every key that can be moved is on the new set")
    if facts is not None:
        _print_standing(facts)


def status(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the change of the node set that goes on, or the last one, and the next epoch.

    The node that was asked to carry it out counts the keys; the others know that it goes on. Exit
    code 0 whatever is shown; 3 if no node answers.
    """
    facts = find_operator(url, path, config).get(PATH)
    if as_json:
        print_json(facts)
        return
    _print_standing(facts)


def _print_standing(facts: Facts) -> None:
    print_facts(change_lines(facts), as_json=False)
    rows = kept_rows(facts)
    if rows:
        print()
        print_rows(rows, as_json=False)


# --- what is sent -----------------------------------------------------------------------------


def _read_order(file: Path, form: SignedForm | None) -> "AdministratorOrder":
    """The order in a file; raises `CommandError` and `ConfigError`."""
    from keyserver.client.set_change import order_of_request

    try:
        signed = json.loads(file.read_text(encoding="utf-8"))
        forms = [each for each in SignedForm if each in signed]
        if form is None and len(forms) > 1:
            raise CommandError(f"--form: {file} has both; which one?", exit_code=USAGE)
        request = signed[form or forms[0]]["request"]
        return order_of_request(request["path"], request["body"])
    except (ValueError, KeyError, IndexError, TypeError):
        text = f"{file}: has no {form or 'order'} as `admin set-change sign --json` prints it"
        raise CommandError(text, exit_code=USAGE) from None


def _warn_if_exposed(node: str, order: "AdministratorOrder") -> None:
    from keyserver.client.node_http import is_exposed
    from keyserver.model.set_change import LegacyOrder

    if is_exposed(node) and isinstance(order, LegacyOrder):
        text = f"{node} is not encrypted: who listens can repeat this order"
        print(f"keyserver: warning: {text}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class _Watch:
    """Where to ask how far the change is."""

    operator: OperatorClient
    before: Facts | None
    """What the node said of the change before this one."""

    async def told(self) -> Facts | None:
        """What it says of this one, once it has begun; raises `CommandError`."""
        told: Facts | None = (await asyncio.to_thread(self.operator.get, PATH))["coordinated"]
        return None if told == self.before else told


async def _carry_out(
    node: str, order: "AdministratorOrder", watch: _Watch | None, ca_file: Path | None
) -> None:
    """Raises `CommandError` and `ClientError`; before that, says what the node knows of it."""
    from keyserver.client.errors import ClientError, NodeUnreachableError
    from keyserver.client.node_http import http_transport
    from keyserver.client.set_change import order_set_change

    try:
        async with http_transport(ca_file, answer_s=None) as transport, _watched(watch):
            await order_set_change(transport, node, order)
    except NodeUnreachableError as error:
        hint = "Is it running, and is the address right?"
        if error.may_have_worked:
            hint = f"The change may go on without you: `admin set-change status`. {AGAIN}"
        raise CommandError(str(error), hint=hint, exit_code=UNREACHABLE) from error
    except ClientError:
        if watch is not None:
            await _tell_what_stopped_it(watch)
        raise
    except asyncio.CancelledError:
        print("keyserver: the change goes on at the node, if it began", file=sys.stderr)
        raise


# --- progress ---------------------------------------------------------------------------------


@asynccontextmanager
async def _watched(watch: _Watch | None) -> AsyncIterator[None]:
    """Tell how far the node is, meanwhile."""
    if watch is None:
        yield
        return
    with shown_progress() as show:
        watching = asyncio.ensure_future(_show_progress(watch, show))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def _show_progress(watch: _Watch, show: Callable[[object], None]) -> None:
    last = ""
    while True:
        try:
            told = await watch.told()
        except CommandError as error:
            show(f"how far it is cannot be told: {error}")
            return
        if told is not None and told["phase"] not in ENDED and progress_line(told) != last:
            last = progress_line(told)
            show(last)
        await asyncio.sleep(POLL_S)


async def _tell_what_stopped_it(watch: _Watch) -> None:
    """What went wrong, who was missing and which keys did not move, where the node has begun."""
    try:
        told = await watch.told()
    except CommandError as error:
        print(f"keyserver: {error}", file=sys.stderr)
        return
    if told is None or told["phase"] != "failed":
        return
    print(f"keyserver: the change failed: {told['why']}", file=sys.stderr)
    if told["missing"]:
        print(f"keyserver: not taking part: {short_ids(told['missing'])}", file=sys.stderr)
    for each in told["kept"][:MOST_KEPT]:
        print(f"keyserver: key {each['key_id']}: {each['why']}", file=sys.stderr)
