"""The error of a simulation in which something happened that must never happen."""


class Violation(Exception):  # noqa: N818 - a finding, not an error of the program
    """An invariant does not hold.

    `invariant` names it in a few words that are the same in every run; `where` tells the place.
    """

    def __init__(self, invariant: str, where: str = "") -> None:
        super().__init__(f"{invariant}: {where}" if where else invariant)
        self.invariant = invariant
        self.where = where

    def __reduce__(self) -> tuple[type["Violation"], tuple[str, str]]:
        return Violation, (self.invariant, self.where)


def require(holds: bool, invariant: str, where: str = "") -> None:
    """Raise `Violation` unless `holds`."""
    if not holds:
        raise Violation(invariant, where)
