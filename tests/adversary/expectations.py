"""What must follow in a row, in a network of a size."""

from typing import Protocol

from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import Refusal
from keyserver.sessions.refusals import FOR_GOOD, FOR_NOW
from keyserver.simulation.adversary import floods, rows
from keyserver.simulation.adversary.rows import Acts, Behaviour, Crashes, Must, Replays, Row
from tests.adversary.cheating import AGREEMENTS, LATE, Cheating
from tests.adversary.handing_over import CHANGES
from tests.adversary.play import RETRIEVALS, SIGNATURES, STORINGS
from tests.adversary.sizes import CHANGING, EVERYWHERE, Size


class Played(Protocol):
    """What was played, as far as names depend on it."""

    @property
    def row(self) -> Row: ...
    @property
    def size(self) -> Size: ...
    @property
    def cheating(self) -> Cheating: ...


def takes_part(row: Row) -> bool:
    """Whether the liars go on to the end like honest nodes, for all that a coordinator sees."""
    deeds = (Acts(floods.with_old_randomness), Acts(floods.accuse_wrongly))
    # A frame that nobody can read costs the connection; asked for the vote again, they give it.
    unread = row.behaviour is Behaviour.OVERSIZED and row.message in ("Commit", "StoreCommit")
    return unread or row.behaviour is Behaviour.FLOOD or row.deed in deeds


def sizes_of(row: Row) -> list[Size]:
    """All networks in which there is something to cheat about."""
    sizes = CHANGING if row.protocol in CHANGES else EVERYWHERE
    return [size for size in sizes if is_possible(row, size)]


PRESIGNED = frozenset({rows.Protocol.PRESIGNING, rows.Protocol.ECDSA})


def signers(row: Row, size: Size) -> int:
    """How many have to sign."""
    return 2 * size.threshold + 1 if row.protocol in PRESIGNED else size.threshold + 1


def is_possible(row: Row, size: Size) -> bool:
    """Whether the cell can be played: who is late must not be needed for the making of the key."""
    if row.protocol in LATE and size.quorums.holders(size.threshold) >= size.nodes:
        return False
    if row.name.endswith("rounds on") and not size.is_safe:
        return False  # more than f take the rest along, and each other, without end
    if row.name == "tells each donor another set" and size.threshold + 2 >= size.nodes:
        return False  # there is no other set of donors
    if row.protocol in PRESIGNED and 2 * size.threshold + 1 > size.nodes:
        return False  # such keys make no ECDSA signatures
    if row.name == "a larger group" and 2 * size.threshold + 1 == size.nodes:
        return False  # there is nobody else
    if row.message == "Unneeded" and not 0 < size.quorums.faulty < size.nodes - size.threshold:
        return False  # nobody is asked but those who sign
    return size.threshold >= row.least_threshold


def completes(row: Row, size: Size) -> bool:
    """Whether an honest coordinator must bring the result: enough nodes are left without liars."""
    if row.must is Must.NOTICED:
        return True
    if row.protocol in CHANGES:
        return size.agrees and size.generates and size.decrypts
    if row.protocol in LATE:
        donors = size.honest - 1
        return row.protocol is rows.Protocol.CATALOGUE or donors > size.threshold
    if row.protocol in AGREEMENTS:
        return size.agrees and size.generates
    if row.protocol in RETRIEVALS:
        return size.decrypts
    if row.protocol in SIGNATURES:  # every attempt goes without one liar more
        return size.is_safe and size.honest >= signers(row, size)
    return size.agrees if stores(row) or row.message == "Commit" else size.generates


def fails(row: Row, size: Size) -> bool:
    """Whether it must fail: too few are left, and the liars do not help."""
    if row.protocol in SIGNATURES:
        helps = takes_part(row) or isinstance(row.deed, Replays)
        return size.honest < signers(row, size) and not helps
    return not completes(row, size) and not takes_part(row)


def stores(row: Row) -> bool:
    """Whether the cheat is in the storing of a document key."""
    return row.protocol in STORINGS or row.message.startswith("Store")


def failure(row: Row, size: Size) -> tuple[bool | None, set[str]]:
    """How it must fail if too few honest nodes are left: whether for good, and with which code.

    `None`: that depends on who was chosen; it is not for good unless more refuse than may lie.

    Nothing is final on the word of so many as may lie.
    """
    refusal = row.refuses if row.message in _FIRST_ANSWERS else None
    if row.deed == Acts(floods.as_denied):
        refusal = Refusal.DENIED
    if refusal in FOR_GOOD:
        return size.liars > size.quorums.faulty, {"ConsensusUnreachable"}
    if row.protocol in SIGNATURES:
        return None, {"ConsensusTemporaryUnreachable", "ConsensusUnreachable"}
    if row.protocol in RETRIEVALS and row.deed == Crashes("Shadow"):
        # Those who are left are too few, unless enough have ended before that is seen.
        return False, {"ConsensusTemporaryUnreachable", "ConsensusUnreachable"}
    if row.protocol in RETRIEVALS:
        waits = refusal in FOR_NOW or row.deed == Acts(floods.as_unavailable) or _is_mute(row)
        return False, {"ConsensusTemporaryUnreachable" if waits else "ConsensusUnreachable"}
    if refusal is Refusal.EXCLUSIVE:
        return False, {"DuplicateSessionId"}
    if row.message in ("Ready", "Commit"):
        # Undecided, unless the end came before the coordinator itself had voted.
        return False, {"DuplicateSessionId", "NodeDisconnected"}
    if refusal is Refusal.EXISTS and not stores(row):
        return False, {"ServerKeyAlreadyGenerated"}
    return False, {"NodeDisconnected"}


_FIRST_ANSWERS = ("Accept", "StoreAck", "Partial")


def _is_mute(row: Row) -> bool:
    """Whether the coordinator waits for an answer that may still come."""
    return row.name in ("no part", "no shadow", "a shadow for another selection")


def must_name(game: Played) -> set[NodeId] | None:
    """Whom every honest node must have named, exactly; `None` if that depends on what came first.

    Whoever has got a provable lie shows it to all. Where the session ends early, because too few
    honest nodes are left or all that take part are needed, the first of several liars may be all
    that it has come to judge; of liars with two faces some may have shown but one to each honest
    node.
    """
    if not game.row.provable and not game.row.two_faced:
        return set()
    told = set().union(*game.cheating.told.values())
    needs_all = game.row.protocol in {rows.Protocol.ADDITION, *CHANGES, *SIGNATURES}
    ends_early = needs_all or not completes(game.row, game.size)
    if game.row.two_faced or (len(told) > 1 and ends_early):
        return None
    return told
