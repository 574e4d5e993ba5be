"""How a world is set up: drawn from its seed, and the configuration that follows from it."""

from dataclasses import dataclass
from random import Random
from typing import Any

from keyserver.app.config import Config
from keyserver.app.config.kinds import Places
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import Address, NodeId
from keyserver.simulation.chain import GWEI

CHAIN_ID = 1337
SERVICE = Address(b"\x5e" * 20)
NODE_SET = Address(b"\x5f" * 20)
PERMISSIONS = Address(b"\xac" * 20)
OWNER_SECRET = SecretScalar.from_int(0x0E0E)
OWNER = NodeId.of(OWNER_SECRET.public()).address
MAX_FEE_GWEI = 500
"""What nodes pay at most; a spike above it keeps all answers waiting."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is the same for the whole run."""

    block_s: float = 4.0
    """Time between two blocks, on average."""
    confirmations: int = 3
    interval: int = 8
    """`retry_interval_blocks`: what takes 30 blocks by default would only make runs long."""
    resend_after: int = 5
    """`resend_after_blocks`."""
    endpoints: int = 2
    """Of every node."""
    pushes: bool = True
    """Whether endpoints tell of new heads; else they are asked once for every block."""
    acl_depth: str = "both"


def drawn_rules(random: Random) -> Rules:
    """Rules of one seed."""
    return Rules(
        block_s=random.choice([1.0, 2.0, 4.0, 12.0]),
        confirmations=random.choice([0, 1, 3, 3, 5]),
        interval=random.choice([5, 8, 12]),
        resend_after=random.choice([3, 5, 10]),
        endpoints=random.choice([1, 2, 3]),
        pushes=random.random() < 0.8,
        acl_depth=random.choice(["head", "both"]),
    )


def config_of(rules: Rules) -> Config:
    """The configuration of every node; what is not named is the default."""
    sections: dict[str, Any] = {name: {} for name in Config.model_fields}
    sections["secretstore"] = {
        "server_set_contract": NODE_SET.hex(),
        "acl_contract": PERMISSIONS.hex(),
        "service_contract": SERVICE.hex(),
    }
    sections["keyserver"] = {
        "chain_id": CHAIN_ID,
        "confirmations": rules.confirmations,
        "acl_depth": rules.acl_depth,
        "poll_seconds": rules.block_s / 2,
        "retry_interval_blocks": rules.interval,
        "resend_after_blocks": rules.resend_after,
        "max_fee_per_gas": MAX_FEE_GWEI * GWEI,
        "seal": {},
        "service_keys": {},
        "audit": {},
    }
    nowhere = Places(home="/nowhere", base="/nowhere", data="/nowhere")
    return Config.model_validate(sections, context=nowhere)
