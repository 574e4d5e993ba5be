"""Telling a story on a devnet of its own: step by step, timed, its gas counted.

The gas of a step is what all transactions to the network's contracts used in its blocks, the key
servers' answers included.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keyserver.client.contracts import Contracts
from keyserver.client.ethereum import Ethereum, connect
from keyserver.client.requests import KeyServers
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.devnet.devnet_file import FILE_NAME
from keyserver.devnet.narrating import Narrator, Step, StepResult
from keyserver.devnet.network import Network
from keyserver.devnet.settings import Settings
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import Address

PATIENCE_S = 90.0
"""Seconds to wait for an answer: more than any takes, also after a node was killed."""


@dataclass(frozen=True)
class Scene:
    """A running network, and what the people in the story use it with."""

    network: Network
    ethereum: Ethereum
    contracts: Contracts
    narrator: Narrator
    watched: set[Address]
    """The contracts whose gas is counted."""

    def wallet(self, name: str) -> Wallet:
        """The account of a person."""
        account = self.network.devnet.accounts[name]
        return Wallet(SecretScalar(bytes.fromhex(account.private_key[2:])))

    def address_of(self, number: int) -> Address:
        """The account of node `number`, counted from 1."""
        return Address(bytes.fromhex(self.network.devnet.nodes[number - 1].address[2:]))

    def servers(self, wallet: Wallet) -> KeyServers:
        """The key servers as this account sees them, through their contracts."""
        return KeyServers(
            self.ethereum,
            self.contracts,
            wallet,
            watch=self.narrator.wait,
            patience_s=PATIENCE_S,
        )


@dataclass
class Telling:
    """One telling of a story; `tell` is called once."""

    settings: Settings
    narrator: Narrator
    rng: RandomSource = field(default_factory=SystemRandom)
    results: list[StepResult] = field(default_factory=list)

    async def tell(self, story: Callable[[Scene], Sequence[Step]]) -> None:
        """Start a network and take all steps; one that fails ends it. The network is stopped."""
        network = await self._start()
        if network is None:
            return
        try:
            poll_s = min(0.25, self.settings.block_time_s / 5)
            async with connect(network.devnet.rpc_url, poll_s=poll_s) as ethereum:
                contracts = Contracts.load(network.directory / FILE_NAME)
                watched = set(contracts.address_by_name.values())
                scene = Scene(network, ethereum, contracts, self.narrator, watched)
                for step in story(scene):
                    if not await self._take(scene, step):
                        return
        finally:
            network.stop()

    async def _start(self) -> Network | None:
        name, text = "start", f"A network of {self.settings.nodes} key servers starts."
        self.narrator.begin(name, text)
        started, network, error = time.monotonic(), None, ""
        try:
            network = await Network.start(self.settings, tell=self.narrator.say, rng=self.rng)
        except KeyServerError as failure:
            error = str(failure)
        self._finish(name, error, time.monotonic() - started, 0)
        return network

    async def _take(self, scene: Scene, step: Step) -> bool:
        name, text, act = step
        self.narrator.begin(name, text)
        started, first = time.monotonic(), await scene.ethereum.head() + 1
        error = ""
        try:
            await act()
        except KeyServerError as failure:
            error = f"{failure}\n{scene.network.ends_of_logs()}"
        seconds = time.monotonic() - started
        self._finish(name, error, seconds, await _gas_since(scene, first))
        return not error

    def _finish(self, name: str, error: str, seconds: float, gas: int) -> None:
        """Keep and tell the result of a step."""
        result = StepResult(name, not error, round(seconds, 2), gas)
        self.results.append(result)
        self.narrator.end(result, error)


async def _gas_since(scene: Scene, first: int) -> int:
    last, contracts = await scene.ethereum.head(), frozenset(scene.watched)
    return sum(
        [await scene.ethereum.gas_of_block(number, contracts) for number in range(first, last + 1)]
    )
