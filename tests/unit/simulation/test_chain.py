"""The simulated chain: blocks, the pool's rules, reorganisations."""

from collections.abc import Callable
from random import Random

import pytest

from keyserver.chain.client import ContractCall
from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import Address, Hash32
from keyserver.simulation.chain import GWEI, VirtualChain
from keyserver.simulation.contracts.contract import RevertError, abi_of, error_data
from keyserver.simulation.contracts.permissions import ARTIFACT, PermissionsContract
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.mempool import NotTakenError, Transaction

ADMIN, USER = Address(b"\x01" * 20), Address(b"\x02" * 20)
CONTRACT = Address(b"\x99" * 20)
DOCUMENT = b"\x44" * 32


def on_a_chain(story: Callable[[VirtualChain], None]) -> None:
    """Let a story happen to a new chain."""

    async def run() -> None:
        story(VirtualChain(Random(1), {CONTRACT: PermissionsContract(ADMIN)}))

    run_virtual(run())


def transaction(
    nonce: int,
    *,
    users: tuple[Address, ...] = (USER,),
    sender: Address = ADMIN,
    max_fee: int = 20 * GWEI,
    tip: int = GWEI,
    gas: int = 200_000,
) -> Transaction:
    data = abi_of(ARTIFACT).function("permission").encode(DOCUMENT, users)
    name = keccak256(sender + bytes([nonce, len(users)]) + max_fee.to_bytes(8, "big"))
    return Transaction(Hash32(name), sender, nonce, CONTRACT, data, gas, max_fee, tip)


def is_allowed(chain: VirtualChain, number: int) -> bool:
    data = abi_of(ARTIFACT).function("checkPermissions").encode(USER, DOCUMENT)
    return bool(int.from_bytes(chain.blocks[number].call(ContractCall(CONTRACT, data)), "big"))


def test_state_belongs_to_the_block() -> None:
    def story(chain: VirtualChain) -> None:
        chain.submit(transaction(0))
        chain.mine()
        assert (is_allowed(chain, 0), is_allowed(chain, 1)) == (False, True)
        receipt = chain.receipt(transaction(0).hash)
        assert receipt is not None
        assert (receipt.succeeded, receipt.block_number) == (True, 1)
        assert [log.address for log in chain.logs_since(1)] == [CONTRACT]
        assert chain.head.nonce_of(ADMIN) == 1

    on_a_chain(story)


def test_a_refused_transaction_uses_its_nonce_and_changes_nothing() -> None:
    def story(chain: VirtualChain) -> None:
        chain.submit(transaction(0, users=(USER, USER)))
        chain.submit(transaction(1, gas=30_000))
        chain.mine()
        receipts = list(chain.head.receipts.values())
        assert [receipt.succeeded for receipt in receipts] == [False, False]
        assert (is_allowed(chain, 1), chain.head.nonce_of(ADMIN)) == (False, 2)

    on_a_chain(story)


def test_a_revert_tells_its_reason() -> None:
    def story(chain: VirtualChain) -> None:
        call = ContractCall(CONTRACT, transaction(0, users=(USER, USER)).data)
        with pytest.raises(RevertError) as refused:
            chain.head.call(call)
        assert refused.value.data == error_data("DuplicateUser")
        with pytest.raises(RevertError):
            chain.head.estimate(ContractCall(CONTRACT, b"\1\2\3\4"))
        assert chain.head.call(ContractCall(USER, b"")) == b""

    on_a_chain(story)


def test_transactions_wait_for_their_nonce_and_for_the_fee() -> None:
    def story(chain: VirtualChain) -> None:
        chain.submit(transaction(1))
        assert chain.pool.next_nonce(ADMIN, 0) == 0
        chain.mine()
        assert not chain.head.transactions
        chain.submit(transaction(0))
        assert chain.pool.next_nonce(ADMIN, 0) == 2
        chain.spikes = [30 * GWEI, 6 * GWEI]
        chain.mine()
        assert not chain.head.transactions
        chain.spikes = []
        chain.mine()
        assert [each.nonce for each in chain.head.transactions] == [0, 1]
        assert not chain.pool.waiting

    on_a_chain(story)


def test_the_pool_takes_what_pays_a_tenth_more() -> None:
    def story(chain: VirtualChain) -> None:
        chain.submit(transaction(0))
        with pytest.raises(NotTakenError, match="already known"):
            chain.submit(transaction(0))
        for max_fee, tip in ((21 * GWEI, 2 * GWEI), (22 * GWEI, GWEI)):
            with pytest.raises(NotTakenError, match="underpriced"):
                chain.submit(transaction(0, max_fee=max_fee, tip=tip))
        better = transaction(0, max_fee=22 * GWEI, tip=GWEI * 11 // 10)
        chain.submit(better)
        chain.mine()
        assert chain.head.transactions == (better,)
        with pytest.raises(NotTakenError, match="nonce too low"):
            chain.submit(transaction(0, max_fee=99 * GWEI, tip=9 * GWEI))

    on_a_chain(story)


def test_the_better_tip_comes_first_and_nobody_overtakes_himself() -> None:
    def story(chain: VirtualChain) -> None:
        chain.submit(transaction(0, sender=USER, tip=GWEI))
        chain.submit(transaction(0, tip=2 * GWEI))
        chain.submit(transaction(1, sender=USER, tip=9 * GWEI))
        chain.mine()
        order = [(each.sender, each.nonce) for each in chain.head.transactions]
        assert order == [(ADMIN, 0), (USER, 0), (USER, 1)]

    on_a_chain(story)


@pytest.mark.parametrize("lose", [False, True])
def test_a_reorganisation_gives_back_or_loses_what_was_mined(lose: bool) -> None:
    def story(chain: VirtualChain) -> None:
        chain.mine()
        kept = chain.head
        chain.submit(transaction(0))
        gone = chain.mine()
        chain.reorganise(1, lose=lose)
        assert (chain.head.number, chain.blocks[1]) == (3, kept)
        assert gone.hash not in {block.hash for block in chain.blocks}
        assert chain.block_of(gone.hash) is gone
        chain.mine()
        assert (chain.receipt(transaction(0).hash) is None) == lose
        assert all(
            b.parent_hash == a.hash for a, b in zip(chain.blocks, chain.blocks[1:], strict=False)
        )

    on_a_chain(story)


def test_the_first_block_stays() -> None:
    def story(chain: VirtualChain) -> None:
        first = chain.head
        chain.reorganise(3, lose=False)
        assert chain.blocks == [first]
        chain.mine()
        chain.reorganise(9, lose=False)
        assert (chain.blocks[0], len(chain.blocks)) == (first, 3)

    on_a_chain(story)


def test_blocks_come_by_themselves_unless_the_chain_stands_still() -> None:
    async def story() -> None:
        import asyncio

        chain = VirtualChain(Random(1), {}, block_s=2.0)
        blocks = asyncio.ensure_future(chain.run())
        await chain.changed()
        assert chain.head.number == 1
        chain.halted += 1
        await asyncio.sleep(60)
        assert chain.head.number == 1
        chain.halted -= 1
        await asyncio.sleep(60)
        assert chain.head.number in range(20, 45)
        blocks.cancel()

    run_virtual(story())
