"""What a participant checks of a key that a coordinator names: the same in all protocols."""

from keyserver.model.identifiers import Hash32
from keyserver.model.keys import KeyRecord
from keyserver.sessions.core import Context, Refusal, Refused


def record_in_force(ctx: Context, record_hash: Hash32) -> KeyRecord:
    """The certified record in force here, if it is the one that is meant.

    Raises `Refused`: `NOT_FOUND` without one, `STALE` for another version.
    """
    active = ctx.key.active
    if active is None:
        raise Refused(Refusal.NOT_FOUND, "the key is not known here")
    if record_hash != active.record.hash:
        raise Refused(Refusal.STALE, "another version of the key is in force here")
    return active.record


def check_share(ctx: Context) -> None:
    """Raise `Refused` (`TEMPORARY`) unless this node has its share of the record in force."""
    if ctx.key.share is None:
        raise Refused(Refusal.TEMPORARY, "this node has no share of the key yet")
