"""`keyserver backup`: copy a node's database, try the copy, and go back to it."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import (
    FAILED,
    USAGE,
    WRONG_SHARE,
    CommandError,
    JsonOption,
    print_facts,
    time_text,
)
from keyserver.cli.seal_shares import age_identities, read_share

if TYPE_CHECKING:
    from keyserver.app.backup_check import Trial, Verdict
    from keyserver.app.config import Loaded
    from keyserver.storage.backup_file import Manifest

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The node's configuration file.")
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")]
IdentityOption = Annotated[
    list[Path],
    typer.Option("--age-identity", metavar="FILE", help="Opens what age has encrypted."),
]

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Copy a node's database; the copy is useless without its shares or key."""


@app.command()
def create(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to make.")],
    config: ConfigOption = None,
    recipient: Annotated[
        list[str], typer.Option(metavar="AGE1…", help="Encrypt it to this age recipient, too.")
    ] = [],  # noqa: B006 - typer's way to say that there may be none
    as_json: JsonOption = False,
) -> None:
    """Make a backup, while the node runs or not, sealed or not.

    The configuration, key files and the audit log are not in it: keep them elsewhere.
    """
    # Deferred: the database library takes 300 ms, which the help saves.
    from keyserver.app.backup import create as make
    from keyserver.app.clock import SystemClock
    from keyserver.app.config import load

    loaded = load(config)
    with _progress("copying", as_json=as_json) as on_table:
        manifest = asyncio.run(make(loaded, out, recipient, clock=SystemClock(), on_table=on_table))
    print_facts(
        {"file": str(out), "bytes": out.stat().st_size, **_facts(manifest)}, as_json=as_json
    )


