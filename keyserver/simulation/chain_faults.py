"""What goes wrong with the chain and with the endpoints through which nodes see it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reorganisation:
    """The newest blocks are replaced; with `lose`, what was in them is forgotten by everybody."""

    at: float
    depth: int
    lose: bool = False


@dataclass(frozen=True, slots=True)
class FeeSpike:
    """The base fee is this, for a while."""

    at: float
    for_s: float
    base_fee_gwei: int


@dataclass(frozen=True, slots=True)
class PoolLoss:
    """All transactions that wait for a block are forgotten by everybody."""

    at: float


@dataclass(frozen=True, slots=True)
class Standstill:
    """No block is made for a while."""

    at: float
    for_s: float


@dataclass(frozen=True, slots=True)
class EndpointTrouble:
    """An endpoint of a node behaves badly for a while; `trouble` is one of `TROUBLES`."""

    at: float
    for_s: float
    node: int
    endpoint: int
    """Its place in the node's configuration."""
    trouble: str


TROUBLES = (
    "refused",  # nobody answers
    "timeout",  # answers come too late
    "errors",  # every answer is an error
    "limited",  # most answers are "too many requests"
    "stale",  # the chain stands still, for this endpoint alone
    "behind",  # it is some blocks late
    "other_chain",  # it is on another chain
    "no_logs",  # it has lost the logs
    "odd_logs",  # its logs are of blocks that nobody knows
    "forged_head",  # it tells heads that nobody has made
    "swallows",  # it takes transactions and forgets them
    "syncing",  # it says that it is catching up
    "no_pins",  # it does not know blocks by their hashes
    "short_ranges",  # it answers logs of few blocks only
)
"""All kinds of trouble."""

CHAIN_FAULTS = (Reorganisation, FeeSpike, PoolLoss, Standstill, EndpointTrouble)
