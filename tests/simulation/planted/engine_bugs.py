"""Bugs around the sessions: driver, votes on disk, synchronisation, recovery, turns."""

import asyncio
from typing import Any

from keyserver.engine import acceptance, recovery
from keyserver.engine.driver import Driver
from keyserver.engine.own_votes import Memory, remembered
from keyserver.engine.recovery import Recovery
from keyserver.engine.session_table import CounterWindow
from keyserver.engine.turns import Turns
from keyserver.sessions.core import Persist
from keyserver.sessions.sharing import participant as member
from keyserver.storage import memory
from tests.simulation.planted.bug import Bug, nothing, nothing_later, replacing

_execute_effect = Driver._execute_effect


def _without_waiting(driver: Driver, session: Any, effect: Any) -> None:
    """Writes go on in the background while what follows them happens."""
    if isinstance(effect, Persist):
        driver._spawn(_written_later(driver, effect))
    else:
        _execute_effect(driver, session, effect)


async def _written_later(driver: Driver, effect: Persist) -> None:
    await asyncio.sleep(0)
    await driver._ports.store.commit(effect.writes)


def _forgetful(state: Any, subject: Any, votes: Any) -> Memory:
    known = remembered(state, subject, votes)
    return Memory(known.voter, None, None)


async def _at_once(*_: Any) -> bool:
    return True


BUGS = (
    Bug(
        "writes before messages",
        "a vote is on disk before it is sent",
        replacing((Driver, "_execute_effect", _without_waiting)),
    ),
    Bug(
        "one vote",
        "a node votes once in a round",
        replacing((memory, "check_vote", lambda *_: True), (member, "_check_version", nothing)),
    ),
    Bug(
        "replays",
        "a session is opened once",
        replacing((CounterWindow, "use", lambda *_: True)),
    ),
    Bug(
        "certificates of others",
        "a record that a peer shows has a certificate",
        replacing((acceptance, "check_first_record", nothing)),
    ),
    Bug(
        "documents of others",
        "a document key that a peer shows has a certificate",
        replacing((acceptance, "check_document", nothing)),
    ),
    Bug(
        "recovery",
        "what sessions left undecided is decided",
        replacing((Recovery, "_tick", nothing_later)),
    ),
    Bug(
        "prepared values",
        "a later round keeps to what may have been decided in an earlier one",
        replacing(
            (recovery, "remembered", _forgetful),
            (Memory, "status_covers", property(lambda _: True)),
        ),
    ),
    Bug("turns", "one generation of a key at a time", replacing((Turns, "wait", _at_once))),
)
