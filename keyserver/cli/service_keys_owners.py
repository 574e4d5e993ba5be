"""`keyserver service-keys`: owners of keys, their export, deletion and restoration."""

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

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
from keyserver.cli.output import USAGE, CommandError, JsonOption, print_facts, print_rows, time_text
from keyserver.cli.seal_shares import age_identities

if TYPE_CHECKING:
    from keyserver.cli.operator_client import OperatorClient

PAGE = 1000

OwnerArgument = Annotated[str, typer.Argument(help="Whose keys.")]


def owners(
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
    """List owners with how many keys they have."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    rows = all_pages(operator, "/v1/admin/owners", "owners")
    if not as_json:
        for row in rows:
            deleted_at = row["deleted_at"]
            row["deleted_at"] = None if deleted_at is None else time_text(deleted_at // 1000)
    print_rows(rows, as_json=as_json, empty="no owners")


def export(
    owner: OwnerArgument,
    recipient: Annotated[
        list[str], typer.Option("--recipient", metavar="AGE1…", help="Who can read it; repeatable.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to keep it.")],
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
    """Write all keys of an owner to a file that age has encrypted; for a day it allows `delete`."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    with new_private_file(out) as file:
        answer = operator.post(_path(owner, "/export"), {"recipients": recipient})
        file.write(base64.b64decode(answer["document"]))
    facts = {
        "file": str(out),
        "export": answer["export"],
        "sha256": answer["sha256"],
        "keys": answer["keys"],
    }
    print_facts(facts, as_json=as_json)


def delete(
    owner: OwnerArgument,
    export_id: Annotated[
        str, typer.Option("--export", metavar="ID", help="As `export` has told it.")
    ],
    file: Annotated[
        Path, typer.Option("--file", metavar="FILE", help="What `export` has written.")
    ],
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
    """Delete all keys of an owner, which needs the file of an export of the last day.

    What was encrypted with them can be read again only after `restore`. Old backups still hold
    them, sealed.
    """
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    query = f"?export={quote(export_id, safe='')}&sha256={digest}"
    print_facts(operator.delete(_path(owner, query)), as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="What `export` has written.")],
    age_identity: Annotated[
        Path,
        typer.Option("--age-identity", metavar="FILE", help="Your key, which opens the file."),
    ],
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
    """Give the keys of an export back to the node; those that are there already are compared."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    document = _opened(file, age_identity)
    answer = operator.post(_path(document["owner"], "/restore"), document)
    print_facts({"owner": document["owner"], **answer}, as_json=as_json)


# Any: rows as the node sends them.
def all_pages(operator: "OperatorClient", path: str, name: str) -> list[dict[str, Any]]:
    """All rows of a list that comes in pages; raises `CommandError`."""
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        page = operator.get(f"{path}?limit={PAGE}&after={quote(after, safe='')}")
        rows += page[name]
        if page["next_after"] is None:
            return rows
        after = page["next_after"]


def _path(owner: str, end: str) -> str:
    return f"/v1/admin/owners/{quote(owner, safe='')}{end}"


# Any: the document of an export, which the node checks.
def _opened(file: Path, identity: Path) -> dict[str, Any]:
    import pyrage  # deferred: only this needs it

    try:
        document = json.loads(pyrage.decrypt(file.read_bytes(), age_identities(identity)))
    except (pyrage.DecryptError, ValueError):
        raise CommandError(
            f"{file}: is no export, or {identity} does not open it", exit_code=USAGE
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("owner"), str):
        raise CommandError(f"{file}: is no export", exit_code=USAGE)
    return document
