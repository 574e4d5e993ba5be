"""A node dies in a commit that it makes for a migration, and the migration is completed.

Everything that a node remembers of one is such a commit: the id it has chosen, that it takes part,
its promise for a key, the share it was dealt, its votes, the switch with the erased share, the
completed change, the success of its session, and every transaction. `--full-matrix` plays all.
"""

import pytest

from keyserver.simulation.owner import Edit
from keyserver.simulation.scenarios.plan import CrashAtCommit
from tests.simulation.test_owner import CHANGES, EDITED_S, FIRST, RULES, played

EDIT = Edit(EDITED_S, CHANGES["replace one"])
MASTER, STAYS, LEAVES, JOINS = 1, 2, 0, 4
BEGIN_S = EDITED_S + 4 * RULES.block_s
"""Shortly before the delay is over."""
DOWN_S = 10.0
MOST_COMMITS = 40
"""More than a node makes from there until the set has changed."""
SAMPLE = {
    (MASTER, 4, True),
    (MASTER, 12, False),
    (STAYS, 8, True),
    (LEAVES, 6, True),
    (JOINS, 9, False),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--full-matrix")
    every = {
        (node, nth, written)
        for node in (MASTER, STAYS, LEAVES, JOINS)
        for nth in range(1, MOST_COMMITS + 1)
        for written in (False, True)
    }
    deaths = sorted(every if full else SAMPLE)
    metafunc.parametrize(("node", "nth", "written"), deaths)


def test_a_node_dies_in_a_commit(node: int, nth: int, written: bool) -> None:
    told = played(EDIT, CrashAtCommit(BEGIN_S, node, nth, written, DOWN_S))
    assert told.sets == [FIRST, CHANGES["replace one"]]
    assert len(told.starts) == 1
    assert told.named == set()
