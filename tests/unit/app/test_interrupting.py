"""Ctrl-C while an event loop runs."""

import asyncio
import signal
import threading

import pytest

from keyserver.app.interrupting import interrupted_at_once


async def pressed() -> None:
    with interrupted_at_once():
        signal.raise_signal(signal.SIGINT)
    raise AssertionError("the first one does nothing")


def test_the_first_one_is_heeded_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(pressed())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_in_the_background_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(AssertionError, match="does nothing"):
            asyncio.run(pressed())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_different() -> None:
    passed: list[bool] = []

    def work() -> None:
        with interrupted_at_once():
            passed.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed == [True]
