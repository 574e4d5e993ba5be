"""Which nonce the next transaction takes: pure (W-04)."""

from collections.abc import Collection


def next_nonce(*, pending: int, in_flight: Collection[int]) -> int:
    """The lowest nonce that is free.

    `pending`: the account's transaction count with the pool of the Ethereum node, so whatever is
    below is taken, by us or by somebody else with the same account. `in_flight`: nonces of our
    transactions that may still be mined; the pool may have forgotten some of them.
    """
    nonce = pending
    while nonce in in_flight:
        nonce += 1
    return nonce


def gap_below(*, pending: int, in_flight: Collection[int]) -> int | None:
    """A nonce that nothing fills, so that ours above it are never mined; `None` without one."""
    blocked = any(nonce > pending for nonce in in_flight)
    return pending if blocked and pending not in in_flight else None
