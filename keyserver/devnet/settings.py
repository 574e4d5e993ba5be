"""What a devnet is to be like."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from keyserver.client.deployment_plan import Layout
from keyserver.errors import ConfigError
from keyserver.sealing.errors import BadSharingError
from keyserver.sealing.handing_out import Sharing

EMBEDDED = "embedded"
ANVIL = "anvil"
MAX_NODES = 64


def default_threshold(nodes: int) -> int:
    """The largest threshold with which any minority of the nodes may be away."""
    return (nodes - 1) // 2


def sharing_of(text: str) -> Sharing:
    """What such a text as `2-of-3` says; raises `ConfigError`."""
    match = re.fullmatch(r"([0-9]{1,2})-of-([0-9]{1,2})", text)
    if match is None:
        raise ConfigError(f"shares: {text!r} is not like 2-of-3")
    try:
        return Sharing(int(match[1]), int(match[2]))
    except BadSharingError as error:
        raise ConfigError(f"shares: {text}: {error}") from None


@dataclass(frozen=True, slots=True)
class Settings:
    """What `keyserver devnet up` is told."""

    directory: Path
    nodes: int = 5
    """In the node set from the beginning."""
    spare: int = 0
    """More nodes that have a key, money and a configuration, and do not run yet."""
    threshold: int = 2
    """Of the keys that `keyserver client generate` asks for by default."""
    chain: str = EMBEDDED
    """`embedded`, `anvil`, or the URL of a chain that runs already."""
    confirmations: int = 1
    block_time_s: float = 1.0
    """Time between blocks of a chain that is started here."""
    layout: Layout = Layout.COMBINED
    refresh_interval_days: float = 0
    """The nodes' option of this name."""
    sharing: Sharing | None = None
    """Among how many operators each node's key is shared; `None`: nodes open by themselves."""
    json_rpc: bool = False
    """Whether a process serves the JSON-RPC module, which old client programs need."""
    funder: bytes | None = field(default=None, repr=False)
    """Private key of the account that pays for everything on a chain that runs already."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` naming what cannot be."""
        if not 1 <= self.nodes <= MAX_NODES:
            raise ConfigError(f"nodes: {self.nodes} is not in 1..{MAX_NODES}")
        if not 0 <= self.spare <= MAX_NODES - self.nodes:
            raise ConfigError(f"spare: {self.spare} is not in 0..{MAX_NODES - self.nodes}")
        if not 0 <= self.threshold < self.nodes:
            raise ConfigError(
                f"threshold: {self.threshold} of {self.nodes} nodes is not possible: it is at"
                f" least 0 and less than the number of nodes"
            )
        if self.confirmations < 0:
            raise ConfigError("confirmations: must not be negative")
        if not self.block_time_s > 0:
            raise ConfigError("block time: must be more than 0 seconds")
        if self.is_local:
            return
        if not self.chain.startswith(("http://", "https://")):
            raise ConfigError(
                f"chain: {self.chain!r} is neither {EMBEDDED!r} nor {ANVIL!r} nor an http URL"
            )
        if self.funder is None:
            raise ConfigError("chain: on a chain that runs already an account is needed that pays")

    @property
    def is_local(self) -> bool:
        """Whether the chain is started here."""
        return self.chain in (EMBEDDED, ANVIL)
