"""Every cheat of the adversary matrix, in every protocol, part and size of network."""

import pytest

from keyserver.simulation import cluster as cluster_module
from keyserver.simulation.adversary.matrix import ROWS
from keyserver.simulation.adversary.rows import Row
from keyserver.simulation.loop import run_virtual
from tests.adversary.checks import check
from tests.adversary.expectations import is_possible
from tests.adversary.play import game_of
from tests.adversary.sizes import LARGE, SMALL, Size
from tests.adversary.view import Drawn

SEEDS = range(1, 9)
"""With the first of them every liar has its say; but donors are chosen at random."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    sizes = SMALL + LARGE if metafunc.config.getoption("--full-matrix") else SMALL
    cells = [
        pytest.param(row, size, id=f"{row.protocol.name}-{row.part.name}-{row.name}-{size}")
        for row in ROWS
        for size in sizes
        if is_possible(row, size)
    ]
    metafunc.parametrize(("row", "size"), cells)


def test_cell(row: Row, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "SeededRandom", Drawn)
    for seed in SEEDS:
        Drawn.drawn.clear()
        game = run_virtual(game_of(row, size, seed, check))
        if game.has_lied:
            return
    raise AssertionError("nobody has lied")
