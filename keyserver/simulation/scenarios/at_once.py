"""The same thing asked of several nodes at the same moment: exactly one of them does it."""

import asyncio

from keyserver.sessions.core import SessionError
from keyserver.simulation.scenarios.invariants import check_everything
from keyserver.simulation.scenarios.plan import Ask, Plan
from keyserver.simulation.scenarios.stage import Stage, staged, until
from keyserver.simulation.scenarios.story import Story
from keyserver.simulation.scenarios.violation import Violation, require

TOLD = {"ServerKeyAlreadyGenerated", "DuplicateSessionId"}
"""What everybody else is told."""

BEGUN_S = 1.0
"""When the first is asked."""

SOON_S = 6.0
"""By then all have their answer, and what was abandoned is out of the way."""


async def play_at_once(seed: int, plan: Plan) -> None:
    """A generation asked of several nodes: one makes the key, the others say so, and soon."""
    async with staged(seed, plan) as stage:
        await stage.auditor.guard(_at_once(stage))


async def _at_once(stage: Stage) -> None:
    story, asks = stage.story(), stage.plan.of_kind(Ask)
    playing = asyncio.ensure_future(stage.player.play())
    outcomes = await asyncio.gather(*(_ask(story, event) for event in asks))
    took = asyncio.get_running_loop().time() - BEGUN_S
    await playing
    done = [code for code in outcomes if code is None]
    require(set(outcomes) <= TOLD | {None}, "a rival is told something else", str(outcomes))
    if asks:
        require(len(done) == 1, "not exactly one of several makes a key", str(outcomes))
    require(took < SOON_S, "rivals keep each other waiting", f"{took:.1f} s")
    await asyncio.sleep(1)
    if asks:
        await check_everything(story)


async def _ask(story: Story, event: Ask) -> str | None:
    """What the client hears: the code of an error, `None` for the key."""
    await until(event.at)
    try:
        await story.ask_generation(story.cluster.nodes[event.node])
    except SessionError as error:
        return error.code
    return None


async def play_abandoned(seed: int, plan: Plan) -> None:
    """A client goes away at some moment of a generation: done by others, or undone at once."""
    async with staged(seed, plan) as stage:
        await stage.auditor.guard(_abandoned(stage))


async def _abandoned(stage: Stage) -> None:
    story, nodes = stage.story(), stage.cluster.nodes
    await asyncio.sleep(BEGUN_S)
    for event in stage.plan.of_kind(Ask):
        task = asyncio.ensure_future(story.ask_generation(nodes[event.node]))
        await until(event.at)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    begun = asyncio.get_running_loop().time()
    code: str | None = "none yet"
    while code not in {None, "ServerKeyAlreadyGenerated"}:
        waited = asyncio.get_running_loop().time() - begun
        if waited > SOON_S:
            raise Violation("an abandoned session stands in the way", str(code))
        code = await _ask(story, Ask(0.0, stage.random.randrange(len(nodes)), "generate"))
        await asyncio.sleep(0.5)
    await asyncio.sleep(1)
    await check_everything(story)
