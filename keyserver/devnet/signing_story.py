"""The story of an account that belongs to a key nobody has, told on a devnet of its own.

The key servers generate a key and sign with it, together, what those ask for who are permitted. A
contract takes their ECDSA signatures for orders of its owner. At the end a Schnorr signature is
made over HTTP, for the eyes of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from keyserver.client.errors import RefusedByContractError, RefusedByKeyServersError
from keyserver.client.http import connect_nodes
from keyserver.client.permissions import Permissions
from keyserver.client.signatures import ServerSignature
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.hashing import sha256
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.devnet.narrating import DemoError, Narrator, Step, StepResult
from keyserver.devnet.sealed_story import sealed_story
from keyserver.devnet.server_key_account import Call, ServerKeyAccount, deploy
from keyserver.devnet.settings import Settings
from keyserver.devnet.telling import PATIENCE_S, Scene, Telling
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.requests import SigningScheme

MIN_NODES = 4
ETHER = 10**18
DEPOSIT_WEI = ETHER
PAYMENT_WEI = ETHER // 4
PAYMENT_GAS = 50_000
"""For the one who is paid: enough for a wallet that is a contract."""
TEXT = b"Signed by nobody in particular."


def threshold_for(nodes: int) -> int:
    """The largest threshold with which ECDSA goes on while one node is away: 2t + 1 others sign."""
    return max(0, (nodes - 2) // 2)


@dataclass(frozen=True, slots=True)
class SigningResult:
    """The whole story as it went."""

    chain: str
    nodes: int
    threshold: int
    server_key: str | None
    """The address of the key that signed; `None` if it did not come to that."""
    account: str | None
    """The contract that belongs to it."""
    steps: tuple[StepResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every step held."""
        return all(step.ok for step in self.steps)


