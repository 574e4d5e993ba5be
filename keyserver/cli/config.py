"""`keyserver config`: check a configuration without starting, and print the manual's page."""

import json
import textwrap
from pathlib import Path
from typing import Annotated, Final

import typer

from keyserver.app.accounts import check_accounts, load_node_key
from keyserver.app.certificate import check_certificate
from keyserver.app.config import ConfigWarning, Loaded, load
from keyserver.app.config.reference import reference_page
from keyserver.app.config.report import EffectiveValue, effective_values, listeners
from keyserver.app.config.sources import Source
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import JsonOption, print_facts, print_json
from keyserver.errors import ConfigError

_WIDTH: Final = 96

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Check a configuration."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The configuration file.", metavar="FILE")],
    as_json: JsonOption = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show also the values that are defaults.")
    ] = False,
) -> None:
    """Check a configuration, open the node's key, and show the values in force.

    Nothing is started and no secret is shown.
    """
    try:
        loaded = load(file)
        facts, warnings = _facts(loaded)
    except ConfigError as error:
        if as_json:
            problems = str(error).splitlines()
            print_json({"ok": False, "file": str(file), "problems": problems})
        raise
    values = effective_values(loaded)
    if as_json:
        print_json(_as_json(facts, values, warnings))
        return
    print_facts(facts, as_json=False)
    print()
    written = [item for item in values if show_all or item.origin.source is not Source.DEFAULT]
    for item in written:
        print(_explained(item))
    if not written:
        print("all values are defaults")
    print()
    for warning in warnings:
        print(f"{warning.level}: {warning.text}")


def _explained(item: EffectiveValue) -> str:
    """A value as a file would have it, where it comes from, and what it is for."""
    origin = str(item.origin)
    if item.moved_by is not None:
        origin += f", changed by {item.moved_by}"
    first = f"{item.key} = {_written(item.value)}  # {origin}"
    lines = textwrap.wrap(item.meaning, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join([first, *(f"    {line}" for line in lines)])


def _written(value: object) -> str:
    """A value as a file would have it; long lists with an item on each line."""
    match value:
        case None:
            return "(not set)"
        case bool() | int() | float():
            return json.dumps(value)
        case list() if len(json.dumps(value)) > _WIDTH:
            items = "".join(f"    {json.dumps(item)},\n" for item in value)
            return f"[\n{items}]"
    return json.dumps(value, ensure_ascii=False)


@app.command()
def reference() -> None:
    """Print the reference page of all keys as Markdown."""
    print(reference_page(), end="")


def _facts(loaded: Loaded) -> tuple[dict[str, object], tuple[ConfigWarning, ...]]:
    """Who the node is, and all warnings; raises `ConfigError` when its keys do not open.

    The database is not looked at: whether it has the node's key, only `run` can say.
    """
    facts: dict[str, object] = {"ok": True, "file": str(loaded.file)}
    facts["listeners"] = listeners(loaded.config)
    if loaded.config.secretstore.disable:
        facts["key_server"] = "disabled"
        return facts, (*loaded.warnings, *check_accounts(loaded.config))
    check_certificate(loaded.config)
    if loaded.config.secretstore.self_secret is None:
        facts["node_key"] = "not here: the database has it, once `keyserver seal init` was run"
        return facts, (*loaded.warnings, *check_accounts(loaded.config))
    key = load_node_key(loaded.config)
    facts["node_id"] = f"0x{key.node_id.hex()}"
    facts["address"] = f"0x{key.node_id.address.hex()}"
    return facts, (*loaded.warnings, *key.warnings)


def _as_json(
    facts: dict[str, object],
    values: tuple[EffectiveValue, ...],
    warnings: tuple[ConfigWarning, ...],
) -> dict[str, object]:
    return {
        **facts,
        "warnings": [
            {"event": item.event, "level": item.level, "keys": list(item.keys), "text": item.text}
            for item in warnings
        ],
        "values": {
            item.key: {
                "value": item.value,
                "source": str(item.origin.source),
                "detail": item.origin.detail,
                "meaning": item.meaning,
                "moved_by": item.moved_by,
            }
            for item in values
        },
    }
