"""`keyserver simulate`: whole clusters under faults, seed after seed."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keyserver.cli.output import (
    USAGE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
)

if TYPE_CHECKING:
    from keyserver.simulation.runner import Batch, Finding

SeedsOption = Annotated[int, typer.Option(min=1, help="How many runs, over all scenarios.")]
FirstSeedOption = Annotated[int, typer.Option(min=0, help="The first seed of every scenario.")]
ScenarioOption = Annotated[
    list[str] | None, typer.Option("--scenario", help="Only this one; may be given repeatedly.")
]
JobsOption = Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")]
ReplayOption = Annotated[
    Path | None, typer.Option(help="Run again what a file of an earlier violation describes.")
]
ListOption = Annotated[bool, typer.Option("--list", help="Show the scenarios.")]
ShrinkOption = Annotated[
    bool, typer.Option("--shrink/--no-shrink", help="Make plans of violations smaller.")
]

SHRUNK = 3
"""So many kinds of violations are made smaller."""


def simulate(
    seeds: SeedsOption = 1000,
    first_seed: FirstSeedOption = 0,
    scenario: ScenarioOption = None,
    jobs: JobsOption = 0,
    replay: ReplayOption = None,
    listed: ListOption = False,
    shrink: ShrinkOption = True,
    as_json: JsonOption = False,
) -> None:
    """Simulate clusters under faults and liars, and report what must never happen.

    Exit code 0: nothing was violated.
    """
    # Deferred: the whole product is behind it.
    from keyserver.simulation.scenarios.registry import SCENARIOS, scenario_of

    if listed:
        rows = [{"scenario": each.name, "about": each.about} for each in SCENARIOS.values()]
        print_rows(rows, as_json=as_json)
        return
    if replay is not None:
        _replay(replay, shrink=shrink, as_json=as_json)
        return
    chosen = [scenario_of(name) for name in scenario or SCENARIOS]
    from keyserver.simulation.runner import Finding, be_quiet, run_many, shares

    be_quiet()  # plans are made smaller in this process
    begun = time.monotonic()
    parts = shares(seeds, chosen)
    processes = jobs or os.cpu_count() or 1
    batches = list(_with_progress(run_many(parts, first_seed, processes), seeds))
    findings = [finding for batch in batches for finding in batch.findings]
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.scenario, finding.invariant), []).append(finding)
    told = [
        _told(alike[0], shrink=shrink and place < SHRUNK)
        | {"seeds": [finding.seed for finding in alike]}
        for place, alike in enumerate(kinds.values())
    ]
    _report(batches, told, time.monotonic() - begun, first_seed, as_json=as_json)
    if findings:
        raise CommandError(f"{len(findings)} of {seeds} runs violated an invariant")


def _with_progress(batches: "Iterator[Batch]", seeds: int) -> "Iterator[Batch]":
    """Show on standard error how far it is."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("seeds", total=seeds)
        found = 0
        for batch in batches:
            found += len(batch.findings)
            what = f"seeds, {found} violations" if found else "seeds"
            progress.update(task, advance=batch.seeds, description=what)
            yield batch


def _told(finding: "Finding", *, shrink: bool) -> dict[str, Any]:
    """A finding with the commands that show it again; a smaller plan goes into a file."""
    from keyserver.simulation.shrink import shrink as shrunk

    seed = f"--scenario {_quoted(finding.scenario)} --seeds 1 --first-seed {finding.seed}"
    told = finding.to_json() | {"again": f"keyserver simulate {seed}"}
    if shrink:
        smaller = shrunk(finding)
        path = Path(f"violation-{_file_name(finding.scenario)}-{finding.seed}.json")
        path.write_text(json.dumps(smaller.to_json(), indent=2) + "\n")
        told |= {"smaller": smaller.to_json(), "replay": f"keyserver simulate --replay {path}"}
    return told


def _report(
    batches: "list[Batch]",
    told: list[dict[str, Any]],
    seconds: float,
    first_seed: int,
    *,
    as_json: bool,
) -> None:
    seeds = sum(batch.seeds for batch in batches)
    figures = [_figures(name, batches) for name in dict.fromkeys(b.scenario for b in batches)]
    facts = {
        "seeds": seeds,
        "first_seed": first_seed,
        "seconds": round(seconds, 1),
        "seeds_per_hour": round(seeds / seconds * 3600),
        "violations": sum(len(batch.findings) for batch in batches),
    }
    if as_json:
        print_json(facts | {"scenarios": figures, "findings": told})
        return
    print_rows(figures, as_json=False)
    print_facts(facts, as_json=False)
    for finding in told:
        _print_finding(finding)


def _figures(name: str, batches: "list[Batch]") -> dict[str, object]:
    own = [batch for batch in batches if batch.scenario == name]
    seeds = sum(batch.seeds for batch in own)
    return {
        "scenario": name,
        "seeds": seeds,
        "milliseconds_per_seed": round(1000 * sum(batch.cpu_s for batch in own) / seeds, 1),
        "violations": sum(len(batch.findings) for batch in own),
    }


def _print_finding(finding: dict[str, Any]) -> None:
    print(f"\n{finding['scenario']}, seed {finding['seed']}: {finding['invariant']}")
    if finding["where"]:
        print(f"  {finding['where']}")
    others = finding.get("seeds", [])[1:]
    if others:
        first = ", ".join(map(str, others[:10]))
        print(f"  also seeds {first}{f' and {len(others) - 10} more' if len(others) > 10 else ''}")
    print(f"  {finding['again']}")
    if "smaller" in finding:
        print(f"  smallest plan: {json.dumps(finding['smaller']['plan'])}")
        print(f"  {finding['replay']}")


def _replay(path: Path, *, shrink: bool, as_json: bool) -> None:
    from keyserver.simulation.runner import Finding, be_quiet, run_one
    from keyserver.simulation.scenarios.registry import scenario_of

    be_quiet()
    try:
        wanted = Finding.from_json(json.loads(path.read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise CommandError(f"{path}: {problem}", exit_code=USAGE) from problem
    found = run_one(scenario_of(wanted.scenario), wanted.seed, wanted.plan)
    if found is None:
        print("nothing is violated any more", file=sys.stderr)
        if as_json:
            print_json({"violations": 0})
        return
    told = _told(found, shrink=shrink)
    if as_json:
        print_json({"violations": 1, "findings": [told]})
    else:
        _print_finding(told)
    raise CommandError("the invariant is violated")


def _file_name(name: str) -> str:
    return name.replace(":", "").replace(" ", "-")


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name
