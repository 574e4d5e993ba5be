import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.net.back_off import BackOff


class Fixed:
    """The same bytes again and again."""

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def bytes(self, n: int) -> bytes:
        return bytes([self.byte]) * n


@pytest.mark.parametrize(("byte", "share"), [(0, 0.5), (255, 1.0)])
def test_pauses_double_up_to_the_longest(byte: int, share: float) -> None:
    back_off = BackOff(0.1, 10, Fixed(byte))
    pauses = [back_off.pause_s() for _ in range(9)]
    nominal = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert pauses == pytest.approx([share * pause for pause in nominal], rel=1e-4)


def test_reset_begins_anew() -> None:
    back_off = BackOff(0.1, 10, Fixed(0))
    for _ in range(5):
        back_off.pause_s()
    back_off.reset()
    assert back_off.pause_s() == pytest.approx(0.05)


def test_pauses_of_two_nodes_differ() -> None:
    one, other = (BackOff(0.1, 10, SeededRandom(seed)) for seed in (1, 2))
    assert one.pause_s() != other.pause_s()
