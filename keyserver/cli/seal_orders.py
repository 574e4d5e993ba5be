"""`keyserver seal`: what an administrator orders of a node.

Orders are signed with `--admin-key`; a node without administrators takes them unsigned, on its own
machine.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
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
from keyserver.cli.output import (
    FAILED,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
    time_text,
)
from keyserver.cli.seal_replicas import AllOption, ask_each, replicas_of

Facts = Mapping[str, Any]  # Any: JSON, as the node sends it

POLL_S: Final = 1.0

TermArgument = Annotated[int, typer.Argument(metavar="TERM", min=1, help="As `status` shows it.")]


def seal(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    to_all: AllOption = False,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a node: it forgets its keys, and operators have to open it again."""
    place = Place(url, path, config, ca_file, certificate)
    signing = Signing(admin_key, password_file, node_id)
    operators = (
        replicas_of(place, signing, only_sealed=False)
        if to_all
        else [find_admin_operator(place, signing)]
    )
    ask_each(
        operators,
        lambda operator: operator.post("/v1/seal/seal"),
        as_json,
        lambda answer: "the node closes" if answer["sealing"] else "the node is sealed already",
    )


def clear(
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
    """Drop the shares that a sealed node has collected so far."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    print_facts(operator.delete("/v1/seal/unseal"), as_json=as_json)


def replicas(
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
    """Show the processes of a node, which of them acts, and which are sealed."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    facts = operator.get("/v1/seal/replicas")
    if as_json:
        print_json(facts)
        return
    print_rows([_replica_row(each) for each in facts["replicas"]], as_json=False)
    if facts["peers"]:
        print()
        print_rows(facts["peers"], as_json=False)


def _replica_row(facts: Facts) -> dict[str, object]:
    needs_shares = facts["state"] in ("sealed", "unsealing") and facts["required"]
    return {
        "replica": facts["replica_id"],
        "at": facts["operator_url"],
        "state": facts["state"] if facts["live"] else "not seen lately",
        "acts": facts["active"],
        "shares": f"{facts['progress']} of {facts['required']}" if needs_shares else None,
        "epoch": facts["epoch"],
        "seen": time_text(facts["seen_at"] // 1000),
    }


def rotate(
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
    """Seal everything new under a new data key. No share changes, and old data stays as it is."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    print_facts(operator.post("/v1/seal/rotate"), as_json=as_json)
    if not as_json:
        print("\nNext: `keyserver seal rewrap` moves what is stored to it.")


def rewrap(
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until it is done; 0 only starts it.")
    ] = 600.0,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seal what is stored anew, under the data key in use; the node serves meanwhile.

    Exit code 1 if it is not done in time; it goes on.
    """
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    found = operator.post("/v1/seal/rewrap")["rewrap"]
    deadline = time.monotonic() + wait
    while wait and found["running"] and time.monotonic() < deadline:
        time.sleep(POLL_S)
        found = operator.get("/v1/seal/status")["rewrap"]
    print_facts(found, as_json=as_json)
    if found["problem"]:
        raise CommandError(f"rewrap: {found['problem']}", exit_code=FAILED)
    if wait and found["running"]:
        raise CommandError(
            f"not done within {wait:g} s",
            hint="It goes on; `keyserver seal status` shows how far it is.",
            exit_code=FAILED,
        )


def retire(
    term: TermArgument,
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
    """Drop a data key that nothing is sealed under any more.

    Backups made before the rewrap open all the same: they hold their own copy of it.
    """
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    print_facts(operator.post(f"/v1/seal/terms/{term}/retire"), as_json=as_json)
