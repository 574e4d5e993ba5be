"""What generation and shadow retrieval cost, against the group operations they consist of.

Run `python -m benchmarks.engine` in the checkout (`--json` for a machine). For every committee
size it measures the computations of one node in each step, and whole sessions: all nodes in one
process, from the request to the result, every message encoded, decoded and handled, without
network, disk and chain. Each is divided by the sum of its group operations, signatures and parsed
points at the curve library's own cost, measured in the same run.
"""

import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from benchmarks.primitives import _raw_operations, measure_raw
from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, Scalar, SecretScalar, sign_digest
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Deal, Member, ReceivedDeal, make_deal, receive_deals
from keyserver.crypto.elgamal import (
    combine_partials,
    encrypt_document_key,
    shadow_commitments,
    shadow_factors,
    shadow_partial,
    shadow_scalar,
    shadow_statement,
)
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.transcripts import session_hash, share_digest, tail_hash
from keyserver.crypto.vss import deal, evaluate_commitments, sum_commitments
from keyserver.model.quorums import Quorums
from tests.support import key_life
from tests.support.delivery import Delivery

SIZES = (3, 5, 13, 64)
_RNG = SystemRandom()
_CONTEXT = bytes(32)


@dataclass(frozen=True, slots=True)
class Row:
    """One step at one size; times in microseconds."""

    step: str
    nodes: int
    threshold: int
    measured: float
    raw: float

    @property
    def ratio(self) -> float:
        """The measured time as a multiple of the raw group operations."""
        return self.measured / self.raw


def _best(step: Callable[[], object], runs: int = 7) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


class _Generation:
    """A committee in the middle of a generation."""

    def __init__(self, nodes: int, threshold: int) -> None:
        self.threshold = threshold
        self.keys = [SecretScalar.random(_RNG) for _ in range(nodes)]
        self.one_time = [OneTimeKey.random(_RNG) for _ in range(nodes)]
        self.members = [
            Member(key.public(), one_time.public, Scalar(place))
            for place, (key, one_time) in enumerate(zip(self.keys, self.one_time, strict=True), 1)
        ]
        accepted = [(member.node, member.one_time) for member in self.members]
        self.session = session_hash(bytes(32), accepted)

    def deal(self, dealer: int) -> tuple[Deal, list[bytes]]:
        """Deal and sign, the making of the one-time key included."""
        node = self.members[dealer].node
        made = make_deal(
            SecretPolynomial.random(self.threshold, _RNG),
            self.members,
            dealer=node,
            one_time=OneTimeKey(self.one_time[dealer].secret),
            session=self.session,
            rng=_RNG,
        )
        signatures = [
            sign_digest(
                self.keys[dealer],
                share_digest(self.session, node, member.node, made.deal_hash, ciphertext),
            )
            for member, ciphertext in zip(self.members, made.ciphertexts, strict=True)
        ]
        return made, signatures

    def receiving(self) -> Callable[[], object]:
        """Return the work of the first member on the deals of all, from their bytes.

        It knows the common points from its own deal, as in a session.
        """
        deals = [self.deal(dealer) for dealer in range(len(self.members))]
        wire = [
            (made.commitments[0].compressed, made.pop, tail_hash(made.commitments),
             made.ciphertexts[0], signatures[0])
            for made, signatures in deals
        ]  # fmt: skip
        sums = sum_commitments([made.commitments for made, _ in deals])
        commitments = [total.compressed for total in sums if total is not None]
        for member in self.members:
            self.one_time[0].shared_with(member.one_time)

        def receive() -> None:
            received = [
                ReceivedDeal(member, Point.parse(constant), *rest)
                for member, (constant, *rest) in zip(self.members, wire, strict=True)
            ]
            receive_deals(
                received,
                [Point.parse(data) for data in commitments],
                receiver=self.members[0],
                one_time=self.one_time[0],
                session=self.session,
            )

        return receive


def generation(nodes: int, threshold: int, raw: Mapping[str, float]) -> list[Row]:
    """Measure dealing and receiving."""
    committee = _Generation(nodes, threshold)
    dealing = (threshold + 3) * raw["k*G"] + nodes * (raw["ECDH, hashed"] + raw["sign"])
    receiving = (
        nodes * (raw["parse 33"] + raw["verify by recovery"] + raw["a*G + b*P"])
        + (threshold + 1) * raw["parse 33"]
        + threshold * (raw["k*P, small public k"] + raw["P + Q"])
        + raw["k*G"]
    )
    return [
        Row("deal", nodes, threshold, _best(lambda: committee.deal(0)), dealing),
        Row("receive", nodes, threshold, _best(committee.receiving()), receiving),
    ]