@dataclass
class SigningDemo:
    """One telling of the story; `run` is called once."""

    settings: Settings
    narrator: Narrator
    rng: RandomSource = field(default_factory=SystemRandom)
    server_key: Address | None = None
    account: Address | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigError` if the story cannot be told with these settings."""
        if self.settings.nodes < MIN_NODES:
            raise ConfigError(
                f"--sign: at least --nodes {MIN_NODES} are needed: a key is shared only with a"
                " threshold of 1 or more, an ECDSA signature then takes 3, and one will be away"
            )
        if self.settings.threshold < 1:
            raise ConfigError(
                "--sign: at least --threshold 1 is needed: with 0 every node has the whole key"
            )
        if 2 * self.settings.threshold + 1 > self.settings.nodes - 1:
            raise ConfigError(
                f"threshold: with {self.settings.threshold} of {self.settings.nodes} nodes an ECDSA"
                f" signature takes {2 * self.settings.threshold + 1}, and one will be away: at most"
                f" {threshold_for(self.settings.nodes)}"
            )

    async def run(self) -> SigningResult:
        """Tell the story; a step that fails ends it. The network is stopped in any case."""
        telling = Telling(self.settings, self.narrator, self.rng)
        await telling.tell(lambda scene: _Story(self, scene).steps())
        return SigningResult(
            chain=self.settings.chain,
            nodes=self.settings.nodes,
            threshold=self.settings.threshold,
            server_key=_text(self.server_key),
            account=_text(self.account),
            steps=tuple(telling.results),
        )


class _Story:
    """The steps on a running network."""

    def __init__(self, demo: SigningDemo, scene: Scene) -> None:
        self._demo = demo
        self._scene = scene
        self._alice, self._bob, self._charlie = map(scene.wallet, ("alice", "bob", "charlie"))
        self._key_id = self._alice.new_key_id(demo.rng)
        self._killed = demo.settings.nodes
        self._public: Point | None = None
        self._executed: tuple[Call, ServerSignature] | None = None
        self._sealed = sealed_story(scene, demo.settings.nodes)

    def steps(self) -> Sequence[Step]:
        """All of them."""
        sealed = self._sealed
        if sealed is None:
            return self._usual_steps()
        opening = [sealed.look(), sealed.open_first(), sealed.open_others()]
        return [*opening, *self._usual_steps(), sealed.search_disks()]

    def _usual_steps(self) -> Sequence[Step]:
        nodes, threshold = self._demo.settings.nodes, self._demo.settings.threshold
        signers = 2 * threshold + 1
        return [
            ("reserve", "Alice reserves a key id, and permits Bob to use the key.", self._reserve),
            (
                "generate",
                f"The {nodes} key servers generate a key. Nobody has it, and nobody ever will.",
                self._generate,
            ),
            (
                "deploy",
                "Alice deploys a contract, an account that belongs to the key, and pays in "
                f"{DEPOSIT_WEI // ETHER} ether.",
                self._deploy,
            ),
            (
                "sign",
                "Bob asks the key servers, through their contract, to sign a payment from it; any "
                f"{signers} of them can.",
                self._sign,
            ),
            ("execute", "Bob hands the payment in with the signature.", self._execute),
            ("replay", "He does it once more with the same signature.", self._replay),
            (
                "refuse",
                "Charlie asks for a payment to himself. He is not on the list.",
                self._refuse,
            ),
            ("refuse_over_http", "He tries it with a node, over HTTP.", self._refuse_over_http),
            ("kill", f"Node {self._killed} is killed, without warning.", self._kill),
            ("sign_without", "Bob has another payment signed, and hands it in.", self._pay_again),
            (
                "sign_over_http",
                "Bob asks a node over HTTP for a Schnorr signature (FROST, RFC 9591) of a text; "
                f"any {threshold + 1} of them can.",
                self._sign_over_http,
            ),
        ]

    # --- steps ------------------------------------------------------------------------------------

    async def _reserve(self) -> None:
        permissions = Permissions(self._scene.ethereum, self._scene.contracts, self._alice)
        await permissions.reserve(self._key_id)
        await permissions.permit(self._key_id, [self._bob.address])
        self._say(f"key id 0x{self._key_id.hex()}")

    async def _generate(self) -> None:
        servers = self._scene.servers(self._alice)
        threshold = self._demo.settings.threshold
        self._public = (await servers.generate_server_key(self._key_id, threshold)).value.public
        self._demo.server_key = NodeId.of(self._public).address
        self._say(f"the address of the key: 0x{self._demo.server_key.hex()}")

    async def _deploy(self) -> None:
        devnet = self._scene.network.devnet
        key = SecretScalar(bytes.fromhex(devnet.accounts["alice"].private_key[2:]))
        assert self._demo.server_key is not None
        account, gas = await deploy(devnet.rpc_url, key, self._demo.server_key)
        await self._scene.ethereum.send(self._alice, account, b"", value=DEPOSIT_WEI)
        self._demo.account = account
        self._scene.watched.add(account)
        self._say(f"account 0x{account.hex()}, created with {gas:,} gas")

    async def _sign(self) -> None:
        self._executed = await self._signed_payment()

    async def _execute(self) -> None:
        assert self._executed is not None
        await self._hand_in(*self._executed)

    async def _replay(self) -> None:
        assert self._executed is not None
        call, signature = self._executed
        try:
            await self._account.execute(self._bob, call, signature.for_ethereum)
        except RefusedByContractError:
            self._say("the account refuses: it wants the next number signed")
            return
        raise DemoError("the account has paid twice for one signature")

    async def _refuse(self) -> None:
        call = Call(self._charlie.address, PAYMENT_WEI, PAYMENT_GAS)
        message = await self._account.hash_of(call)
        try:
            await self._scene.servers(self._charlie).sign(
                self._key_id, message, SigningScheme.ECDSA
            )
        except RefusedByKeyServersError:
            self._say("the key servers refuse: they asked the permission contract about Charlie")
            return
        raise DemoError("Charlie has a signature")

    async def _kill(self) -> None:
        self._scene.network.kill(self._killed)

    async def _pay_again(self) -> None:
        await self._hand_in(*await self._signed_payment())

    async def _sign_over_http(self) -> None:
        message = Hash32(sha256(TEXT))
        signature = await self._over_http(self._bob, message)
        self._say(f"{TEXT.decode()!r}: {signature.encoded.hex()[:32]}…")
        self._say("it came encrypted to Bob, who has checked it under the public key")

    async def _refuse_over_http(self) -> None:
        try:
            await self._over_http(self._charlie, Hash32(sha256(TEXT)))
        except RefusedByKeyServersError:
            self._say("the nodes refuse as well")
            return
        raise DemoError("Charlie has a signature")

    # --- parts of them ----------------------------------------------------------------------------

    @property
    def _account(self) -> ServerKeyAccount:
        assert self._demo.account is not None
        return ServerKeyAccount(self._scene.ethereum, self._demo.account)

    async def _signed_payment(self) -> tuple[Call, ServerSignature]:
        """A payment to an account that nothing was ever paid to, signed by the server key."""
        payee = NodeId.of(SecretScalar.random(self._demo.rng).public()).address
        call = Call(payee, PAYMENT_WEI, PAYMENT_GAS)
        message = await self._account.hash_of(call)
        servers = self._scene.servers(self._bob)
        answer = await servers.sign(self._key_id, message, SigningScheme.ECDSA, public=self._public)
        self._say(f"signed: 0x{answer.value.for_ethereum.hex()[:32]}…")
        return call, answer.value

    async def _hand_in(self, call: Call, signature: ServerSignature) -> None:
        await self._account.execute(self._bob, call, signature.for_ethereum)
        if await self._scene.ethereum.balance(call.target) != call.value:
            raise DemoError(f"0x{call.target.hex()} was not paid")
        self._say(f"the account has paid {call.value / ETHER} ether to 0x{call.target.hex()}")

    async def _over_http(self, wallet: Wallet, message: Hash32) -> ServerSignature:
        devnet = self._scene.network.devnet
        nodes = [node.http for node in devnet.nodes if node.pid is not None]
        async with connect_nodes(nodes, wallet, patience_s=PATIENCE_S) as servers:
            answer = await servers.sign(
                self._key_id, message, SigningScheme.FROST, public=self._public
            )
        return answer.value

    def _say(self, line: str) -> None:
        self._demo.narrator.say(line)


def _text(address: Address | None) -> str | None:
    return None if address is None else f"0x{address.hex()}"
