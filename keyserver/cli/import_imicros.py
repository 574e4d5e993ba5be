"""`keyserver service-keys import-imicros`: take over the keys of an imicros-keys deployment.

The keys are read from its Redis database or a dump of it, derived with the master key that its
shares make, and given to a running, unsealed node; then the node is asked about every single one.
"""

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import typer

from keyserver.cli.imicros_sources import read_dump, read_redis, read_shares
from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
from keyserver.cli.new_files import new_private_file
from keyserver.cli.operator_admin import (
    AdminKeyOption,
    AdminPasswordOption,
    CaFileOption,
    CertificateOption,
    NodeIdOption,
    Place,
    Signing,
    find_admin_operator,
)
from keyserver.cli.operator_client import OperatorClient
from keyserver.cli.output import (
    FAILED,
    SEALED,
    USAGE,
    WRONG_SHARE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
)

if TYPE_CHECKING:
    from keyserver.sealing.imicros.plan import NamePair, Plan

DOCUMENT_KEYS: Final = 1000
"""Keys that are sent at once."""

SHOWN: Final = 40
"""Characters of a name that is too long."""

RedisOption = Annotated[
    str | None,
    typer.Option("--redis", metavar="URL", help="Its database: redis://HOST:PORT/NUMBER."),
]
RedisPasswordOption = Annotated[
    Path | None,
    typer.Option("--redis-password-file", metavar="FILE", help="Its first line is the password."),
]


