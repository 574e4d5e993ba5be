"""What somebody can compute from values that are linear in unknowns, over the field of scalars.

A value that lies outside the span of what is known is, by linear algebra, as good as any other:
whoever knows the rest learns nothing at all about it.
"""

from collections.abc import Mapping, Sequence

from keyserver.crypto.curve import ORDER

Row = dict[int, int]
"""A linear form: coefficients by number of the unknown."""


class Span:
    """The linear forms whose values somebody knows, in echelon form."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}

    def _reduced(self, row: Row) -> Row:
        row = {place: value % ORDER for place, value in row.items() if value % ORDER}
        while row:
            first = min(row)
            known = self._rows.get(first)
            if known is None:
                return row
            factor = row[first]
            for place, value in known.items():
                row[place] = (row.get(place, 0) - factor * value) % ORDER
            row = {place: value for place, value in row.items() if value}
        return row

    def add(self, row: Row) -> None:
        """Somebody knows the value of one more form."""
        left = self._reduced(row)
        if left:
            inverse = pow(left[min(left)], -1, ORDER)
            self._rows[min(left)] = {p: v * inverse % ORDER for p, v in left.items()}

    def __contains__(self, row: Row) -> bool:
        return not self._reduced(row)


def combined(terms: Sequence[tuple[int, Mapping[int, int]]]) -> Row:
    """The sum of forms, each times its factor."""
    row: Row = {}
    for factor, form in terms:
        for place, value in form.items():
            row[place] = (row.get(place, 0) + factor * value) % ORDER
    return row


def value_of(row: Row, unknowns: Sequence[int]) -> int:
    """What a form comes to once the unknowns are known."""
    return sum(factor * unknowns[place] for place, factor in row.items()) % ORDER
