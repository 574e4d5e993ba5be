"""One task group owns every part; they stop in order, and none may end by itself."""

import asyncio

import pytest

from keyserver.app import parts
from keyserver.app.parts import NodeStoppedError, Part, first_cause, run_parts
from keyserver.errors import ConfigError


class Parts:
    """Parts that write down when they start and end."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def lasting(self, name: str) -> Part:
        async def run() -> None:
            self.seen.append(f"{name} runs")
            try:
                await asyncio.Event().wait()
            finally:
                self.seen.append(f"{name} ends")

        return Part(name, run)


async def nothing() -> None:
    return


async def test_parts_stop_in_order() -> None:
    parts, stop = Parts(), asyncio.Event()

    async def stop_soon() -> None:
        stop.set()

    await run_parts([parts.lasting("reader"), parts.lasting("sender")], stop, stop_soon())
    assert parts.seen == ["reader runs", "sender runs", "reader ends", "sender ends"]


async def test_a_part_is_gone_before_the_next_is_told() -> None:
    stop, parts = asyncio.Event(), Parts()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            parts.seen.append("slow ends")

    async def stop_soon() -> None:
        stop.set()

    await run_parts([Part("slow", slow), parts.lasting("next")], stop, stop_soon())
    assert parts.seen == ["next runs", "slow ends", "next ends"]


async def test_what_ends_in_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "STOP_WITHIN_S", 0.01)
    overdue: list[str] = []
    with parts.Deadline():
        await asyncio.sleep(0.02)
    with parts.Deadline() as deadline:
        deadline.begin(lambda: overdue.append("in time"))
    await asyncio.sleep(0.02)
    with parts.Deadline() as deadline:
        deadline.begin(lambda: overdue.append("late"))
        await asyncio.sleep(0.02)
    assert overdue == ["late"]


async def test_a_failing_part_stops_the_node_and_says_why() -> None:
    parts = Parts()

    async def fail() -> None:
        raise ConfigError("port 1 is taken")

    with pytest.raises(ConfigError, match="port 1 is taken"):
        await run_parts([parts.lasting("other"), Part("mesh", fail)], asyncio.Event(), nothing())
    assert parts.seen == ["other runs", "other ends"]


async def test_a_mistake_in_a_part_is_not_hidden() -> None:
    async def fail() -> None:
        raise ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError, match="a mistake"):
        await run_parts([Part("tasks", fail)], asyncio.Event(), nothing())


async def test_a_part_that_just_ends_stops_the_node() -> None:
    with pytest.raises(NodeStoppedError, match="sender: ended without being asked to"):
        await run_parts([Part("sender", nothing)], asyncio.Event(), nothing())


def test_the_first_cause_is_inside_all_groups() -> None:
    inner = ConfigError("this")
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [inner]), ValueError("that")])
    assert first_cause(nested) is inner