def dump_imicros(
    redis: Annotated[
        str, typer.Option("--redis", metavar="URL", help="Its database: redis://HOST:PORT/NUMBER.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the dump.")],
    redis_password_file: RedisPasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy what imicros-keys has in Redis into a file, for import-imicros on another machine.

    The file shows names and times. Whoever has it and three of the shares has every key.
    """
    with new_private_file(out) as file:
        database = read_redis(redis, redis_password_file)
        file.write(database.to_json().encode())
    facts = {
        "file": str(out),
        "sets": len(database.sets),
        "hashes": len(database.hashes),
        "others": len(database.others),
    }
    print_facts(facts, as_json=as_json)


def import_imicros(
    verify_hash: Annotated[
        str,
        typer.Option(metavar="HEX", help="What imicros-keys answered to `init` with the shares."),
    ],
    redis: RedisOption = None,
    redis_password_file: RedisPasswordOption = None,
    dump: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What dump-imicros has written.")
    ] = None,
    share_file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Shares, one a line; else typed, or standard input."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(metavar='["OWNER","SERVICE"]', help="A pair that is in no set, as JSON."),
    ] = None,
    only_listed: Annotated[
        bool, typer.Option("--only-listed", help="There are no pairs beyond those in the sets.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would come over; needs no node.")
    ] = False,
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over all keys of an imicros-keys 0.0.7 deployment, given three to five of its shares.

    May be repeated: what is there already is compared. Exit code 1 if anything could not be brought
    over or must be answered first (--pair, --only-listed); the rest has come over then.
    """
    place = Place(url, path, config, ca_file, certificate)
    signing = Signing(admin_key, password_file, node_id)
    operator = None if dry_run else find_admin_operator(place, signing)
    if operator is not None:
        _check_ready(operator)
    plan = _plan(
        _Sources(redis, redis_password_file, dump, share_file or [], verify_hash, pair or [])
    )
    if not as_json:
        _show(plan)
    counts = None if operator is None else _bring_over(operator, plan)
    if as_json:
        print_json(_facts(plan, counts))
    elif counts is not None:
        print(f"{counts['restored']} came over, {counts['present']} were there already.")
        print(f"All {plan.keys} were compared with what the node has now: they are the same.")
    _tell_what_is_left(plan, only_listed=only_listed, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the options name as sources."""

    redis: str | None
    redis_password_file: Path | None
    dump: Path | None
    share_files: Sequence[Path]
    verify_hash: str
    pairs: Sequence[str]


def _plan(sources: _Sources) -> "Plan":
    """Read everything and make the keys; the shares last, when all else is known to be right."""
    # Deferred, as all of the importer: no other command needs it.
    from keyserver.sealing.imicros.errors import ImicrosShareError, VerifyHashError
    from keyserver.sealing.imicros.plan import make_plan
    from keyserver.sealing.imicros.shares import combine
    from keyserver.sealing.imicros.verify_hash import parse_verify_hash

    named = [_named(text) for text in sources.pairs]
    try:
        expected = parse_verify_hash(sources.verify_hash)
    except VerifyHashError as problem:
        raise CommandError(f"--verify-hash: {problem}", exit_code=USAGE) from None
    if sources.dump is not None and sources.redis is None:
        database = read_dump(sources.dump)
    elif sources.redis is not None and sources.dump is None:
        database = read_redis(sources.redis, sources.redis_password_file)
    else:
        raise CommandError("--redis, --dump: give one of the two", exit_code=USAGE)
    try:
        master = combine(read_shares(sources.share_files), expected)
    except ImicrosShareError as problem:
        raise CommandError(str(problem), exit_code=WRONG_SHARE) from None
    return make_plan(database, master, named)


def _named(text: str) -> "NamePair":
    try:
        pair = json.loads(text)
    except ValueError:
        pair = None
    match pair:
        case [str() as owner, str() as service]:
            return owner, service
    raise CommandError(
        """--pair: must be two texts as JSON, such as '["owner","service"]'""", exit_code=USAGE
    )


def _check_ready(operator: OperatorClient) -> None:
    """Ask before shares are typed in; raises `CommandError` if the node would refuse."""
    operator.get("/v1/admin/owners?limit=1")
    if operator.get("/v1/seal/status")["sealed"]:
        raise CommandError(
            "the node is sealed",
            hint="Unseal it first: `keyserver seal unseal`.",
            exit_code=SEALED,
        )


def _bring_over(operator: OperatorClient, plan: "Plan") -> Mapping[str, int]:
    """Give the node all keys, then give them again: it compares them with what it has then."""
    counts = _send(operator, plan)
    again = _send(operator, plan)
    if again != {"restored": 0, "present": plan.keys}:
        raise CommandError(
            f"the node says that it has {again['present']} of {plan.keys} keys",
            hint="Run the import again; what came over stays.",
            exit_code=FAILED,
        )
    return counts


def _send(operator: OperatorClient, plan: "Plan") -> dict[str, int]:
    from keyserver.sealing.imicros.plan import documents

    counts = {"restored": 0, "present": 0}
    for owner, document in documents(plan, int(time.time() * 1000), DOCUMENT_KEYS):
        path = f"/v1/admin/owners/{quote(owner, safe='')}/restore"
        answer = operator.post(path, json.loads(document))
        for name in counts:
            counts[name] += answer[name]
    return counts


# --- the report -------------------------------------------------------------------------------


def _show(plan: "Plan") -> None:
    from keyserver.sealing.imicros.plan import PREFIX, fingerprint

    rows = [
        {
            "owner": PREFIX + pair.owner,
            "service": pair.service,
            "keys": len(pair.keys),
            "current": pair.keys[-1].version.key_id,
            "sha256": fingerprint(pair.keys[-1].key),
        }
        for pair in plan.pairs
    ]
    print_rows(rows, as_json=False, empty="there are no keys")
    print(f"{plan.keys} keys of {len(plan.pairs)} pairs of owner and service")


def _facts(plan: "Plan", counts: Mapping[str, int] | None) -> Mapping[str, object]:
    from keyserver.sealing.imicros.plan import PREFIX, fingerprint

    return {
        "pairs": [
            {
                "owner": PREFIX + pair.owner,
                "service": pair.service,
                "keys": [
                    {"id": key.version.key_id, "sha256": fingerprint(key.key)} for key in pair.keys
                ],
            }
            for pair in plan.pairs
        ],
        "keys": plan.keys,
        "restored": None if counts is None else counts["restored"],
        "present": None if counts is None else counts["present"],
        "left": [{"where": odd.where, "problem": odd.problem} for odd in plan.findings],
        "unlisted": [list(pair) for question in plan.questions for pair in question.pairs],
    }


def _tell_what_is_left(plan: "Plan", *, only_listed: bool, dry_run: bool) -> None:
    """Raise `CommandError` if anything did not come over, or may not have."""
    lines = [f"left out: {odd.where}: {odd.problem}" for odd in plan.findings]
    questions = [] if only_listed else plan.questions
    for question in questions:
        if not question.pairs:
            lines.append(
                f"{question.name[:SHOWN]}…: the name of this hash is too long ({len(question.name)}"
                " characters): its owner or service cannot be stored here"
            )
            continue
        options = (f"--pair {shlex.quote(json.dumps(pair))}" for pair in question.pairs)
        lines.append(f"{question.name}: this hash may have keys of {' or '.join(options)}")
    if not lines:
        return
    hint = "Name the pairs that were in use, or say --only-listed." if questions else ""
    first = "not everything would come over" if dry_run else "not everything has come over"
    raise CommandError("\n".join([first, *lines]), hint=hint, exit_code=FAILED)
