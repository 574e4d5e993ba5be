"""Looks for all planted bugs, or some, and prints a table."""

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulation.planted.search import BUGS, Found, search


def main() -> int:
    """Return how many bugs were not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*", help=", ".join(BUGS))
    options = parser.parse_args()
    names = options.names or list(BUGS)
    missed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=1) as pool:
        looking = {pool.submit(search, name, options.seeds): name for name in names}
        rows = {}
        for future in as_completed(looking):
            name, result = looking[future], future.result()
            missed += result is None
            rows[name] = _row(name, result)
            print(rows[name], file=sys.stderr, flush=True)
    print("| Bug | Rule that is missing | Found by | After seeds | As |")
    print("|---|---|---|---|---|")
    for name in names:
        print(rows[name])
    return missed


def _row(name: str, found: Found | None) -> str:
    rule = BUGS[name].rule
    if found is None:
        return f"| {name} | {rule} | **not found** | | |"
    return f"| {name} | {rule} | {found.scenario} | {found.runs} | {found.invariant} |"


if __name__ == "__main__":
    sys.exit(main())
