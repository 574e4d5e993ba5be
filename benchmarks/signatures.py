"""What joint signatures cost: FROST beside Rust's published figures, ECDSA presigned and online.

Run `python -m benchmarks.signatures` in the checkout (`--json` for a machine). CPU milliseconds of
one thread, minimum of several runs. FROST: per signer, as the published figures are; a signer
checks nothing but what the protocol asks for, signatures of nodes apart. ECDSA: whole sessions of
all nodes in one process, every message encoded, decoded and handled, without network, disk and
chain, divided by the number of signers; and the bytes that all of them send.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from keyserver.crypto.curve import Scalar
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import Form, aggregate, commit, prepare, sign_part
from keyserver.sessions.core import Completed
from tests.support.delivery import Delivery
from tests.support.key_life import generate, presign, try_ecdsa

RNG = SeededRandom("signatures")
MESSAGE = bytes(range(32))

FROST_SIZES = ((2, 3), (7, 10), (67, 100))
"""Signers needed, and nodes."""

RUST_MS = {
    (2, 3): (0.09, 0.15, 0.25),
    (7, 10): (0.09, 0.48, 0.52),
    (67, 100): (0.09, 4.41, 3.82),
}
"""Round 1, round 2, aggregate: `frost-secp256k1` on a Ryzen 9 5900X at 3.7 GHz, one thread, as the
ZcashFoundation/frost repository tells in `performance.md`."""

THRESHOLDS = (1, 2, 3, 6)


@dataclass(frozen=True)
class Frost:
    """Milliseconds per signer, and of the coordinator."""

    signers: int
    nodes: int
    round_1: float
    round_2: float
    aggregate: float
    rust: tuple[float, float, float]


@dataclass(frozen=True)
class Ecdsa:
    """Milliseconds per signer of 2t + 1, the coordinator's work among them, and bytes of all."""

    threshold: int
    signers: int
    presign_ms: float
    presign_bytes: int
    online_ms: float
    online_bytes: int


def least(work: Callable[[], object], runs: int) -> float:
    """The shortest of some runs, in milliseconds of CPU."""
    gc.collect()
    times = []
    for _ in range(runs):
        start = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - start)
    return min(times) / 1e6


def frost(signers: int, nodes: int, runs: int) -> Frost:
    """The three steps that Rust's table has; aggregating computes the group commitment anew."""
    polynomial = SecretPolynomial.random(signers - 1, RNG)
    key = polynomial.commit()
    shares = {x: polynomial.evaluate(Scalar(x)) for x in range(1, nodes + 1)}

    def made(x: int) -> object:
        return commit(Form.RFC9591, Scalar(x), shares[x], RNG)

    first = [
        [commit(Form.RFC9591, Scalar(x), shares[x], RNG) for x in range(1, signers + 1)]
        for _ in range(runs)
    ]
    lists = [[nonces.commitment for nonces in each] for each in first]
    packages = [prepare(Form.RFC9591, key[0], MESSAGE, each) for each in lists]
    parts = [
        [sign_part(n, shares[int(n.commitment.x)], package) for n in each[1:]]
        for each, package in zip(first, packages, strict=True)
    ]
    left = iter(zip(first, lists, strict=True))
    done: list[Scalar] = []

    def second() -> None:
        each, commitments = next(left)
        package = prepare(Form.RFC9591, key[0], MESSAGE, commitments)
        done.append(sign_part(each[0], shares[1], package))

    round_2 = least(second, runs)
    finished = iter(zip(lists, done, parts, strict=True))

    def last() -> None:
        commitments, own, others = next(finished)
        package = prepare(Form.RFC9591, key[0], MESSAGE, commitments)
        aggregate(package, [own, *others], key)

    together = least(last, runs)
    rust = RUST_MS[signers, nodes]
    return Frost(signers, nodes, least(lambda: made(1), runs), round_2, together, rust)


def ecdsa(threshold: int, runs: int) -> Ecdsa:
    """Presigning and the one round online, by a coordinator that is a signer."""
    signers = 2 * threshold + 1
    net = Delivery(signers, recording=False)
    record = generate(net, threshold)
    made = []
    presigning = least(lambda: made.append(presign(net, record)), runs)
    left = iter(made)

    def online() -> None:
        assert isinstance(try_ecdsa(net, record, next(left)), Completed)

    signing = least(online, runs)
    counted = Delivery(signers)
    known = generate(counted, threshold)
    counted.sent.clear()
    last = presign(counted, known)
    before = sum(len(data) for data in counted.sent)
    counted.sent.clear()
    try_ecdsa(counted, known, last)
    after = sum(len(data) for data in counted.sent)
    return Ecdsa(threshold, signers, presigning / signers, before, signing / signers, after)


def main() -> None:
    """Measure and print."""
    tables = (
        [frost(signers, nodes, 12) for signers, nodes in FROST_SIZES],
        [ecdsa(threshold, 8) for threshold in THRESHOLDS],
    )
    if "--json" in sys.argv[1:]:
        print(json.dumps([[asdict(row) for row in table] for table in tables]))
        return
    print("FROST, ms     round 1       round 2       aggregate     (Rust's in brackets)")
    for row in tables[0]:
        ours = (row.round_1, row.round_2, row.aggregate)
        cells = (f"{own:5.2f} ({rust:.2f})" for own, rust in zip(ours, row.rust, strict=True))
        print(f"{f'{row.signers}-of-{row.nodes}':12}" + "  ".join(f"{cell:12}" for cell in cells))
    print("\nECDSA         presign, ms per signer   bytes   online, ms per signer   bytes")
    for each in tables[1]:
        name = f"t={each.threshold}, {each.signers}"
        print(
            f"{name:12}{each.presign_ms:22.2f}{each.presign_bytes:10}"
            f"{each.online_ms:22.2f}{each.online_bytes:10}"
        )


if __name__ == "__main__":
    main()
