"""One run: a network is set up, disturbed while clients work, left to rest, and looked at."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from eth_account import Account
from web3 import AsyncWeb3

from keyserver.client.contracts import COMBINED_SERVICE, Contracts
from keyserver.client.deployment import DeployedContracts, deploy_contracts
from keyserver.client.deployment_plan import DeploymentPlan, Permission, PlannedNode
from keyserver.client.errors import ClientError
from keyserver.client.http_provider import HttpProvider
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LOOPBACK
from keyserver.errors import ChainError
from keyserver.evm.abi import Function
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Address
from tests.chaos import audit
from tests.chaos.audit import ChainFacts
from tests.chaos.background import meanwhile
from tests.chaos.chain import CALM_BASE_FEE, CHAIN_ID, Anvil
from tests.chaos.clients import FUNDS_WEI, MOST_PEOPLE, Book, Clients, Payer, PersistentEthereum
from tests.chaos.faults import FaultRunner
from tests.chaos.links import Links
from tests.chaos.nodes import Seat, Supervisor
from tests.chaos.report import Report, request_figures
from tests.chaos.schedule import Fault, draw

NODES = 5
THRESHOLD = 2
CONFIRMATIONS = 3
BLOCK_TIME_S = 1.0
MOST_PENDING = 255
FIRST_BLOCKS = 12
"""Before the faults, so that there is something to reorganise."""
SETTLING_S = 240.0
"""Within which the network must be at rest after the last fault and the last request."""
MOST_REVERTED = 0.05
"""Share of the nodes' mined answers that may have been refused by the contract."""

SET_LIMITS = tuple(
    Function.parse(f"setMax{name}Requests(uint256)")
    for name in (
        "ServerKeyGeneration",
        "ServerKeyRetrieval",
        "DocumentKeyStore",
        "DocumentKeyShadowRetrieval",
    )
)

