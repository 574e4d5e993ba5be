"""Simulated endpoints beneath the real client: what is true, and what each trouble makes of it."""

from collections.abc import Awaitable, Callable
from random import Random

import pytest

from keyserver.chain.client import (
    BlockReplacedError,
    BlockTag,
    ChainUnavailableError,
    ContractCall,
    Returned,
    Reverted,
    SendRefusal,
    SendRefusedError,
    TooManyLogsError,
    WrongChainError,
)
from keyserver.chain.rpc_client import RpcClient
from keyserver.crypto.curve import SecretScalar
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.simulation.chain import GWEI, VirtualChain
from keyserver.simulation.chain_faults import TROUBLES
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.contracts.contract import abi_of, error_data
from keyserver.simulation.contracts.permissions import ARTIFACT, PermissionsContract
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.process import Process
from keyserver.simulation.rpc import Condition, SimulatedEndpoint
from tests.unit.simulation.test_chain import ADMIN, CONTRACT, USER, transaction

SIGNER = TransactionSigner(SecretScalar(b"\x03" * 32))
CHECK = abi_of(ARTIFACT).function("checkPermissions").encode(USER, b"\x44" * 32)


class Place:
    """A chain with four blocks, one transaction in the second, and a client of it."""

    def __init__(self) -> None:
        self.chain = VirtualChain(Random(1), {CONTRACT: PermissionsContract(ADMIN)})
        self.condition = Condition()
        self.process = Process(lambda: None)
        self.endpoint = SimulatedEndpoint(
            "sim://0", self.chain, self.condition, self.process, Random(2), pushes=True
        )
        self.client = RpcClient([self.endpoint], chain_id=1, poll_s=1.0, clock=VirtualClock())
        self.chain.mine()
        self.chain.submit(transaction(0))
        for _ in range(3):
            self.chain.mine()

    def signed(self, nonce: int, fee: int = 20) -> bytes:
        unsigned = UnsignedTransaction(
            1, nonce, CONTRACT, transaction(0).data, 200_000, DynamicFee(fee * GWEI, GWEI)
        )
        return SIGNER.sign(unsigned).raw


