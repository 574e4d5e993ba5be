"""Nodes that are away while a key is made: they get their share later, and it is one to use."""

import asyncio

from keyserver.simulation.scenarios.invariants import STEP_S
from keyserver.simulation.scenarios.plan import Crash, Plan
from keyserver.simulation.scenarios.stage import Stage, live, staged
from keyserver.simulation.scenarios.story import Story
from keyserver.simulation.scenarios.violation import Violation

WITHIN_S = 600.0
"""By then a node that came back holds its share."""


async def play_absent(seed: int, plan: Plan) -> None:
    """The life of a key without some nodes; afterwards it is used with their shares only."""
    async with staged(seed, plan) as stage:
        await stage.auditor.guard(_absent(stage))


async def _absent(stage: Stage) -> None:
    story = await live(stage)
    await _until_all_hold(story)
    away = [event.node for event in stage.plan.of_kind(Crash) if event.node < stage.plan.nodes]
    needed = stage.plan.threshold + 1
    places = [place for place in range(stage.plan.nodes) if place not in stage.plan.liars]
    kept = sorted(places, key=lambda place: place not in away)[:needed]
    for place, node in enumerate(stage.cluster.nodes):
        if place not in kept:
            await node.crash()
    await story.retrieve_at([stage.cluster.nodes[place] for place in kept])


async def _until_all_hold(story: Story) -> None:
    waited = 0.0
    while waited < WITHIN_S:
        states = [await node.store.load(story.key_id) for node in story.honest]
        if all(state.share is not None for state in states):
            return
        await asyncio.sleep(STEP_S)
        waited += STEP_S
    raise Violation("a node never gets its share", await story.standing())