Tell = Callable[[str], None]
Story = Callable[[Clients], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is to be like."""

    requests: int
    seed: int
    fault_seconds: float
    """No fault begins later than so many seconds after the first one."""
    gap_s: float = 3.0
    """Seconds between two faults, on average."""
    parallel: int = 12
    """Stories that go on side by side."""
    calm_requests: int = 0
    """Of all requests, how many are made before the faults."""
    retry_blocks: int = 30
    """The nodes' `retry_interval_blocks`."""
    gives_up_after_s: float = 3600.0


@dataclass
class Network:
    """Everything that runs."""

    chain: Anvil
    deployed: DeployedContracts
    seats: list[Seat]
    supervisor: Supervisor
    links: Links

    @property
    def contracts(self) -> Contracts:
        addresses = {
            name: Address(bytes.fromhex(text[2:])) for name, text in self.deployed.contracts.items()
        }
        return Contracts(addresses, CHAIN_ID, self.deployed.block)

    @property
    def service(self) -> Address:
        service = self.contracts.find(COMBINED_SERVICE)
        assert service is not None
        return service


async def run(options: Options, directory: Path, tell: Tell) -> Report:
    """Do it all; the report tells what must not be."""
    random = Random(options.seed)
    people = [
        Wallet(SecretScalar(random.randbytes(32)))
        for _ in range(MOST_PEOPLE * story_count(options.requests))
    ]
    async with started(options, directory, random, people, tell) as network:
        book = Book()
        faults = draw(
            options.seed,
            nodes=NODES,
            threshold=THRESHOLD,
            seconds=options.fault_seconds,
            gap_s=options.gap_s,
        )
        runner = FaultRunner(
            network.supervisor, network.links, network.chain, Random(options.seed + 1)
        )
        payer = Payer(network.chain)
        began = time.monotonic()
        async with meanwhile(payer.run()):
            clients = Clients(
                PersistentEthereum(network.chain.local.rpc_url, payer),
                network.contracts,
                [seat.http for seat in network.seats],
                random,
                book,
                iter(people),
            )
            await _disturb_clients(options, clients, runner, faults, tell)
            working_s = time.monotonic() - began
            tell("all requests are made; settling")
            left, settling_s = await _settle(network)
        tell(f"at rest after {settling_s:.0f} s" if not left else f"not at rest: {left}")
        report = await _report(network, book, payer, runner, left)
        figures = {
            "seed": options.seed,
            "seconds at work": round(working_s),
            "seconds until at rest": round(settling_s),
            **report.figures,
        }
        codes = await network.supervisor.stop()
        ends = [f"a node ended with code {code}" for code in codes if code]
        return Report(figures, [*report.violations, *ends])


# --- setting up -----------------------------------------------------------------------------------


@asynccontextmanager
async def started(
    options: Options, directory: Path, random: Random, people: Sequence[Wallet], tell: Tell
) -> AsyncIterator[Network]:
    """Chain, contracts, proxies and nodes, all running; ended when left, however that is."""
    secrets = [SecretScalar(random.randbytes(32)) for _ in range(NODES)]
    fund = [TransactionSigner(secret).address for secret in secrets]
    chain = await Anvil.start(fund, directory / "chain.log")
    seats = [
        Seat.make(number, directory, secret, chain.local.rpc_url)
        for number, secret in enumerate(secrets)
    ]
    supervisor = Supervisor(seats)
    links = Links(supervisor.pids)
    try:
        deployed = await _deploy(chain, seats)
        await _raise_limits(chain, deployed)
        await chain.fund([wallet.address for wallet in people], FUNDS_WEI)
        await chain.base_fee(CALM_BASE_FEE)
        await chain.ask("anvil_mine", hex(FIRST_BLOCKS))
        await chain.begin_blocks(BLOCK_TIME_S)
        tell(f"chain {CHAIN_ID} at {chain.local.rpc_url}, contracts deployed")
        for seat in seats:
            seat.follow(deployed.contracts["SimpleRegistry"], CONFIRMATIONS, options.retry_blocks)
            await links.listen(seat.number, seat.announced, seat.node.port)
            for endpoint in seat.endpoints:
                await endpoint.start()
        await supervisor.start_all()
        tell(f"{NODES} nodes are ready")
        yield Network(chain, deployed, seats, supervisor, links)
    finally:
        await supervisor.kill_all()
        await links.close()
        for seat in seats:
            for endpoint in seat.endpoints:
                await endpoint.close()
        await chain.close()


async def _deploy(chain: Anvil, seats: Sequence[Seat]) -> DeployedContracts:
    planned = tuple(PlannedNode(bytes(seat.id), f"{LOOPBACK}:{seat.announced}") for seat in seats)
    plan = DeploymentPlan(planned, permission=Permission.REGISTRY)
    provider = HttpProvider(chain.local.rpc_url)
    try:
        account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
        return await deploy_contracts(AsyncWeb3(provider), account, plan, chain_id=CHAIN_ID)
    finally:
        await provider.disconnect()


async def _raise_limits(chain: Anvil, deployed: DeployedContracts) -> None:
    """Let the contracts take as many requests at a time as there are."""
    owner = TransactionSigner(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[0]))
    service = Address(bytes.fromhex(deployed.contracts[COMBINED_SERVICE][2:]))
    nonce, _ = await chain.counts(owner.address)
    for number, function in enumerate(SET_LIMITS):
        fee = DynamicFee(10 * CALM_BASE_FEE, CALM_BASE_FEE)
        data = function.encode(MOST_PENDING)
        unsigned = UnsignedTransaction(CHAIN_ID, nonce + number, service, data, 200_000, fee, 0)
        await chain.ask("eth_sendRawTransaction", f"0x{owner.sign(unsigned).raw.hex()}")


# --- at work --------------------------------------------------------------------------------------


async def _disturb_clients(
    options: Options, clients: Clients, runner: FaultRunner, faults: Sequence[Fault], tell: Tell
) -> None:
    book = clients.book
    try:
        async with (
            meanwhile(_tell_progress(book, tell)),
            asyncio.timeout(options.gives_up_after_s),
        ):
            await _stories(clients, options.calm_requests, options.parallel, tell)
            book.under_faults = True
            async with meanwhile(runner.run(faults)):
                left = options.requests - len(book.served)
                await _stories(clients, left, options.parallel, tell)
                await runner.had_all_kinds()
            book.under_faults = False
    except TimeoutError:
        book.troubles.append(f"clients still waited after {options.gives_up_after_s:.0f} s")
    finally:
        await clients.ethereum.close()


