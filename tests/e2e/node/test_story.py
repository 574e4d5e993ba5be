"""The main job: three nodes share a key, a document is encrypted, permitted and decrypted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyserver.client.contracts import Contracts
from keyserver.client.deployment_plan import Permission
from keyserver.client.ethereum import Ethereum, connect
from keyserver.client.permissions import Permissions
from keyserver.client.requests import KeyServers
from keyserver.client.sharing import open_file, share_file
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import Address, KeyId
from tests.e2e.node.settling import stop_settled
from tests.support.chain_network import CHAIN_ID, Network

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ALICE, BOB, CHARLIE = (
    Wallet(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[number])) for number in (1, 2, 3)
)
MOST_BLOCKS = 2
"""The chain's floor: a request of block b is answered by block b + c + 2 (two blocks after c)."""


@pytest.fixture(params=[0, 3])
def confirmations(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    if number == 0 and not request.config.getoption("--full-matrix"):
        pytest.skip("with --full-matrix only: the demo waits for none either")
    return number


@pytest.fixture
def network(tmp_path: Path, confirmations: int) -> Iterator[Network]:
    made = Network.make(
        tmp_path, 3, confirmations=confirmations, permission=Permission.REGISTRY, block_time_s=1.0
    )
    try:
        made.start()
        yield made
    finally:
        made.close()


def contracts_of(network: Network) -> Contracts:
    addresses = {
        name: Address(bytes.fromhex(text[2:])) for name, text in network.deployed.contracts.items()
    }
    return Contracts(addresses, CHAIN_ID)


async def story(network: Network, ethereum: Ethereum, directory: Path, confirmations: int) -> None:
    contracts, random = contracts_of(network), SystemRandom()
    alice, bob, charlie = (
        KeyServers(ethereum, contracts, wallet, patience_s=60.0) for wallet in (ALICE, BOB, CHARLIE)
    )
    key_id: KeyId = ALICE.new_key_id(random)
    text = b"for Bob's eyes only " * 1000
    secret_file, encrypted = directory / "letter.txt", directory / "letter.enc"
    secret_file.write_bytes(text)
    permissions = Permissions(ethereum, contracts, ALICE)
    await permissions.reserve(key_id)
    await permissions.permit(key_id, [BOB.address])

    generated = await alice.generate_server_key(key_id, 1)
    assert generated.answered_in - generated.requested_in <= confirmations + MOST_BLOCKS
    shared = await share_file(alice, key_id, secret_file, encrypted, random)
    assert shared.answer.answered_in - shared.answer.requested_in <= confirmations + MOST_BLOCKS
    await open_file(bob, encrypted, directory / "bob.txt")
    assert (directory / "bob.txt").read_bytes() == text
    with pytest.raises(KeyServerError):
        await open_file(charlie, encrypted, directory / "charlie.txt")
    assert not (directory / "charlie.txt").exists()

    network.nodes[2].kill()
    await open_file(bob, encrypted, directory / "again.txt")
    assert (directory / "again.txt").read_bytes() == text
    network.nodes[2].start()
    await asyncio.to_thread(network.nodes[2].wait_ready)
    found = await charlie.retrieve_server_key(key_id)
    assert found.value.public == generated.value.public


def test_a_document_is_shared(network: Network, tmp_path: Path, confirmations: int) -> None:
    async def run() -> None:
        async with connect(network.chain.ws_url, chain_id=CHAIN_ID, poll_s=0.1) as ethereum:
            await story(network, ethereum, tmp_path, confirmations)

    asyncio.run(run())
    stop_settled(network.nodes)
