"""`keyserver service-keys token` and `grant`: who may ask for which keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
from keyserver.cli.main import APP_SETTINGS
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
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
    time_text,
)
from keyserver.cli.service_keys_owners import all_pages

TOKENS = "/v1/admin/tokens"
GRANTS = "/v1/admin/grants"
TIMES = ("created_at", "expires_at", "last_used_at")

DaysOption = Annotated[
    int, typer.Option("--days", min=1, max=366, help="After how many days it ends.")
]
PrincipalArgument = Annotated[
    str,
    typer.Argument(metavar="PRINCIPAL", help="Who: svc:NAME of a service, or another name."),
]

tokens = typer.Typer(**APP_SETTINGS)
grants = typer.Typer(**APP_SETTINGS)


@tokens.callback()
def _tokens() -> None:
    """Make, list and revoke tokens."""


@grants.callback()
def _grants() -> None:
    """Let a service act for owners, list and revoke that."""


@tokens.command("make")
def make_token(
    principal: PrincipalArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there, do not show it.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="What it may do; repeatable; else keys:use."),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service",
            metavar="NAME",
            help="A service, or its beginning and *; repeatable; else all.",
        ),
    ] = None,
    days: DaysOption = 90,
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
    """Make a token, which is shown once: the node keeps only a hash of it."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    wanted = {
        "principal": principal,
        "scopes": scope or ["keys:use"],
        "services": service or ["*"],
        "days": days,
    }
    facts = _made(operator, wanted) if out is None else _made_into(out, operator, wanted)
    print_facts(facts if as_json else _readable(facts), as_json=as_json)


@tokens.command("list")
def list_tokens(
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
    """List tokens, without their secrets."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    rows = all_pages(operator, TOKENS, "tokens")
    print_rows(
        rows if as_json else [_readable(row) for row in rows], as_json=as_json, empty="no tokens"
    )


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
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
    """Make a token worthless, at once."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    _show_revoked(operator.delete(f"{TOKENS}/{_id(token_id)}"), "token", as_json=as_json)


@grants.command("make")
def make_grant(
    principal: PrincipalArgument,
    owner: Annotated[
        str, typer.Option("--owner", help="An owner, or the beginning of owners and *.")
    ],
    service: Annotated[
        str, typer.Option("--service", help="A service, or its beginning and *.")
    ] = "*",
    days: DaysOption = 366,
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
    """Let a principal ask for the keys of owners other than itself."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    wanted = {"principal": principal, "owner": owner, "service": service, "days": days}
    facts = operator.post(GRANTS, wanted)
    print_facts(facts if as_json else _readable(facts), as_json=as_json)


@grants.command("list")
def list_grants(
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
    """List who may act for which owners."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    rows = all_pages(operator, GRANTS, "grants")
    print_rows(
        rows if as_json else [_readable(row) for row in rows], as_json=as_json, empty="no grants"
    )


@grants.command("revoke")
def revoke_grant(
    grant_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
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
    """Take a grant back, at once."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    _show_revoked(operator.delete(f"{GRANTS}/{_id(grant_id)}"), "grant", as_json=as_json)


# Any: JSON as the node sends it.
def _made(operator: OperatorClient, wanted: Mapping[str, object]) -> dict[str, Any]:
    return dict(operator.post(TOKENS, wanted))


def _made_into(out: Path, operator: OperatorClient, wanted: Mapping[str, object]) -> dict[str, Any]:
    """Make a token that is written to a file, which is made first: a token is shown only once."""
    facts: dict[str, Any] = {}
    try:
        with new_private_file(out) as file:
            facts = _made(operator, wanted)
            file.write(f"{facts.pop('token')}\n".encode())
    except OSError as error:
        if not facts:
            raise
        raise CommandError(
            f"--out: {out} cannot be written: {error.strerror}; the token was made, and is lost",
            hint=f"Revoke it: `keyserver service-keys token revoke {facts['token_id']}`.",
        ) from None
    return {**facts, "file": str(out)}


def _id(text: str) -> str:
    if not (text.isascii() and text.replace("-", "").isalnum()):
        raise CommandError(f"{text!r}: is no id; `list` shows them")
    return text


def _show_revoked(answer: dict[str, Any], what: str, *, as_json: bool) -> None:
    if not answer["revoked"]:
        raise CommandError(f"there is no such {what}", hint="`list` shows those that are there.")
    if as_json:
        print_json(answer)
    else:
        print("revoked")


def _readable(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: time_text(value // 1000) if name in TIMES and value is not None else value
        for name, value in facts.items()
    }
