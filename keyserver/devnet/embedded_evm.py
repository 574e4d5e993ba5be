"""Executes blocks, calls and gas estimates on the chain of eth-tester (py-evm, Prague rules).

Blocks, transactions and states are py-evm's own objects; nothing here knows JSON. State is never
pruned, so any block once built can be called or extended again: that is all a reorganisation needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.exceptions import OutOfGas, Revert, UnrecognizedTransactionType
from eth.vm.forks.prague.constants import STANDARD_TOKEN_COST, TOTAL_COST_FLOOR_PER_TOKEN
from eth.vm.spoof import SpoofTransaction
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from eth_keys.datatypes import PrivateKey
from eth_tester.backends.pyevm.main import get_default_genesis_params, setup_tester_chain
from eth_typing import Address
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from keyserver.devnet.embedded_errors import EXECUTION_REVERTED, RpcError, invalid_params

GENESIS_TIMESTAMP = 1_700_000_000
"""Fixed, so that the same accounts give the same genesis hash every time."""

BASE_TRANSACTION_GAS = 21_000
ERROR_STRING_SELECTOR = bytes.fromhex("08c379a0")
"""Selector of `Error(string)`, what `require(..., "reason")` reverts with."""

ESTIMATE_TOLERANCE_GAS = 500
CALLS_KEPT = 1024
"""Outcomes of calls that are kept: key servers ask the same of every block, one after the other."""
BLOB_TRANSACTION_TYPE = 3


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event of a mined transaction; `log_index` counts over the whole block."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    transaction_hash: bytes
    transaction_index: int
    log_index: int


@dataclass(frozen=True, slots=True)
class Executed:
    """A mined transaction and its outcome."""

    transaction: SignedTransactionAPI
    succeeded: bool
    gas_used: int
    cumulative_gas_used: int
    bloom: int
    logs: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block and all that clients ask of it; `size` is that of its RLP encoding in bytes."""

    header: Any  # a Prague header: its later fields are not declared on py-evm's abstract class
    executed: tuple[Executed, ...]
    size: int

    @property
    def number(self) -> int:
        """Height, the genesis block being 0."""
        return int(self.header.block_number)

    @property
    def hash(self) -> bytes:
        """The 32-byte block hash."""
        return bytes(self.header.hash)

    @property
    def logs(self) -> tuple[LogEntry, ...]:
        """All events of the block, in order."""
        return tuple(log for executed in self.executed for log in executed.logs)


