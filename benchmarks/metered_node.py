"""`keyserver`, with a meter on its sealing: how much CPU time goes into boxes?

    KEYSERVER_BENCHMARK_PROFILE=FILE python -m benchmarks.metered_node run --config …

Every call of `SecretBoxes.seal` and `open` is counted, with the CPU time of its thread.
`benchmarks.static_network` names the signals that have it count from nothing, and write the file.
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from benchmarks.static_network import BEGIN, WRITE
from keyserver.cli.main import main
from keyserver.sealing.secret_boxes import SecretBoxes

P = ParamSpec("P")
T = TypeVar("T")


class Meter:
    """Nanoseconds of CPU time, and calls, by name; threads may count at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nanoseconds: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    def measured(self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        """The same work, counted under this name."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            started = time.thread_time_ns()
            try:
                return work(*args, **kwargs)
            finally:
                spent = time.thread_time_ns() - started
                with self._lock:
                    self._nanoseconds[name] += spent
                    self._calls[name] += 1

        return run

    def start(self, *_: object) -> None:
        """Begin to count (again)."""
        self._nanoseconds, self._calls = Counter(), Counter()

    def result(self) -> dict[str, object]:
        """What was counted."""
        return {"nanoseconds": dict(self._nanoseconds), "calls": dict(self._calls)}


def run() -> int:
    """Run the command line, metered."""
    meter, path = Meter(), Path(os.environ["KEYSERVER_BENCHMARK_PROFILE"])
    SecretBoxes.seal = meter.measured("seal", SecretBoxes.seal)  # type: ignore[method-assign]
    SecretBoxes.open = meter.measured("open", SecretBoxes.open)  # type: ignore[method-assign]

    def write(*_: object) -> None:
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(meter.result()))
        partial.replace(path)

    signal.signal(BEGIN, meter.start)
    signal.signal(WRITE, write)
    return main()


if __name__ == "__main__":
    sys.exit(run())
