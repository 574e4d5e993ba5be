"""`keyserver`, with a sampling profiler beside it: where does a node spend its CPU time?

    KEYSERVER_BENCHMARK_PROFILE=FILE python -m benchmarks.sampled_node run --config …

A timer of the process's CPU time interrupts the main thread, and the component, and the function,
in which it is found is counted; the main thread's CPU time is then shared out by these counts. It
is not counted where it waits for events: then another thread was running. What the process used
beyond its main thread went into the threads of the database. `benchmarks.static_network` names the
signals that have it count from nothing, and write the file.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.static_network import BEGIN, WRITE
from keyserver.cli.main import main

INTERVAL_S = 0.001

COMPONENTS = {
    "curve arithmetic": ("keyserver/crypto/curve.py", "/coincurve/"),
    "proofs, hashes, boxes": ("keyserver/crypto/", "keyserver/sealing/", "/hashlib.py"),
    "codec": ("keyserver/model/codec.py", "keyserver/sessions/wire.py"),
    "transport": ("keyserver/net/", "/cryptography/"),
    "database": ("keyserver/storage/", "/sqlalchemy/", "/sqlite3/"),
    "HTTP": ("keyserver/api/", "/uvicorn/", "/h11/", "/starlette/"),
    "logging": ("keyserver/app/logging.py", "/structlog/", "/logging/", "/json/"),
    "metrics": ("keyserver/app/", "/prometheus_client/"),
    "sessions": ("keyserver/sessions/", "keyserver/model/"),
    "engine": ("keyserver/engine/",),
    "event loop": ("/asyncio/", "/selectors.py"),
}
"""Parts of paths by component; the first that fits counts."""


class Sampler:
    """Counts where the main thread is, by component and by function."""

    def __init__(self) -> None:
        self._by_component: Counter[str] = Counter()
        self._by_function: Counter[str] = Counter()
        self._component_of: dict[str, str | None] = {}
        self._began_thread_s = self._began_process_s = 0.0

    def start(self, *_: object) -> None:
        """Begin to count (again)."""
        self._by_component.clear()
        self._by_function.clear()
        self._began_thread_s = time.thread_time()
        self._began_process_s = time.process_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def result(self) -> dict[str, object]:
        """CPU seconds in all, and by component and function."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        process_s = time.process_time() - self._began_process_s
        main_s = time.thread_time() - self._began_thread_s
        each_s = main_s / max(1, self._by_component.total())
        components = {name: count * each_s for name, count in self._by_component.items()}
        components["database threads"] = process_s - main_s
        functions = {name: count * each_s for name, count in self._by_function.items()}
        return {"components": components, "functions": functions}

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_filename.endswith("/selectors.py"):
            return
        component, name = self._place(frame)
        self._by_component[component] += 1
        self._by_function[name] += 1

    def _place(self, frame: FrameType | None) -> tuple[str, str]:
        while frame is not None:
            code = frame.f_code
            component = self._component(code.co_filename)
            if component is not None:
                return component, f"{component}: {code.co_filename.split('/')[-1]} {code.co_name}"
            frame = frame.f_back
        return "other", "other"

    def _component(self, path: str) -> str | None:
        if path not in self._component_of:
            self._component_of[path] = next(
                (name for name, parts in COMPONENTS.items() if any(p in path for p in parts)), None
            )
        return self._component_of[path]


def run() -> int:
    """Run the command line, sampled."""
    sampler, path = Sampler(), Path(os.environ["KEYSERVER_BENCHMARK_PROFILE"])

    def write(*_: object) -> None:
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(sampler.result()))
        partial.replace(path)

    signal.signal(BEGIN, sampler.start)
    signal.signal(WRITE, write)
    return main()


if __name__ == "__main__":
    sys.exit(run())
