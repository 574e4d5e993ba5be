"""What joint signatures cost clients: over HTTP, from nodes as processes on this machine.

    python -m benchmarks.signing [--nodes 3 5] [--signatures 100] [--clients 1 16]
                                 [--json] [--profile]

A static set of n nodes, threshold (n - 1) / 2, no chain, SQLite; everything on loopback and in a
temporary directory. Requests go to `/v1` at all nodes in turn, over connections that stay open, and
are signed beforehand; every answer is decrypted and its signature checked, afterwards.

FROST, and ECDSA with nothing in stock ("cold": a presignature is made first): each client asks
again as soon as it has its answer. ECDSA with presignatures in stock ("warm"): whenever all nodes
have as many as they keep, one client has one of them use them up, one signature after the other;
what the nodes do to have more in stock again is not counted. "Alone": the client asks for one
signature, and waits until the nodes have done nothing for a while. `--profile` runs the nodes under
a sampling profiler, which costs some per cent, and says what they did.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.http import PLAIN, SAMPLED, Client, Profile, Round, Row, Tables, row_of
from benchmarks.seeded_keys import SeededKey, make_key, write_keys
from benchmarks.static_network import NodeFiles, RunningNode, configured, running, wait_until
from keyserver.client.v1_door import CREDENTIAL, credential
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import verify_digest
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Hash32, Nonce32
from keyserver.model.node_set import static_set_contract
from keyserver.model.requests import SigningScheme, SignMessage

DOMAIN = SigningDomain(0, static_set_contract(""))
LIFETIME_S = 600
WARM_UP = 10
CALM_S = 0.2
"""After which nodes with a full stock have nothing to do."""
STOCK = 20
"""Presignatures that a node has ready for a key; where nothing is configured, it is four."""

_RNG = SystemRandom()


@dataclass(frozen=True)
class Job:
    """One signature to ask for."""

    operation: SignMessage
    request: bytes

    @classmethod
    def of(cls, key: SeededKey, scheme: SigningScheme) -> "Job":
        """Draw a message and sign the request for it."""
        operation = SignMessage(key.key_id, Hash32(_RNG.bytes(32)), scheme)
        not_after, nonce = int(time.time()) + LIFETIME_S, Nonce32(_RNG.bytes(32))
        header = credential(Wallet(key.requester), DOMAIN, operation, not_after, nonce)
        fields = {"scheme": scheme.name.lower(), "message_hash": f"0x{operation.message.hex()}"}
        body = json.dumps(fields).encode()
        lines = (
            f"POST /v1/server-keys/{key.key_id.hex()}/signature HTTP/1.1",
            "Host: localhost",
            f"{CREDENTIAL}: {header}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        return cls(operation, "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)

    def check(self, key: SeededKey, answer: bytes) -> None:
        """Raise if the answer does not bring a signature of the key."""
        sealed = bytes.fromhex(json.loads(answer)["encrypted_signature"][2:])
        signature = Wallet(key.requester).decrypt(sealed)
        public, message = key.record.record.public, self.operation.message
        match self.operation.scheme:
            case SigningScheme.ECDSA:
                verify_digest(message, signature, public)
            case SigningScheme.FROST:
                verify(Form.RFC9591, public, message, signature)
            case SigningScheme.SCHNORR:
                verify(Form.ORIGINAL, public, message, signature)


class Bench:
    """Has running nodes sign with one key."""

    def __init__(
        self, nodes: Sequence[RunningNode], key: SeededKey, profile: Profile | None
    ) -> None:
        self._nodes = nodes
        self._key = key
        self._profile = profile

    async def run(self, name: str, scheme: SigningScheme, count: int, clients: int) -> Row:
        """So many signatures; each client asks again as soon as it has an answer."""
        await self._ask(self._nodes, scheme, WARM_UP, 1)
        self._begin()
        return self._row(name, clients, [await self._ask(self._nodes, scheme, count, clients)])

    async def run_stocked(self, name: str, count: int, in_a_row: int) -> Row:
        """So many ECDSA signatures, some in a row of one node, then of the next.

        Each row begins when all nodes have a full stock again.
        """
        await self._ask(self._nodes, SigningScheme.ECDSA, WARM_UP, 1)
        self._begin()
        rounds = []
        for number in range(count // in_a_row):
            wait_until(self._is_stocked, "all nodes have a full stock")
            await asyncio.sleep(CALM_S)
            node = self._nodes[number % len(self._nodes)]
            rounds.append(await self._ask([node], SigningScheme.ECDSA, in_a_row, 1))
        return self._row(name, 1, rounds)

    def _is_stocked(self) -> bool:
        return all(node.presignatures() == STOCK for node in self._nodes)

    def _begin(self) -> None:
        if self._profile is not None:
            self._profile.begin()

    def _row(self, name: str, clients: int, rounds: Sequence[Round]) -> Row:
        row = row_of(name, clients, rounds)
        if self._profile is not None:
            self._profile.end(f"{name}, clients: {clients}", row.sessions)
        print(f"{len(self._nodes)} nodes, {name}, clients: {clients}: done", file=sys.stderr)
        return row

    async def _ask(
        self, nodes: Sequence[RunningNode], scheme: SigningScheme, count: int, clients: int
    ) -> Round:
        jobs = [Job.of(self._key, scheme) for _ in range(count)]
        opened = [Client(nodes, first) for first in range(clients)]
        for client in opened:
            await client.connect()
        seconds: list[float] = []
        answers: list[tuple[Job, bytes]] = []
        waiting = iter(jobs)

        async def work(client: Client) -> None:
            for job in waiting:
                took, answer = await client.ask(job.request)
                seconds.append(took)
                answers.append((job, answer))

        cpu, started = self._cpu_s(), time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for client in opened:
                    group.create_task(work(client))
        finally:
            for client in opened:
                client.close()
        elapsed, cpu = time.perf_counter() - started, self._cpu_s() - cpu
        for job, answer in answers:
            job.check(self._key, answer)
        return Round(seconds, elapsed, cpu)

    def _cpu_s(self) -> float:
        return sum(node.cpu_s() for node in self._nodes)


async def measure_cold(bench: Bench, options: argparse.Namespace) -> list[Row]:
    """Whatever is signed without a presignature in stock."""
    rows = []
    for clients in options.clients:
        for name, scheme in (("FROST", SigningScheme.FROST), ("ECDSA, cold", SigningScheme.ECDSA)):
            rows.append(await bench.run(name, scheme, options.signatures, clients))
    return rows


async def measure_warm(bench: Bench, options: argparse.Namespace) -> list[Row]:
    """ECDSA with presignatures in stock."""
    return [
        await bench.run_stocked("ECDSA, warm", options.signatures, STOCK),
        await bench.run_stocked("ECDSA, alone", options.signatures // 2, 1),
    ]


def measure(options: argparse.Namespace, nodes: int, directory: Path) -> tuple[list[Row], Tables]:
    """Start so many nodes twice, without a stock and with one; returns rows and profile."""
    rows, tables = list[Row](), Tables()
    for stock, measured in ((0, measure_cold), (STOCK, measure_warm)):
        settings = {"keyserver.presignatures": stock}
        files = configured(directory / f"stock{stock}", nodes, settings)
        key = seeded(files)
        with running(files, program=SAMPLED if options.profile else PLAIN) as network:
            profile = Profile(network) if options.profile else None
            rows += asyncio.run(measured(Bench(network, key, profile), options))
            if profile is not None:
                tables |= profile.tables
    return rows, tables


def seeded(files: Sequence[NodeFiles]) -> SeededKey:
    """A key of all nodes, of the highest threshold with which ECDSA can be signed."""
    key = make_key(files, (len(files) - 1) // 2)
    asyncio.run(write_keys([key], files))
    return key


def show(nodes: int, rows: Sequence[Row], profile: Tables) -> None:
    """Print tables for people."""
    print(f"\n{nodes} nodes, threshold {(nodes - 1) // 2}; CPU of all nodes; times in ms")
    print(f"{'':14}{'clients':>8}{'per second':>12}{'CPU':>8}{'least':>8}{'p50':>8}{'p99':>8}")
    for row in rows:
        print(
            f"{row.operation:14}{row.clients:8}{row.per_second:12.1f}{row.cpu_ms:8.1f}"
            f"{row.least_ms:8.1f}{row.p50_ms:8.1f}{row.p99_ms:8.1f}"
        )
    for name, table in profile.items():
        print(f"\n{name}: CPU ms a signature")
        for kind, most in (("components", None), ("functions", 25)):
            entries = list(table[kind].items())[:most]
            print("\n".join(f"  {spent:7.2f}  {what}" for what, spent in entries), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--signatures", type=int, default=100)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    found: dict[int, tuple[list[Row], Tables]] = {}
    with tempfile.TemporaryDirectory(prefix="keyserver-benchmark-") as name:
        for nodes in options.nodes:
            found[nodes] = measure(options, nodes, Path(name) / str(nodes))
    if options.json:
        print(json.dumps({n: [asdict(row) for row in rows] for n, (rows, _) in found.items()}))
        return
    for nodes, (rows, profile) in found.items():
        show(nodes, rows, profile)


if __name__ == "__main__":
    main()
