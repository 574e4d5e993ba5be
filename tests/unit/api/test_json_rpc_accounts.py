"""Opening accounts: which files, at what pace, how many at once."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from keyserver.api.json_rpc_accounts import (
    FREE_FAILURES,
    LONGEST_WAIT_S,
    MOST_AT_ONCE,
    Accounts,
    UnknownAccountError,
    WrongPasswordError,
)
from keyserver.crypto.curve import SecretScalar
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address
from tests.support.leaping_clock import LeapingClock

ALICE, BOB = Address(b"\xaa" * 20), Address(b"\xbb" * 20)


class File:
    def __init__(
        self, address: Address, number: int, password: str, wait: Callable[[], None] | None = None
    ) -> None:
        self.address = address
        self.key = SecretScalar.from_int(number)
        self.password = password
        self._wait = wait

    def open(self, password: str) -> SecretScalar | None:
        if self._wait is not None:
            self._wait()
        if self.password == "damaged":
            raise ConfigError("damaged key file")
        return self.key if password == self.password else None


def accounts(*files: File, time: LeapingClock | None = None) -> Accounts:
    clock = time or LeapingClock()
    return Accounts(
        lambda address: [file for file in files if file.address == address],
        monotonic=clock.monotonic,
        sleep=clock.sleep,
    )


async def test_by_address_and_password() -> None:
    opened = accounts(File(ALICE, 1, "a"), File(BOB, 2, "b"))
    assert await opened.open(ALICE, "a") == SecretScalar.from_int(1)
    assert await opened.open(BOB, "b") == SecretScalar.from_int(2)
    with pytest.raises(WrongPasswordError):
        await opened.open(ALICE, "b")
    with pytest.raises(UnknownAccountError):
        await opened.open(Address(bytes(20)), "a")


async def test_of_several_files_any_that_fits() -> None:
    opened = accounts(File(ALICE, 1, "damaged"), File(ALICE, 1, "x"), File(ALICE, 3, "y"))
    assert await opened.open(ALICE, "y") == SecretScalar.from_int(3)
    with pytest.raises(WrongPasswordError):
        await opened.open(ALICE, "z")


async def test_wrong_passwords_slow_down() -> None:
    time = LeapingClock()
    opened = accounts(File(ALICE, 1, "a"), File(BOB, 2, "b"), time=time)
    for _ in range(FREE_FAILURES + 7):
        with pytest.raises(WrongPasswordError):
            await opened.open(ALICE, "guess")
    assert time.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert max(time.slept) == LONGEST_WAIT_S
    await opened.open(BOB, "b")
    assert len(time.slept) == 6, "other accounts do not wait"
    assert await opened.open(ALICE, "a") == SecretScalar.from_int(1)
    assert len(time.slept) == 7, "the right password waits as well"
    await opened.open(ALICE, "a")
    assert len(time.slept) == 7, "but only once"


async def test_guesses_at_the_same_time_do_not_pass_each_other() -> None:
    time = LeapingClock()
    opened = accounts(File(ALICE, 1, "a"), time=time)
    guesses = [opened.open(ALICE, f"guess {number}") for number in range(20)]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert all(isinstance(each, WrongPasswordError) for each in outcomes)
    free = FREE_FAILURES + MOST_AT_ONCE
    assert time.now >= (20 - free) // MOST_AT_ONCE * 0.5


async def test_few_derivations_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(MOST_AT_ONCE)

    def derive() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(timeout=10)
        with lock:
            running -= 1

    opened = accounts(File(ALICE, 1, "a", derive))
    await asyncio.gather(*(opened.open(ALICE, "a") for _ in range(4 * MOST_AT_ONCE)))
    assert most == MOST_AT_ONCE
