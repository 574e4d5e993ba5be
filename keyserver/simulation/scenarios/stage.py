"""The stage of a run: a cluster with its people, its auditor, and the plan that is played on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.requests import Operation
from keyserver.sessions.core import Policy, SessionError
from keyserver.simulation.cluster import CONTRACT, Cluster
from keyserver.simulation.network import Faults
from keyserver.simulation.scenarios.auditor import Auditor
from keyserver.simulation.scenarios.intruders import Intruder
from keyserver.simulation.scenarios.invariants import check_everything
from keyserver.simulation.scenarios.lies import make_liar
from keyserver.simulation.scenarios.people import People
from keyserver.simulation.scenarios.plan import (
    Ask,
    Attack,
    CrashAtMessage,
    Lead,
    Plan,
)
from keyserver.simulation.scenarios.playing import Player
from keyserver.simulation.scenarios.story import NOT_NOW, Story, form_of
from keyserver.simulation.scenarios.violation import require

CONNECTED_S = 0.05
"""By then all nodes are connected and have compared what they have."""

LED_S = 1.0
"""How long honest clients rest before each step where liars lead some, so that these come first."""


@dataclass
class Stage:
    """Everything that one run needs."""

    seed: int
    plan: Plan
    cluster: Cluster
    people: People
    auditor: Auditor
    player: Player
    liars: frozenset[NodeId]
    random: Random

    def story(self, number: int = 0) -> Story:
        """The life of one more key."""
        key_id = KeyId(self.random.randbytes(31) + bytes([number]))
        form = form_of(self.random.randrange(3))
        doomed = [event.node for event in self.plan.of_kind(CrashAtMessage)]
        return Story(
            self.cluster,
            self.people,
            self.plan.threshold,
            key_id,
            self.random,
            self.liars,
            form,
            first=doomed[0] if doomed else None,
            rest_s=LED_S if self.plan.of_kind(Lead) else 0.0,
        )

    async def asks(self, story: Story) -> None:
        """What the plan has people and liars do besides; what becomes of it is only checked."""
        intruders = {
            place: Intruder(self.cluster, self.cluster.nodes[place], story)
            for place in sorted(self.plan.liars)
        }
        async with asyncio.TaskGroup() as group:
            for event in self.plan.of_kind(Ask, Lead):
                lies = event.node in intruders
                if event.node < self.plan.nodes and lies == isinstance(event, Lead):
                    group.create_task(self._ask(story, event))
            for event in self.plan.of_kind(Attack):
                if event.node in intruders:
                    group.create_task(self._attack(intruders[event.node], event))

    async def _attack(self, intruder: Intruder, event: Attack) -> None:
        await until(event.at)
        await intruder.attack(event.what)

    async def _ask(self, story: Story, event: Ask | Lead) -> None:
        await until(event.at)
        node = self.cluster.nodes[event.node]
        if not node.is_up:
            return
        with contextlib.suppress(*NOT_NOW, SessionError):
            match event.what:
                case "generate":
                    await story.ask_generation(node)
                case "store" if await story.is_known():
                    await story.ask_storing(node)
                case "retrieve":
                    result = await story.ask_shadow(node)
                    if event.node not in self.plan.liars:
                        story.check_shadows(result)
                case "retrieve plain":
                    plain = await story.ask_plain(node)
                    right = event.node in self.plan.liars or story.is_right_plain(plain)
                    require(right, "a wrong answer was given", "plain, asked besides")


@contextlib.asynccontextmanager
async def staged(
    seed: int, plan: Plan, faults: Faults | None = None, presignatures: int = 0
) -> AsyncIterator[Stage]:
    """A cluster that is up, watched by an auditor, on which nothing happens yet."""
    policy = Policy(
        generation_quorum=plan.quorum,
        service_contracts=frozenset((CONTRACT, operation) for operation in Operation),
    )
    made = Cluster(plan.nodes, seed=seed, faults=faults, policy=policy)
    made.presignatures = presignatures
    async with made as cluster:
        liars = frozenset(cluster.nodes[place].id for place in plan.liars)
        people = People(cluster.seed, liars)
        for node in cluster.nodes:
            if node.id not in liars:
                node.access.verdict = people.verdict
        auditor = Auditor(cluster, people, liars)
        player = Player(cluster, plan, make_liar)
        random = Random(f"stage {seed}")  # noqa: S311 - chooses requests, no secrets
        yield Stage(seed, plan, cluster, people, auditor, player, liars, random)


async def until(at: float) -> None:
    """Wait for a time of the run."""
    await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))


async def play_life(seed: int, plan: Plan) -> None:
    """The life of a key while the plan is played; afterwards everything must be in order."""
    async with staged(seed, plan) as stage:
        await stage.auditor.guard(live(stage))


async def live(stage: Stage) -> Story:
    """The same on a stage; returns the story when everything is in order."""
    story = stage.story()
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.player.play())
        group.create_task(_told(stage, story))
    stage.cluster.network.heal()
    await story.run()
    await check_everything(story)
    return story


async def _told(stage: Stage, story: Story) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.asks(story))
        await asyncio.sleep(max(CONNECTED_S, story.rest_s))
        group.create_task(story.run())
