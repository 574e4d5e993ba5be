"""`keyserver audit`: check what a node has written down about its seal and its service keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import (
    FAILED,
    USAGE,
    CommandError,
    JsonOption,
    print_json,
    print_rows,
    time_text,
)

if TYPE_CHECKING:
    from keyserver.model.identifiers import NodeId
    from keyserver.sealing.audit_verification import Verdict

NODE_ID_SIZE = 64
HASH_SIZE = 32

_WHOSE: Final = (
    "If the log is that node's, --node-id is wrong: compare with `keyserver seal status` on the "
    "node's own machine. Otherwise the log is not the one you mean, or was made up."
)

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Check audit logs."""


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Logs, each by itself.")],
    node_id: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Public key of the node; checkpoints must be signed so."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="An entry that must be there, known from elsewhere."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that no line was altered, removed, moved or made up. Needs no node and no network.

    Names the first bad line of each file; exit code 1 then. Lines cut off at the end show only by
    --head, with the hash of a later entry: a backup's manifest has one.
    """
    # Deferred: the curve library takes 50 ms, which the help saves.
    from keyserver.model.identifiers import NodeId
    from keyserver.sealing.audit_verification import OTHER_SIGNER
    from keyserver.sealing.audit_verification import verify as verify_lines

    signer = None if node_id is None else NodeId(_digits("--node-id", node_id, NODE_ID_SIZE))
    expected = None if head is None else _digits("--head", head, HASH_SIZE)
    verdicts: list[tuple[Path, Verdict]] = []
    for file in files:
        with file.open("rb") as lines:
            verdicts.append((file, verify_lines(lines, node_id=signer, expected_head=expected)))
    _show(verdicts, as_json=as_json)
    wrong = [f"{file}: {_problem(verdict)}" for file, verdict in verdicts if not verdict.is_good]
    if wrong:
        of_others = any((each.reason or "").startswith(OTHER_SIGNER) for _, each in verdicts)
        hint = _WHOSE if signer is not None and of_others else ""
        raise CommandError("\n".join(wrong), hint=hint, exit_code=FAILED)


def _show(verdicts: "list[tuple[Path, Verdict]]", *, as_json: bool) -> None:
    if as_json:
        print_json([_facts(file, verdict) for file, verdict in verdicts])
        return
    print_rows([_row(file, verdict) for file, verdict in verdicts], as_json=False)
    for file, verdict in verdicts:
        if verdict.is_good and verdict.unsigned:
            first = verdict.head.seq - verdict.unsigned + 1
            print(f"{file}: entries from {first} on are not under the node's signature yet.")


def _facts(file: Path, verdict: "Verdict") -> dict[str, object]:
    return {
        "file": str(file),
        "valid": verdict.is_good,
        "entries": verdict.head.seq,
        "last": None if verdict.last_ts is None else time_text(verdict.last_ts // 1000),
        "head": verdict.head.digest.hex(),
        "checkpoints": verdict.checkpoints,
        "node_id": _node(verdict.node_id),
        "unsigned": verdict.unsigned,
        "bad_line": verdict.bad_line,
        "reason": verdict.reason,
    }


def _row(file: Path, verdict: "Verdict") -> dict[str, object]:
    facts = _facts(file, verdict)
    shown = ("file", "valid", "entries", "last", "checkpoints", "unsigned", "bad_line")
    return {name: facts[name] for name in shown}


def _node(node_id: "NodeId | None") -> str | None:
    return None if node_id is None else f"0x{node_id.hex()}"


def _problem(verdict: "Verdict") -> str:
    if verdict.bad_line is None:
        return str(verdict.reason)
    return f"line {verdict.bad_line}: {verdict.reason}"


def _digits(name: str, text: str, size: int) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise CommandError(f"{name}: must be {2 * size} hexadecimal digits", exit_code=USAGE)
    return raw
