"""Every cheat of the adversary matrix, in every protocol, part and size of network."""

import pytest

from keyserver.simulation import cluster as cluster_module
from keyserver.simulation.adversary.matrix import ROWS
from keyserver.simulation.adversary.rows import Row
from keyserver.simulation.loop import run_virtual
from tests.adversary.checks import check
from tests.adversary.play import game_of
from tests.adversary.sizes import LARGE, SMALL, Size
from tests.adversary.view import Drawn


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    sizes = SMALL + LARGE if metafunc.config.getoption("--full-matrix") else SMALL
    cells = [
        pytest.param(row, size, id=f"{row.protocol.name}-{row.part.name}-{row.name}-{size}")
        for row in ROWS
        for size in sizes
        if size.threshold >= row.least_threshold
    ]
    metafunc.parametrize(("row", "size"), cells)


def test_cell(row: Row, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "SeededRandom", Drawn)
    Drawn.drawn.clear()
    run_virtual(game_of(row, size, check=check))
