"""`keyserver seal` against the routes of a seal, over a socket."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keyserver.cli.main import main
from keyserver.crypto.curve import SecretScalar
from tests.support.operator_server import OperatorServer, from_app, operator_server
from tests.support.seal_desk import SealDesk

Keyserver = Callable[..., int]


class Typed(list[str]):
    """Answers of somebody at a terminal, and what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[str] = []


def desk_of(*, admins: tuple[SecretScalar, ...] = (), is_open: bool = False) -> SealDesk:
    """A seal that 2 of 3 shares open."""

    async def make() -> SealDesk:
        desk = await SealDesk(admins=admins).started()
        return await desk.open() if is_open else desk

    return asyncio.run(make())


@contextmanager
def listening(desk: SealDesk, **how: Any) -> Iterator[tuple[OperatorServer, Keyserver]]:
    """The seal's listener, and a way to run `keyserver seal COMMAND --url … `."""
    with operator_server(from_app(desk.app), **how) as server:

        def run(command: str, *arguments: object) -> int:
            words = ["seal", *command.split(), "--url", server.url, *map(str, arguments)]
            return main(words)

        yield server, run