def shadow_retrieval(nodes: int, threshold: int, raw: Mapping[str, float]) -> list[Row]:
    """Measure one member's two rounds; its verification shares are cached."""
    xs = [Scalar(place) for place in range(1, threshold + 2)]
    commitments, shares = deal(threshold, xs, _RNG)
    verification = [evaluate_commitments(commitments, x) for x in xs]
    known = [point for point in verification if point is not None]
    document_key, requester = (SecretScalar.random(_RNG).public() for _ in range(2))
    stored = encrypt_document_key(commitments[0], document_key, _RNG)

    def first(index: int = 0) -> tuple[SecretScalar, bytes, bytes, bytes]:
        made = shadow_partial(shares[index], stored.common, _RNG)
        statement = shadow_statement(
            _CONTEXT, known[index], made.mask_point, stored.common, made.partial
        )
        proof = prove(statement, [made.witness], _RNG)
        return made.mask, made.mask_point.compressed, made.partial.compressed, proof

    wire = [first(index) for index in range(threshold + 1)]

    def second() -> None:
        parsed = [(Point.parse(mask), Point.parse(partial)) for _, mask, partial, _ in wire]
        for share, (mask, partial), (*_, proof) in zip(known, parsed, wire, strict=True):
            verify(shadow_statement(_CONTEXT, share, mask, stored.common, partial), proof)
        factors = shadow_factors(xs)
        shadow_commitments(factors, [mask for mask, _ in parsed])
        ecies.encrypt(requester, shadow_scalar(wire[0][0], factors[0]).expose(), _RNG)
        combine_partials(stored.encrypted, xs, [partial for _, partial in parsed])

    one = 2 * (raw["k*G"] + raw["k*P, secret k"]) + raw["P + Q"]
    verified = raw["a*G + b*P"] + 2 * raw["k*P, public k"] + 2 * raw["P + Q"]
    two = (threshold + 1) * (2 * raw["parse 33"] + verified + 2 * raw["k*P, public k"])
    two += raw["k*G"] + raw["k*P, secret k"]
    return [
        Row("shadow, round 1", nodes, threshold, _best(first, 31), one),
        Row("shadow, round 2", nodes, threshold, _best(second), two),
    ]


def generation_operations(nodes: int, threshold: int) -> Counter[str]:
    """Count what all nodes compute in a generation in which everybody takes part and is right.

    Keys of nodes are not counted: a node parses each of them once in its life. Sums of fewer than
    64 points, a fraction of a percent of the whole, are left out.
    """
    agreement = Quorums.of(nodes).agreement
    pairs, coefficients = nodes * nodes, threshold + 1
    count: Counter[str] = Counter()
    # ACCEPT: key, proof and signature of each; the coordinator checks them, START everybody.
    accepted = nodes + nodes * (nodes - 1)
    count["k*G"] += 2 * nodes
    count["sign"] += nodes
    count["parse 33"] += nodes + pairs
    count["verify by recovery"] += accepted
    count["a*G + b*P"] += accepted
    # DEAL: commitments, proof of possession, a sealed and signed share for each.
    count["k*G"] += nodes * (coefficients + 1)
    count["ECDH, hashed"] += pairs
    count["sign"] += pairs
    count["parse 64"] += nodes * coefficients
    count["a*G + b*P"] += nodes
    count["sum of 64"] += coefficients * nodes // 64
    # SHARES: signature and proof of every deal, the sum of the shares on the sum of commitments.
    count["parse 33"] += pairs + nodes * coefficients
    count["verify by recovery"] += pairs
    count["a*G + b*P"] += pairs
    count["sum of 64"] += pairs // 64
    count["k*G"] += nodes
    count["k*P, small public k"] += nodes * threshold
    count["P + Q"] += nodes * threshold
    # FINALIZE, READY, CERT, COMMIT and the decision.
    count["parse 33"] += nodes * (coefficients + 1)
    count["sign"] += 2 * nodes
    count["verify by recovery"] += nodes + pairs + agreement + nodes * agreement
    return count


