"""What sealing costs: unsealing, boxes in sessions, service keys, rewrap, the audit log.

    python -m benchmarks.sealing [--sessions 100] [--rounds 3] [--rows 5000] [--seconds 2] [--json]

CPU time where it is called so, of everything a process does; the least of several runs. Databases
are SQLite in a temporary directory, audit logs files there: on a disk in memory they cost less than
elsewhere. "In sessions": five nodes as processes, threshold 2, as `benchmarks.http` runs them, with
a meter on every box that is made or opened. Service keys: one node, asked over HTTP with a token.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import UUID

from benchmarks.http import NODES, THRESHOLD, Bench, Client
from benchmarks.static_network import (
    BEGIN,
    WRITE,
    RunningNode,
    configured,
    running,
    static_network,
    wait_until,
)
from keyserver.app.clock import SystemClock
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.local_chain import LOOPBACK
from keyserver.sealing.making import initialise
from keyserver.sealing.ports import SYSTEM, AuditOutcome
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.service_keys.boxes import KeyBoxes
from keyserver.sealing.service_keys.model import DAY_MS, Origin, Pair, Version
from keyserver.sealing.upkeep import SETTLED_S, Upkeep
from keyserver.sealing.vault import Vault
from keyserver.storage.audit_file import AuditFiles
from keyserver.storage.database import Database, opened
from keyserver.storage.sealing import SqlSealStore
from keyserver.storage.service_keys import SqlServiceKeyStore
from tests.support.manual_clock import ManualClock

RANDOM = SystemRandom()
METERED = ("-m", "benchmarks.metered_node")
PLAIN = ("-m", "keyserver.cli")
SHARES_NEEDED = (2, 3, 5, 8, 16)
ROUNDS = 5
WARM_UP = 10
TOGETHER = 16
"""Requests, or entries, on their way at once."""
TRIES = 2000
"""Of a short operation."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Boxes:
    """What boxes cost in sessions of one kind."""

    operation: str
    cpu_ms: float
    """Of all nodes, for one session."""
    sealing_ms: float
    """Of that, in boxes."""
    calls: float
    """Boxes made and opened in one session."""

    @property
    def percent(self) -> float:
        """The part of the CPU time that goes into boxes."""
        return 100 * self.sealing_ms / self.cpu_ms


# --- unsealing ----------------------------------------------------------------------------------


@asynccontextmanager
async def audit_log(directory: Path) -> AsyncIterator[AuditFiles]:
    """A log in a file of its own."""
    name = str(UUID(bytes=RANDOM.bytes(16), version=4))
    audit = AuditFiles([directory / f"{name}.jsonl"], replica_id=name, clock=SystemClock())
    await audit.open()
    try:
        yield audit
    finally:
        await audit.close()


async def sealed_store(database: Database, audit: AuditFiles, threshold: int) -> list[str]:
    """Seal an empty database; returns as many shares as open it."""
    made = await initialise(
        SqlSealStore(database),
        audit,
        node_secret=None,
        shares=max(3, threshold),
        threshold=threshold,
        source=None,
        random=RANDOM,
        now_ms=SystemClock().unix() * 1000,
    )
    return [json.loads(share.content)["mnemonic"] for share in made.shares][:threshold]


async def unsealing(directory: Path, threshold: int) -> float:
    """Milliseconds of CPU from the reading of the record to the open node, all shares in all."""
    times = []
    url = f"sqlite:///{directory / f'unsealing-{threshold}.sqlite'}"
    async with opened(url) as database, audit_log(directory) as audit:
        shares = await sealed_store(database, audit, threshold)
        for _ in range(ROUNDS):
            vault = Vault(SqlSealStore(database), audit, random=RANDOM, clock=SystemClock())
            started = time.process_time()
            await vault.load()
            for share in shares:
                await vault.submit(share)
            times.append(time.process_time() - started)
            if not vault.is_open:
                raise RuntimeError("the shares did not open it")
            vault.shut("measured")
    return min(times) * 1e3


# --- boxes --------------------------------------------------------------------------------------


async def one_box(vault: Vault) -> Figures:
    """Microseconds of CPU for a box as large as that of a key share."""
    boxes, place, plain = vault.boxes, ("key_shares", "share_box", ("00" * 32, "1")), bytes(96)
    box = boxes.seal(*place, plain).box
    return {
        "seal_us": least_us(lambda: boxes.seal(*place, plain)),
        "open_us": least_us(lambda: boxes.open(*place, box)),
    }


