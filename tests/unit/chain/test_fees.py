"""Prices and gas (chain watcher, W-05, W-06)."""

import pytest

from keyserver.chain.client import FeeInputs
from keyserver.chain.fees import (
    GAS_FOR_THE_LAST_VOTE,
    FeeLimits,
    first_fee,
    gas_limit,
    raised_fee,
)
from keyserver.evm.transaction import DynamicFee, Fee, LegacyFee

GWEI = 10**9
LIMITS = FeeLimits(max_fee=500 * GWEI, max_priority_fee=10 * GWEI)


def inputs(base_fee: int | None = 20 * GWEI, tip: int = GWEI, price: int = 30 * GWEI) -> FeeInputs:
    return FeeInputs(base_fee, tip, price)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (inputs(), DynamicFee(41 * GWEI, GWEI)),
        (inputs(tip=50 * GWEI), DynamicFee(50 * GWEI, 10 * GWEI)),
        (inputs(base_fee=400 * GWEI), DynamicFee(500 * GWEI, GWEI)),
        (inputs(base_fee=None), LegacyFee(30 * GWEI)),
        (inputs(base_fee=None, price=900 * GWEI), LegacyFee(500 * GWEI)),
    ],
)
def test_first_offer(given: FeeInputs, expected: Fee) -> None:
    assert first_fee(given, LIMITS) == expected


def test_a_tip_never_exceeds_the_whole_fee() -> None:
    limits = FeeLimits(max_fee=3, max_priority_fee=10)
    assert first_fee(inputs(tip=7), limits) == DynamicFee(3, 3)


@pytest.mark.parametrize(
    ("last", "given", "expected"),
    [
        (DynamicFee(100, 8), inputs(base_fee=1, tip=1), DynamicFee(125, 10)),
        (DynamicFee(0, 0), inputs(base_fee=0, tip=0), DynamicFee(1, 1)),
        (DynamicFee(100, 8), inputs(), DynamicFee(41 * GWEI, GWEI)),  # the price has risen
        (DynamicFee(450 * GWEI, GWEI), inputs(), None),  # less than 12.5 % are left
        (DynamicFee(420 * GWEI, GWEI), inputs(), DynamicFee(500 * GWEI, GWEI * 5 // 4)),
        (DynamicFee(100 * GWEI, 9 * GWEI), inputs(), None),  # the tip cannot grow enough
        (DynamicFee(100, 100), inputs(base_fee=None, price=1), LegacyFee(125)),
        (DynamicFee(100, 100), inputs(base_fee=None, price=300), LegacyFee(300)),
        (DynamicFee(490 * GWEI, 1), inputs(base_fee=None), None),
    ],
)
def test_raised_offer(last: DynamicFee, given: FeeInputs, expected: Fee | None) -> None:
    assert raised_fee(last, given, LIMITS) == expected


def test_gas_has_a_margin_and_a_limit() -> None:
    assert gas_limit(100_000, 10_000_000) == 125_000 + GAS_FOR_THE_LAST_VOTE
    assert gas_limit(950_000, 1_000_000) == 1_000_000
    assert gas_limit(1_000_001, 1_000_000) is None
    assert gas_limit(16_000_000, 10**9) == 2**24
