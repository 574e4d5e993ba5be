"""Every cheat of the adversary matrix, in every protocol, part and size of network.

By default each is played among four nodes; what takes long, what is the same in two protocols, and
what happens in a change of the set, once of its kind. `--full-matrix` plays all of them everywhere.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from keyserver.simulation import cluster as cluster_module
from keyserver.simulation.adversary.matrix import OMISSIONS, ROWS, combinations
from keyserver.simulation.adversary.rows import Behaviour, Protocol, Row
from keyserver.simulation.loop import run_virtual
from tests.adversary.cheating import Cheating
from tests.adversary.checks import check
from tests.adversary.document import PATH, text
from tests.adversary.elsewhere import TRANSPORT
from tests.adversary.expectations import is_possible, sizes_of
from tests.adversary.handing_checks import check_handing_over
from tests.adversary.handing_over import CHANGES, handing_over_of
from tests.adversary.play import game_of
from tests.adversary.sizes import SMALL, Size
from tests.adversary.view import Drawn

SEEDS = range(1, 25)
"""With the first of them every liar has its say; but donors are chosen at random."""


def _cells(*, full: bool) -> Iterator[tuple[Row, Size]]:
    seen = set()
    for row in ROWS:
        kind = (row.behaviour, row.protocol, row.part)
        sizes = sizes_of(row) if full else _representative(row, first=kind not in seen)
        seen.add(kind)
        yield from ((row, size) for size in sizes if is_possible(row, size))


_LONG = (Behaviour.FLOOD, Behaviour.OVERSIZED)


_FOR_PROOFS = (Protocol.HANDOVER, Protocol.REFRESH)
"""The same messages as in another protocol: what is proven is played here, too."""


_ONCE_OF_A_KIND = (
    Protocol.BOTH,
    Protocol.FROST,
    Protocol.PRESIGNING,
    Protocol.SHADOW_CONTRACT,
    Protocol.SHADOW_LEGACY,
)
"""The same messages as in another protocol, or very many of them."""


def _representative(row: Row, *, first: bool) -> Sequence[Size]:
    if row.protocol in CHANGES:
        told = row.provable if row.protocol in _FOR_PROOFS else row.behaviour not in _LONG
        return (SMALL,) if told and first else ()
    if row.protocol in _ONCE_OF_A_KIND or row.behaviour in _LONG:
        return (SMALL,) if first or row.provable else ()
    return (SMALL,)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" not in metafunc.fixturenames:
        return
    cells = [
        pytest.param(row, size, id=f"{row.protocol.name}-{row.part.name}-{row.name}-{size}")
        for row, size in _cells(full=metafunc.config.getoption("--full-matrix"))
    ]
    metafunc.parametrize(("row", "size"), cells)


def test_cell(row: Row, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "SeededRandom", Drawn)
    for seed in SEEDS:
        Drawn.drawn.clear()
        cheating = run_virtual(_played(row, size, seed))
        if cheating.has_lied:
            return
    raise AssertionError("nobody has lied")


async def _played(row: Row, size: Size, seed: int) -> Cheating:
    if row.protocol in CHANGES:
        return (await handing_over_of(row, size, seed, check_handing_over)).cheating
    return (await game_of(row, size, seed, check)).cheating


def test_every_combination_has_a_cheat_or_a_reason() -> None:
    played = Counter({(row.behaviour, row.protocol, row.part) for row in ROWS})
    left_out = Counter(
        combination for omission in OMISSIONS for combination in omission.combinations
    )
    assert all(played[one] + left_out[one] == 1 for one in combinations())


def test_every_cheat_has_a_name_of_its_own() -> None:
    names = Counter((row.protocol, row.part, row.name) for row in ROWS)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("where", sorted({test for tests in TRANSPORT.values() for test in tests}))
def test_what_is_played_elsewhere_is_there(where: str) -> None:
    module, _, name = where.partition("::")
    assert hasattr(import_module(module.removesuffix(".py").replace("/", ".")), name)


def test_the_document_tells_what_is_played() -> None:
    assert Path(PATH).read_text(encoding="utf-8") == text(), (
        "make it anew: python -m tests.adversary.document"
    )
