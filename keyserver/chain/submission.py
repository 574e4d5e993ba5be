"""Making and broadcasting the transactions of the outbox: gas, fee, signature (W-05, W-06)."""

import structlog

from keyserver.chain.client import (
    ChainClient,
    ContractCall,
    Reverted,
    SendRefusal,
    SendRefusedError,
)
from keyserver.chain.fees import FeeLimits, first_fee, gas_limit, raised_fee
from keyserver.evm.transaction import (
    DynamicFee,
    Fee,
    LegacyFee,
    TransactionSigner,
    UnsignedTransaction,
)
from keyserver.tasks.outbox import Attempt, OutboxEntry, OutboxState
from keyserver.tasks.ports import WorkStore

log = structlog.get_logger()

TRANSFER_GAS = 21_000
"""Gas of a transaction that calls nothing."""


class Submitter:
    """Signs for the sender; stores what it has signed before it broadcasts it."""

    def __init__(
        self,
        client: ChainClient,
        store: WorkStore,
        signer: TransactionSigner,
        chain_id: int,
        fees: FeeLimits,
        most_gas: int,
    ) -> None:
        self._client = client
        self._store = store
        self._signer = signer
        self._chain_id = chain_id
        self._fees = fees
        self._most_gas = most_gas

    async def gas_for(self, entry: OutboxEntry) -> int | str:
        """The gas limit of an answer, or why it cannot be sent now; raises `ChainError`."""
        call = ContractCall(entry.contract, entry.data, self._signer.address)
        estimate = await self._client.estimate_gas(call)
        if isinstance(estimate, Reverted):
            return f"the contract would refuse it: 0x{estimate.data.hex()}"
        gas = gas_limit(estimate, self._most_gas)
        return gas if gas is not None else f"it would take {estimate} gas"

    async def sign(self, entry: OutboxEntry, nonce: int, gas: int, head: int) -> OutboxEntry:
        """Sign the first transaction of an answer and store it; raises `ChainError`."""
        fee = first_fee(await self._client.fee_inputs(), self._fees)
        return await self._signed(entry, nonce, gas, fee, head, cancel=False)

    async def replace(self, entry: OutboxEntry, head: int, *, cancel: bool) -> None:
        """Offer more for the same nonce, or the same again when the limits leave no room.

        `cancel`: by a transaction that does nothing. Raises `ChainError`.
        """
        last = entry.attempts[-1]
        fee = raised_fee(
            DynamicFee(last.max_fee, last.priority_fee),
            await self._client.fee_inputs(),
            self._fees,
        )
        if fee is None:
            log.warning("fee_limit_reached", answer=entry.id, max_fee=last.max_fee)
            await self._resend(entry)
            return
        nonce = entry.nonce
        assert nonce is not None, "an answer under way has a nonce"
        gas = TRANSFER_GAS if cancel else last.gas
        signed = await self._signed(entry, nonce, gas, fee, head, cancel=cancel)
        log.info("answer_replaced", answer=entry.id, nonce=nonce, cancel=cancel)
        await self.broadcast(signed)

    async def broadcast(self, entry: OutboxEntry) -> None:
        """Send the newest transaction of an answer; raises `ChainError` if nobody answers.

        What an Ethereum node refuses stays signed, and is looked at again with the next block.
        """
        if await self._resend(entry) and entry.state is OutboxState.SIGNED:
            await self._store.commit(entries=[entry.moved_to(OutboxState.BROADCAST)])

    async def fill(self, nonce: int) -> None:
        """Use up a nonce with a transaction that does nothing; raises `ChainError`."""
        fee = first_fee(await self._client.fee_inputs(), self._fees)
        signed = self._signer.sign(self._transaction(nonce, TRANSFER_GAS, fee, entry=None))
        try:
            await self._client.send_raw_transaction(signed.raw)
        except SendRefusedError as error:
            log.warning("nonce_gap_stays", nonce=nonce, reason=str(error))

    async def _resend(self, entry: OutboxEntry) -> bool:
        attempt = entry.attempts[-1]
        try:
            await self._client.send_raw_transaction(attempt.raw)
        except SendRefusedError as error:
            if error.refusal is SendRefusal.ALREADY_KNOWN:
                return True
            log.warning("answer_refused", answer=entry.id, reason=str(error))
            return error.refusal is SendRefusal.UNDERPRICED
        log.info("answer_sent", answer=entry.id, tx=attempt.tx_hash.hex(), nonce=entry.nonce)
        return True

    async def _signed(
        self, entry: OutboxEntry, nonce: int, gas: int, fee: Fee, head: int, *, cancel: bool
    ) -> OutboxEntry:
        transaction = self._transaction(nonce, gas, fee, entry=None if cancel else entry)
        signed = self._signer.sign(transaction)
        most, tip = _prices(fee)
        attempt = Attempt(signed.raw, signed.tx_hash, most, tip, gas, head, cancels=int(cancel))
        after = entry.signed(nonce, attempt)
        await self._store.commit(entries=[after])
        return after.written()

    def _transaction(
        self, nonce: int, gas: int, fee: Fee, *, entry: OutboxEntry | None
    ) -> UnsignedTransaction:
        to = entry.contract if entry else self._signer.address
        data = entry.data if entry else b""
        return UnsignedTransaction(self._chain_id, nonce, to, data, gas, fee)


def _prices(fee: Fee) -> tuple[int, int]:
    """Most per gas, and the maker's part of it; a gas price counts as both."""
    match fee:
        case DynamicFee(max_fee, priority_fee):
            return max_fee, priority_fee
        case LegacyFee(gas_price):
            return gas_price, gas_price
