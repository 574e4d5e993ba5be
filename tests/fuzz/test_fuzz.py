"""A few inputs for each target; `python -m tests.fuzz` feeds a million."""

import pytest

from tests.fuzz.running import FindingError, run
from tests.fuzz.targets import TARGETS

FEW = {"handshake": 500, "frames": 1000, "messages": 2000, "chain": 2000, "config": 300}


@pytest.mark.parametrize("name", TARGETS)
def test_junk_is_refused(name: str) -> None:
    report = run(name, TARGETS[name], seed=2, first=0, count=FEW[name])
    assert report.outcomes.total() == FEW[name]
    assert report.outcomes["refused"] < FEW[name], "nothing gets past the first check"


def test_a_finding_tells_how_to_repeat_it() -> None:
    class Broken:
        def feed(self, random: object) -> str:
            raise ZeroDivisionError

        def close(self) -> None:
            return

    with pytest.raises(FindingError, match="frames --seed 5 --first 7 --inputs 1"):
        run("frames", Broken, seed=5, first=7, count=1)
