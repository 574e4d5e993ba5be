"""Senders of transactions, signing locally as the project's own clients do."""

from typing import Any

from eth_account import Account
from eth_typing import ChecksumAddress
from web3 import AsyncWeb3

from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS

GWEI = 10**9
TRANSFER_GAS = 21_000
SOMEONE = ChecksumAddress("0x" + "11" * 20)  # type: ignore[arg-type]


class Sender:
    """A funded account that counts its own nonces."""

    def __init__(self, index: int, chain_id: int) -> None:
        self.account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[index])
        self.address: ChecksumAddress = self.account.address
        self._chain_id = chain_id
        self.nonce = 0

    def sign(
        self,
        *,
        nonce: int | None = None,
        to: str | None = SOMEONE,
        data: bytes = b"",
        value: int = 0,
        gas: int = 100_000,
        fee: int = 10 * GWEI,
        tip: int = GWEI,
    ) -> bytes:
        """Sign a transaction, by default with the next nonce."""
        fields: dict[str, Any] = {
            **{"chainId": self._chain_id, "nonce": self.nonce if nonce is None else nonce},
            **{"value": value, "gas": gas, "data": data, "type": 2},
            **{"maxFeePerGas": fee, "maxPriorityFeePerGas": tip},
        }
        if to is not None:
            fields["to"] = to
        if nonce is None:
            self.nonce += 1
        return bytes(self.account.sign_transaction(fields).raw_transaction)

    async def send(self, client: AsyncWeb3[Any], **fields: Any) -> bytes:
        """Sign and send; return the transaction hash."""
        return bytes(await client.eth.send_raw_transaction(self.sign(**fields)))
