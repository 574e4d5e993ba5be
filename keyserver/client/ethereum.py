"""The user's Ethereum node: calls, transactions, logs and new blocks, over web3."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError
from websockets.exceptions import WebSocketException

from keyserver.client.errors import NoAnswerError, RefusedByContractError
from keyserver.client.http_provider import HttpProvider
from keyserver.client.reverts import advice_for, name_of_revert
from keyserver.client.wallet import Wallet
from keyserver.errors import ChainError
from keyserver.evm.abi import Function
from keyserver.evm.transaction import DynamicFee, Fee, LegacyFee, UnsignedTransaction
from keyserver.model.identifiers import Address, Hash32

PATIENCE_S = 300.0
"""Seconds to wait for a transaction to be mined, and for an answer."""


@dataclass(frozen=True, slots=True)
class EventLog:
    """One log, with its place in the chain."""

    address: Address
    topics: tuple[Hash32, ...]
    data: bytes
    block: int
    index: int

    @property
    def place(self) -> tuple[int, int]:
        """Sorts logs as they happened."""
        return self.block, self.index


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction that succeeded."""

    tx_hash: Hash32
    block: int
    gas_used: int
    logs: tuple[EventLog, ...]


class Ethereum:
    """One Ethereum node. All methods raise `ChainError` if it cannot be reached."""

    def __init__(self, w3: AsyncWeb3[Any], *, poll_s: float) -> None:
        self._w3 = w3
        self.poll_s = poll_s

    async def chain_id(self) -> int:
        """The id of its chain."""
        with _told_in_words():
            return await self._w3.eth.chain_id

    async def head(self) -> int:
        """The number of its newest block."""
        with _told_in_words():
            return await self._w3.eth.block_number

    async def balance(self, account: Address) -> int:
        """What the account owns, in wei."""
        with _told_in_words():
            return await self._w3.eth.get_balance(_checksum(account))

    async def transaction_count(self, account: Address) -> int:
        """How many transactions of the account are mined."""
        with _told_in_words():
            return await self._w3.eth.get_transaction_count(_checksum(account))

    async def call(self, contract: Address, function: Function, *arguments: Any) -> Any:
        """The single value that a view function returns.

        Raises `RefusedByContractError` if it reverts and `AbiError` for a nonsensical answer.
        """
        data = function.encode(*arguments)
        with _told_in_words():
            answer = await self._w3.eth.call({"to": _checksum(contract), "data": data})
        return function.decode_single(bytes(answer))

    async def send(
        self, wallet: Wallet, to: Address, data: bytes, *, value: int = 0, gas: int | None = None
    ) -> Receipt:
        """Sign and send a transaction and wait until it is mined; see `submit` and `mined`."""
        return await self.mined(await self.submit(wallet, to, data, value=value, gas=gas))

    async def submit(
        self, wallet: Wallet, to: Address, data: bytes, *, value: int = 0, gas: int | None = None
    ) -> Hash32:
        """Sign and send a transaction; returns its hash.

        `value` is in wei; `gas` is estimated where it is not given. Raises
        `RefusedByContractError` if it would revert or cannot be paid.
        """
        sender = _checksum(wallet.address)
        fields: Any = {"from": sender, "to": _checksum(to), "data": data, "value": value}
        with _told_in_words():
            # A fifth on top: a transaction before this one may change what it meets.
            limit = gas or await self._w3.eth.estimate_gas(fields) * 6 // 5
            nonce = await self._w3.eth.get_transaction_count(sender, "pending")
            chain_id, fee = await self._w3.eth.chain_id, await self._fee()
            signed = wallet.sign(UnsignedTransaction(chain_id, nonce, to, data, limit, fee, value))
            await self._w3.eth.send_raw_transaction(signed.raw)
        return signed.tx_hash

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        """The receipt of a transaction, None while it is not mined.

        Raises `RefusedByContractError` if it failed.
        """
        with _told_in_words():
            try:
                raw: Any = await self._w3.eth.get_transaction_receipt(tx_hash)  # type: ignore[arg-type]  # web3 takes bytes
            except TransactionNotFound:
                return None
        if raw["status"] != 1:
            raise RefusedByContractError(
                f"transaction 0x{tx_hash.hex()} failed in block {raw['blockNumber']}",
                advice="Another transaction was faster; look at what is there and ask again.",
            )
        logs = tuple(_event_log(log) for log in raw["logs"])
        return Receipt(tx_hash, raw["blockNumber"], raw["gasUsed"], logs)

    async def logs(
        self,
        contract: Address,
        topics: Sequence[Sequence[bytes]],
        *,
        from_block: int,
        to_block: int | None = None,
    ) -> list[EventLog]:
        """The logs of a contract in a range of blocks, in order; `to_block` None is the newest.

        `topics` has the alternatives for each place.
        """
        wanted: Any = {
            "address": _checksum(contract),
            "fromBlock": from_block,
            "toBlock": "latest" if to_block is None else to_block,
            "topics": [["0x" + topic.hex() for topic in each] for each in topics],
        }
        with _told_in_words():
            found = await self._w3.eth.get_logs(wanted)
        return sorted((_event_log(log) for log in found), key=lambda log: log.place)

    async def gas_of_block(self, number: int, contracts: frozenset[Address]) -> int:
        """The gas that transactions to these contracts used in a block."""
        with _told_in_words():
            block: Any = await self._w3.eth.get_block(number, full_transactions=True)
            receipts = [
                await self._w3.eth.get_transaction_receipt(transaction["hash"])
                for transaction in block["transactions"]
                if transaction.get("to") and _address(transaction["to"]) in contracts
            ]
        return sum(receipt["gasUsed"] for receipt in receipts)

    async def heads(self) -> AsyncIterator[int]:
        """The newest block's number, at once and whenever it has changed."""
        last = None
        while True:
            head = await self.head()
            if head != last:
                last = head
                yield head
            else:
                await asyncio.sleep(self.poll_s)

    async def mined(self, tx_hash: Hash32) -> Receipt:
        """Wait until a transaction is mined.

        Raises `RefusedByContractError` if it failed and `NoAnswerError` if it takes too long.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for _ in self.heads():
                    if receipt := await self.receipt(tx_hash):
                        return receipt
        except TimeoutError:
            pass
        raise NoAnswerError(
            f"transaction 0x{tx_hash.hex()} was not mined within {PATIENCE_S:.0f} s",
            advice="It may still be: look for it before you send another one.",
        )

    async def _fee(self) -> Fee:
        latest = await self._w3.eth.get_block("latest")
        if "baseFeePerGas" not in latest:
            return LegacyFee(await self._w3.eth.gas_price)
        tip = await self._w3.eth.max_priority_fee
        return DynamicFee(2 * latest["baseFeePerGas"] + tip, tip)


@asynccontextmanager
async def connect(
    url: str, *, chain_id: int | None = None, poll_s: float = 0.5
) -> AsyncIterator[Ethereum]:
    """Open an Ethereum node at an `http(s)` or `ws(s)` URL.

    `poll_s` is the pause, in seconds, between two looks for a new block. Raises `ChainError` if it
    cannot be reached or is not on chain `chain_id` (where given).
    """
    if url.startswith(("ws://", "wss://")):
        with _told_in_words():
            w3: AsyncWeb3[Any] = await AsyncWeb3(WebSocketProvider(url, max_connection_retries=1))
    else:
        w3 = AsyncWeb3(HttpProvider(url))
    try:
        ethereum = Ethereum(w3, poll_s=poll_s)
        found = await ethereum.chain_id()
        if chain_id is not None and found != chain_id:
            raise ChainError(f"the Ethereum node is on chain {found}, the contracts on {chain_id}")
        yield ethereum
    finally:
        await w3.provider.disconnect()


@contextmanager
def _told_in_words() -> Iterator[None]:
    """Turn web3's errors into ours. The URL is not told: it may hold an access token."""
    try:
        yield
    except ContractLogicError as error:
        name = name_of_revert(error.data if isinstance(error.data, str) else "")
        raise RefusedByContractError(
            f"the contract refuses: {name or error.message}", advice=advice_for(name)
        ) from error
    except Web3RPCError as error:
        answer = error.rpc_response or {}
        said = answer.get("error", {}).get("message", error.message)
        raise RefusedByContractError(f"the Ethereum node refuses: {said}") from error
    except (aiohttp.ClientError, WebSocketException, Web3Exception, OSError) as error:
        detail = str(error) or type(error).__name__
        raise ChainError(f"the Ethereum node does not answer: {detail}") from error


def _event_log(raw: Any) -> EventLog:
    return EventLog(
        _address(raw["address"]),
        tuple(Hash32(bytes(topic)) for topic in raw["topics"]),
        bytes(raw["data"]),
        raw["blockNumber"],
        raw["logIndex"],
    )


def _checksum(address: Address) -> Any:
    return Web3.to_checksum_address("0x" + address.hex())


def _address(text: str) -> Address:
    return Address(bytes.fromhex(text[2:]))
