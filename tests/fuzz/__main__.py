"""`python -m tests.fuzz [TARGET ...]`: a million inputs each, unless told otherwise."""

import json
import logging
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.table import Table

from tests.fuzz.running import FindingError, Report, run
from tests.fuzz.targets import TARGETS


def main(
    targets: Annotated[list[str] | None, typer.Argument(help="Which; else all.")] = None,
    inputs: Annotated[int, typer.Option(min=1, help="How many for each target.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Another one brings other inputs.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="The number of the first input.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Feed altered inputs to where bytes of others come in."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    progress = Console(stderr=True)
    unknown = set(targets or ()) - TARGETS.keys()
    if unknown:
        raise typer.BadParameter(f"{sorted(unknown)} are none of {sorted(TARGETS)}")
    reports = []
    for name in targets or TARGETS:
        with progress.status(name) as status:

            def tell(done: int, name: str = name) -> None:
                status.update(f"{name}: {done:,} of {inputs:,}")

            try:
                reports.append(
                    run(name, TARGETS[name], seed=seed, first=first, count=inputs, progress=tell)
                )
            except FindingError as finding:
                progress.print(f"[red]{finding}")
                raise typer.Exit(1) from finding
    print(json.dumps([_facts(report) for report in reports])) if as_json else _table(reports)


def _facts(report: Report) -> dict[str, object]:
    return {
        "target": report.target,
        "seed": report.seed,
        "inputs": report.inputs,
        "seconds": round(report.seconds, 1),
        "outcomes": dict(report.outcomes.most_common()),
        "grown_bytes": report.grown_bytes,
    }


def _table(reports: list[Report]) -> None:
    table = Table("target", "inputs", "s", "grown by", "what became of them")
    for report in reports:
        became = ", ".join(f"{word} {n:,}" for word, n in report.outcomes.most_common())
        grown = f"{report.grown_bytes / (1 << 20):.1f} MiB"
        table.add_row(report.target, f"{report.inputs:,}", f"{report.seconds:.0f}", grown, became)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
