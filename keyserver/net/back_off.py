"""How long to wait between attempts to connect."""

from typing import Final

from keyserver.crypto.randomness import RandomSource

_STEPS: Final = 2**16


class BackOff:
    """Pauses that double from `first_s` to `longest_s`, each cut by up to half at random.

    The random part keeps nodes that lost each other at the same moment from meeting again and
    again in the same moment.
    """

    __slots__ = ("_first_s", "_longest_s", "_next_s", "_random")

    def __init__(self, first_s: float, longest_s: float, random: RandomSource) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._random = random
        self._next_s = first_s

    def pause_s(self) -> float:
        """The next pause in seconds."""
        nominal = self._next_s
        self._next_s = min(2 * nominal, self._longest_s)
        share = int.from_bytes(self._random.bytes(2), "big") / _STEPS
        return nominal * (0.5 + share / 2)

    def reset(self) -> None:
        """Begin with the first pause again."""
        self._next_s = self._first_s
