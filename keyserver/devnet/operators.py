"""The operators of a devnet's nodes: the shares they hold, and how they open a node with them.

All shares of all nodes are in one file beside `devnet.json`. That is for a devnet only: whoever
has the file opens every node, which is what shares are to prevent.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keyserver.devnet.devnet_file import DevnetNode
from keyserver.devnet.node_process import ask
from keyserver.errors import ConfigError, KeyServerError

FILE_NAME = "shares.json"
OPEN_TIMEOUT_S = 30.0
"""For the answer to a share: with the last one the node opens first."""


class ShareRefusedError(KeyServerError):
    """A node does not take a share; tells what the node said."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Shares:
    """The content of the file."""

    required: int
    """So many shares of a node open it."""
    nodes: tuple[tuple[str, ...], ...] = field(repr=False)
    """For each node the words of its shares, node 1 first."""

    def of(self, number: int) -> tuple[str, ...]:
        """The shares of node `number`, counted from 1."""
        return self.nodes[number - 1]

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, directory: Path) -> "Shares | None":
        """Read the file; `None` for a devnet that is not sealed, `ConfigError` if damaged."""
        path = directory / FILE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["required"], tuple(tuple(shares) for shares in content["nodes"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: cannot be used: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the opening of a node is."""

    sealed: bool
    progress: int
    required: int

    def __str__(self) -> str:
        return f"{self.progress} of {self.required} shares" if self.sealed else "open"


def hand_in(node: DevnetNode, share: str) -> Standing:
    """Give a share to a node; raises `ShareRefusedError`."""
    answer = ask(node, "/v1/seal/unseal", body={"share": share}, timeout_s=OPEN_TIMEOUT_S)
    if answer is None:
        raise ShareRefusedError("NO_ANSWER", f"no answer from {node.operator}")
    if answer.status != 200:
        code, message = answer.error
        raise ShareRefusedError(code, message)
    return _standing(answer.json())


def standing_of(node: DevnetNode) -> Standing | None:
    """How far it is; `None` if it does not answer."""
    answer = ask(node, "/v1/seal/status")
    return None if answer is None or answer.status != 200 else _standing(answer.json())


def _standing(facts: Any) -> Standing:  # Any: JSON
    return Standing(facts["sealed"], facts["progress"], facts["required"])
