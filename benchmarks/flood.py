"""What one member of a set can cost the others by flooding them: CPU, memory, disk, latency.

    python -m benchmarks.flood [--seconds 10] [--rate 2000] [--json]

Four nodes as processes on this machine, in a static set, one key with a document key. Then the
fourth is replaced by a member that knows the protocol and keeps to none of it: it sends each of the
other three `--rate` messages a second of one kind, for `--seconds` each. Meanwhile a client
retrieves from the three (t = 2: all of them are needed), one request after the other. Told for each
kind: messages sent, CPU time of the honest nodes per message (without what they spend on as many
retrievals when nobody floods), their growth in memory and on disk, how often they broke off the
connection, and the client's latencies.

On a machine with few cores the flooding process itself takes some of the time.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.http import PLAIN, Client, Life, new_life, with_document
from benchmarks.network import resident_mb
from benchmarks.static_network import RunningNode, static_network
from keyserver.app.clock import SystemClock
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.local_chain import LOOPBACK
from keyserver.engine.links import DigestRequest, Entered, Subject, SubjectKind, pack_link
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Nonce32, SessionId, Signature
from keyserver.model.node_set import NodeAddress, NodeSet, cluster_id, static_set_contract
from keyserver.model.requests import LegacyCredential, Proof, Request, RetrieveDocumentKey
from keyserver.net.mesh import Mesh
from keyserver.net.node_key import LocalNodeKey
from keyserver.sessions.core import SessionKind
from keyserver.sessions.identity import session_id
from keyserver.sessions.messages import Cancel
from keyserver.sessions.retrieval.messages import DecRequest, Mode
from keyserver.sessions.wire import pack

NODES = 4
QUIET = "nothing"
TICK_S = 0.01

_RNG = SystemRandom()

Make = Callable[[int], bytes]
"""The message of this number."""


@dataclass(frozen=True)
class Row:
    """What one kind of flood has cost."""

    kind: str
    sent: int
    disconnected: int
    cpu_us: float
    """Of one honest node, per message."""
    memory_mb: float
    """By which the largest of them grew."""
    disk_kb: float
    """By which the database of the first grew."""
    retrievals: int
    p50_ms: float
    p99_ms: float


class Flooder:
    """The fourth node."""

    def __init__(self, node: RunningNode) -> None:
        config = tomllib.loads((node.directory / "config.toml").read_text())["secretstore"]
        secret = SecretScalar(bytes.fromhex(config["self_secret"]))
        self.me = NodeId.of(secret.public())
        self.boot_nonce = Nonce32(_RNG.bytes(32))
        self._addresses = dict(_member(entry) for entry in config["nodes"])
        contract = static_set_contract("")
        self._set = NodeSet.of(0, contract, {*self._addresses, self.me})
        self.breaks = 0
        self._news = asyncio.Event()
        self.mesh = Mesh(
            key=LocalNodeKey(secret),
            cluster_id=lambda: cluster_id(0, contract, "", None),
            set_id=lambda: self._set.id,
            boot_nonce=self.boot_nonce,
            listen=NodeAddress(LOOPBACK, config["port"]),
            clock=SystemClock(),
            random=_RNG,
        )
        self.mesh.update_peers(self._addresses, frozenset(self._addresses))

    def on_connected(self, peer: NodeId) -> None:
        """A victim is there, again."""
        self._news.set()

    def on_disconnected(self, peer: NodeId) -> None:
        """A victim has had enough; the mesh dials again."""
        self.breaks += 1

    def on_message(self, peer: NodeId, message: bytes) -> bool:
        """Answers are of no interest."""
        return True

    async def connected_to(self, peers: int) -> None:
        """Wait until none keeps this one away any more."""
        while len(self.mesh.connected) < peers:
            self._news.clear()
            await self._news.wait()

    async def flood(self, make: Make, rate: int, seconds: float) -> int:
        """Send everybody so many messages a second; returns how many were sent in all."""
        began, made, sent = time.monotonic(), 0, 0
        while (elapsed := time.monotonic() - began) < seconds:
            while made < elapsed * rate:
                made += 1
                message = make(made)
                sent += sum(self.mesh.send(peer, message) for peer in self.mesh.connected)
            await asyncio.sleep(TICK_S)
        return sent


def _member(entry: str) -> tuple[NodeId, NodeAddress]:
    node, _, place = entry.partition("@")
    host, _, port = place.rpartition(":")
    return NodeId(bytes.fromhex(node)), NodeAddress(host, int(port))


# --- what is sent --------------------------------------------------------------------------------


def stray_messages(_: Flooder) -> Make:
    """Messages of sessions that do not exist."""
    return lambda _number: pack(SessionId(_RNG.bytes(32)), Cancel(5))


def forged_openings(flooder: Flooder) -> Make:
    """Openings with the right session id, whose credential proves nothing."""
    forged = LegacyCredential(flooder.me.point, flooder.me.point, Proof(b"\x01" * 64))

    def make(number: int) -> bytes:
        request = Request.of(RetrieveDocumentKey(KeyId(_RNG.bytes(32))), forged)
        sid = session_id(
            SessionKind.RETRIEVAL, flooder.me, flooder.boot_nonce, number, request.hash
        )
        opening = DecRequest(number, request, Hash32(bytes(32)), Mode.SHADOW, None, None)
        return pack(sid, opening)

    return make


def strange_votes(_: Flooder) -> Make:
    """Votes about keys that nobody has asked for, with signatures that are none."""

    def make(_number: int) -> bytes:
        subject = Subject(SubjectKind.RECORD, KeyId(_RNG.bytes(32)), 1)
        return pack_link(Entered(0, subject, 1, Hash32(bytes(32)), Signature(bytes(65))))

    return make


def digest_requests(_: Flooder) -> Make:
    """The question that makes a node read its catalogue."""
    return lambda number: pack_link(DigestRequest(number))


FLOODS: dict[str, Callable[[Flooder], Make]] = {
    "stray messages": stray_messages,
    "strange votes": strange_votes,
    "digest requests": digest_requests,
    "forged openings": forged_openings,
}


# --- measuring -----------------------------------------------------------------------------------


async def prepared(nodes: Sequence[RunningNode]) -> Life:
    """A key and a document key, made while all four nodes are there."""
    client, life = Client(nodes, 0), new_life()
    await client.connect()
    try:
        _, answer = await client.ask(life.generate)
        life = with_document(life, answer)
        await client.ask(life.store)
    finally:
        client.close()
    return life


async def retrievals(nodes: Sequence[RunningNode], life: Life, until: asyncio.Event) -> list[float]:
    """Latencies of one client that asks again and again."""
    client = Client(nodes, 0)
    await client.connect()
    latencies = []
    try:
        while not until.is_set():
            seconds, _ = await client.ask(life.retrieve)
            latencies.append(seconds)
    finally:
        client.close()
    return latencies


def database_kb(node: RunningNode) -> float:
    """The database with its write-ahead log."""
    return (
        sum(file.stat().st_size for file in (node.directory / "data").glob("keyserver.sqlite*"))
        / 1024
    )


async def measure(
    flooder: Flooder,
    nodes: Sequence[RunningNode],
    life: Life,
    kind: str,
    options: argparse.Namespace,
) -> Row:
    """Flood in one way and look what becomes of the others."""
    over = asyncio.Event()
    memory = [resident_mb(node.process.pid) for node in nodes]
    disk, breaks = database_kb(nodes[0]), flooder.breaks
    cpu = sum(node.cpu_s() for node in nodes)
    asking = asyncio.create_task(retrievals(nodes, life, over))
    if kind == QUIET:
        sent = 0
        await asyncio.sleep(options.seconds)
    else:
        sent = await flooder.flood(FLOODS[kind](flooder), options.rate, options.seconds)
    over.set()
    latencies = await asking
    spent = sum(node.cpu_s() for node in nodes) - cpu
    quantiles = statistics.quantiles(latencies, n=100)
    return Row(
        kind,
        sent,
        flooder.breaks - breaks,
        spent * 1e6 / max(sent, 1),
        max(resident_mb(n.process.pid) - before for n, before in zip(nodes, memory, strict=True)),
        database_kb(nodes[0]) - disk,
        len(latencies),
        quantiles[49] * 1e3,
        quantiles[98] * 1e3,
    )


async def run(options: argparse.Namespace) -> list[Row]:
    """All kinds, one after the other."""
    with (
        tempfile.TemporaryDirectory(prefix="keyserver-flood-") as directory,
        static_network(Path(directory), NODES, program=PLAIN) as nodes,
    ):
        life = await prepared(nodes)
        bad, honest = nodes[-1], nodes[:-1]
        bad.process.terminate()
        await asyncio.to_thread(bad.process.wait)
        flooder = Flooder(bad)
        serving = asyncio.create_task(flooder.mesh.run(flooder))
        rows = []
        for kind in (QUIET, *FLOODS):
            await flooder.connected_to(len(honest))
            rows.append(await measure(flooder, honest, life, kind, options))
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    per_retrieval = rows[0].cpu_us / rows[0].retrievals
    return [rows[0], *(_without_retrievals(row, per_retrieval) for row in rows[1:])]


def _without_retrievals(row: Row, cost_us: float) -> Row:
    return replace(row, cpu_us=row.cpu_us - row.retrievals * cost_us / max(row.sent, 1))


def table(rows: Sequence[Row]) -> str:
    """For people."""
    lines = [
        f"{'flood of':16} {'sent':>8} {'broken':>7} {'us/message':>11} {'MB':>7} {'kB disk':>8}"
        f" {'answers':>8} {'p50 ms':>8} {'p99 ms':>8}"
    ]
    for row in rows:
        cost = f"{row.cpu_us:.0f}" if row.sent else "-"
        lines.append(
            f"{row.kind:16} {row.sent:8} {row.disconnected:7} {cost:>11} {row.memory_mb:7.1f}"
            f" {row.disk_kb:8.0f} {row.retrievals:8} {row.p50_ms:8.1f} {row.p99_ms:8.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a flooding member costs the others.")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=2000, help="messages a second to each node")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = asyncio.run(run(options))
    print(json.dumps([asdict(row) for row in rows]) if options.json else table(rows))


if __name__ == "__main__":
    main()
