"""Which networks the matrix is played in."""

from dataclasses import dataclass

from keyserver.model.quorums import Quorums


@dataclass(frozen=True, slots=True)
class Size:
    """So many nodes, this threshold, so many liars."""

    nodes: int
    threshold: int
    liars: int

    def __str__(self) -> str:
        return f"n{self.nodes}-t{self.threshold}-l{self.liars}"

    @property
    def quorums(self) -> Quorums:
        return Quorums.of(self.nodes)

    @property
    def honest(self) -> int:
        return self.nodes - self.liars

    @property
    def is_secret(self) -> bool:
        """Whether the liars hold too few shares to use the key."""
        return self.liars <= self.threshold

    @property
    def is_safe(self) -> bool:
        """Whether agreement and liveness are promised against so many liars."""
        return self.liars <= self.quorums.faulty

    @property
    def generates(self) -> bool:
        """Whether the honest nodes alone can make a key."""
        return self.honest >= self.quorums.holders(self.threshold)

    @property
    def agrees(self) -> bool:
        """Whether the honest nodes alone can decide."""
        return self.honest >= self.quorums.agreement

    @property
    def decrypts(self) -> bool:
        """Whether the honest nodes alone can use the key, if all hold it."""
        return self.honest > self.threshold


SMALL, SEVEN = Size(4, 1, 1), Size(7, 2, 2)
"""f liars, and the largest threshold that stays usable among the others."""

EVERYWHERE = (
    Size(3, 1, 1),
    Size(3, 2, 1),
    Size(4, 0, 1),
    SMALL,
    Size(4, 3, 1),
    Size(4, 3, 3),
    Size(5, 1, 1),
    Size(5, 2, 1),
    Size(5, 4, 3),
    Size(7, 1, 2),
    SEVEN,
    Size(7, 3, 3),
    Size(7, 6, 5),
    Size(10, 1, 3),
    Size(10, 3, 3),
    Size(10, 5, 5),
    Size(10, 9, 8),
)
"""Also f = 0, thresholds that are too low or too high for f, and as many liars as t."""

CHANGING = (Size(3, 1, 1), Size(4, 0, 1), SMALL, Size(5, 2, 1), SEVEN, Size(7, 3, 3))
"""Where sets change: there are up to twice as many nodes, and several sessions in every game."""
