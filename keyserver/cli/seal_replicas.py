"""Asking all replicas of a node, each at its own listener: replicas pass nothing on."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from keyserver.cli.operator_admin import Place, Signing, find_admin_operator
from keyserver.cli.operator_client import OperatorClient
from keyserver.cli.output import USAGE, CommandError, print_json, report_error

Facts = Mapping[str, Any]  # Any: JSON, as the node sends it

AllOption = Annotated[bool, typer.Option("--all", help="All replicas of the node, one by one.")]


def replicas_of(place: Place, signing: Signing, *, only_sealed: bool) -> list[OperatorClient]:
    """The listeners of all processes of the node that live, or of the sealed ones among them.

    Whoever can write the node's database can write that list, so an address in it is asked only if
    something else vouches for it: a certificate that was named, or this very machine.
    """
    first = find_admin_operator(place, signing)
    facts = first.get("/v1/seal/replicas")
    wanted = [
        each["operator_url"]
        for each in facts["replicas"]
        if each["live"] and (not only_sealed or each["replica_id"] in facts["sealed"])
    ]
    found = [first.at(url) for url in wanted]
    for operator in found:
        if operator.url == first.url:
            continue
        if operator.is_anywhere:
            raise CommandError(
                f"{operator.url}: a replica listens on all its addresses, so the list does not say "
                "which of them to use",
                hint="Name one in its operator_listen, or give each replica with --url.",
                exit_code=USAGE,
            )
        if operator.vouched_for(first):
            continue
        raise CommandError(
            f"{operator.url}: is on the node's list of replicas, but nothing proves that it is one",
            hint="Name who issues the replicas' certificates with --ca-file, or each with --url.",
            exit_code=USAGE,
        )
    return found


def ask_each(
    operators: list[OperatorClient],
    ask: Callable[[OperatorClient], Facts],
    as_json: bool,
    told: Callable[[Facts], str],
) -> None:
    """Ask one after the other; raises the first error, after all were asked."""
    answers: list[Facts] = []
    errors: list[CommandError] = []
    several = len(operators) > 1
    for operator in operators:
        try:
            answer = ask(operator)
        except CommandError as error:
            errors.append(error)
            if several:
                report_error(error)
            continue
        answers.append({"url": operator.url, **answer} if several else answer)
        if not as_json:
            print(f"{operator.url}: {told(answer)}" if several else told(answer))
    if as_json:
        print_json(answers if several else answers[0] if answers else [])
    if not errors:
        return
    if not several:
        raise errors[0]
    raise CommandError(
        f"{len(errors)} of {len(operators)} replicas refused or did not answer",
        exit_code=errors[0].exit_code,
    )
