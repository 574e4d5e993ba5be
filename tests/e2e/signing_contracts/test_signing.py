"""Messages signed for contracts by networks of 3 and of 5 processes, on both chains.

Who may is served, also while a node is away or comes back, and while a member of the set lies;
who may not is refused. What comes back is verified by other libraries, and the contracts let
nothing else through.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyserver.client.contracts import SIGNING, Contracts
from keyserver.client.errors import RefusedByContractError, RefusedByKeyServersError
from keyserver.client.ethereum import Ethereum, connect
from keyserver.client.permissions import Permissions
from keyserver.client.requests import KeyServers
from keyserver.client.signatures import ServerSignature
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SeededRandom, SystemRandom
from keyserver.devnet.network import Network
from keyserver.devnet.settings import ANVIL, EMBEDDED, Settings
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.requests import SigningScheme
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR
from keyserver.tasks.responsibility import starter_index
from tests.e2e.signing_contracts.checks import check
from tests.support.chains import skip_unless_played

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

SEED = "members whose keys the test knows"
PATIENCE_S = 40.0
CALLS = {SigningScheme.ECDSA: ECDSA.calls, SigningScheme.SCHNORR: SCHNORR.calls}
NETWORKS = ((3, EMBEDDED), (5, ANVIL), (3, ANVIL), (5, EMBEDDED))
USUAL = {EMBEDDED: 3, ANVIL: 5}
"""How many nodes there are in every run, on the chain of every run."""


def message(number: int) -> Hash32:
    return Hash32(keccak256(b"message %d" % number))


@dataclass
class Bench:
    """A network with a key of threshold 1, two accounts that may have it sign, and a stranger."""

    network: Network
    ethereum: Ethereum
    contracts: Contracts
    members: list[SecretScalar]
    key_id: KeyId
    signed: int = 0

    def wallet(self, account: str) -> Wallet:
        secret = bytes.fromhex(self.network.devnet.accounts[account].private_key[2:])
        return Wallet(SecretScalar(secret))

    def as_account(self, account: str) -> KeyServers:
        wallet = self.wallet(account)
        return KeyServers(self.ethereum, self.contracts, wallet, patience_s=PATIENCE_S)

    @property
    def spares_a_node(self) -> SigningScheme:
        """The scheme that one node of the set may be away for: ECDSA takes 2t + 1."""
        return SigningScheme.ECDSA if len(self.members) > 3 else SigningScheme.SCHNORR

    def place(self, scheme: SigningScheme) -> Address:
        return self.contracts.service(SIGNING[scheme])

    @property
    def starter(self) -> int:
        """The number of the node that begins sessions of the key, from 1."""
        nodes = [NodeId.of(secret.public()) for secret in self.members]
        first = sorted(nodes)[starter_index(self.key_id, len(nodes))]
        return nodes.index(first) + 1

    async def sign(self, account: str, scheme: SigningScheme, number: int) -> ServerSignature:
        asker = self.as_account(account)
        answer = await asker.sign(self.key_id, message(number), scheme)
        check(answer.value, self.network.devnet.rpc_url)
        self.signed += 1
        return answer.value

    async def sign_both(self, number: int) -> None:
        """By each scheme for another account, at the same time."""
        await asyncio.gather(
            self.sign("alice", SigningScheme.ECDSA, number),
            self.sign("bob", SigningScheme.SCHNORR, number),
        )

    async def until_pending(self, scheme: SigningScheme) -> None:
        while not await self.ethereum.call(self.place(scheme), CALLS[scheme].count):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def bench_of(directory: Path, nodes: int, chain: str) -> AsyncIterator[Bench]:
    settings = Settings(directory, nodes=nodes, threshold=1, chain=chain, block_time_s=0.3)
    network = await Network.start(settings, rng=SeededRandom(SEED))
    try:
        devnet, rng = network.devnet, SeededRandom(SEED)
        contracts = Contracts.load(network.directory / "devnet.json")
        async with connect(
            devnet.ws_url or devnet.rpc_url, chain_id=devnet.chain_id, poll_s=0.1
        ) as ethereum:
            members = [SecretScalar.random(rng) for _ in range(nodes)]
            bench = Bench(network, ethereum, contracts, members, KeyId(bytes(32)))
            alice = bench.wallet("alice")
            bench.key_id = alice.new_key_id(SystemRandom())
            permissions = Permissions(ethereum, contracts, alice)
            await permissions.reserve(bench.key_id)
            await permissions.permit(bench.key_id, [bench.wallet("bob").address])
            await bench.as_account("alice").generate_server_key(bench.key_id, 1)
            yield bench
    except BaseException:
        print(network.ends_of_logs())
        raise
    finally:
        network.stop()


async def a_stranger_is_refused(bench: Bench) -> None:
    with pytest.raises(RefusedByKeyServersError):
        await bench.sign("charlie", SigningScheme.ECDSA, 2)


async def a_starter_that_dies_is_stood_in_for(bench: Bench) -> None:
    """It dies when the requests are there, and comes back when they could do without it.

    With three nodes ECDSA cannot: that request waits, and ends when the node is back.
    """
    asked = {
        SigningScheme.ECDSA: asyncio.ensure_future(bench.sign("alice", SigningScheme.ECDSA, 3)),
        SigningScheme.SCHNORR: asyncio.ensure_future(bench.sign("bob", SigningScheme.SCHNORR, 3)),
    }
    for scheme in asked:
        await bench.until_pending(scheme)
    bench.network.kill(bench.starter)
    await asked[SigningScheme.SCHNORR]
    await asked[bench.spares_a_node]
    await bench.network.restart(bench.starter)
    await asked[SigningScheme.ECDSA]


async def a_member_that_lies_spoils_nothing(bench: Bench) -> None:
    """A node is gone, and its account answers with all that it can make up."""
    liar = bench.starter % len(bench.members) + 1
    bench.network.kill(liar)
    wallet, scheme = Wallet(bench.members[liar - 1]), bench.spares_a_node
    asked = asyncio.ensure_future(bench.sign("alice", scheme, 5))
    await bench.until_pending(scheme)
    request = (bench.key_id, bench.wallet("alice").address, message(5))
    forged = wallet.sign_digest(message(5))
    made_up = {
        SigningScheme.ECDSA: (forged[:64] + bytes([27 + forged[64]]),),
        SigningScheme.SCHNORR: (forged[:64], wallet.public_key),
    }
    calls = CALLS[scheme]
    for lie in (
        calls.common_retrieved.encode(*request, wallet.public_key, 0),
        calls.signed.encode(*request, *made_up[scheme]),
        calls.error.encode(*request),
    ):
        with contextlib.suppress(RefusedByContractError):
            await bench.ethereum.send(wallet, bench.place(scheme), lie, gas=500_000)
    signature = await asked
    assert signature.signer != wallet.address


async def every_request_was_answered_once(bench: Bench) -> None:
    """The contracts emit a signature only if it is one, and then forget the request."""
    events = 0
    for service in SIGNING.values():
        place = bench.contracts.service(service)
        (signed,) = [event for event in service.results if "MessageSigned" in event.name]
        events += len(await bench.ethereum.logs(place, [[signed.topic0]], from_block=0))
    assert events == bench.signed


async def story(directory: Path, nodes: int, chain: str) -> None:
    async with bench_of(directory, nodes, chain) as bench:
        await bench.sign_both(1)
        await a_stranger_is_refused(bench)
        await a_starter_that_dies_is_stood_in_for(bench)
        await a_member_that_lies_spoils_nothing(bench)
        await every_request_was_answered_once(bench)


@pytest.mark.parametrize(("nodes", "chain"), NETWORKS)
def test_contracts_have_messages_signed(
    tmp_path: Path, nodes: int, chain: str, pytestconfig: pytest.Config
) -> None:
    skip_unless_played(chain, pytestconfig, is_usual=nodes == USUAL[chain])
    asyncio.run(story(tmp_path / "net", nodes, chain))
