"""Nodes that sign on bad days: nonces and presignatures answer once, whatever comes back.

Plans made from seeds are played in `test_scenarios.py`; more of them:
`keyserver simulate --scenario "signatures and backups" --seeds 1000`.
"""

from contextlib import ExitStack

import pytest

from keyserver.simulation.runner import run_one
from keyserver.simulation.scenarios.plan import Ask, Crash, Partition, Plan, Restored
from keyserver.simulation.scenarios.registry import SCENARIOS
from tests.simulation.planted.search import BUGS

SCENARIO = SCENARIOS["signatures"]

ASKED = ((0, "ecdsa"), (1, "frost"), (0, "ecdsa"), (2, "schnorr"), (3, "ecdsa"), (0, "ecdsa"))
ASKS = tuple(Ask(0.5 + 0.7 * at, node, what) for at, (node, what) in enumerate(ASKED))

DAYS: dict[str, tuple[object, ...]] = {
    "nothing goes wrong": (),
    "a signer starts anew": (Crash(1.3, 1, 0.2), Crash(3.2, 2, 0.2)),
    "a signer comes back with an old disk": (Restored(1.6, 1, 0.3), Restored(3.1, 2, 0.3)),
    "all of them do at once": tuple(Crash(2.1, node, 0.1) for node in range(4)),
    "a part is cut off": (Partition(1.2, (0, 1), 3.0),),
    "shares are renewed": (Ask(1.4, 3, "refresh"), Ask(3.4, 0, "refresh")),
}


@pytest.mark.parametrize("day", DAYS)
def test_nothing_is_used_twice(day: str) -> None:
    finding = run_one(SCENARIO, 1, Plan(4, 1, None, (*ASKS, *DAYS[day])))
    assert finding is None, finding


FOUND = {
    "nonces": ("a nonce is used in two sessions", "a part is cut off"),
    "stock": ("a presignature is asked for twice", "nothing goes wrong"),
    "pool in memory": ("a presignature outlives its process", "a signer starts anew"),
}
"""Planted bugs, as what they show, and where."""


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_bug_is_found(name: str) -> None:
    invariant, day = FOUND[name]
    with ExitStack() as stack:
        BUGS[name].plant(stack)
        finding = run_one(SCENARIO, 1, Plan(4, 1, None, (*ASKS, *DAYS[day])))
    assert finding is not None
    assert finding.invariant == invariant
