"""Bugs where keys move to another set: redistribution, set change, migration."""

from dataclasses import replace
from typing import Any

from keyserver.chain import migration
from keyserver.chain.moved_sets import MovedNodeSets
from keyserver.engine.set_change_lock import ChangeLock
from keyserver.engine.set_changes import SetChanges
from keyserver.sessions.core import Persist
from keyserver.sessions.set_change import participant as changer
from keyserver.sessions.set_change.history import past_of
from keyserver.sessions.set_change.works import Settled
from keyserver.sessions.sharing import dealt, deciding, succession
from keyserver.sessions.writes import PutPromise
from keyserver.storage import stored_key
from keyserver.tasks import migration_decision
from tests.simulation.planted.bug import Bug, nothing, replacing

_put_active = stored_key._put_active


def _share_kept(key: Any, certified: Any, now: int) -> Any:
    """The new record is in force; the share of the old one stays."""
    after = _put_active(key, certified, now)
    return replace(after, shares={**key.shares, **after.shares})


def _promised_again(ctx: Any, terms: Any) -> Persist:
    params = terms.params
    promise = PutPromise(params.key_id, params.version, terms.params_hash, terms.document)
    return Persist((*succession.given_up(ctx, terms), promise))


async def _no_strays(*_: Any) -> int:
    return 0


async def _settled_at_once(self: SetChanges, change: Any) -> Settled:
    return Settled(past_of(await self._needs.store.completed(), change))


def _any_record(_: Any, record: Any) -> Any:
    return record


def _confirmed_early(me: Any, view: Any, joined: Any, migration_id: Any) -> bool:
    running = view.running
    if running is None or running.id != migration_id or joined is None:
        return False
    return me in running.target and me not in running.confirmed


BUGS = (
    Bug(
        "old shares",
        "the old share is erased when the new record is in force",
        replacing((stored_key, "_put_active", _share_kept)),
    ),
    Bug(
        "promises",
        "an old member promises a version to one session",
        replacing((succession, "_promise", _promised_again)),
    ),
    Bug(
        "dealt shares",
        "an old member deals its own share and nothing else",
        replacing((dealt, "_check_constant", nothing)),
    ),
    Bug(
        "decided records",
        "the old set decides only on the record of the session",
        replacing((deciding, "_expected", _any_record)),
    ),
    Bug(
        "new holders",
        "the old set decides when enough new nodes hold a share",
        replacing((deciding, "check_holding", nothing)),
    ),
    Bug(
        "last look",
        "a node writes a change down when every key it knows has moved",
        replacing((SetChanges, "_strays", _no_strays)),
    ),
    Bug(
        "freeze",
        "nothing new is made for the old set when the last keys move",
        replacing((ChangeLock, "freeze", nothing), (SetChanges, "_settle", _settled_at_once)),
    ),
    Bug(
        "vouched past",
        "another past than its own a node takes over only if enough others vouch for it",
        replacing((changer, "check_done", nothing)),
    ),
    Bug(
        "moved sets",
        "new keys are made on the set that the others have gone to",
        replacing((MovedNodeSets, "_moved_to", nothing)),
    ),
    Bug(
        "success before confirmation",
        "a node confirms a migration when its keys have moved",
        replacing(
            (migration, "confirm_is_wanted", _confirmed_early),
            (migration_decision, "confirm_is_wanted", _confirmed_early),
        ),
    ),
)
