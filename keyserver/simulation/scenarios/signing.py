"""Nodes sign for clients, with presignatures ready, while anything goes wrong with them.

Everybody is asked for signatures of all schemes, shares are renewed in between, and disks are
brought back from backups. Every signature that comes out is right, every request ends, and when the
faults are over every honest node has everything signed; what nonces and presignatures were used for
is watched on the wire (`keyserver.simulation.scenarios.signing_audit`).
"""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from random import Random

from keyserver.crypto import ecies
from keyserver.crypto.curve import SecretScalar, verify_digest
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.identifiers import ZERO_HASH, Hash32, Signature
from keyserver.model.requests import SigningScheme, SignMessage
from keyserver.sessions.core import SessionError
from keyserver.simulation.adversary.rows import Part
from keyserver.simulation.cluster import CrashedError, SimulatedNode
from keyserver.simulation.scenarios import planning
from keyserver.simulation.scenarios.invariants import check_blame, until_idle, until_settled
from keyserver.simulation.scenarios.lies import OF_SIGNATURES, draw
from keyserver.simulation.scenarios.people import FORMS
from keyserver.simulation.scenarios.plan import Ask, Crash, Liar, Plan, Restored
from keyserver.simulation.scenarios.stage import Stage, staged, until
from keyserver.simulation.scenarios.story import NOT_NOW, Story
from keyserver.simulation.scenarios.violation import Violation, require

READY = 2
"""Presignatures that every node has ready."""

REQUEST_S = 1800.0
"""By then a request has ended, whatever happens to the nodes meanwhile."""

ATTEMPTS, PAUSE_S = 40, 30.0

SIZES = ((4, 1), (5, 2), (3, 1), (5, 1), (4, 0))
LIAR_SIZES = ((4, 1), (4, 1), (7, 2), (5, 1))
"""There are 2t + 1 honest nodes."""

REFRESH = "refresh"

_SCHEMES = {scheme.name.lower(): scheme for scheme in SigningScheme}


async def play_signing(seed: int, plan: Plan) -> None:
    """A key that is signed with while the plan is played."""
    async with staged(seed, plan, presignatures=READY) as stage:
        await stage.auditor.guard(_Signing(stage, stage.story()).run())


@dataclass
class _Signing:
    stage: Stage
    story: Story
    made: int = 0
    """How many signatures came out."""
    wanted: int = 0
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(f"messages {self.stage.seed}")  # noqa: S311 - no secrets

    @property
    def honest(self) -> list[SimulatedNode]:
        return self.story.honest

    async def run(self) -> None:
        """From the making of the key to the last signature."""
        cluster = self.stage.cluster
        cluster.successions.targets[ZERO_HASH] = cluster.sets.snapshot.current
        await self.story.generate()
        await until_settled(self.honest)
        self.stage.player.keep_backups()
        if self.stage.plan.of_kind(Restored):
            await self._refresh(self.honest[0])
            await until_settled(self.honest)
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.stage.player.play(began))
            for event in self.stage.plan.of_kind(Ask):
                if event.node < self.stage.plan.nodes:
                    group.create_task(self._ask(replace(event, at=began + event.at)))
        cluster.network.heal()
        await self._check()

    async def _ask(self, event: Ask) -> None:
        await until(event.at)
        node = self.stage.cluster.nodes[event.node]
        if event.what == REFRESH:
            with contextlib.suppress(*NOT_NOW, SessionError):
                await self._refresh(node)
            return
        with contextlib.suppress(*NOT_NOW, SessionError):
            await self._sign(node, _SCHEMES[event.what])

    async def _refresh(self, node: SimulatedNode) -> None:
        """Have the shares renewed, as one node's turn comes."""
        redistributions, current = node.redistributions, self.stage.cluster.sets.snapshot.current
        if redistributions is None:
            raise CrashedError
        await node.call(
            lambda _: redistributions.redistribute(self.story.key_id, ZERO_HASH, current)
        )

    async def _sign(
        self, node: SimulatedNode, scheme: SigningScheme, who: SecretScalar | None = None
    ) -> None:
        """One request; raises `NOT_NOW`, or `Violation` if what comes out is wrong.

        `who`: of whom, the reader unless told otherwise.
        """
        self.wanted += 1
        operation = SignMessage(self.story.key_id, Hash32(self.random.randbytes(32)), scheme)
        form = self.random.choice(FORMS)
        form = "path" if (form, scheme) == ("chain", SigningScheme.FROST) else form
        people = self.stage.people
        who = who or people.reader
        credential = people.ask(who, operation, form, node.id)
        lies = node.id in self.stage.liars
        try:
            async with asyncio.timeout(REQUEST_S):
                if form == "chain":
                    result = await node.call(lambda api: api.sign(operation, credential))
                    made = (
                        bytes(result.signature)
                        if isinstance(result.signature, Signature)
                        else result.signature.encode()
                    )
                else:
                    sealed = await node.call(lambda api: api.sign_sealed(operation, credential))
                    made = ecies.decrypt(who, sealed)
        except TimeoutError:
            raise Violation("a request never ends", f"{scheme.name} at {node.id.short}") from None
        if not lies:
            await self._check_signature(operation, made)
            self.made += 1

    async def _check_signature(self, operation: SignMessage, made: bytes) -> None:
        public, message = await self.story.public(), operation.message
        try:
            if operation.scheme is SigningScheme.ECDSA:
                verify_digest(message, Signature(made), public)
            else:
                form = Form.RFC9591 if operation.scheme is SigningScheme.FROST else Form.ORIGINAL
                verify(form, public, message, made)
        except CryptoError as problem:
            raise Violation("a wrong signature came out", operation.scheme.name) from problem

    # --- afterwards -------------------------------------------------------------------------------

    async def _check(self) -> None:
        """Everybody signs again; nothing is open, and nobody honest was blamed."""
        for node in self.honest:
            require(node.is_sound, "a part of a node has ended", await self.story.standing())
        await until_settled(self.honest)
        for node in self.honest:
            for scheme in SigningScheme:
                await self._sign_at_last(node, scheme)
        for scheme in SigningScheme:
            await self._refuse_stranger(self.random.choice(self.honest), scheme)
        check_blame(self.story)
        await until_idle(self.honest)
        seen = self.stage.auditor.signing.answers
        alone = self.stage.plan.threshold == 0  # nobody asks another then
        require(seen > 0 or alone, "nothing was watched", f"{self.made} signatures")

    async def _refuse_stranger(self, node: SimulatedNode, scheme: SigningScheme) -> None:
        try:
            await self._sign(node, scheme, self.stage.people.stranger)
        except NOT_NOW:
            return
        raise Violation("a stranger was given a signature", scheme.name)

    async def _sign_at_last(self, node: SimulatedNode, scheme: SigningScheme) -> None:
        problem: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                await self._sign(node, scheme)
                return
            except NOT_NOW as not_now:
                problem = not_now
            await asyncio.sleep(PAUSE_S)
        where = f"{scheme.name} at {node.id.short}: {problem!r}; {await self.story.standing()}"
        raise Violation("a message is never signed", where)


