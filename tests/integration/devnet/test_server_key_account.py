"""The demo's account of a server key, with a committee's own signatures, on both chains."""

import pytest

from keyserver.client.errors import RefusedByContractError
from keyserver.client.ethereum import connect
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.devnet.narrating import DemoError
from keyserver.devnet.server_key_account import Call, ServerKeyAccount, deploy
from keyserver.model.identifiers import Address, NodeId
from tests.integration.devnet.conftest import Chain
from tests.interop.made import Committee

DEPLOYER = SecretScalar(DEVELOPMENT_PRIVATE_KEYS[0])
STRANGER = SecretScalar.from_int(0x57A6)
PAYEE = Address(b"\x9a" * 20)
PAYMENT = Call(PAYEE, 10**17, gas_limit=50_000)


async def test_it_does_what_the_committee_signs_once(chain: Chain) -> None:
    committee, other = Committee.of(1), Committee.of(2)
    owner = NodeId.of(committee.public).address
    address, gas = await deploy(chain.rpc_url, DEPLOYER, owner)
    assert gas > 21_000
    async with connect(chain.rpc_url, poll_s=0.05) as ethereum:
        wallet = Wallet(DEPLOYER)
        await ethereum.send(wallet, address, b"", value=10**18)
        account = ServerKeyAccount(ethereum, address)
        digest = await account.hash_of(PAYMENT)
        for stranger in (other.ecdsa(digest), committee.ecdsa(bytes(32))):
            with pytest.raises(RefusedByContractError):
                await account.execute(wallet, PAYMENT, for_ethereum(stranger))
        signature = for_ethereum(committee.ecdsa(digest))
        await account.execute(wallet, PAYMENT, signature)
        assert await ethereum.balance(PAYEE) == PAYMENT.value
        with pytest.raises(RefusedByContractError):
            await account.execute(wallet, PAYMENT, signature)
        assert await account.hash_of(PAYMENT) != digest


async def test_who_cannot_pay_deploys_nothing(chain: Chain) -> None:
    with pytest.raises(DemoError, match="not deployed"):
        await deploy(chain.rpc_url, STRANGER, PAYEE)
    with pytest.raises(DemoError, match="not deployed"):
        await deploy(chain.rpc_url, DEPLOYER, Address(bytes(20)))


def for_ethereum(signature: bytes) -> bytes:
    return signature[:64] + bytes([signature[64] + 27])
