"""`keyserver unseal-daemon`: gives one operator's share to nodes whenever they start sealed.

Each operator runs one, on a machine of their own: as many daemons as shares are needed amount to
nodes that open by themselves (sealing, C12).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import structlog
import typer

from keyserver.cli.operator_client import OperatorClient, RefusedError
from keyserver.cli.output import WRONG_SHARE, CommandError
from keyserver.cli.unseal_daemon_config import read_config
from keyserver.cli.unseal_deciding import Finding, HeldShare, Watch, find

if TYPE_CHECKING:
    from keyserver.crypto.randomness import RandomSource

log = structlog.get_logger(__name__)


def unseal_daemon(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Its own configuration, a TOML file.")
    ],
) -> None:
    """Give one share to nodes whenever they start, until SIGTERM or SIGINT.

    Only to a node that shows the expected certificate and the seal that the share is for. Exit code
    4 if a node refuses the share: then it is not sent again.
    """
    from keyserver.app.logging import configure  # deferred, as in all commands
    from keyserver.app.memory import forbid_dumps
    from keyserver.crypto.randomness import SystemRandom

    forbid_dumps()
    configure()
    found = read_config(config)
    log.info("unseal_daemon_started", nodes=[node.url for node in found.nodes])
    UnsealDaemon(found.share, found.nodes, _SystemTime(), SystemRandom()).run()


class Time(Protocol):
    """A clock that can be waited on."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class _SystemTime:
    """The time of the machine."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        time.sleep(seconds)


@dataclass(slots=True)
class _Node:
    """One node that is watched."""

    operator: OperatorClient
    watch: Watch
    due: float
    told: str = ""
    """What was logged last: only what is new is."""
    was_sent: bool = False
    """Whether the share ever went there: what it writes may then hold the share."""


class UnsealDaemon:
    """Looks at its nodes, each in its own rhythm, and gives its share to those that want it."""

    def __init__(
        self,
        share: HeldShare,
        nodes: Sequence[OperatorClient],
        clock: Time,
        random: "RandomSource",
    ) -> None:
        self._share = share
        self._clock = clock
        self._random = random
        self._nodes = [_Node(node, Watch(), clock.monotonic()) for node in nodes]

    def run(self) -> None:
        """For ever; raises `CommandError` (wrong share) when a node refuses the share."""
        while True:
            self.look()
            due = min(node.due for node in self._nodes)
            self._clock.sleep(max(0.0, due - self._clock.monotonic()))

    def look(self) -> None:
        """Look once at every node whose time has come."""
        for node in self._nodes:
            if node.due <= self._clock.monotonic():
                self._attend(node)
                jitter = int.from_bytes(self._random.bytes(2), "big") / 0xFFFF
                node.due = self._clock.monotonic() + node.watch.next_look_s(jitter)

    def _attend(self, node: _Node) -> None:
        try:
            status = node.operator.get("/v1/seal/status")
            finding = find(self._share, status, node.watch, self._clock.monotonic())
            if finding is Finding.WANTS_SHARE:
                self._give(node, status["boot_id"])
                return
        except CommandError as error:
            self._trouble(node, error)
            return
        node.watch = node.watch.troubled() if finding.is_trouble else node.watch.well()
        self._tell(node, finding.value, is_trouble=finding.is_trouble)

    def _give(self, node: _Node, boot_id: str) -> None:
        node.was_sent = True
        try:
            answer = node.operator.post("/v1/seal/unseal", {"share": self._share.text})
        except RefusedError as error:
            if error.exit_code != WRONG_SHARE:
                raise
            raise ShareRefusedError(node.operator.url, error) from None
        node.watch = node.watch.sent(boot_id, self._clock.monotonic())
        self._tell(node, _given(answer))

    def _trouble(self, node: _Node, error: CommandError) -> None:
        if isinstance(error, ShareRefusedError):
            raise error
        node.watch = node.watch.troubled()
        text = _harmless(error) if node.was_sent else str(error).splitlines()[0]
        self._tell(node, text, is_trouble=True)

    def _tell(self, node: _Node, what: str, *, is_trouble: bool = False) -> None:
        if what != node.told:
            tell: Callable[..., Any] = log.warning if is_trouble else log.info
            tell("unseal_daemon", node=node.operator.url, finds=what)
            node.told = what


class ShareRefusedError(CommandError):
    """A node for which the share was made refuses it: it is not sent anywhere any more."""

    def __init__(self, url: str, why: RefusedError) -> None:
        super().__init__(
            f"{url} refused the share: {why.code}",  # its own words may hold the share
            hint="Check it with `keyserver seal verify-share`; the daemon stops.",
            exit_code=WRONG_SHARE,
        )


def _harmless(error: CommandError) -> str:
    """What went wrong, without any words of the node."""
    if not isinstance(error, RefusedError):
        return "gave no answer that can be read"
    return f"refuses: {error.code}" if error.has_known_code else "refuses, with no known code"


def _given(answer: object) -> str:
    """What the node said to the share."""
    if isinstance(answer, Mapping) and answer.get("sealed") is False:
        return "was opened"
    return "was given the share"
