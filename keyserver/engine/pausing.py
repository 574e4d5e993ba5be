"""Waiting by a clock that simulations and tests may move."""

import asyncio

from keyserver.engine.ports import Clock


async def pause(clock: Clock, seconds: float) -> None:
    """Return when so much time has passed by this clock."""
    over = asyncio.Event()
    timer = clock.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()
