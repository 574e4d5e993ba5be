"""Rows of the table `votes`: this node's own votes, which it must never contradict."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from keyserver.model.identifiers import Hash32
from keyserver.sessions.writes import CastVote, VoteKind
from keyserver.storage.key_rows import reading
from keyserver.storage.schema import VOTES
from keyserver.storage.stored_key import check_vote

Votes = dict[tuple[int, VoteKind], CastVote]
"""Those on one subject, by round and kind."""

_SELECT: Final = select(VOTES).where(VOTES.c.subject == bindparam("subject"))
_INSERT: Final = insert(VOTES)


def load_votes(connection: Connection, subject: Hash32) -> Votes:
    """The votes on a subject; raises `StorageError` naming a row that does not parse."""
    cast = {}
    for row in connection.execute(_SELECT, {"subject": subject}):
        with reading(VOTES, subject):
            kind = VoteKind(row.kind)
            value = Hash32(row.value)
        cast[row.round, kind] = CastVote(subject, row.round, kind, value, row.evidence)
    return cast


def new_votes(connection: Connection, votes: Iterable[CastVote]) -> list[CastVote]:
    """Those that were not cast before; raises `VoteConflictError` for one that may not be cast."""
    cast: dict[Hash32, Votes] = {}
    found = []
    for vote in votes:
        if vote.subject not in cast:
            cast[vote.subject] = load_votes(connection, vote.subject)
        if check_vote(cast[vote.subject], vote):
            cast[vote.subject][vote.round, vote.kind] = vote
            found.append(vote)
    return found


def insert_vote(connection: Connection, vote: CastVote) -> None:
    """Write a vote that is new."""
    columns = {
        "subject": vote.subject,
        "round": vote.round,
        "kind": int(vote.kind),
        "value": vote.value,
        "evidence": vote.evidence,
    }
    connection.execute(_INSERT, columns)