def retrieval_operations(nodes: int, threshold: int) -> Counter[str]:
    """Count what all nodes compute in a shadow retrieval in which nobody fails."""
    required = threshold + 1
    asked = min(nodes, required + Quorums.of(nodes).faulty)
    count: Counter[str] = Counter()
    # The request: requester and document key in every opening.
    count["parse 64"] += 1 + 3 * asked
    # PARTIAL: mask, masked part, proof over the verification share, signature.
    count["k*G"] += 2 * asked
    count["k*P, secret k"] += 2 * asked
    count["sign"] += asked
    count["k*P, small public k"] += asked * threshold
    count["P + Q"] += asked * (threshold + 1)
    # Checked by the coordinator, and by every selected node those of the others.
    count["parse 33"] += 2 * asked + required * 2 * required
    checks = asked + required * threshold
    count["verify by recovery"] += checks
    count["k*P, small public k"] += checks * threshold
    count["P + Q"] += checks * (threshold + 1)
    count["a*G + b*P"] += checks
    count["k*P, public k"] += 2 * checks
    count["P + Q"] += checks
    # SELECT: signed once, checked by all; all combine, members seal their shadow and sign it.
    count["sign"] += 1 + required
    count["verify by recovery"] += 2 * required
    count["k*P, public k"] += (required + 1) * 2 * required
    count["P + Q"] += (required + 1) * 2
    count["k*G"] += required
    count["ECDH, hashed"] += required
    return count


def whole_sessions(nodes: int, threshold: int) -> list[Row]:
    """Measure whole sessions, every node's part included, and their bare group operations.

    Taken in turns, so that both meet the same machine; the shortest of several runs.
    """
    together = max(1, 120 // nodes)
    counts = generation_operations(nodes, threshold), retrieval_operations(nodes, threshold)
    times = []
    for _ in range(3 if nodes > 20 else 9):
        measured = _lives_of_keys(nodes, threshold, together)
        times.append((*measured, *(_replay(count, together) for count in counts)))
    shortest = [min(column) / together * 1e6 for column in zip(*times, strict=True)]
    generating, retrieving, generated, retrieved = shortest
    return [
        Row("generation, all nodes", nodes, threshold, generating, generated),
        Row("retrieval, all nodes", nodes, threshold, retrieving, retrieved),
    ]


def _replay(count: Mapping[str, int], together: int) -> float:
    """CPU seconds of so many times the counted operations, as bare calls of the library."""
    operations = _raw_operations()
    gc.collect()
    start = time.process_time()
    for name, times in count.items():
        operation = operations[name]
        for _ in range(times * together):
            operation()
    return time.process_time() - start


def _lives_of_keys(nodes: int, threshold: int, together: int) -> tuple[float, float]:
    """CPU seconds of so many generations, and of the retrievals of what was stored after them."""
    committees = [Delivery(nodes, recording=False) for _ in range(together)]
    gc.collect()
    start = time.process_time()
    records = [key_life.generate(committee, threshold) for committee in committees]
    generating = time.process_time() - start
    stored = [
        (committee, record, key_life.store(committee, record))
        for committee, record in zip(committees, records, strict=True)
    ]
    gc.collect()
    start = time.process_time()
    for committee, record, document in stored:
        key_life.retrieve(committee, record, document)
    return generating, time.process_time() - start


def measure() -> list[Row]:
    """Measure every step and session at every size, with threshold `floor((n-1)/3)`."""
    raw = _prices()
    rows = []
    for nodes in SIZES:
        threshold = (nodes - 1) // 3
        rows += generation(nodes, threshold, raw) + shadow_retrieval(nodes, threshold, raw)
        rows += whole_sessions(nodes, threshold)
    return rows


def _prices() -> dict[str, float]:
    """Raw costs, the least of several rounds: other programs on the machine come and go."""
    rounds = [measure_raw() for _ in range(5)]
    return {operation: min(prices[operation] for prices in rounds) for operation in rounds[0]}


def main() -> None:
    """Print the rows as a table, or as JSON with `--json`."""
    rows = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows]))
        return
    print(f"{'step':23}{'n':>4}{'t':>4}{'us':>9}{'raw us':>9}{'ratio':>7}")
    for row in rows:
        print(
            f"{row.step:23}{row.nodes:4}{row.threshold:4}"
            f"{row.measured:9.0f}{row.raw:9.0f}{row.ratio:7.2f}"
        )


if __name__ == "__main__":
    main()
