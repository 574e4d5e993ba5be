"""The tree of commands; `main` is the console script `keyserver`.

`keyserver --help` must be quick, so no module of a command is imported until that command runs.
`COMMANDS` names, for each command, one line of help and where it is defined: `module:object`. The
object is a function, whose parameters typer reads as the options, or a `typer.Typer` for a group:

    # keyserver/cli/status.py
    def status(config: ConfigOption, as_json: JsonOption = False) -> None:
        '''Show what a running node does.'''
        from keyserver.chain.rpc_client import ...   # heavy: imported inside, with this reason

    # here
    "status": Lazy("keyserver.cli.inspect:status", "Show what a running node does."),

A function returns None, prints facts by `keyserver.cli.output` and raises `KeyServerError`
(`CommandError` for an exit code of its own); it never prints a trace or exits by itself.
"""

import gc
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from keyserver.cli.output import USAGE, CommandError, report_error


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command is defined, and its line in the overview."""

    target: str
    """`module:object`."""
    help: str
    hidden: bool = False
    takes_rest: bool = False
    """Unknown options are handed to the function (its `typer.Context.args`)."""


COMMANDS: Mapping[str, Lazy] = {
    "init": Lazy("keyserver.cli.init:init", "Make a new node: its key file and configuration."),
    "run": Lazy("keyserver.cli.run:run", "Run a node.", takes_rest=True),
    "status": Lazy("keyserver.cli.inspect:status", "Show what a running node does."),
    "config": Lazy("keyserver.cli.config:app", "Check a configuration."),
    "keys": Lazy("keyserver.cli.inspect:keys", "List the server keys a node has records of."),
    "requests": Lazy("keyserver.cli.inspect:requests", "Show pending tasks and sent answers."),
    "drain": Lazy("keyserver.cli.inspect:drain", "Collect the fees a service contract holds."),
    "evidence": Lazy("keyserver.cli.evidence:app", "Show and check evidence of cheating."),
    "seal": Lazy("keyserver.cli.seal:app", "Open and close a node; make what opens it."),
    "unseal-daemon": Lazy(
        "keyserver.cli.unseal_daemon:unseal_daemon", "Give one share to nodes whenever they start."
    ),
    "service-keys": Lazy(
        "keyserver.cli.service_keys:app", "Hand out rotating keys to services; who may ask."
    ),
    "account": Lazy("keyserver.cli.account:app", "Make accounts."),
    "admin": Lazy("keyserver.cli.admin:app", "Change the set of nodes."),
    "audit": Lazy("keyserver.cli.audit:app", "Check audit logs."),
    "backup": Lazy("keyserver.cli.backup:app", "Copy a node's database, and go back to it."),
    "migration": Lazy("keyserver.cli.migration:app", "Show how far a change of the set is."),
    "client": Lazy("keyserver.cli.client:app", "Share documents and sign through the key servers."),
    "devnet": Lazy("keyserver.cli.devnet:app", "Run a whole network on this machine."),
    "demo": Lazy("keyserver.cli.devnet:demo", "Show the whole story on a network of its own."),
    "simulate": Lazy(
        "keyserver.cli.simulate:simulate", "Simulate networks under faults and liars."
    ),
}
"""All commands, in the order of the overview."""


class LazyCommand(TyperCommand):
    """Stands for a command in the overview and turns into it when it is run."""

    def __init__(self, name: str, lazy: Lazy) -> None:
        super().__init__(name, help=lazy.help, hidden=lazy.hidden, rich_markup_mode=None)
        self._lazy = lazy

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Hand over to the command itself; what is returned belongs to that."""
        # Any: the classes behind contexts are private to typer.
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """Import the module and return the command or group."""
        module, _, attribute = self._lazy.target.partition(":")
        found = getattr(_import(module), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(**APP_SETTINGS)
        rest = {"allow_extra_args": True, "ignore_unknown_options": True}
        settings = rest if self._lazy.takes_rest else None
        single.command(self.name, help=self._lazy.help, context_settings=settings)(found)
        return typer.main.get_command(single)


def _import(module: str) -> ModuleType:
    """Import a module, without a look for garbage then or ever: what modules define stays.

    Else the looking is a fifth of a short command's work.
    """
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


APP_SETTINGS: Mapping[str, Any] = {
    "add_completion": False,
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}
"""How every `typer.Typer` of this package is made: quick, and without traces."""


def _print_version(wanted: bool) -> None:
    if wanted:
        # Deferred: only this needs it.
        from importlib.metadata import version

        print(f"keyserver {version('keyserver')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Key servers that hold secp256k1 keys together."""


def build() -> TyperGroup:
    """Return the whole tree, without importing any command."""
    app = typer.Typer(**APP_SETTINGS)
    app.callback()(_root)
    group = typer.main.get_group(app)
    for name, lazy in COMMANDS.items():
        group.add_command(LazyCommand(name, lazy))
    return group


def _require_text(arguments: Sequence[str]) -> None:
    """Raise `CommandError` for bytes that are no text: no name, file or URL here takes any."""
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            name = argument.partition("=")[0] if argument.startswith("--") else ""
            # Not shown: it may be a secret.
            where = name if name.isascii() and name else f"argument {number}"
            raise CommandError(f"{where}: must be UTF-8", exit_code=USAGE) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` are those of the process by default."""
    group = build()
    try:
        args = list(sys.argv[1:] if arguments is None else arguments)
        _require_text(args)
        group.main(args, prog_name="keyserver")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except (Exception, KeyboardInterrupt) as error:
        # The edge of the program: told in words, never carried on with.
        return report_error(error)
    return 0