@app.command()
def verify(
    file: FileArgument,
    config: ConfigOption = None,
    shares: Annotated[
        bool, typer.Option("--shares", help="Ask for shares, and open every box with them.")
    ] = False,
    share_file: Annotated[
        list[Path], typer.Option("--share-file", metavar="FILE", help="A share, instead of asking.")
    ] = [],  # noqa: B006 - as above
    age_identity: IdentityOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Check that a backup is whole, by restoring it into a database that is thrown away.

    With shares, or with --config the key that the configuration names, every box in it is opened.
    Exit code 1 for a backup that is damaged, 4 for a wrong share; 2 where it could not be told: the
    file cannot be read, or keys or the configuration are not for this backup.
    """
    from keyserver.app.memory import forbid_dumps  # deferred, as above

    forbid_dumps()  # shares pass through here
    given = _shares(shares, share_file, age_identity)
    with _unopened_is_wrong_use():
        verdict = asyncio.run(_verify(file, config, age_identity, given, as_json=as_json))
    facts = {
        "file": str(file),
        **_facts(verdict.manifest),
        "boxes": verdict.boxes,
        "opened": verdict.opened,
        "damaged": list(verdict.damaged),
    }
    print_facts(facts, as_json=as_json)
    if verdict.damaged:
        raise CommandError(f"{file}: is damaged: {verdict.damaged[0]}", exit_code=FAILED)


async def _verify(
    file: Path,
    config: Path | None,
    identities: Sequence[Path],
    shares: "Callable[[int], Iterator[str]] | None",
    *,
    as_json: bool,
) -> "Verdict":
    # Deferred, as above.
    from keyserver.app.backup_check import trial
    from keyserver.app.clock import SystemClock
    from keyserver.crypto.randomness import SystemRandom

    async with AsyncExitStack() as stack:
        with _progress("trying", as_json=as_json) as on_table:
            tried = trial(
                file,
                _identities(identities),
                random=SystemRandom(),
                clock=SystemClock(),
                on_table=on_table,
            )
            opened = await stack.enter_async_context(tried)
        await _open(opened, config, shares)  # asks for shares: nothing may draw over that
        with _progress("opening boxes", as_json=as_json):
            return await opened.check()


async def _open(
    tried: "Trial", config: Path | None, shares: "Callable[[int], Iterator[str]] | None"
) -> None:
    # Deferred, as above.
    from keyserver.app.config import load
    from keyserver.app.interrupting import interrupted_at_once
    from keyserver.app.store import key_source
    from keyserver.sealing.errors import (
        NoMatchingSlotError,
        ShareMalformedError,
        ShareUnknownError,
        ShareWrongSetError,
        WrongKeyError,
    )

    loaded = None if config is None else load(config)
    if loaded is not None:
        _require_node(tried, loaded)
    try:
        if shares is not None:
            with interrupted_at_once():
                await tried.open_with_shares(shares(tried.required))
        elif loaded is not None:
            await tried.open_with(key_source(loaded))
    except (ShareMalformedError, ShareUnknownError, ShareWrongSetError) as problem:
        raise CommandError(str(problem), exit_code=WRONG_SHARE) from None
    except (NoMatchingSlotError, WrongKeyError) as problem:
        raise CommandError(str(problem), exit_code=USAGE) from None


def _require_node(tried: "Trial", loaded: "Loaded") -> None:
    expected = loaded.config.keyserver.seal.expect_node_id
    if expected is not None and expected != tried.node_id:
        raise CommandError(
            f"the backup is of node 0x{tried.node_id.hex()}, but expect_node_id in {loaded.file} "
            f"is 0x{expected.hex()}",
            hint="Take that node's backup, or the configuration of the node that this one is of.",
            exit_code=USAGE,
        )


@contextmanager
def _unopened_is_wrong_use() -> Iterator[None]:
    # Deferred, as above.
    from keyserver.storage.backup_file import BackupUnopenedError

    try:
        yield
    except BackupUnopenedError as problem:
        raise CommandError(str(problem), exit_code=USAGE) from None


@app.command()
def restore(
    file: FileArgument,
    config: ConfigOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of what the database has, of the same seal.")
    ] = False,
    age_identity: IdentityOption = [],  # noqa: B006 - as above
    as_json: JsonOption = False,
) -> None:
    """Put a backup into the database of a node that is stopped: an empty one, or --replace.

    The node is sealed afterwards, and opens with the shares that were in force when the backup was
    made. It compares its keys with the other nodes before it uses them.
    """
    # Deferred, as above.
    from keyserver.app.backup import restore as put_back
    from keyserver.app.clock import SystemClock
    from keyserver.app.config import load
    from keyserver.crypto.randomness import SystemRandom

    loaded = load(config)
    with _unopened_is_wrong_use(), _progress("restoring", as_json=as_json) as on_table:
        restored = asyncio.run(
            put_back(
                loaded,
                file,
                _identities(age_identity),
                replace=replace,
                random=SystemRandom(),
                clock=SystemClock(),
                on_table=on_table,
            )
        )
    facts = {
        **_facts(restored.manifest),
        "replaced": restored.replaced is not None,
        "warnings": list(restored.warnings),
    }
    print_facts(
        {name: facts[name] for name in facts if as_json or name != "warnings"}, as_json=as_json
    )
    if not as_json:
        print(_next_step(restored.manifest))
        for warning in restored.warnings:
            print(f"warning: {warning}")


def _next_step(manifest: "Manifest") -> str:
    if "shamir" in manifest.opens_with:
        return f"Start the node; it opens with the shares of set {manifest.epoch}."
    return "Start the node; it opens with the key or passphrase it had when the backup was made."


# --- what they share --------------------------------------------------------------------------


def _facts(manifest: "Manifest") -> Mapping[str, object]:
    return {
        "made": time_text(manifest.created_at // 1000),
        "seal_id": manifest.seal_id,
        "node": f"0x{manifest.node_id}",
        "epoch": manifest.epoch,
        "keyring_version": manifest.keyring_version,
        "terms": list(manifest.terms),
        "opens_with": list(manifest.opens_with),
        "tables": manifest.schema,
        "rows": manifest.rows,
        "audit": [f"{head.file} {head.seq} {head.hash}" for head in manifest.audit],
    }


def _identities(files: Sequence[Path]) -> list[Any]:
    return [key for file in files for key in age_identities(file)]


def _shares(
    ask: bool, files: Sequence[Path], identities: Sequence[Path]
) -> "Callable[[int], Iterator[str]] | None":
    """Reads the shares when they are needed; `None` where none were offered."""
    if ask and files:
        raise CommandError("--shares and --share-file: give one of them", exit_code=USAGE)
    if not ask and not files:
        return None

    def read(required: int) -> Iterator[str]:
        if files:
            yield from (read_share(file, identities, "") for file in files)
            return
        for number in range(1, required + 1):
            yield read_share(None, identities, f"Share {number} of {required}")

    return read


@contextmanager
def _progress(doing: str, *, as_json: bool) -> Iterator[Callable[[str], None]]:
    """Shows at a terminal which table is next."""
    if as_json or not sys.stderr.isatty():
        yield lambda table: None
        return
    # Deferred: rich takes 40 ms, which only this needs.
    from rich.console import Console

    with Console(stderr=True).status(f"{doing} …") as status:
        yield lambda table: status.update(f"{doing} {table} …")
