"""`keyserver run`: one node in this process."""

import asyncio
import gc
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from keyserver.app.config import load
from keyserver.app.lifecycle import run_node
from keyserver.app.logging import configure
from keyserver.app.memory import forbid_dumps
from keyserver.app.operator_listener import write_json_file
from keyserver.app.replacing import replace_process
from keyserver.cli.output import JsonOption

RECURSION_LIMIT: Final = 1000
"""Python's own. Libraries for other work raise it so far, when they are imported, that JSON nested
deep enough ends the process instead of raising `RecursionError`."""


def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The configuration file; else $BASE/config.toml."),
    ] = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Read no file at all without --config.")
    ] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Write where the node listens to this file, when it is ready."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a node until SIGTERM or SIGINT; SIGUSR1 seals it.

    All options of the original's `[secretstore]` section are taken as well, such as
    `--secretstore-port 8083`. Logs go to standard error; with `--json`, a line of JSON goes to
    standard output whenever the node has become what its `state` says: sealed, standby, ready.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)
    forbid_dumps()
    loaded = load(config, arguments=context.args, use_default_file=not no_config)
    configure(
        targets=loaded.config.misc.logging,
        log_format=loaded.config.keyserver.log_format,
        log_file=loaded.config.misc.log_file,
        color=loaded.config.misc.color,
    )

    def announce(facts: Mapping[str, object]) -> None:
        gc.freeze()  # what is there now stays: the collector need not look at it again and again
        if ready_file is not None:
            write_json_file(ready_file, facts)
        if as_json:
            print(json.dumps(facts), flush=True)

    sealing = asyncio.run(run_node(loaded, announce=announce))
    if sealing is not None:
        replace_process(sealing)
