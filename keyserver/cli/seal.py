"""`keyserver seal`: open and close a node, and exchange what opens it.

All commands find the node by `--url`, by `--path` (its data directory) or by `--config`, in this
order; without any, by the configuration file at its usual place.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keyserver.cli import seal_rekey
from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
from keyserver.cli.main import APP_SETTINGS
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
from keyserver.cli.output import USAGE, CommandError, JsonOption, print_facts, print_json
from keyserver.cli.seal_init import init
from keyserver.cli.seal_orders import clear, replicas, retire, rewrap, rotate, seal
from keyserver.cli.seal_replicas import AllOption, ask_each, replicas_of
from keyserver.cli.seal_shares import (
    IdentityOption,
    ShareFileOption,
    ShareFilesOption,
    read_good,
    somebody_types,
    the_only,
)

if TYPE_CHECKING:
    from keyserver.sealing.record import SealRecord

Facts = Mapping[str, Any]  # Any: JSON, as the node sends it

YOURS: Final = "Your share"

UrlsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="An operator listener: http(s)://HOST:PORT or unix:PATH; repeatable.",
    ),
]

app = typer.Typer(**APP_SETTINGS)
app.command()(init)
app.add_typer(seal_rekey.app, name="rekey")
for _command in (seal, clear, replicas, rotate, rewrap, retire):
    app.command()(_command)


@app.callback()
def _group() -> None:
    """Open and close a node, and exchange what opens it."""
    from keyserver.app.memory import forbid_dumps  # deferred, as in all commands

    forbid_dumps()  # shares pass through here


# --- what everybody may ask -------------------------------------------------------------------


@app.command()
def status(
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
    """Show whether a node is sealed, and how many shares it still needs. Exit code 0 in any case.

    An administrator (--admin-key) also sees the term of an open node and how far a rewrap is.
    """
    place = Place(url, path, config, ca_file, certificate)
    signing = Signing(admin_key, password_file, node_id)
    facts = find_admin_operator(place, signing).get("/v1/seal/status")
    if as_json:
        print_json(facts)
        return
    print_facts(_status_lines(facts), as_json=False)
    print(f"\n{_next_step(facts)}")


def _status_lines(facts: Facts) -> dict[str, object]:
    lines: dict[str, object] = {
        "state": facts["state"],
        "node": facts["node_id"],
        "seal": facts["seal_id"],
        "epoch": facts["epoch"] if facts["required"] else "none",
    }
    if facts["required"]:
        lines["opens with"] = f"{facts['required']} of {facts['shares']} shares"
    if facts["sealed"] and facts["required"]:
        lines["shares here"] = facts["progress"]
    if facts["reason"]:
        lines["sealed because"] = facts["reason"].replace("_", " ")
    for name in ("problem", "term", "rewrap", "replica", "version", "memory"):
        if facts.get(name) is not None:
            lines[name] = facts[name]
    return lines


def _next_step(facts: Facts) -> str:
    if not facts["initialised"]:
        return "Next: stop the node and make its shares with `keyserver seal init`."
    if not facts["sealed"]:
        return "The node is open."
    if facts["reason"] == "rollback_detected":
        return "Next: find out why the database went back; then restart the node and unseal it."
    if not facts["required"]:
        return "Next: restart the node: it opens by itself, with the key of its configuration."
    opens_itself = " Or restart the node: its key file opens it, too." * facts["opens_itself"]
    return f"Next: {progress_text(facts)} `keyserver seal unseal` takes them.{opens_itself}"


def progress_text(answer: Facts) -> str:
    """How many shares are there, and how many are missing."""
    missing = answer["required"] - answer["progress"]
    words = {1: "one more is needed."}.get(missing, f"{missing} more are needed.")
    return f"{answer['progress']} of {answer['required']} shares; {words}"


@app.command()
def record(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the seal record, which is public: `verify-share --record` reads it on any machine."""
    del as_json  # it is JSON in any case
    print_json(Place(url, path, config, ca_file, certificate).operator().get("/v1/seal/record"))