@dataclass(frozen=True, slots=True)
class Call:
    """A message to execute without a signature; `to` is empty to create a contract."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int | None


@dataclass(frozen=True, slots=True)
class _At:
    """The block after which a call is executed."""

    hash: bytes
    header: BlockHeaderAPI = field(compare=False)


class Evm:
    """A chain of blocks that grows from whichever parent the caller names."""

    def __init__(self, *, chain_id: int, balance_by_address: Mapping[bytes, int]) -> None:
        """Start a chain whose genesis gives each address its balance in wei."""
        genesis_state = {
            address: {"balance": balance, "nonce": 0, "code": b"", "storage": {}}
            for address, balance in balance_by_address.items()
        }
        parameters = get_default_genesis_params(overrides={"timestamp": GENESIS_TIMESTAMP})
        _, chain = setup_tester_chain(parameters, genesis_state)
        # The class is made anew by each call of setup_tester_chain, so this touches no other chain.
        type(chain).chain_id = chain_id
        self._chain = cast(MiningChain, chain)
        self.chain_id = chain_id
        header = self._chain.get_canonical_head()
        self._outcome = lru_cache(maxsize=CALLS_KEPT)(self._execute_call)
        self.genesis = Block(header, (), len(rlp.encode(self._chain.get_block_by_header(header))))

    def decode_transaction(self, raw: bytes) -> SignedTransactionAPI:
        """Decode a signed transaction as sent, and check its signature and chain id."""
        try:
            transaction = self._chain.get_vm().get_transaction_builder().decode(raw)
        except (RLPException, ValidationError, UnrecognizedTransactionType) as error:
            raise invalid_params("raw transaction", str(error)) from error
        if transaction.type_id == BLOB_TRANSACTION_TYPE:
            raise RpcError("transaction type not supported")
        if transaction.chain_id not in (None, self.chain_id):
            raise RpcError(
                f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}"
            )
        if not transaction.is_signature_valid:
            raise RpcError("invalid sender: bad signature")
        return transaction

    def next_header(self, parent: BlockHeaderAPI) -> Any:
        """Return the header of an empty block on `parent`, with its base fee."""
        return self._chain.create_header_from_parent(parent)

    def state_at(self, header: BlockHeaderAPI) -> StateAPI:
        """Return the state after the block of `header`; changes to it are never kept."""
        return self._chain.get_vm(header).state

    def build_block(
        self,
        parent: BlockHeaderAPI,
        *,
        timestamp: int,
        mix_hash: bytes,
        candidates: Iterable[SignedTransactionAPI],
        balance_by_address: Mapping[bytes, int],
    ) -> tuple[Block, tuple[SignedTransactionAPI, ...]]:
        """Execute `candidates` in order on `parent`, after setting the given balances.

        Returns the block and the transactions that could not be executed at all (not enough funds).
        One that no longer fits into the block's gas, and later ones of its sender, are left out.
        """
        header: Any = self.next_header(parent).copy(timestamp=timestamp, mix_hash=mix_hash)
        vm = self._chain.get_vm(header)
        for address, balance in balance_by_address.items():
            vm.state.set_balance(Address(address), balance)
        included: list[SignedTransactionAPI] = []
        receipts: list[ReceiptAPI] = []
        rejected: list[SignedTransactionAPI] = []
        skipped_senders: set[bytes] = set()
        for transaction in candidates:
            if transaction.sender in skipped_senders:
                continue
            if header.gas_used + transaction.gas > header.gas_limit:
                skipped_senders.add(transaction.sender)
                continue
            try:
                receipt, _ = vm.apply_transaction(header, transaction)
            except ValidationError:
                rejected.append(transaction)
                skipped_senders.add(transaction.sender)
                continue
            header = vm.add_receipt_to_header(header, receipt)
            included.append(transaction)
            receipts.append(receipt)
        filled = vm.set_block_transactions_and_withdrawals(
            vm.get_block(), header, included, receipts
        )
        # Not vm.mine_block: its validation refuses a block of the same second as its parent.
        block = vm.finalize_block(filled).block
        self._chain.chaindb.persist_block(block)
        return Block(block.header, _outcomes(included, receipts), len(rlp.encode(block))), tuple(
            rejected
        )

    def call(self, header: BlockHeaderAPI, call: Call) -> bytes:
        """Execute `call` on the state after the block of `header` and return its output.

        Raises `RpcError`, with the revert data if it reverted.
        """
        outcome = self._outcome(_At(bytes(header.hash), header), call)
        if isinstance(outcome, RpcError):
            raise outcome.with_traceback(None)
        return outcome

    def _execute_call(self, at: _At, call: Call) -> bytes | RpcError:
        limit = at.header.gas_limit
        gas = limit if call.gas is None else min(call.gas, limit)
        try:
            computation = self._execute(at.header, call, gas)
        except RpcError as error:
            return error
        return _failure(computation) if computation.is_error else computation.output

    def estimate_gas(self, header: BlockHeaderAPI, call: Call) -> int:
        """Find a gas limit close to the least with which `call` succeeds.

        Raises `RpcError` if it fails with all the gas of a block.
        """
        limit = header.gas_limit if call.gas is None else min(call.gas, header.gas_limit)
        computation = self._execute(header, call, limit)
        if computation.is_error:
            raise _failure(computation)
        spent = limit - computation.get_gas_remaining()
        floor = _calldata_floor(call.data)
        guess = max(spent, floor)
        if guess >= limit or not self._execute(header, call, guess).is_error:
            return min(guess, limit)
        # A call inside keeps back 1/64 of the gas: more must be given than is spent.
        too_little, enough = guess, limit
        while enough - too_little > ESTIMATE_TOLERANCE_GAS:
            middle = (too_little + enough) // 2
            if self._execute(header, call, middle).is_error:
                too_little = middle
            else:
                enough = middle
        return enough

    def sign(
        self, call: Call, key: PrivateKey, *, gas: int, nonce: int, max_fee: int, tip: int
    ) -> bytes:
        """Sign `call` as a transaction with `key` and return it as sent; fees in wei per gas."""
        unsigned = self._unsigned(call, gas=gas, nonce=nonce, max_fee=max_fee, tip=tip)
        return bytes(unsigned.as_signed_transaction(key).encode())

    def _unsigned(self, call: Call, *, gas: int, nonce: int, max_fee: int, tip: int) -> Any:
        builder: Any = self._chain.get_vm().get_transaction_builder()  # not on the abstract class
        return builder.new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=nonce,
            max_priority_fee_per_gas=tip,
            max_fee_per_gas=max_fee,
            gas=gas,
            to=call.to,
            value=call.value,
            data=call.data,
            access_list=(),
        )

    def _execute(self, header: BlockHeaderAPI, call: Call, gas: int) -> ComputationAPI:
        state = self.state_at(cast(Any, header).copy(base_fee_per_gas=0))
        nonce = state.get_nonce(Address(call.sender))
        transaction = self._unsigned(call, gas=gas, nonce=nonce, max_fee=0, tip=0)
        try:
            spoofed: Any = SpoofTransaction(transaction, from_=call.sender)
            return state.apply_transaction(spoofed)
        except ValidationError as error:
            raise RpcError(f"err: {error}") from error


def _outcomes(
    transactions: Sequence[SignedTransactionAPI], receipts: Sequence[ReceiptAPI]
) -> tuple[Executed, ...]:
    outcomes: list[Executed] = []
    gas_before = 0
    logs_before = 0
    for index, (transaction, receipt) in enumerate(zip(transactions, receipts, strict=True)):
        logs = tuple(
            LogEntry(
                address=log.address,
                topics=tuple(topic.to_bytes(32, "big") for topic in log.topics),
                data=log.data,
                transaction_hash=transaction.hash,
                transaction_index=index,
                log_index=logs_before + offset,
            )
            for offset, log in enumerate(receipt.logs)
        )
        outcomes.append(
            Executed(
                transaction=transaction,
                succeeded=receipt.state_root == b"\x01",
                gas_used=receipt.gas_used - gas_before,
                cumulative_gas_used=receipt.gas_used,
                bloom=receipt.bloom,
                logs=logs,
            )
        )
        gas_before = receipt.gas_used
        logs_before += len(logs)
    return tuple(outcomes)


def _failure(computation: ComputationAPI) -> RpcError:
    error = computation.error
    if isinstance(error, Revert):
        output = computation.output
        reason = _revert_reason(output)
        message = "execution reverted" if reason is None else f"execution reverted: {reason}"
        return RpcError(message, rpc_code=EXECUTION_REVERTED, data=output)
    if isinstance(error, OutOfGas):
        return RpcError(f"out of gas: {error}")
    return RpcError(f"{type(error).__name__}: {error}")


def _revert_reason(output: bytes) -> str | None:
    if not output.startswith(ERROR_STRING_SELECTOR):
        return None
    try:
        (reason,) = abi_decode(["string"], output[4:])
    except DecodingError:
        return None
    return str(reason)


def _calldata_floor(data: bytes) -> int:
    """Return what EIP-7623 makes a transaction with this calldata pay at least."""
    zeros = data.count(0)
    tokens = zeros + (len(data) - zeros) * STANDARD_TOKEN_COST
    return BASE_TRANSACTION_GAS + TOTAL_COST_FLOOR_PER_TOKEN * tokens
