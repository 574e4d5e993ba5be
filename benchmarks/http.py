"""What clients get over HTTP from five nodes as processes on this machine.

    python -m benchmarks.http [--sessions 100] [--rounds 3] [--clients 1 16] [--json] [--profile]

A static set, threshold 2, no chain, SQLite; everything on loopback and in a temporary directory.
Each client asks the nodes in turn, over connections that stay open, and asks again as soon as it
has its answer. All requests are signed beforehand. A key is generated, then a document key stored
under it, then retrieved in shadow form: the three are measured one after the other, `--sessions`
of each for every number of clients, and all that `--rounds` times. Sessions per second and CPU
time (of all five nodes) are those of the best round, latencies those of all rounds together.
`--profile` runs the nodes under a sampling profiler, which costs some per cent, and says what they
did in the last round.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.static_network import BEGIN, WRITE, RunningNode, static_network, wait_until
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar, sign_digest
from keyserver.crypto.elgamal import encrypt_document_key, recover_document_key
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.local_chain import LOOPBACK
from keyserver.model.identifiers import KeyId

NODES, THRESHOLD = 5, 2
RETRIEVAL = "shadow retrieval"
WARM_UP = 10
ANSWER_S = 60.0
PLAIN = ("-m", "keyserver.cli")
SAMPLED = ("-m", "benchmarks.sampled_node")

Tables = dict[str, dict[str, dict[str, float]]]

_RNG = SystemRandom()


@dataclass(frozen=True)
class Row:
    """One operation with one number of clients."""

    operation: str
    clients: int
    sessions: int
    """In all rounds together."""
    per_second: float
    cpu_ms: float
    """CPU time of all nodes for one session."""
    least_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Life:
    """The requests of one key, ready to be sent, and what its retrieval must bring."""

    generate: bytes
    store: bytes
    retrieve: bytes
    document_key: Point
    requester: SecretScalar


class Client:
    """Connections to all nodes, used in turn."""

    def __init__(self, nodes: Sequence[RunningNode], first: int) -> None:
        self._nodes = nodes
        self._next = first
        self._open: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def connect(self) -> None:
        """Open a connection to every node."""
        for number, node in enumerate(self._nodes):
            self._open[number] = await asyncio.open_connection(LOOPBACK, node.port)

    def close(self) -> None:
        """Close all."""
        for _, writer in self._open.values():
            writer.close()

    async def ask(self, request: bytes) -> tuple[float, bytes]:
        """Ask the next node; returns the seconds it took, and the body."""
        reader, writer = self._open[self._next % len(self._nodes)]
        self._next += 1
        started = time.perf_counter()
        writer.write(request)
        async with asyncio.timeout(ANSWER_S):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length_of(head))
        seconds = time.perf_counter() - started
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"refused: {head.splitlines()[0]!r} {body!r}")
        return seconds, body


def _length_of(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"an answer without a length: {head!r}")


def new_life() -> Life:
    """Draw a key id and sign for it. The document key is encrypted when the key is known."""
    requester = SecretScalar.random(_RNG)
    key_id = Wallet(requester).new_key_id(_RNG)
    signed = f"{key_id.hex()}/{sign_digest(requester, key_id).hex()}"
    generate = _request("POST", f"/shadow/{signed}/{THRESHOLD}")
    return replace(life_of(key_id, requester, _new_document_key()), generate=generate)


def _new_document_key() -> Point:
    return SecretScalar.random(_RNG).public()


def life_of(key_id: KeyId, requester: SecretScalar, document_key: Point) -> Life:
    """The retrieval of a key that is there, with its document key."""
    signed = f"{key_id.hex()}/{sign_digest(requester, key_id).hex()}"
    return Life(b"", b"", _request("GET", f"/shadow/{signed}"), document_key, requester)


def with_document(life: Life, answer: bytes) -> Life:
    """Encrypt the document key to the server key of the answer."""
    public = Point.from_raw64(bytes.fromhex(json.loads(answer)[2:]))
    sealed = encrypt_document_key(public, life.document_key, _RNG)
    points = f"{sealed.common.raw64.hex()}/{sealed.encrypted.raw64.hex()}"
    path = life.retrieve.split(b" ")[1].decode()
    return Life(
        life.generate,
        _request("POST", f"{path}/{points}"),
        life.retrieve,
        life.document_key,
        life.requester,
    )


def check(life: Life, answer: bytes) -> None:
    """Raise if the answer does not bring the document key that was stored."""
    fields = json.loads(answer)
    wallet = Wallet(life.requester)
    shadows = [
        SecretScalar(wallet.decrypt(bytes.fromhex(sealed[2:])))
        for sealed in fields["decrypt_shadows"]
    ]
    secret, common = (
        Point.from_raw64(bytes.fromhex(fields[name][2:]))
        for name in ("decrypted_secret", "common_point")
    )
    if recover_document_key(secret, common, shadows) != life.document_key:
        raise RuntimeError("a retrieval brought another document key")


def _request(method: str, path: str) -> bytes:
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode()


class Counting(Protocol):
    """What counts beside the sessions."""

    def begin(self) -> None:
        """Begin from nothing."""
        ...

    def end(self, name: str, sessions: int) -> None:
        """Keep what was counted in so many sessions."""
        ...


class Profile:
    """What the nodes did, by component and function; they must run `benchmarks.sampled_node`."""

    def __init__(self, nodes: Sequence[RunningNode]) -> None:
        self._nodes = nodes
        self.tables: Tables = {}
        """By measurement: milliseconds a session, by component and by function."""

    def begin(self) -> None:
        """Have all nodes count from nothing."""
        for node in self._nodes:
            node.profile.unlink(missing_ok=True)
            node.process.send_signal(BEGIN)

    def end(self, name: str, sessions: int) -> None:
        """Add up what all nodes counted."""
        for node in self._nodes:
            node.process.send_signal(WRITE)
        table: dict[str, Counter[str]] = {"components": Counter(), "functions": Counter()}
        for node in self._nodes:
            wait_until(node.profile.exists, f"{node.profile} is written")
            for kind, seconds in json.loads(node.profile.read_text()).items():
                table[kind].update(seconds)
        self.tables[name] = {
            kind: {what: spent / sessions * 1e3 for what, spent in counted.most_common()}
            for kind, counted in table.items()
        }


@dataclass(frozen=True)
class Round:
    """Sessions that were run in one go; times in seconds."""

    latencies: list[float]
    elapsed: float
    cpu: float
    """Of all nodes."""


def row_of(operation: str, clients: int, rounds: Sequence[Round]) -> Row:
    """What comes out of several rounds."""
    latencies = sorted(seconds for each in rounds for seconds in each.latencies)
    return Row(
        operation,
        clients,
        len(latencies),
        max(len(each.latencies) / each.elapsed for each in rounds),
        min(each.cpu / len(each.latencies) for each in rounds) * 1e3,
        latencies[0] * 1e3,
        statistics.median(latencies) * 1e3,
        latencies[len(latencies) * 99 // 100] * 1e3,
    )


class Bench:
    """Runs operations against running nodes."""

    def __init__(self, nodes: Sequence[RunningNode], counting: Counting | None) -> None:
        self._nodes = nodes
        self._counting = counting

    async def run(self, clients: int, sessions: int) -> dict[str, Round]:
        """All three operations with so many clients."""
        lives = [new_life() for _ in range(sessions)]
        rounds = {}
        opened = [Client(self._nodes, first) for first in range(clients)]
        for client in opened:
            await client.connect()
        try:
            requests = [life.generate for life in lives]
            rounds["generation"], answers = await self._measure("generation", opened, requests)
            lives = [with_document(*pair) for pair in zip(lives, answers, strict=True)]
            requests = [life.store for life in lives]
            rounds["storing"], _ = await self._measure("storing", opened, requests)
            requests = [life.retrieve for life in lives]
            rounds[RETRIEVAL], answers = await self._measure(RETRIEVAL, opened, requests)
        finally:
            for client in opened:
                client.close()
        for life, answer in zip(lives, answers, strict=True):
            check(life, answer)
        return rounds

    async def _measure(
        self, operation: str, clients: Sequence[Client], requests: Sequence[bytes]
    ) -> tuple[Round, list[bytes]]:
        answers: dict[int, bytes] = {}
        seconds: list[float] = []
        waiting = iter(enumerate(requests))

        async def work(client: Client) -> None:
            for number, request in waiting:
                took, answers[number] = await client.ask(request)
                seconds.append(took)

        if self._counting is not None:
            self._counting.begin()
        cpu, started = self._cpu_s(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(work(client))
        elapsed, cpu = time.perf_counter() - started, self._cpu_s() - cpu
        if self._counting is not None:
            self._counting.end(f"{operation}, clients: {len(clients)}", len(requests))
        return Round(seconds, elapsed, cpu), [answers[number] for number in range(len(requests))]

    def _cpu_s(self) -> float:
        return sum(node.cpu_s() for node in self._nodes)


async def measure(options: argparse.Namespace, directory: Path) -> tuple[list[Row], Tables]:
    """Start the nodes, warm them up and measure; returns rows and profile."""
    program = SAMPLED if options.profile else PLAIN
    with static_network(directory, NODES, program=program) as nodes:
        profile = Profile(nodes) if options.profile else None
        await Bench(nodes, None).run(clients=1, sessions=WARM_UP)
        bench, rows = Bench(nodes, profile), list[Row]()
        for clients in options.clients:
            rounds = []
            for number in range(options.rounds):
                rounds.append(await bench.run(clients, options.sessions))
                print(f"{clients} clients: round {number + 1} done", file=sys.stderr)
            rows += [row_of(name, clients, [each[name] for each in rounds]) for name in rounds[0]]
        return rows, dict(profile.tables) if profile is not None else {}


def show(rows: Sequence[Row], profile: Tables) -> None:
    """Print tables for people."""
    print(f"{NODES} nodes, threshold {THRESHOLD}; CPU of all nodes; times in ms")
    print(
        f"{'operation':18}{'clients':>8}{'sessions/s':>12}{'CPU':>8}{'least':>8}{'p50':>8}{'p99':>8}"
    )
    for row in rows:
        print(
            f"{row.operation:18}{row.clients:8}{row.per_second:12.1f}{row.cpu_ms:8.1f}"
            f"{row.least_ms:8.1f}{row.p50_ms:8.1f}{row.p99_ms:8.1f}"
        )
    for name, table in profile.items():
        print(f"\n{name}: CPU ms a session")
        for kind, most in (("components", None), ("functions", 25)):
            entries = list(table[kind].items())[:most]
            print("\n".join(f"  {spent:7.2f}  {what}" for what, spent in entries), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyserver-benchmark-") as name:
        rows, profile = asyncio.run(measure(options, Path(name)))
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "profile": profile}))
    else:
        show(rows, profile)


if __name__ == "__main__":
    main()
