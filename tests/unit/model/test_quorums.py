"""f, q_n and g."""

import pytest

from keyserver.errors import ConfigError
from keyserver.model.quorums import Quorums


@pytest.mark.parametrize(
    ("n", "f", "q", "t", "g"),
    [(1, 0, 1, 0, 1), (3, 0, 2, 1, 2), (4, 1, 3, 1, 3), (5, 1, 4, 1, 4), (5, 1, 4, 3, 5),
     (16, 5, 11, 5, 11), (64, 21, 43, 21, 43), (256, 85, 171, 85, 171), (7, 2, 5, 6, 7)],
)  # fmt: skip
def test_the_table(n: int, f: int, q: int, t: int, g: int) -> None:
    quorums = Quorums.of(n)
    assert (quorums.faulty, quorums.agreement, quorums.holders(t)) == (f, q, g)


def test_every_quorum_can_be_reached_without_the_faulty() -> None:
    for n in range(1, 257):
        quorums = Quorums.of(n)
        assert quorums.agreement <= n - quorums.faulty
        assert 2 * quorums.agreement - n > quorums.faulty or quorums.faulty == 0


def test_max_faulty_lowers_f_only() -> None:
    assert Quorums.of(7, 1).faulty == 1
    assert Quorums.of(4, 9).faulty == 1
    with pytest.raises(ConfigError):
        Quorums.of(4, -1)
