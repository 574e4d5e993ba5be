"""What it costs to give a late node its share, against the group operations it consists of.

Run `python -m benchmarks.share_addition` in the checkout. Whole sessions of all nodes in one
process, every message encoded, decoded and handled, without network, disk and chain; divided by
the sum of their group operations, signatures and parsed points at the curve library's own cost,
measured in the same run (as `benchmarks.engine` does for the other sessions).
"""

import gc
import time
from collections import Counter

from benchmarks.engine import _replay
from keyserver.sessions.core import Completed
from tests.support.delivery import Delivery
from tests.support.key_life import generate, lose_share, try_add_share

SIZES = ((3, 0), (5, 1), (5, 2), (13, 4), (64, 21))


def operations(threshold: int) -> Counter[str]:
    """Count what the late node and t + 1 donors compute in a session without a quarrel.

    Keys of nodes are not counted: a node parses each of them once in its life. A donor's common
    point with another serves both directions.
    """
    donors = threshold + 1
    count: Counter[str] = Counter()
    # ACCEPT: key, proof and signature of each; the late node checks the donors', START everybody.
    count["k*G"] += 2 * (donors + 1)
    count["sign"] += donors + 1
    count["parse 33"] += donors + donors * (donors + 1)
    count["verify by recovery"] += donors + donors * donors
    count["a*G + b*P"] += donors + donors * donors
    if threshold:
        # MASK: commitments, a sealed and signed value for each; is it zero where it must be?
        count["k*G"] += donors * donors
        count["ECDH, hashed"] += donors * donors
        count["sign"] += donors * donors
        count["parse 64"] += donors * donors
        count["k*P, small public k"] += donors * threshold
        count["P + Q"] += 2 * donors * threshold
        # MASKS: signatures, the sum of the values on the sums of the commitments, those zero.
        count["parse 33"] += donors * donors
        count["verify by recovery"] += donors * donors
        count["k*G"] += donors
        count["k*P, small public k"] += 2 * donors * threshold
        count["P + Q"] += 2 * donors * threshold
    # BLINDED: sealed, signed, opened and checked.
    count["ECDH, hashed"] += 2 * donors
    count["sign"] += donors
    count["verify by recovery"] += donors
    count["k*G"] += donors
    count["k*P, small public k"] += 2 * donors * threshold
    count["P + Q"] += donors * (2 * threshold + 1)
    # The share, checked by the session and by the store.
    count["k*G"] += 2
    count["k*P, small public k"] += 2 * threshold
    count["P + Q"] += 2 * threshold
    return count


def messages(threshold: int) -> int:
    """Messages between nodes: three rounds there and back, without masks two."""
    return (6 if threshold else 4) * (threshold + 1)


def session(nodes: int, threshold: int, together: int) -> tuple[float, int]:
    """CPU seconds of so many sessions, and the bytes of the messages of one."""
    committees = [Delivery(nodes, recording=False) for _ in range(together)]
    records = [generate(committee, threshold) for committee in committees]
    for committee in committees:
        lose_share(committee, 0)
        committee.sent.clear()
    gc.collect()
    start = time.process_time()
    for committee, record in zip(committees, records, strict=True):
        assert isinstance(try_add_share(committee, record, 0), Completed)
    seconds = time.process_time() - start
    return seconds, _bytes_of_one(nodes, threshold)


def _bytes_of_one(nodes: int, threshold: int) -> int:
    committee = Delivery(nodes)
    record = generate(committee, threshold)
    lose_share(committee, 0)
    committee.sent.clear()
    try_add_share(committee, record, 0)
    assert len(committee.sent) == messages(threshold)
    return sum(len(data) for data in committee.sent)


def main() -> None:
    """Print a table."""
    print("   n    t  messages    bytes  all nodes, ms  bare operations, ms  ratio")
    for nodes, threshold in SIZES:
        together = max(1, 60 // nodes)
        runs = [
            (session(nodes, threshold, together), _replay(operations(threshold), together))
            for _ in range(3 if nodes > 20 else 7)
        ]
        measured = min(seconds for (seconds, _), _ in runs) / together * 1e3
        bare = min(seconds for _, seconds in runs) / together * 1e3
        size = runs[0][0][1]
        print(
            f"{nodes:4} {threshold:4} {messages(threshold):9} {size:8} {measured:14.2f} "
            f"{bare:20.2f} {measured / bare:6.2f}"
        )


if __name__ == "__main__":
    main()
