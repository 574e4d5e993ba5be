"""What a change of the node set costs, and what clients notice of it.

    python -m benchmarks.set_change [--keys 1000] [--rate 20] [--quiet-s 20] [--json] [--profile]

Seven nodes as processes on this machine, a static set, SQLite; the keys lie with five of them
(threshold 2) and are moved to all seven by an administrator's order. `--rate` clients' requests a
second, shadow retrievals of 200 of the keys at all nodes in turn, go on before, during and after
it (on a machine that is shared, what is after must be like before for the rest to say much); 0:
none. Every answer is checked. CPU time is that of all nodes, without what as many requests cost
before; it is held against the bare group operations of the sessions, measured in the same run.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.constant_load import ConstantLoad, Latencies
from benchmarks.engine import _replay
from benchmarks.http import PLAIN, SAMPLED, Profile, Tables, life_of
from benchmarks.redistribution import Change, operations
from benchmarks.seeded_keys import SeededKey, make_key, node_set, write_keys
from benchmarks.static_network import (
    READY_S,
    NodeFiles,
    RunningNode,
    configured,
    running,
    wait_until,
)
from keyserver.client.node_http import http_transport
from keyserver.client.set_change import order_set_change
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.local_chain import LOOPBACK
from keyserver.model.identifiers import NodeId, Signature
from keyserver.model.set_change import BoundOrder, domain_of, set_change_digest

OLD, NEW, THRESHOLD = 5, 7, 2
ASKED_KEYS = 200
CLIENTS = 16
NOT_AFTER = 2**50
SYNCHRONISED_S = 0.1
"""The longest that a node may need to take over a record that others hold."""

ADMINISTRATOR = SecretScalar.random(SystemRandom())


@dataclass(frozen=True)
class Moved:
    """One change; all times and bytes of all nodes together."""

    keys: int
    seconds: float
    keys_per_second: float
    cpu_ms_per_key: float
    bare_ms_per_key: float
    ratio: float
    bytes_per_key: float | None
    """Between the nodes, headers of the transport below not counted; `None` without `ss`."""
    resident_mb: list[float]
    """Of each node, before."""
    peak_mb: list[float]
    """Of each node, during the change."""
    before: Latencies | None
    during: Latencies | None
    after: Latencies | None


@dataclass(frozen=True)
class Reading:
    """What has been used up to now."""

    at: float
    cpu_s: float
    sent: int | None

    @classmethod
    def now(cls, nodes: Sequence[RunningNode]) -> "Reading":
        """Of all nodes together."""
        return cls(time.perf_counter(), sum(node.cpu_s() for node in nodes), bytes_sent(nodes))


def bytes_sent(nodes: Sequence[RunningNode]) -> int | None:
    """What the nodes have sent each other over the connections they have, by the kernel's count."""
    ports = {f"{LOOPBACK}:{node.files.peer_port}" for node in nodes}
    try:
        listed = subprocess.run(["ss", "-tinHO"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        return None
    total = 0
    for fields in map(str.split, listed.splitlines()):
        if len(fields) > 4 and ports & {fields[3], fields[4]}:
            total += sum(int(f.removeprefix("bytes_sent:")) for f in fields if "bytes_sent:" in f)
    return total


def order_for(nodes: Sequence[NodeFiles]) -> BoundOrder:
    """The administrator's order that all configured nodes be the set."""
    everybody = node_set(nodes)
    digest = set_change_digest(
        domain_of(everybody),
        old_set_id=everybody.id,
        new_set_id=everybody.id,
        epoch=1,
        not_after=NOT_AFTER,
    )
    signature = Signature(sign_digest(ADMINISTRATOR, digest))
    return BoundOrder(everybody.id, everybody.nodes, 1, NOT_AFTER, signature)


def bare_ms() -> float:
    """The bare operations of one session from five nodes to seven."""
    counted = operations(Change(OLD, 0, NEW, THRESHOLD))
    return min(_replay(counted, 10) for _ in range(5)) / 10 * 1e3


class Bench:
    """Moves all keys once."""

    def __init__(
        self, nodes: Sequence[RunningNode], keys: Sequence[SeededKey], profile: Profile | None
    ) -> None:
        self._nodes = nodes
        self._keys = keys
        self._profile = profile

    async def run(self, per_second: float, quiet_s: float) -> Moved:
        """Measure before and during the change."""
        load = None
        if per_second:
            asked = self._keys[:: max(1, len(self._keys) // ASKED_KEYS)]
            lives = [life_of(key.key_id, key.requester, key.document_key) for key in asked]
            load = ConstantLoad(self._nodes, lives, per_second, CLIENTS)
            await load.connect()
            await load.run_for(len(lives) / per_second)  # warm up: every key once
        first = Reading.now(self._nodes)
        before = await load.run_for(quiet_s) if load is not None else None
        resident = [node.memory_mb("VmRSS") for node in self._nodes]
        for node in self._nodes:
            node.forget_peak()
        second = Reading.now(self._nodes)
        if self._profile is not None:
            self._profile.begin()
        during = await self._move(load)
        third = Reading.now(self._nodes)
        if self._profile is not None:
            self._profile.end("change", len(self._keys))
        after = None
        if load is not None:
            after = await load.run_for(quiet_s)
            load.close()
        return self._result((first, second, third), resident, (before, during, after))

    async def _move(self, load: ConstantLoad | None) -> Latencies | None:
        moved = asyncio.Event()

        async def move() -> None:
            try:
                url = f"http://{LOOPBACK}:{self._nodes[0].port}"
                order = order_for([node.files for node in self._nodes])
                async with http_transport(answer_s=None) as transport:
                    await order_set_change(transport, url, order)
            finally:
                moved.set()

        task = asyncio.create_task(move())
        latencies = await load.run(moved) if load is not None else None
        await task
        return latencies

    def _result(
        self,
        readings: tuple[Reading, Reading, Reading],
        resident: list[float],
        latencies: tuple[Latencies | None, Latencies | None, Latencies | None],
    ) -> Moved:
        first, second, third = readings
        before, during, after = latencies
        keys, seconds = len(self._keys), third.at - second.at
        cpu_s, sent = third.cpu_s - second.cpu_s, _difference(third.sent, second.sent)
        if before is not None and during is not None:
            asked = during.requests / before.requests
            cpu_s -= (second.cpu_s - first.cpu_s) * asked
            quiet = _difference(second.sent, first.sent)
            sent = None if sent is None or quiet is None else int(sent - quiet * asked)
        bare = bare_ms()
        return Moved(
            keys=keys,
            seconds=seconds,
            keys_per_second=keys / seconds,
            cpu_ms_per_key=cpu_s / keys * 1e3,
            bare_ms_per_key=bare,
            ratio=cpu_s / keys * 1e3 / bare,
            bytes_per_key=None if sent is None else sent / keys,
            resident_mb=resident,
            peak_mb=[node.memory_mb("VmHWM") for node in self._nodes],
            before=before,
            during=during,
            after=after,
        )


def _difference(later: int | None, earlier: int | None) -> int | None:
    return None if later is None or earlier is None else later - earlier


def measure(options: argparse.Namespace, directory: Path) -> tuple[Moved, Tables]:
    """Make the keys, start the nodes and move the keys; returns figures and profile."""
    settings = {
        "secretstore.admin_public": NodeId.of(ADMINISTRATOR.public()).hex(),
        "secretstore.disable_auto_migrate": True,
    }
    files = configured(directory, NEW, settings)
    began = time.perf_counter()
    keys = [make_key(files[:OLD], THRESHOLD) for _ in range(options.keys)]
    asyncio.run(write_keys(keys, files[:OLD]))
    print(f"{len(keys)} keys made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    with running(files, program=SAMPLED if options.profile else PLAIN) as nodes:
        wait_until_all_know(nodes, len(keys))
        profile = Profile(nodes) if options.profile else None
        moved = asyncio.run(Bench(nodes, keys, profile).run(options.rate, options.quiet_s))
        return moved, dict(profile.tables) if profile is not None else {}


def wait_until_all_know(nodes: Sequence[RunningNode], keys: int) -> None:
    """Wait until those that hold no share have the records of all keys, as nodes do by and by."""
    began = time.perf_counter()
    for node in nodes:
        wait_until(
            lambda node=node: node.known_keys() == keys,  # type: ignore[misc]
            f"{node.directory} knows all keys",
            within_s=READY_S + keys * SYNCHRONISED_S,
        )
    print(f"known to all after {time.perf_counter() - began:.0f} s", file=sys.stderr)


def show(moved: Moved, profile: Tables) -> None:
    """Print tables for people."""
    print(f"{moved.keys} keys from {OLD} nodes to {NEW}, threshold {THRESHOLD}")
    print(f"  {moved.seconds:.1f} s, {moved.keys_per_second:.1f} keys/s")
    print(
        f"  CPU of all nodes {moved.cpu_ms_per_key:.1f} ms a key, {moved.ratio:.2f} times the "
        f"{moved.bare_ms_per_key:.1f} ms of its bare operations"
    )
    if moved.bytes_per_key is not None:
        print(f"  {moved.bytes_per_key:,.0f} bytes a key between the nodes")
    for name, each in (("resident before", moved.resident_mb), ("peak", moved.peak_mb)):
        print(f"  memory, {name}: {', '.join(f'{mb:.0f}' for mb in each)} MB")
    print(f"\n{'shadow retrievals':18}{'requests':>9}{'p50':>8}{'p90':>8}{'p99':>8}{'most':>8}")
    for when, taken in (
        ("before", moved.before),
        ("during", moved.during),
        ("after", moved.after),
    ):
        if taken is not None:
            print(
                f"{when:18}{taken.requests:9}{taken.p50_ms:8.1f}{taken.p90_ms:8.1f}"
                f"{taken.p99_ms:8.1f}{taken.most_ms:8.1f}"
            )
    for name, table in profile.items():
        print(f"\n{name}: CPU ms a key")
        for kind, most in (("components", None), ("functions", 30)):
            entries = list(table[kind].items())[:most]
            print("\n".join(f"  {spent:7.2f}  {what}" for what, spent in entries), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second; 0: none")
    parser.add_argument("--quiet-s", type=float, default=20.0, help="how long to measure before")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyserver-benchmark-") as name:
        moved, profile = measure(options, Path(name))
    if options.json:
        print(json.dumps(asdict(moved) | {"profile": profile}))
    else:
        show(moved, profile)


if __name__ == "__main__":
    main()