STORY_REQUESTS: tuple[tuple[Story, int], ...] = (
    (Clients.through_contracts, 7),
    (Clients.over_http, 6),
    (Clients.mixed, 4),
    (Clients.through_contracts, 7),
)
"""Stories with the number of their requests, told in turns."""


def story_count(requests: int) -> int:
    """No fewer stories than these make so many requests, before and under faults."""
    return requests // min(count for _, count in STORY_REQUESTS) + 2


async def _stories(clients: Clients, requests: int, parallel: int, tell: Tell) -> None:
    """Tell stories side by side until so many requests have been made."""
    room = asyncio.Semaphore(parallel)
    told: list[Awaitable[None]] = []
    count = 0
    while count < requests:
        story, of_it = STORY_REQUESTS[len(told) % len(STORY_REQUESTS)]
        told.append(_tell_story(clients, story, room, tell))
        count += of_it
    await asyncio.gather(*told)


async def _tell_story(clients: Clients, story: Story, room: asyncio.Semaphore, tell: Tell) -> None:
    async with room:
        try:
            await story(clients)
        except (ClientError, ChainError) as error:
            trouble = f"a story ended: {type(error).__name__}: {error}"
            clients.book.troubles.append(trouble)
            tell(trouble)


async def _tell_progress(book: Book, tell: Tell) -> None:
    while True:
        await asyncio.sleep(15)
        tell(f"{len(book.served)} requests are served, {len(book.troubles)} troubles")


# --- at the end -----------------------------------------------------------------------------------


async def _settle(network: Network) -> tuple[list[str], float]:
    """Wait until the network is at rest; what is still open, and the seconds it took."""
    began = time.monotonic()
    while True:
        left = await audit.open_matters(network.chain, network.service, network.seats)
        took = time.monotonic() - began
        if not left or took > SETTLING_S:
            return left, took
        await asyncio.sleep(1)


async def _report(
    network: Network, book: Book, payer: Payer, runner: FaultRunner, left: Sequence[str]
) -> Report:
    accounts = [seat.account for seat in network.seats]
    facts = await audit.read_chain(network.chain, network.service, accounts, network.deployed.block)
    logs = audit.read_logs(network.seats)
    violations = [
        *book.troubles,
        *audit.check_chain(facts, book),
        *(f"not at rest: {matter}" for matter in left),
        *await audit.check_keys(network.seats, book),
        *logs.troubles,
        *(f"ended by itself: {end}" for end in network.supervisor.unexpected_ends),
        *_too_much_reverted(facts),
    ]
    return Report(_figures(network, book, payer, runner, facts, logs), violations)


def _too_much_reverted(facts: ChainFacts) -> list[str]:
    reverted, mined = facts.reverted.total(), facts.mined_answers
    if reverted <= MOST_REVERTED * mined:
        return []
    return [f"{reverted} of {mined} mined answers reverted: {dict(facts.reverted)}"]


def _figures(
    network: Network,
    book: Book,
    payer: Payer,
    runner: FaultRunner,
    facts: ChainFacts,
    logs: audit.LogFacts,
) -> dict[str, Any]:
    proxies = [endpoint for seat in network.seats for endpoint in seat.endpoints]
    return {
        "requests": request_figures(book.served),
        "faults": dict(runner.done),
        "reorganisations by depth": dict(sorted(runner.depths.items())),
        "transactions lost by reorganisations": runner.lost_by_reorganisation,
        "transactions dropped from the pool": runner.dropped,
        "transactions swallowed by endpoints": sum(proxy.swallowed for proxy in proxies),
        "connections between nodes cut": network.links.cut_connections,
        "starts of nodes": sum(network.supervisor.starts.values()),
        "blocks": facts.blocks,
        "requests in the chain": facts.requests.total(),
        "answers mined": facts.mined_answers,
        "answers reverted": dict(facts.reverted),
        "answers mined before their requests": facts.too_early,
        "transactions of nodes without effect by intent": facts.cancelled,
        "gas of nodes": facts.gas,
        "client transactions failed": facts.client_failures,
        "client transactions sent again": payer.resent,
        "log events": dict(logs.events),
    }
