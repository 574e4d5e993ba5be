"""Command line: `python -m tests.chaos --requests 1000 --seed 1 --minutes 18`."""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import Options, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="how many clients make")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule of faults")
    parser.add_argument("--minutes", type=float, default=20.0, help="no fault begins later")
    parser.add_argument("--gap", type=float, default=3.0, help="seconds between two faults")
    parser.add_argument("--parallel", type=int, default=12, help="stories told side by side")
    parser.add_argument("--calm", type=int, default=0, help="requests made before the faults")
    parser.add_argument("--directory", type=Path, help="of the nodes, kept; else a temporary one")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    chosen = parser.parse_args()
    options = Options(
        requests=chosen.requests,
        seed=chosen.seed,
        fault_seconds=60 * chosen.minutes,
        gap_s=chosen.gap,
        parallel=chosen.parallel,
        calm_requests=chosen.calm,
    )
    logging.disable()
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    if chosen.directory is not None:
        chosen.directory.mkdir(parents=True)
        report = asyncio.run(run(options, chosen.directory.absolute(), tell))
    else:
        with tempfile.TemporaryDirectory(prefix="chaos-") as name:
            report = asyncio.run(run(options, Path(name), tell))
    print(json.dumps(report.as_json(), indent=2) if chosen.json else report.as_text())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