def least_us(work: Callable[[], object]) -> float:
    """The least mean of some runs."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time_ns()
        for _ in range(TRIES):
            work()
        times.append((time.process_time_ns() - started) / TRIES)
    return min(times) / 1e3


class Metered:
    """The nodes' meters (`benchmarks.metered_node`), as `benchmarks.http.Bench` uses a profile."""

    def __init__(self, nodes: Sequence[RunningNode]) -> None:
        self._nodes = nodes
        self.boxes: dict[str, list[tuple[float, float]]] = {}
        """By operation and round: milliseconds in boxes, and boxes, of one session."""

    def begin(self) -> None:
        """Have all nodes count from nothing."""
        for node in self._nodes:
            node.profile.unlink(missing_ok=True)
            node.process.send_signal(BEGIN)

    def end(self, name: str, sessions: int) -> None:
        """Add up what all nodes counted."""
        for node in self._nodes:
            node.process.send_signal(WRITE)
        nanoseconds, calls = Counter[str](), Counter[str]()
        for node in self._nodes:
            wait_until(node.profile.exists, f"{node.profile} is written")
            counted = json.loads(node.profile.read_text())
            nanoseconds.update(counted["nanoseconds"])
            calls.update(counted["calls"])
        operation = name.partition(",")[0]
        found = (nanoseconds.total() / sessions / 1e6, calls.total() / sessions)
        self.boxes.setdefault(operation, []).append(found)


async def sessions(directory: Path, count: int, rounds: int) -> list[Boxes]:
    """Boxes in the sessions of five nodes, 16 clients; of each operation the cheapest round."""
    with static_network(directory, NODES, program=METERED) as nodes:
        await Bench(nodes, None).run(clients=1, sessions=WARM_UP)
        metered = Metered(nodes)
        bench = Bench(nodes, metered)
        runs = [await bench.run(TOGETHER, count) for _ in range(rounds)]
    found = []
    for operation in runs[0]:
        measured = [
            Boxes(operation, run[operation].cpu / count * 1e3, *spent)
            for run, spent in zip(runs, metered.boxes[operation], strict=True)
        ]
        found.append(min(measured, key=lambda each: each.cpu_ms))
    return found


# --- service keys -------------------------------------------------------------------------------


async def service_keys(directory: Path, seconds: float) -> Figures:
    """Keys handed out per second by one node, asked again and again by one client, and by many."""
    (files,) = configured(directory, 1, {"keyserver.service_keys.enabled": True})
    with running([files], program=PLAIN) as nodes:
        token = new_token(nodes[0])
        figures: Figures = {}
        key_id = made_key(nodes[0], "billing", token)
        requests = {
            "current": get_oek("billing", token),
            "by id": get_oek("billing", token, key_id),
        }
        for clients in (1, TOGETHER):
            for name, request in requests.items():
                rate = await per_second(nodes, request, clients, seconds)
                figures[f"{name}, clients: {clients}"] = rate
    return figures


def new_token(node: RunningNode) -> str:
    """A token for all services of one owner."""
    body = {"principal": "svc:bench", "scopes": ["keys:use"], "services": ["*"], "days": 1}
    url = f"http://{LOOPBACK}:{node.operator_port}/v1/admin/tokens"
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["token"])


def get_oek(service: str, token: str, key_id: str | None = None) -> bytes:
    """The request for a key: the current one, or one by its id."""
    line = (
        f"POST /v1/keys/{service}/current" if key_id is None else f"GET /v1/keys/{service}/{key_id}"
    )
    head = [
        f"{line} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {token}",
        "Content-Length: 0",
    ]
    return "\r\n".join([*head, "", ""]).encode()