# --- plans ---------------------------------------------------------------------------------------

FAULTS = (
    planning.crash,
    planning.crash_at_effect,
    planning.partition,
    planning.quality,
    planning.slow_disk,
    planning.chain_silent,
)


def _asks(random: Random, nodes: int, count: int, *, refreshes: bool) -> tuple[Ask, ...]:
    what = [*_SCHEMES, "ecdsa", *([REFRESH] if refreshes else [])]
    return tuple(
        Ask(round(random.uniform(0, 6), 3), random.randrange(nodes), random.choice(what))
        for _ in range(count)
    )


def faulty(seed: int, scenario: str) -> Plan:
    """Faults of all kinds, and shares that are renewed."""
    random = planning.randomness(seed, scenario)
    nodes, threshold = SIZES[seed % len(SIZES)]
    events = [random.choice(FAULTS)(random, nodes) for _ in range(random.randint(1, 4))]
    asks = _asks(random, nodes, 10, refreshes=True)
    return Plan(nodes, threshold, None, (*events, *asks))


def restored(seed: int, scenario: str) -> Plan:
    """Nodes come back with older copies of their disks, or crash, or both.

    There is no share of the version in force on those copies: t + 1 nodes keep theirs.
    """
    random = planning.randomness(seed, scenario)
    nodes, threshold = SIZES[seed % len(SIZES)]
    places = random.sample(range(nodes), nodes - threshold - 1)
    back = [
        Restored(
            round(random.uniform(0, 6), 3),
            random.choice(places),
            round(random.uniform(0.01, 20), 2),
        )
        for _ in range(random.randint(1, 3))
    ]
    crashes = [
        Crash(round(random.uniform(0, 6), 3), random.randrange(nodes), planning.a_while(random))
        for _ in range(random.randint(0, 2))
    ]
    asks = _asks(random, nodes, 10, refreshes=False)
    return Plan(nodes, threshold, None, (*back, *crashes, *asks))


def lying(seed: int, scenario: str) -> Plan:
    """A third of the nodes, rounded down, lies to whoever has something signed, or signs itself."""
    random = planning.randomness(seed, scenario)
    nodes, threshold = LIAR_SIZES[seed % len(LIAR_SIZES)]
    liars = sorted(random.sample(range(nodes), (nodes - 1) // 3))
    told = [
        Liar(0.0, node, draw(random, part, random.choice([1, 2, 5]), OF_SIGNATURES))
        for node in liars
        for part in (random.choice(list(Part)),)
    ]
    events = [random.choice(FAULTS)(random, nodes) for _ in range(random.randint(0, 2))]
    asks = _asks(random, nodes, 10, refreshes=False)
    return Plan(nodes, threshold, nodes - len(liars), (*told, *events, *asks))
