"""`keyserver config`: check a configuration without starting, and print the manual's page."""

from pathlib import Path
from typing import Annotated

import typer

from keyserver.app.accounts import load_node_key
from keyserver.app.config import ConfigWarning, Loaded, load
from keyserver.app.config.reference import reference_page
from keyserver.app.config.report import EffectiveValue, effective_values
from keyserver.app.config.sources import Source
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import JsonOption, print_facts, print_json, print_rows
from keyserver.errors import ConfigError

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
    written = [item for item in values if show_all or item.origin.source is not Source.DEFAULT]
    rows = [{"key": item.key, "value": item.value, "from": str(item.origin)} for item in written]
    print_rows(rows, as_json=False, empty="all values are defaults")
    for warning in warnings:
        print(f"{warning.level}: {warning.text}")


@app.command()
def reference() -> None:
    """Print the reference page of all keys as Markdown."""
    print(reference_page(), end="")


def _facts(loaded: Loaded) -> tuple[dict[str, object], tuple[ConfigWarning, ...]]:
    """Who the node is, and all warnings; raises `ConfigError` when its key does not open."""
    facts: dict[str, object] = {"ok": True, "file": str(loaded.file)}
    if loaded.config.secretstore.disable:
        facts["key_server"] = "disabled"
        return facts, loaded.warnings
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
            }
            for item in values
        },
    }