@app.command()
def unseal(
    config: ConfigOption = None,
    path: PathOption = None,
    urls: UrlsOption = None,
    to_all: AllOption = False,
    files: ShareFilesOption = None,
    identities: IdentityOption = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take your share back instead.")
    ] = False,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give your share to a node that is sealed; with the last one needed it opens.

    The share is asked for without echo, again where it is mistyped, or read from standard input or
    a file, and checked here before it is sent. Several files are sent in their order, until the
    node is open. Exit code 4 for a share that is none of this node's.
    """
    wanted: list[str | None] = [*urls] if urls else [None]
    places = [Place(one, path, config, ca_file, certificate) for one in wanted]
    signing = Signing(admin_key, password_file, node_id)
    operators = [place.operator() for place in places]
    if to_all:
        operators = replicas_of(places[0], signing, only_sealed=not withdraw)
        if not operators:
            print_facts({"sealed_replicas": 0}, as_json=as_json)
            return
    for operator in operators:
        operator.require_private()  # before anybody types anything
    found = _record_of(operators[0])
    sources: list[Path | None] = [*files] if files else [None]
    what = YOURS
    if not files and somebody_types():
        what = f"{_progress_of(operators[0])}{YOURS}"
    texts = [read_good(file, identities or (), what, found)[0] for file in sources]

    def give(operator: OperatorClient) -> Facts:
        for text in texts:
            body: dict[str, object] = {"share": text, **({"withdraw": True} if withdraw else {})}
            answer: Facts = operator.post("/v1/seal/unseal", body)
            if not answer["sealed"]:
                break
        return answer

    ask_each(operators, give, as_json, _told)


def _progress_of(operator: OperatorClient) -> str:
    facts = operator.get("/v1/seal/status")
    return f"{progress_text(facts)} " if facts["sealed"] else ""


def _told(answer: Facts) -> str:
    if answer["reason"] == "already_unsealed":
        return "the node is open already"
    if not answer["sealed"]:
        return "the node is open"
    if answer["reason"] == "not_there":
        return f"this share was not there: {progress_text(answer)}"
    if answer["reason"] == "duplicate":
        return f"this share was there already: {progress_text(answer)}"
    return progress_text(answer)


def _record_of(operator: OperatorClient) -> "SealRecord":
    return _read_record(operator.get("/v1/seal/record"), operator.url)


def _record_in(file: Path) -> "SealRecord":
    try:
        return _read_record(json.loads(file.read_text(encoding="utf-8")), str(file))
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", exit_code=USAGE) from None
    except ValueError:
        raise CommandError(f"{file}: is no JSON", exit_code=USAGE) from None


def _read_record(shown: Any, where: str) -> "SealRecord":  # Any: JSON
    # Deferred: sealing takes a while to load.
    from keyserver.sealing.record import SealRecord

    if not isinstance(shown, dict):
        raise CommandError(f"{where}: is no seal record", exit_code=USAGE)
    return SealRecord.from_public(shown)


@app.command("verify-share")
def verify_share(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    record_file: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="What `record` printed; asks no node."),
    ] = None,
    files: ShareFileOption = None,
    identities: IdentityOption = None,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a share on this machine: whether it is one of the set in force. Sends nothing.

    Exit code 4 for one that is not.
    """
    file = the_only(files)
    if record_file is None:
        found = _record_of(Place(url, path, config, ca_file, certificate).operator())
    else:
        found = _record_in(record_file)
    _, share = read_good(file, identities or (), YOURS, found)
    facts = {
        "good": True,
        "share": share.member_index + 1,
        "epoch": found.epoch,
        "opens_with": share.member_threshold,
        "seal_id": found.seal_id.hex(),
        "node_id": found.node_id.hex(),
    }
    print_facts(facts, as_json=as_json)