def made_key(node: RunningNode, service: str, token: str) -> str:
    """Have the first key of a service made; its id."""
    url = f"http://{LOOPBACK}:{node.port}/v1/keys/{service}/current"
    request = Request(url, b"", {"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["id"])


async def per_second(
    nodes: Sequence[RunningNode], request: bytes, clients: int, seconds: float
) -> float:
    """How many answers come in a second."""
    opened_clients = [Client(nodes, 0) for _ in range(clients)]
    for client in opened_clients:
        await client.connect()
    answered, started = 0, time.perf_counter()

    async def work(client: Client) -> None:
        nonlocal answered
        while time.perf_counter() - started < seconds:
            await client.ask(request)
            answered += 1

    async with asyncio.TaskGroup() as group:
        for client in opened_clients:
            group.create_task(work(client))
    elapsed = time.perf_counter() - started
    for client in opened_clients:
        client.close()
    return answered / elapsed


# --- rewrap, audit ------------------------------------------------------------------------------


async def rewrap(directory: Path, rows: int) -> Figures:
    """Rows per second that are moved to another term."""
    clock = ManualClock()
    url = f"sqlite:///{directory / 'rewrap.sqlite'}"
    async with opened(url) as database, audit_log(directory) as audit:
        shares = await sealed_store(database, audit, 2)
        store = SqlSealStore(database)
        vault = Vault(store, audit, random=RANDOM, clock=clock)
        await vault.load()
        for share in shares:
            await vault.submit(share)
        figures = await one_box(vault)
        await fill(database, vault, rows)
        upkeep = Upkeep(vault, store, audit, random=RANDOM, clock=clock, rotate_days=0)
        await upkeep.rotate(SYSTEM)
        clock.advance(2 * SETTLED_S)
        started, cpu = time.perf_counter(), time.process_time()
        await upkeep.rewrap_all()
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
        if (upkeep.progress.done, upkeep.progress.left) != (rows + 1, 0):  # and the node's key
            raise RuntimeError(f"not all was moved: {upkeep.progress}")
    return {**figures, "rows_per_second": rows / elapsed, "cpu_us_per_row": cpu / rows * 1e6}


async def fill(database: Database, vault: Vault, rows: int) -> None:
    """Service keys, as they would have been handed out."""
    boxes = KeyBoxes(vault)
    made = []
    for number in range(1, rows + 1):
        key_id = str(UUID(bytes=RANDOM.bytes(16), version=4))
        version = Version(Pair("svc:bench", "billing"), key_id, number, 1, DAY_MS, Origin.MADE)
        made.append(boxes.seal(version, SecretKey(RANDOM.bytes(32))))
    await SqlServiceKeyStore(database).restore("svc:bench", made)


async def audit_entries(directory: Path, seconds: float) -> Figures:
    """Entries per second, each durable when it counts: one after the other, and many at once."""
    figures: Figures = {}
    details = {"owner": "svc:bench", "service": "billing", "principal": "svc:bench"}
    for writers in (1, TOGETHER):
        async with audit_log(directory) as audit:
            written, started = 0, time.perf_counter()

            async def write(log: AuditFiles = audit, began: float = started) -> int:
                count = 0
                while time.perf_counter() - began < seconds:
                    await log.record("keys.get", AuditOutcome.OK, SYSTEM, details)
                    count += 1
                return count

            written = sum(await asyncio.gather(*(write() for _ in range(writers))))
            figures[f"writers: {writers}"] = written / (time.perf_counter() - started)
    return figures


async def measure(options: argparse.Namespace, directory: Path) -> Figures:
    """All of it."""
    opening = {k: await unsealing(directory, k) for k in SHARES_NEEDED}
    print("unsealing: done", file=sys.stderr)
    moved = await rewrap(directory, options.rows)
    print("rewrap: done", file=sys.stderr)
    written = await audit_entries(directory, options.seconds)
    handed = await service_keys(directory / "service-keys", options.seconds)
    print("service keys: done", file=sys.stderr)
    boxes = await sessions(directory / "network", options.sessions, options.rounds)
    return {
        "unsealing_ms": opening,
        "rewrap": moved,
        "audit_per_second": written,
        "service_keys_per_second": handed,
        "sessions": [{**asdict(each), "percent": each.percent} for each in boxes],
    }


def show(figures: Figures) -> None:
    """Print tables for people."""
    print("unsealing, CPU ms from the first share to the open node")
    for threshold, spent in figures["unsealing_ms"].items():
        print(f"  {threshold:2} shares {spent:8.1f}")
    print(f"\nboxes in sessions, n = {NODES}, t = {THRESHOLD}, clients: {TOGETHER}")
    print(f"  {'operation':18}{'CPU ms':>8}{'boxes ms':>10}{'boxes':>8}{'%':>7}")
    for each in figures["sessions"]:
        print(
            f"  {each['operation']:18}{each['cpu_ms']:8.1f}{each['sealing_ms']:10.3f}"
            f"{each['calls']:8.1f}{each['percent']:7.2f}"
        )
    moved = figures["rewrap"]
    print(f"\none box: {moved['seal_us']:.0f} us to seal, {moved['open_us']:.0f} us to open")
    rate, spent = moved["rows_per_second"], moved["cpu_us_per_row"]
    print(f"rewrap: {rate:,.0f} rows/s, {spent:.0f} us of CPU a row")
    for title, name in (("service keys", "service_keys_per_second"), ("audit", "audit_per_second")):
        print(f"\n{title}, per second")
        for what, rate in figures[name].items():
            print(f"  {what:24}{rate:10,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyserver-benchmark-") as name:
        figures = asyncio.run(measure(options, Path(name)))
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
