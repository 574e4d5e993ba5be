"""Five nodes, one of them down: what the others do meanwhile, and what it does when it returns.

Keys are made and stored by a quorum; the generation and store contracts want the answers of all, so
they end when the fifth is back: it answers from what its peers tell it, also without a share.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

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
from keyserver.model.identifiers import Address, KeyId
from keyserver.sessions.agreement import first_proposer
from tests.support.chain_network import CHAIN_ID, SERVICE, Network
from tests.support.node_processes import ConfiguredNode, start_all
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

NODES, THRESHOLD, QUORUM = 5, 1, 4
ALICE = Wallet(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[1]))
T = TypeVar("T")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network.make(tmp_path, NODES, permission=Permission.REGISTRY)
    try:
        for node in made.nodes:
            node.set("keyserver", generation_quorum=QUORUM)
        yield made
    finally:
        made.close()


def contracts_of(network: Network) -> Contracts:
    addresses = {
        name: Address(bytes.fromhex(text[2:])) for name, text in network.deployed.contracts.items()
    }
    return Contracts(addresses, CHAIN_ID)


def key_of_a_node_that_runs(down: ConfiguredNode, nodes: list[ConfiguredNode]) -> KeyId:
    """A key whose requests are started by another node than that one."""
    ids = sorted(node.id for node in nodes)
    random = SystemRandom()
    while True:
        key_id = ALICE.new_key_id(random)
        if ids[first_proposer(key_id, len(ids))] != down.id:
            return key_id


def still_wanted(network: Network, question: str, key_id: KeyId) -> set[int]:
    """The numbers of the nodes whose answer the contract waits for."""
    wanted = set()
    for number, node in enumerate(network.nodes):
        call = SERVICE.function(question).encode(key_id, node.id.address)
        to = {"to": f"0x{network.service.hex()}", "data": f"0x{call.hex()}"}
        if int(network.chain.request("eth_call", to, "latest"), 16):
            wanted.add(number)
    return wanted


@asynccontextmanager
async def missing_one(
    network: Network, request: Coroutine[Any, Any, T], question: str, key_id: KeyId
) -> AsyncIterator["asyncio.Task[T]"]:
    """A request that all but the last node have answered; it is pending, not lost."""
    task = asyncio.ensure_future(request)

    def all_but_one() -> bool | None:
        return still_wanted(network, question, key_id) == {NODES - 1} or None

    await asyncio.to_thread(wait_for, all_but_one, timeout_s=60, doing=question)
    assert not task.done()
    yield task
    await task


async def story(network: Network, ethereum: Ethereum, directory: Path) -> None:
    contracts, last = contracts_of(network), network.nodes[-1]
    alice = KeyServers(ethereum, contracts, ALICE, patience_s=90.0)
    key_id = key_of_a_node_that_runs(last, network.nodes)
    await Permissions(ethereum, contracts, ALICE).reserve(key_id)

    generating = alice.generate_server_key(key_id, THRESHOLD)
    question = "isServerKeyGenerationResponseRequired"
    async with missing_one(network, generating, question, key_id):
        last.start()
        await asyncio.to_thread(last.wait_ready)
    generated = (await alice.retrieve_server_key(key_id)).value
    assert generated.threshold == THRESHOLD

    last.kill()
    plain, encrypted = directory / "letter.txt", directory / "letter.enc"
    plain.write_bytes(b"for my own eyes only")
    storing = share_file(alice, key_id, plain, encrypted, SystemRandom())
    question = "isDocumentKeyStoreResponseRequired"
    async with missing_one(network, storing, question, key_id):
        last.start()
        await asyncio.to_thread(last.wait_ready)

    last.kill()
    await open_file(alice, encrypted, directory / "again.txt")
    assert (directory / "again.txt").read_bytes() == plain.read_bytes()


def test_a_node_that_was_down_answers_when_it_returns(network: Network, tmp_path: Path) -> None:
    start_all(network.nodes[:-1])

    async def run() -> None:
        async with connect(network.chain.ws_url, chain_id=CHAIN_ID, poll_s=0.1) as ethereum:
            await story(network, ethereum, tmp_path)

    asyncio.run(run())
