"""How many nodes an operation needs (engine design, section 1)."""

from dataclasses import dataclass

from keyserver.errors import ConfigError

MAX_NODES = 256
"""The largest committee."""


@dataclass(frozen=True, slots=True)
class Quorums:
    """The numbers that follow from the size of a committee and the faults it tolerates."""

    nodes: int
    """n, the size of the committee, 1..256."""

    faulty: int
    """f, how many of them may be malicious."""

    @classmethod
    def of(cls, nodes: int, max_faulty: int | None = None) -> "Quorums":
        """The quorums of `nodes` members.

        `max_faulty` is the cluster-wide setting that may lower f. Raises `ConfigError` when the
        setting leaves no quorum (`q_n <= n - f` must hold).
        """
        largest = (nodes - 1) // 3 if nodes else 0
        if max_faulty is not None and max_faulty < 0:
            raise ConfigError("max_faulty must not be negative")
        return cls(nodes, largest if max_faulty is None else min(max_faulty, largest))

    @property
    def agreement(self) -> int:
        """q_n: any two sets of this size share an honest member."""
        return (self.nodes + self.faulty) // 2 + 1

    def holders(self, threshold: int) -> int:
        """g: how many nodes must hold a share before a key counts as installed."""
        return max(self.agreement, min(self.nodes, threshold + 1 + self.faulty))
