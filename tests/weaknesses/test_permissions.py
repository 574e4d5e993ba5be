"""Attacks on permissions, over the real contracts on an embedded chain: W33."""

import pytest

from keyserver.chain.access import AclDepth
from keyserver.sessions.core import Verdict
from tests.integration.chain.test_access import CONFIRMATIONS, KEY, Bench


async def test_w33_permission_in_a_block_that_may_go_away() -> None:
    """Somebody gets himself a permission in the latest block, which can still be reorganised away,
    and asks at once. A node that reads the latest block only would decrypt; with both, recommended
    and what `init` writes, the permission has to be confirmed as well."""
    bench = Bench(depth=AclDepth.BOTH)
    await bench.mine(CONFIRMATIONS)
    await bench.grant(0)
    account = bench.inner.account(0)
    assert await bench.permissions.check(account, KEY) is Verdict.UNAVAILABLE
    await bench.mine(CONFIRMATIONS)
    assert await bench.permissions.check(account, KEY) is Verdict.ALLOWED


@pytest.mark.parametrize("depth", list(AclDepth))
async def test_w33_permission_that_was_taken_away(depth: AclDepth) -> None:
    """He asks right after it was taken from him, as long as it still stands in the confirmed
    block: the latest block counts, whatever the depth."""
    bench = Bench(depth=depth)
    await bench.grant(0)
    await bench.mine(CONFIRMATIONS)
    await bench.hand_over(0, 1)
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.DENIED


async def test_w33_nobody_is_allowed_because_there_is_no_contract() -> None:
    """The permission contract is missing, or cannot be asked: everybody would be allowed."""
    bench = Bench(acl_code=b"")
    await bench.mine()
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.UNAVAILABLE
