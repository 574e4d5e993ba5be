"""What a transaction offers to pay, and by how much more when it is not mined: pure (W-05, W-06).

All amounts are wei per gas.
"""

from dataclasses import dataclass
from typing import Final

from keyserver.chain.client import FeeInputs
from keyserver.evm.transaction import DynamicFee, Fee, LegacyFee

GAS_MARGIN: Final = (5, 4)
"""Gas limit as a multiple of the estimate."""

GAS_FOR_THE_LAST_VOTE: Final = 100_000
"""Added to that: answers of other nodes may come before ours in the same block, and ours then is
the one that settles the request, clears it and emits the result. Gas that is not used is free."""

LARGEST_GAS_LIMIT: Final = 2**24
"""No transaction may have more (EIP-7825)."""

RAISE: Final = (5, 4)
"""A replacement offers this multiple; Ethereum nodes want at least a tenth more."""

LEAST_RAISE: Final = (9, 8)
"""Below this multiple a replacement is not worth offering."""


@dataclass(frozen=True, slots=True)
class FeeLimits:
    """What the operator allows at most."""

    max_fee: int
    max_priority_fee: int


def first_fee(inputs: FeeInputs, limits: FeeLimits) -> Fee:
    """The offer of a new transaction: twice the base fee and the suggested tip, within limits."""
    if inputs.base_fee is None:
        return LegacyFee(min(inputs.gas_price, limits.max_fee))
    tip = min(inputs.priority_fee, limits.max_priority_fee, limits.max_fee)
    return DynamicFee(min(2 * inputs.base_fee + tip, limits.max_fee), tip)


def raised_fee(last: DynamicFee, inputs: FeeInputs, limits: FeeLimits) -> Fee | None:
    """The offer of a replacement; `None` when the limits leave no room for a raise.

    `last` is the offer to be beaten; a gas price counts as fee and tip. A replacement is taken
    only if both grow.
    """
    wanted = first_fee(inputs, limits)
    if isinstance(wanted, LegacyFee):
        price = min(max(_times(last.max_fee, RAISE), wanted.gas_price), limits.max_fee)
        return LegacyFee(price) if price >= _times(last.max_fee, LEAST_RAISE) else None
    fee = min(max(_times(last.max_fee, RAISE), wanted.max_fee), limits.max_fee)
    most_tip = min(limits.max_priority_fee, fee)
    tip = min(max(_times(last.priority_fee, RAISE), wanted.priority_fee), most_tip)
    enough = fee >= _times(last.max_fee, LEAST_RAISE)
    enough = enough and tip >= _times(last.priority_fee, LEAST_RAISE)
    return DynamicFee(fee, tip) if enough else None


def gas_limit(estimate: int, most: int) -> int | None:
    """The gas limit for an estimate, at most `most`; `None` if even the estimate is more."""
    most = min(most, LARGEST_GAS_LIMIT)
    if estimate > most:
        return None
    return min(estimate * GAS_MARGIN[0] // GAS_MARGIN[1] + GAS_FOR_THE_LAST_VOTE, most)


def _times(amount: int, factor: tuple[int, int]) -> int:
    """At least one more than `amount`, rounded up."""
    return max(-(-amount * factor[0] // factor[1]), amount + 1)
