"""Free ports for the processes of a devnet."""

import random
import socket

from keyserver.devnet.local_chain import LOOPBACK
from keyserver.errors import ConfigError

_LOWEST, _HIGHEST = 20_000, 31_000
"""Below the ports that systems hand out to outgoing connections."""


def free_ports(count: int) -> list[int]:
    """Return that many ports nobody listens at now; raises `ConfigError` if there are too few.

    They start at a random place, so that two devnets started at once hardly meet.
    """
    start = random.SystemRandom().randrange(_LOWEST, _HIGHEST)
    span = _HIGHEST - _LOWEST
    found: list[int] = []
    for offset in range(span):
        port = _LOWEST + (start - _LOWEST + offset) % span
        if is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise ConfigError(f"ports: {count} free ones are needed in {_LOWEST}..{_HIGHEST}")


def is_free(port: int) -> bool:
    """Whether one can listen at this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
