"""Ports for processes that must be told one, because others are told the same.

Who need not be told takes port 0 and announces what it got.
"""

import os
from collections.abc import Iterator
from itertools import cycle
from random import SystemRandom

from keyserver.devnet.ports import is_free

_LOWEST, _HIGHEST = 10_000, 20_000
"""Below those a devnet takes, and those that systems hand out to outgoing connections."""


def _own_ports() -> range:
    """The part of this test process: those that run side by side take no port twice."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (_HIGHEST - _LOWEST) // count
    return range(_LOWEST + number * size, _LOWEST + (number + 1) * size)


_OWN = _own_ports()
_START = SystemRandom().randrange(len(_OWN))
_NEXT: Iterator[int] = cycle([*_OWN[_START:], *_OWN[:_START]])


def free_port() -> int:
    """A port nobody listens at, and that this process has not been given for long."""
    return next(port for port in _NEXT if is_free(port))


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]
