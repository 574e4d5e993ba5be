"""The story of a shared file, told on a devnet of its own.

Alice encrypts a file, Bob is permitted and reads it, Charlie is refused; a node is killed and Bob
still reads; it comes back and answers again. Every step is timed and its gas counted: all that the
transactions to the network's contracts used in the step's blocks, the key servers' answers
included.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keyserver.client.errors import RefusedByKeyServersError
from keyserver.client.node_set import NodeSetContract
from keyserver.client.permissions import Permissions
from keyserver.client.requests import KeyRequest
from keyserver.client.sharing import open_file, share_file
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.devnet.migration_story import MigrationStory
from keyserver.devnet.narrating import DemoError, Narrator, Step, StepResult
from keyserver.devnet.network import OWNER
from keyserver.devnet.sealed_story import SealedStory, sealed_story
from keyserver.devnet.settings import Settings
from keyserver.devnet.telling import Scene, Telling
from keyserver.errors import ConfigError

MIN_NODES = 3


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The whole story as it went."""

    chain: str
    nodes: int
    threshold: int
    file_sha256: str
    decrypted_sha256: str | None
    """Of what Bob read first; None if it did not come to that."""
    steps: tuple[StepResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every step held."""
        return all(step.ok for step in self.steps)


@dataclass
class Demo:
    """One telling of the story; `run` is called once."""

    settings: Settings
    file: Path
    narrator: Narrator
    migration: bool = False
    """Whether the story goes on with changes of the node set, a refresh and a repair."""
    rng: RandomSource = field(default_factory=SystemRandom)
    decrypted_sha256: str | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigError` if the story cannot be told with these settings."""
        if self.settings.nodes < MIN_NODES:
            raise ConfigError(
                f"nodes: at least {MIN_NODES} are needed: most of them must be there while one is"
                " away"
            )
        if self.settings.threshold > self.settings.nodes - 2:
            raise ConfigError(
                f"threshold: with {self.settings.threshold} of {self.settings.nodes} nodes nothing"
                " can be decrypted while a node is away: at most the number of nodes minus 2"
            )
        if not self.file.is_file():
            raise ConfigError(f"{self.file}: there is no such file")

    async def run(self) -> DemoResult:
        """Tell the story; a step that fails ends it. The network is stopped in any case."""
        telling = Telling(self.settings, self.narrator, self.rng)
        await telling.tell(lambda scene: _Story(self, scene).steps())
        return DemoResult(
            chain=self.settings.chain,
            nodes=self.settings.nodes,
            threshold=self.settings.threshold,
            file_sha256=sha256_of(self.file),
            decrypted_sha256=self.decrypted_sha256,
            steps=tuple(telling.results),
        )


class _Story:
    """The steps on a running network."""

    def __init__(self, demo: Demo, scene: Scene) -> None:
        self._demo = demo
        self._scene = scene
        self._network = scene.network
        self._ethereum = scene.ethereum
        self._contracts = scene.contracts
        self._alice, self._bob, self._charlie = map(scene.wallet, ("alice", "bob", "charlie"))
        self._key_id = self._alice.new_key_id(demo.rng)
        self._encrypted = scene.network.directory / f"{demo.file.name}.encrypted"
        self._killed = demo.settings.nodes
        self._sent_before = 0
        self._asked: KeyRequest | None = None
        self._sealed = sealed_story(scene, demo.settings.nodes)

    def steps(self) -> Sequence[Step]:
        """All of them."""
        if self._sealed is None:
            return self._usual_steps()
        return self._among_sealed(self._sealed, {step[0]: step for step in self._usual_steps()})

    def _among_sealed(self, sealed: SealedStory, usual: dict[str, Step]) -> list[Step]:
        """The usual steps, and what operators do before, between and after them."""
        first = [usual.pop(name) for name in ("reserve", "permit")]
        opening = [sealed.wait_in_vain(self._ask), sealed.open_first(), sealed.open_others()]
        steps = [sealed.look(), *first, *opening]
        for step in usual.values():
            steps.append(step)
            if step[0] == "restart":
                steps.append(sealed.open_again(self._killed))
        return [*steps, sealed.search_disks()]

    def _usual_steps(self) -> list[Step]:
        needed, nodes = self._demo.settings.threshold + 1, self._demo.settings.nodes
        killed = self._killed
        steps: list[Step] = [
            ("reserve", "Alice reserves a key id that nobody could guess.", self._reserve),
            ("permit", "Alice puts Bob on the list of those who may use it.", self._permit),
            (
                "generate",
                f"The {nodes} key servers generate a key; any {needed} of them can use it, fewer "
                "learn nothing.",
                self._generate,
            ),
            (
                "encrypt",
                f"Alice encrypts {self._demo.file.name} and stores its key with the key servers.",
                self._encrypt,
            ),
            ("decrypt", "Bob asks for the key, opens it and decrypts the file.", self._decrypt),
            ("refuse", "Charlie asks too. He is not on the list.", self._refuse),
            ("kill", f"Node {killed} is killed, without warning.", self._kill),
            ("decrypt_without", "Bob asks again: the others are enough.", self._decrypt_again),
            ("restart", f"Node {killed} comes back.", self._restart),
            (
                "answer_again",
                f"A second key needs an answer from each of the {nodes}: node {killed} is one.",
                self._generate_again,
            ),
        ]
        if self._demo.migration:
            steps += self._migration_steps()
        return steps

    def _migration_steps(self) -> list[Step]:
        demo = self._demo
        funder = demo.settings.funder
        contract = NodeSetContract(self._ethereum, self._contracts)
        owner = Wallet(SecretScalar(funder)) if funder else self._scene.wallet(OWNER)
        story = MigrationStory(
            demo.settings, self._network, contract, owner, demo.narrator, self._key_id
        )
        return story.steps(self._decrypt_again)

    async def _reserve(self) -> None:
        await Permissions(self._ethereum, self._contracts, self._alice).reserve(self._key_id)
        self._demo.narrator.say(f"key id 0x{self._key_id.hex()}")

    async def _permit(self) -> None:
        permissions = Permissions(self._ethereum, self._contracts, self._alice)
        await permissions.permit(self._key_id, [self._bob.address])
        if not await permissions.allows(self._bob.address, self._key_id):
            raise DemoError("the contract does not know of Bob's permission")

    async def _ask(self) -> None:
        servers = self._scene.servers(self._alice)
        threshold = self._demo.settings.threshold
        self._asked = await servers.request_server_key(self._key_id, threshold)

    async def _generate(self) -> None:
        if self._asked is None:
            await self._ask()
        assert self._asked is not None
        answer = await self._scene.servers(self._alice).generated_server_key(self._asked)
        self._demo.narrator.say(f"public key 0x{answer.value.public.raw64.hex()[:32]}…")

    async def _encrypt(self) -> None:
        demo = self._demo
        servers = self._scene.servers(self._alice)
        await share_file(servers, self._key_id, demo.file, self._encrypted, demo.rng)
        demo.narrator.say(f"{self._encrypted.name}: {self._encrypted.stat().st_size:,} bytes")

    async def _decrypt(self) -> None:
        self._demo.decrypted_sha256 = await self._decrypted_by_bob("first")

    async def _decrypt_again(self) -> None:
        await self._decrypted_by_bob("again")

    async def _decrypted_by_bob(self, name: str) -> str:
        target = self._network.directory / f"bob.{name}"
        target.unlink(missing_ok=True)
        await open_file(self._scene.servers(self._bob), self._encrypted, target)
        if not _same(target, self._demo.file):
            raise DemoError(f"what Bob decrypted is not {self._demo.file.name}")
        digest = sha256_of(target)
        self._demo.narrator.say(f"the same file, byte for byte: SHA-256 {digest[:16]}…")
        return digest

    async def _refuse(self) -> None:
        permissions = Permissions(self._ethereum, self._contracts, self._charlie)
        if await permissions.allows(self._charlie.address, self._key_id):
            raise DemoError("the permission contract lets Charlie in")
        target = self._network.directory / "charlie"
        try:
            await open_file(self._scene.servers(self._charlie), self._encrypted, target)
        except RefusedByKeyServersError:
            self._demo.narrator.say("the contract refuses: the key servers asked it about Charlie")
            return
        raise DemoError("Charlie decrypted the file")

    async def _kill(self) -> None:
        self._sent_before = await self._sent_by(self._killed)
        self._network.kill(self._killed)
        if self._network.is_running(self._killed):
            raise DemoError(f"node {self._killed} still runs")

    async def _restart(self) -> None:
        await self._network.restart(self._killed)
        if self._sealed is None:
            self._demo.narrator.say(f"node {self._killed} is ready")

    async def _generate_again(self) -> None:
        key_id = self._alice.new_key_id(self._demo.rng)
        threshold = self._demo.settings.threshold
        await self._scene.servers(self._alice).generate_server_key(key_id, threshold)
        if await self._sent_by(self._killed) == self._sent_before:
            raise DemoError(f"there is no answer from node {self._killed}")
        self._demo.narrator.say(f"all {self._demo.settings.nodes} answered")

    async def _sent_by(self, number: int) -> int:
        """How many transactions a node has sent."""
        return await self._ethereum.transaction_count(self._scene.address_of(number))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(first: Path, second: Path) -> bool:
    return first.stat().st_size == second.stat().st_size and sha256_of(first) == sha256_of(second)
