"""The mathematics of moving one key, without sessions: also to another threshold.

Run `python -m benchmarks.resharing` in the checkout (`--json` for a machine). What all dealers, the
coordinator and all receivers compute for one key, one after the other in one process: shares are
scaled, dealt, sealed and signed, constants checked, deals opened and added up, shares checked. Held
against the bare group operations as in `benchmarks.engine`.
"""

import argparse
import gc
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.engine import _replay
from keyserver.crypto.curve import Point, Scalar, SecretScalar, sign_digest
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Deal, Member, ReceivedDeal, make_deal
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.resharing import (
    dealt_constant,
    receive_redistribution,
    scaled_polynomial,
)
from keyserver.crypto.transcripts import session_hash, share_digest, tail_hash
from keyserver.crypto.vss import deal, sum_commitments

TOGETHER = 20
RUNS = 5
_RNG = SystemRandom()


@dataclass(frozen=True, slots=True)
class Change:
    """From t + 1 of some holders to a new set of `new` nodes and threshold."""

    old: int
    threshold: int
    new: int
    new_threshold: int


CHANGES = (Change(5, 2, 7, 2), Change(5, 2, 7, 3), Change(7, 3, 5, 2))


@dataclass(frozen=True, slots=True)
class Row:
    """What one key costs all nodes together."""

    change: Change
    measured_ms: float
    bare_ms: float

    @property
    def ratio(self) -> float:
        """The measured time as a multiple of its operations."""
        return self.measured_ms / self.bare_ms


class Key:
    """A shared key, and all that take part in moving it once."""

    def __init__(self, change: Change) -> None:
        self.change = change
        places = [Scalar(x) for x in range(1, change.old + 1)]
        self.secret = SecretScalar.random(_RNG)
        self.commitments, shares = deal(change.threshold, places, _RNG, self.secret)
        self.dealt_by = places[: change.threshold + 1]
        self.shares = shares[: change.threshold + 1]
        nodes = max(change.new, change.threshold + 1)
        self.keys = [SecretScalar.random(_RNG) for _ in range(nodes)]
        self.one_time = [OneTimeKey.random(_RNG) for _ in range(nodes)]
        self.members = [
            Member(key.public(), one.public, Scalar(x))
            for x, (key, one) in enumerate(zip(self.keys, self.one_time, strict=True), 1)
        ]
        self.receivers = self.members[: change.new]
        announced = [(member.node, member.one_time) for member in self.members]
        self.session = session_hash(bytes(32), announced)

    def move(self) -> list[SecretScalar]:
        """Everything that the nodes compute; returns the new shares."""
        deals = [self._deal(dealer) for dealer in range(len(self.dealt_by))]
        for (made, _), place in zip(deals, self.dealt_by, strict=True):
            if made.commitments[0] != dealt_constant(self.commitments, place, self.dealt_by):
                raise RuntimeError("a dealer has dealt something else")
        sums = sum_commitments([made.commitments for made, _ in deals])
        commitments = tuple(point for point in sums if point is not None)
        return [self._receive(index, deals, commitments) for index in range(self.change.new)]

    def _deal(self, dealer: int) -> tuple[Deal, list[bytes]]:
        node = self.members[dealer].node
        polynomial = scaled_polynomial(
            self.shares[dealer],
            self.dealt_by[dealer],
            self.dealt_by,
            threshold=self.change.new_threshold,
            rng=_RNG,
        )
        made = make_deal(
            polynomial,
            self.receivers,
            dealer=node,
            one_time=OneTimeKey(self.one_time[dealer].secret),
            session=self.session,
            rng=_RNG,
            possession=False,
        )
        signatures = [
            sign_digest(
                self.keys[dealer],
                share_digest(self.session, node, receiver.node, made.deal_hash, ciphertext),
            )
            for receiver, ciphertext in zip(self.receivers, made.ciphertexts, strict=True)
        ]
        return made, signatures

    def _receive(
        self, index: int, deals: Sequence[tuple[Deal, list[bytes]]], commitments: Sequence[Point]
    ) -> SecretScalar:
        received = [
            ReceivedDeal(
                dealer=self.members[dealer],
                constant=made.commitments[0],
                pop=b"",
                tail_hash=tail_hash(made.commitments),
                ciphertext=made.ciphertexts[index],
                signature=signatures[index],
            )
            for dealer, (made, signatures) in enumerate(deals)
        ]
        return receive_redistribution(
            received,
            commitments,
            public=self.commitments[0],
            receiver=self.receivers[index],
            one_time=OneTimeKey(self.one_time[index].secret),
            session=self.session,
        ).share


def operations(change: Change) -> Counter[str]:
    """What `Key.move` consists of; a dealer does not check a deal of its own."""
    dealers, t, new_t, new = (
        change.threshold + 1,
        change.threshold,
        change.new_threshold,
        change.new,
    )
    checked = new * dealers - min(new, dealers)
    return Counter(
        {
            "k*G": dealers * (new_t + 1) + new,
            "ECDH, hashed": 2 * dealers * new,
            "sign": dealers * new,
            "verify by recovery": checked,
            "k*P, small public k": dealers * t + new * new_t,
            "k*P, public k": dealers,
            "P + Q": dealers * t + dealers * (new_t + 1) + new * (new_t + dealers),
        }
    )


def measure(change: Change) -> Row:
    """The best of several runs, of both in turns."""
    keys = [Key(change) for _ in range(TOGETHER)]
    measured, bare = [], []
    for _ in range(RUNS):
        gc.collect()
        began = time.process_time()
        moved = [key.move() for key in keys]
        measured.append(time.process_time() - began)
        bare.append(_replay(operations(change), TOGETHER))
    enough = change.new_threshold + 1
    for key, shares in zip(keys, moved, strict=True):
        places = [receiver.x for receiver in key.receivers[-enough:]]
        if interpolate_secret(places, shares[-enough:]) != key.secret:
            raise RuntimeError("the new shares make another key")
    return Row(change, min(measured) / TOGETHER * 1e3, min(bare) / TOGETHER * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(change) for change in CHANGES]
    if options.json:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows]))
        return
    print("   from n, t     to n, t   all nodes, ms   bare operations, ms   ratio")
    for row in rows:
        change = row.change
        print(
            f"{change.old:9}, {change.threshold} {change.new:8}, {change.new_threshold}"
            f"{row.measured_ms:16.2f}{row.bare_ms:22.2f}{row.ratio:8.2f}"
        )


if __name__ == "__main__":
    main()
