"""`keyserver evidence`: who was caught at a node, and the proof, which anybody can check."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.operator_client import find_operator
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

Facts = Mapping[str, Any]  # Any: JSON, as the node sends it

HASH_SIZE = 32

SHORT = 18
"""Characters of an identifier in tables."""

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Show and check evidence against nodes that cheated."""


@app.command("list")
def list_evidence(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what other nodes were convicted of at a running node, the newest first."""
    page = find_operator(url, path, config).get("/v1/evidence")
    if as_json:
        print_json(page)
        return
    print_rows([_row(offence) for offence in page["evidence"]], as_json=False, empty="no evidence")


def _row(offence: Facts) -> dict[str, object]:
    return {
        "evidence": offence["evidence"],
        "culprit": offence["culprit"][:SHORT],
        "rule": offence["rule"],
        "key": offence["key_id"][:SHORT],
        "since": time_text(offence["since"]),
    }


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="HASH", help="As `list` shows it.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write the record.")],
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one record of evidence to a file. Exit code 1 for one the node does not have."""
    try:
        digits = bytes.fromhex(name.removeprefix("0x"))
    except ValueError:
        digits = b""
    if len(digits) != HASH_SIZE:
        raise CommandError("HASH: must be 64 hexadecimal digits", exit_code=USAGE)
    answer = find_operator(url, path, config).get(f"/v1/evidence/{digits.hex()}")
    record = bytes.fromhex(answer["record"].removeprefix("0x"))
    out.write_bytes(record)
    print_facts({"file": str(out), "bytes": len(record)}, as_json=as_json)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A record, as `show` writes it.")],
    as_json: JsonOption = False,
) -> None:
    """Check a record: who broke which rule, and where. Needs no node and no network.

    Exit code 1 for a file that convicts nobody.
    """
    # Deferred: the protocols take 200 ms, which the other two commands save.
    from keyserver.sessions.evidence import (
        MAX_EVIDENCE_BYTES,
        RULE_TEXTS,
        InvalidEvidenceError,
        decode_evidence,
        evidence_hash,
        judge,
    )

    with file.open("rb") as opened:
        data = opened.read(MAX_EVIDENCE_BYTES + 1)
    try:
        conviction = judge(decode_evidence(data))
    except InvalidEvidenceError as problem:
        if as_json:
            print_json({"valid": False, "reason": str(problem)})
        raise CommandError(f"{file} convicts nobody: {problem}", exit_code=FAILED) from None
    session = conviction.session
    facts = {
        "valid": True,
        "culprit": f"0x{conviction.culprit.hex()}",
        "address": f"0x{conviction.culprit.address.hex()}",
        "rule": conviction.rule.value,
        "what": RULE_TEXTS[conviction.rule],
        "key_id": f"0x{conviction.key_id.hex()}",
        "session": None if session is None else f"0x{session.hex()}",
        "evidence": f"0x{evidence_hash(data).hex()}",
    }
    print_facts(facts, as_json=as_json)
