"""A part that does not want to end: the process ends all the same."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio
from keyserver.app import parts

async def stubborn():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def main():
    stop = asyncio.Event()
    async def stop_now():
        stop.set()
    await parts.run_parts([parts.Part("stubborn", stubborn)], stop, stop_now())

parts.STOP_WITHIN_S = 0.2
asyncio.run(main())
"""


LEAVING = """
import asyncio
from keyserver.app import parts

async def main():
    with parts.Deadline() as leaving:
        leaving.begin(parts.exit_process)
        await asyncio.Event().wait()

parts.STOP_WITHIN_S = 0.2
asyncio.run(main())
"""
"""All parts have ended, and then the database hangs."""


@pytest.mark.parametrize("program", [PROGRAM, LEAVING], ids=["part", "leaving"])
def test_a_stop_does_not_take_forever(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "stop_overdue" in done.stdout + done.stderr
