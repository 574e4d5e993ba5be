"""What it costs to move a key to another node set, against the group operations it consists of.

Run `python -m benchmarks.redistribution` in the checkout. Whole sessions of all nodes in one
process, every message encoded, decoded and handled, without network, disk and chain; divided by
the sum of their group operations, signatures and parsed points at the curve library's own cost,
measured in the same run (as `benchmarks.engine` does for the other sessions).
"""

import gc
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.engine import _replay
from keyserver.model.quorums import Quorums
from keyserver.sessions.core import Completed
from tests.support.successions import redistribute, with_key


@dataclass(frozen=True, slots=True)
class Change:
    """From nodes 0..old-1 to nodes first..last-1; the dealers stay."""

    old: int
    first: int
    last: int
    threshold: int

    @property
    def new(self) -> int:
        """The size of the new set."""
        return self.last - self.first

    @property
    def nodes(self) -> int:
        """All that take part."""
        return max(self.old, self.last)

    @property
    def dealers(self) -> list[int]:
        """Nodes that stay."""
        return list(range(self.first, self.first + self.threshold + 1))


CHANGES = (
    Change(5, 0, 7, 2),
    Change(7, 2, 7, 2),
    Change(4, 1, 5, 1),
    Change(5, 0, 5, 2),
    Change(13, 0, 16, 4),
    Change(64, 0, 64, 21),
)


def operations(change: Change) -> Counter[str]:
    """Count what all nodes compute in a session without a quarrel.

    Keys of nodes are not counted: a node parses each of them once in its life.
    """
    everybody, old, new, t = change.nodes, change.old, change.new, change.threshold
    dealers = t + 1
    quorum = Quorums.of(old).agreement
    refresh = old == new == everybody
    count: Counter[str] = Counter()
    # ACCEPT: key, proof and signature of each; the coordinator checks them, HANDOVER its members.
    checked = everybody - 1 + new * (everybody - 1)
    count["k*G"] += 2 * everybody
    count["sign"] += everybody
    count["parse 33"] += everybody + new * everybody
    count["verify by recovery"] += checked
    count["a*G + b*P"] += checked
    # DEAL: commitments, a sealed and signed share for each; is the constant what it must be?
    count["k*G"] += dealers * dealers
    count["ECDH, hashed"] += dealers * new
    count["sign"] += dealers * new
    count["parse 64"] += dealers * dealers
    count["k*P, small public k"] += dealers * t
    count["k*P, public k"] += dealers
    count["P + Q"] += dealers * t + dealers * dealers
    # SHARES: signatures, the sum of the constants, the own share on the sums.
    count["parse 33"] += new * 2 * dealers
    count["ECDH, hashed"] += new * dealers
    count["verify by recovery"] += new * dealers
    count["k*G"] += new
    count["k*P, small public k"] += new * t
    count["P + Q"] += new * (t + dealers)
    # READY, its certificate at everybody, the votes and their certificates.
    count["sign"] += new
    count["parse 33"] += new * (dealers + 1)
    voters_and_holders = new if refresh else everybody
    count["verify by recovery"] += new + voters_and_holders * new
    if not refresh:
        count["parse 33"] += everybody * (dealers + 1)
        count["sign"] += old
        count["verify by recovery"] += quorum + old * quorum
    count["sign"] += old
    count["verify by recovery"] += quorum + voters_and_holders * quorum
    return count


def session(change: Change, together: int) -> tuple[float, int, int]:
    """CPU seconds of so many sessions, and messages and bytes of one."""
    made = [with_key(change.nodes, range(change.old), change.threshold) for _ in range(together)]
    for net, _ in made:
        net.recording = False
    gc.collect()
    start = time.process_time()
    for net, record in made:
        new = range(change.first, change.last)
        by = change.dealers[0]
        outcome = redistribute(net, record, new, dealers=change.dealers, coordinator=by)
        assert isinstance(outcome, Completed)
    seconds = time.process_time() - start
    net, record = with_key(change.nodes, range(change.old), change.threshold)
    net.sent.clear()
    redistribute(
        net,
        record,
        range(change.first, change.last),
        dealers=change.dealers,
        coordinator=change.dealers[0],
    )
    return seconds, len(net.sent), sum(len(data) for data in net.sent)


def main() -> None:
    """Print a table."""
    print(" old  new    t  messages    bytes  all nodes, ms  bare operations, ms  ratio")
    for change in CHANGES:
        together = max(1, 60 // change.nodes)
        runs = [
            (session(change, together), _replay(operations(change), together))
            for _ in range(2 if change.nodes > 20 else 5)
        ]
        measured = min(result[0] for result, _ in runs) / together * 1e3
        bare = min(seconds for _, seconds in runs) / together * 1e3
        _, messages, size = runs[0][0]
        print(
            f"{change.old:4} {change.new:4} {change.threshold:4} {messages:9} {size:8} "
            f"{measured:14.2f} {bare:20.2f} {measured / bare:6.2f}"
        )


if __name__ == "__main__":
    main()
