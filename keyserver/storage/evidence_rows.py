"""Rows of the table `evidence`: what other nodes were convicted of, and the proof of it."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from keyserver.engine.ports import MAX_OFFENCES, Offence
from keyserver.model.identifiers import Hash32, KeyId, NodeId, SessionId
from keyserver.storage.key_rows import reading
from keyserver.storage.schema import EVIDENCE

_OFFENCES: Final = select(
    EVIDENCE.c.culprit,
    EVIDENCE.c.offence,
    EVIDENCE.c.rule,
    EVIDENCE.c.key_id,
    EVIDENCE.c.session,
    EVIDENCE.c.first_seen,
    EVIDENCE.c.hash,
).order_by(EVIDENCE.c.first_seen, EVIDENCE.c.offence)

_OF_CULPRIT: Final = (
    select(EVIDENCE.c.offence)
    .where(EVIDENCE.c.culprit == bindparam("culprit"))
    .order_by(EVIDENCE.c.first_seen.desc(), EVIDENCE.c.offence)
)


def load_offences(connection: Connection) -> Sequence[Offence]:
    """All of them, the oldest first; raises `StorageError` naming a row that does not parse."""
    offences = []
    for row in connection.execute(_OFFENCES):
        with reading(EVIDENCE, row.offence):
            offences.append(
                Offence(
                    NodeId(row.culprit),
                    Hash32(row.offence),
                    row.rule,
                    KeyId(row.key_id),
                    None if row.session is None else SessionId(row.session),
                    row.first_seen,
                    Hash32(row.hash),
                )
            )
    return offences


def load_evidence(connection: Connection, name: Hash32) -> bytes | None:
    """The record of a hash."""
    wanted = select(EVIDENCE.c.record).where(EVIDENCE.c.hash == bytes(name)).limit(1)
    found: bytes | None = connection.scalar(wanted)
    return None if found is None else bytes(found)


def add_evidence(connection: Connection, offence: Offence, record: bytes) -> None:
    """Write an offence unless it is there; then leave the newest ones of its culprit."""
    known = connection.scalars(_OF_CULPRIT, {"culprit": bytes(offence.culprit)}).all()
    if bytes(offence.name) in known:
        return
    connection.execute(
        insert(EVIDENCE),
        {
            "culprit": bytes(offence.culprit),
            "offence": bytes(offence.name),
            "rule": offence.rule,
            "key_id": bytes(offence.key_id),
            "session": None if offence.session is None else bytes(offence.session),
            "first_seen": offence.first_seen,
            "hash": bytes(offence.evidence),
            "record": record,
        },
    )
    newest = connection.scalars(_OF_CULPRIT, {"culprit": bytes(offence.culprit)}).all()
    forgotten = newest[MAX_OFFENCES:]
    if forgotten:
        connection.execute(
            delete(EVIDENCE).where(
                EVIDENCE.c.culprit == bytes(offence.culprit), EVIDENCE.c.offence.in_(forgotten)
            )
        )