def at(story: Callable[[Place], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Place())

    run_virtual(run())


def test_it_answers_as_the_chain_is() -> None:
    async def story(place: Place) -> None:
        client, chain = place.client, place.chain
        head = await client.block(BlockTag.LATEST)
        assert head is not None
        assert (head.number, head.hash) == (4, chain.head.hash)
        assert await client.block(9) is None
        assert await client.block(BlockTag.SAFE) == await client.block(0)
        (log,) = await client.logs([CONTRACT], 0, 4)
        assert log == chain.logs_since(0)[0]
        assert await client.logs([USER], 0, 4) == ()
        assert await client.code(CONTRACT, head) != b""
        assert await client.code(USER, head) == b""
        assert await client.syncing() is False
        first = await client.block(0)
        assert first is not None
        yes = await client.call(ContractCall(CONTRACT, CHECK), head)
        no = await client.call(ContractCall(CONTRACT, CHECK), first)
        assert isinstance(yes, Returned)
        assert isinstance(no, Returned)
        assert (yes.data[-1], no.data[-1]) == (1, 0)
        refused = await client.call(
            ContractCall(CONTRACT, transaction(0, users=(USER, USER)).data, ADMIN)
        )
        assert refused == Reverted(error_data("DuplicateUser"))
        assert await client.estimate_gas(ContractCall(CONTRACT, transaction(0).data, ADMIN)) != 0
        assert await client.receipt(transaction(0).hash) == chain.receipt(transaction(0).hash)
        assert await client.knows_transaction(transaction(0).hash)
        assert (await client.fee_inputs()).base_fee == 5 * GWEI
        assert await client.balance(ADMIN) > 0

    at(story)


def test_transactions_pass_the_rules_of_the_pool() -> None:
    async def story(place: Place) -> None:
        client = place.client
        tx_hash = await client.send_raw_transaction(place.signed(0))
        with pytest.raises(SendRefusedError) as known:
            await client.send_raw_transaction(place.signed(0))
        assert known.value.refusal is SendRefusal.ALREADY_KNOWN
        counts = [await client.transaction_count(SIGNER.address, pending=p) for p in (False, True)]
        assert counts == [0, 1]
        assert await client.knows_transaction(tx_hash)
        assert await client.receipt(tx_hash) is None
        place.chain.mine()
        assert await client.receipt(tx_hash) is not None
        with pytest.raises(SendRefusedError) as used:
            await client.send_raw_transaction(place.signed(0, fee=90))
        assert used.value.refusal is SendRefusal.NONCE_TOO_LOW

    at(story)


def test_a_read_of_a_replaced_block_is_refused() -> None:
    async def story(place: Place) -> None:
        head = await place.client.block(BlockTag.LATEST)
        assert head is not None
        place.chain.reorganise(2, lose=False)
        with pytest.raises(BlockReplacedError):
            await place.client.call(ContractCall(CONTRACT, CHECK), head)
        place.condition.begin("no_pins", place.chain)
        with pytest.raises(BlockReplacedError):
            await place.client.call(ContractCall(CONTRACT, CHECK), head)

    at(story)


def test_new_heads_are_told() -> None:
    async def story(place: Place) -> None:
        heads = place.client.heads()
        assert (await anext(heads)).number == 4
        place.chain.mine()
        assert (await anext(heads)).number == 5
        await heads.aclose()

    at(story)


@pytest.mark.parametrize("trouble", ["refused", "timeout", "errors", "other_chain"])
def test_an_endpoint_that_cannot_be_used(trouble: str) -> None:
    async def story(place: Place) -> None:
        place.condition.begin(trouble, place.chain)
        with pytest.raises((ChainUnavailableError, WrongChainError)):
            await place.client.block(BlockTag.LATEST)
        place.condition.end(trouble)
        place.client._pool.slots[0].resting_until = 0.0
        assert await place.client.block(BlockTag.LATEST) is not None

    at(story)


def test_an_endpoint_that_sees_less() -> None:
    async def story(place: Place) -> None:
        client, condition, chain = place.client, place.condition, place.chain
        condition.begin("stale", chain)
        chain.mine()
        stale = await client.block(BlockTag.LATEST)
        condition.end("stale")
        condition.begin("behind", chain)
        behind = await client.block(BlockTag.LATEST)
        assert await client.receipt(transaction(0).hash) is not None
        condition.heal()
        assert [block.number for block in (stale, behind) if block] == [4, 2]
        condition.begin("no_logs", chain)
        assert await client.logs([CONTRACT], 0, 5) == ()
        condition.heal()
        condition.begin("odd_logs", chain)
        (odd,) = await client.logs([CONTRACT], 0, 5)
        assert odd.block_hash != chain.blocks[2].hash
        condition.begin("short_ranges", chain)
        with pytest.raises(TooManyLogsError):
            await client.logs([CONTRACT], 0, 5)
        condition.begin("syncing", chain)
        assert await client.syncing()

    at(story)


def test_an_endpoint_that_makes_things_up() -> None:
    async def story(place: Place) -> None:
        place.condition.begin("forged_head", place.chain)
        forged = await place.client.block(BlockTag.LATEST)
        assert forged is not None
        assert forged.number > 4
        assert await place.client.block(forged.number) is None
        place.condition.heal()
        place.condition.begin("swallows", place.chain)
        assert not await place.client.knows_transaction(
            await place.client.send_raw_transaction(place.signed(0))
        )

    at(story)


def test_a_crowded_endpoint_refuses_most_requests() -> None:
    async def story(place: Place) -> None:
        place.condition.begin("limited", place.chain)
        answered = 0
        for _ in range(30):
            place.client._pool.slots[0].resting_until = 0.0
            try:
                await place.client.block(BlockTag.LATEST)
            except ChainUnavailableError:
                continue
            answered += 1
        assert answered in range(1, 20)

    at(story)


def test_every_trouble_is_known() -> None:
    assert len(set(TROUBLES)) == len(TROUBLES) == 14
