"""`keyserver migration`: the change of the node set that a contract asks for."""

import typer

from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.operator_client import find_operator
from keyserver.cli.output import JsonOption, print_facts, print_json, print_rows
from keyserver.cli.set_change_lines import change_lines, kept_rows, migration_lines

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Watch the keys move to another set of nodes."""


@app.command()
def status(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a change of the node set is: phase, keys, who is missing, what is refused.

    Where a contract has the node set: what it asks for, as this node sees it. Else: the change that
    an administrator has ordered. Exit code 0 whatever is shown; 3 if no node answers.
    """
    facts = find_operator(url, path, config).get("/v1/set-change")
    if as_json:
        print_json(facts)
        return
    print_facts(migration_lines(facts) or change_lines(facts), as_json=False)
    rows = kept_rows(facts)
    if rows:
        print()
        print_rows(rows, as_json=False)
