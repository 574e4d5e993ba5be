"""What happens around a story whose key servers are sealed: operators open them, a thief comes.

At the start nobody's key is at hand: a request waits in the contract until operators have opened
the nodes with their shares. At the end all disks are copied, as a thief would, and searched.
"""

import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from keyserver.app.clock import SystemClock
from keyserver.app.sealed_stores import secrets_of
from keyserver.client.ethereum import Ethereum
from keyserver.crypto.randomness import SystemRandom
from keyserver.crypto.slip39 import parse_mnemonic
from keyserver.devnet.narrating import DemoError, Step
from keyserver.devnet.node_process import DATA, readiness
from keyserver.devnet.operators import FILE_NAME as SHARES_NAME
from keyserver.devnet.operators import ShareRefusedError, Shares, hand_in, standing_of
from keyserver.devnet.secret_search import files_below, search
from keyserver.devnet.telling import Scene

BLOCKS_UNANSWERED: Final = 3
"""For so many blocks more than are waited for a request stays without an answer."""
STOLEN: Final = "stolen"
"""Directory of the copies."""


class SealedStory:
    """The steps around a story, for one network."""

    def __init__(self, scene: Scene, shares: Shares, nodes: int) -> None:
        self._scene = scene
        self._network = scene.network
        self._shares = shares
        self._nodes = range(1, nodes + 1)
        self._all = range(1, len(shares.nodes) + 1)
        """With those that join later."""

    # --- the steps --------------------------------------------------------------------------------

    def look(self) -> Step:
        """The nodes are sealed."""
        text = (
            f"All {len(self._nodes)} have started sealed: their keys are in boxes, and nothing on "
            "their disks opens those."
        )
        return "sealed", text, self._look

    def wait_in_vain(self, ask: Callable[[], Awaitable[None]]) -> Step:
        """Somebody asks, by `ask`, what nobody can answer yet."""
        text = (
            "Alice asks for a key. The key servers follow the chain, but cannot answer: the "
            "request waits in the contract."
        )

        async def wait() -> None:
            await ask()
            await self._stay_unanswered()

        return "ask_sealed", text, wait

    def open_first(self) -> Step:
        """The operators of one node come, one with a share that is not hers."""
        text = (
            f"The operators of node {self._nodes[0]} come, one by one. Any {self._shares.required} "
            f"of {len(self._shares.of(1))} can open it."
        )
        return "unseal_first", text, self._open_first

    def open_others(self) -> Step:
        """So do those of the others."""
        return "unseal", "The operators of the other nodes open theirs.", self._open_others

    def open_again(self, number: int) -> Step:
        """A node that was started again is opened again."""
        text = f"Node {number} is sealed again, so its operators come again."
        return "unseal_again", text, lambda: self._open_again(number)

    def search_disks(self) -> Step:
        """A thief learns nothing."""
        text = (
            "All key servers stop, and a thief copies their disks: databases, logs, "
            "configurations, backups. We know all secrets by their shares, and look for them there."
        )
        return "search", text, self._search_disks

    # --- sealed -----------------------------------------------------------------------------------

    async def _look(self) -> None:
        for number in self._nodes:
            said = readiness(self._network.devnet.nodes[number - 1])
            if not said.startswith("sealed:"):
                raise DemoError(f"node {number} is not sealed: {said}")
        self._say('each answers /health/ready with status 503: "sealed"')

    async def _stay_unanswered(self) -> None:
        ethereum: Ethereum = self._scene.ethereum
        settings = self._network.state
        first = await ethereum.head()
        last = first + settings.confirmations + BLOCKS_UNANSWERED
        sent = await self._sent_by_nodes()
        async for head in ethereum.heads():
            if head >= last:
                break
        if await self._sent_by_nodes() != sent:
            raise DemoError("a node that is sealed has sent a transaction")
        self._say(f"{last - first} blocks later no key server has answered")

    async def _sent_by_nodes(self) -> int:
        addresses = [self._scene.address_of(number) for number in self._nodes]
        return sum([await self._scene.ethereum.transaction_count(each) for each in addresses])

    # --- opening ----------------------------------------------------------------------------------

    async def _open_first(self) -> None:
        first, other = self._nodes[0], self._nodes[1]
        node, shares = self._network.devnet.nodes[first - 1], self._shares.of(first)
        for share in shares[: self._shares.required - 1]:
            self._say(f"an operator gives her {_words(share)} words: {hand_in(node, share)}")
        before = standing_of(node)
        try:
            hand_in(node, self._shares.of(other)[0])
        except ShareRefusedError as error:
            self._say(f"another has brought the share of node {other}: {error} ({error.code})")
        else:
            raise DemoError("the share of another node was taken")
        if standing_of(node) != before:
            raise DemoError(f"a wrong share has changed node {first}")
        self._say(f"it has spoilt nothing: still {before}")
        last = hand_in(node, shares[-1])
        self._say(f"the next has a good one: {last}")
        if last.sealed:
            raise DemoError(f"node {first} is still sealed")

    async def _open_others(self) -> None:
        for number in self._nodes[1:]:
            self._say(f"node {number}: {self._network.unseal(number)}")
        await self._network.until_ready(self._nodes, self._scene.narrator.say)

    async def _open_again(self, number: int) -> None:
        said = readiness(self._network.devnet.nodes[number - 1])
        if not said.startswith("sealed:"):
            raise DemoError(f"node {number} was to be sealed after its start: {said}")
        self._network.unseal(number)
        await self._network.until_ready([number], self._scene.narrator.say)

    # --- the thief --------------------------------------------------------------------------------

    async def _search_disks(self) -> None:
        for number in self._all:
            self._network.halt(number)
        stolen = self._network.directory / STOLEN
        secrets = await self._secrets_of_copies(stolen)
        shares = {
            f"share {place} of node {number}": words
            for number in self._all
            for place, words in enumerate(self._shares.of(number), 1)
        }
        secrets |= {name: parse_mnemonic(words).value for name, words in shares.items()}
        started = time.monotonic()
        found = search(stolen, secrets, shares)
        if found:
            raise DemoError("\n".join(["secrets are on the disks:", *map(str, found)]))
        size = sum(file.stat().st_size for file in files_below(stolen))
        self._say(
            f"{len(secrets)} secrets, each in every way to write it down, in {size:,} bytes: none "
            f"is there ({time.monotonic() - started:.1f} s)"
        )
        self._check_search(shares)

    async def _secrets_of_copies(self, stolen: Path) -> dict[str, bytes]:
        """Copy the nodes' directories, and open a second copy of each database with its shares."""
        secrets: dict[str, bytes] = {}
        random, clock = SystemRandom(), SystemClock()
        for number in self._all:
            directory = Path(self._network.devnet.nodes[number - 1].config).parent
            shutil.copytree(directory, stolen / directory.name)
            opened = self._network.directory / f"opened-{directory.name}"
            shutil.copytree(directory / DATA, opened)
            (database,) = opened.glob("*.sqlite")
            shares = self._shares.of(number)[: self._shares.required]
            held = await secrets_of(f"sqlite:///{database}", shares, random=random, clock=clock)
            secrets |= {f"{name}, node {number}": value for name, value in held.items()}
        for backup in self._network.directory.glob("*.backup"):
            shutil.copy(backup, stolen)
        return secrets

    def _check_search(self, shares: dict[str, str]) -> None:
        """The same search finds what is there."""
        control = self._network.directory / "operators"
        control.mkdir()
        shutil.copy(self._network.directory / SHARES_NAME, control)
        found = {finding.secret for finding in search(control, {}, shares)}
        if found != shares.keys():
            raise DemoError("the search does not find the shares where they are")
        self._say(f"the same search finds all {len(found)} shares in {SHARES_NAME}")

    def _say(self, line: str) -> None:
        self._scene.narrator.say(line)


def _words(share: str) -> int:
    return len(share.split())


def sealed_story(scene: Scene, nodes: int) -> SealedStory | None:
    """The steps around a story on this network; `None` if its nodes open by themselves."""
    shares = scene.network.shares
    return None if shares is None else SealedStory(scene, shares, nodes)
