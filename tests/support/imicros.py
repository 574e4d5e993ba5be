"""The deployment of imicros-keys 0.0.7 in the vectors, and what it answered."""

from collections.abc import Mapping
from typing import Any, Final

from keyserver.sealing.imicros.database import Database
from keyserver.sealing.imicros.plan import NamePair, Plan
from keyserver.sealing.imicros.shares import MasterKey
from tests.vectors.files import load, raw

DEPLOYMENT: Final = load("sealing")["imicros"]["deployment"]
SHARES: Final[list[str]] = DEPLOYMENT["shares"]
VERIFY_HASH: Final[str] = DEPLOYMENT["verify_hash"]
MASTER: Final = MasterKey(raw(DEPLOYMENT["master_key"]))
UNLISTED: Final[NamePair] = ("a~b", "c")
"""A pair that stands in no set."""


def database(
    sets: Mapping[str, list[str]] | None = None,
    hashes: Mapping[str, Mapping[str, str]] | None = None,
    others: Mapping[str, str] | None = None,
) -> Database:
    """The deployment's database, with some of it replaced."""
    stored: Any = DEPLOYMENT["redis"]
    return Database(stored["sets"] | (sets or {}), stored["hashes"] | (hashes or {}), others or {})


def answers() -> dict[tuple[str, str, str], str]:
    """What the running original answered: keys by owner, service and id."""
    return {
        (answer["owner"], answer["service"], answer["id"]): answer["key"]
        for answer in DEPLOYMENT["answers"]
    }


def planned(plan: Plan) -> dict[tuple[str, str, str], str]:
    """What a plan brings over, in the same form."""
    return {
        (pair.owner, pair.service, key.version.key_id): key.key.expose().hex()
        for pair in plan.pairs
        for key in pair.keys
    }
