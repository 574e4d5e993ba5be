"""The example contract `ServerKeyAccount` as the demo uses it: deployed, asked, handed calls."""

from dataclasses import dataclass
from typing import Any, Final

from eth_account import Account
from web3 import AsyncWeb3
from web3.exceptions import Web3Exception

from keyserver.client.ethereum import Ethereum, Receipt
from keyserver.client.http_provider import HttpProvider
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.narrating import DemoError
from keyserver.evm.abi import Function
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address, Hash32

CONTRACT: Final = "ServerKeyAccount"
_HASH_OF_CALL: Final = Function.parse("hashOfCall(address,uint256,bytes,uint256)", "bytes32")
_EXECUTE: Final = Function.parse("execute(address,uint256,bytes,uint256,bytes)")


@dataclass(frozen=True, slots=True)
class Call:
    """What the account is to do: pay, or call a contract."""

    target: Address
    value: int
    """Wei."""
    gas_limit: int
    """What the target gets, whoever hands the call in; 2,300 more if ether comes along."""
    data: bytes = b""

    @property
    def arguments(self) -> tuple[str, int, bytes, int]:
        """As the contract's functions take them."""
        return _hex(self.target), self.value, self.data, self.gas_limit


@dataclass(frozen=True, slots=True)
class ServerKeyAccount:
    """One account on the chain, which belongs to a server key."""

    ethereum: Ethereum
    address: Address

    async def hash_of(self, call: Call) -> Hash32:
        """What the server key has to sign to let this be the account's next call."""
        return Hash32(await self.ethereum.call(self.address, _HASH_OF_CALL, *call.arguments))

    async def execute(self, wallet: Wallet, call: Call, signature: bytes) -> Receipt:
        """Hand a call in with its signature (65 bytes, v 27 or 28), from any account.

        Raises `RefusedByContractError` if the server key has not signed it as the next call, or if
        no transaction can bring the target its gas.
        """
        data = _EXECUTE.encode(*call.arguments, signature)
        return await self.ethereum.send(wallet, self.address, data)


async def deploy(rpc_url: str, deployer: SecretScalar, server_key: Address) -> tuple[Address, int]:
    """Create an account for the server key of this address; returns its own, and the gas used.

    Raises `DemoError` if the chain does not take the contract.
    """
    provider = HttpProvider(rpc_url)
    try:
        return await _create(AsyncWeb3(provider), deployer, server_key)
    except Web3Exception as error:
        raise DemoError(f"{CONTRACT}: not deployed: {error}") from error
    finally:
        await provider.disconnect()


async def _create(
    w3: AsyncWeb3[Any], deployer: SecretScalar, server_key: Address
) -> tuple[Address, int]:
    artifact, account = load_artifact(CONTRACT), Account.from_key(deployer.expose())
    contract = w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    creation = contract.constructor(w3.to_checksum_address(_hex(server_key)))
    nonce = await w3.eth.get_transaction_count(account.address)
    transaction = await creation.build_transaction({"from": account.address, "nonce": nonce})
    signed = account.sign_transaction(transaction)
    tx_hash = await w3.eth.send_raw_transaction(signed.raw_transaction)
    receipt: Any = await w3.eth.wait_for_transaction_receipt(tx_hash, poll_latency=0.1)
    if receipt["status"] != 1:
        raise DemoError(f"{CONTRACT}: its creation failed")
    return Address(bytes.fromhex(receipt["contractAddress"][2:])), int(receipt["gasUsed"])


def _hex(address: Address) -> str:
    return "0x" + address.hex()
