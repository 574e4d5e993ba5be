"""What both sides of a share addition compute alike."""

from collections.abc import Sequence
from types import MappingProxyType

from keyserver.crypto.dkg import Member
from keyserver.crypto.share_addition import add_params_hash
from keyserver.crypto.transcripts import session_hash
from keyserver.model.identifiers import Hash32, NodeId, SessionId
from keyserver.model.keys import KeyRecord
from keyserver.model.requests import AddShare
from keyserver.sessions.authentication import authenticate
from keyserver.sessions.core import Context, Refusal, Refused
from keyserver.sessions.identity import is_canonical
from keyserver.sessions.share_addition.phases import Group, Terms
from keyserver.sessions.sharing.messages import Accepted

ROUND_S = 5.0
"""How long the donors have for each of the three rounds: they only compute."""


def check_request(ctx: Context) -> None:
    """Check that the coordinator asks for itself; raises `Refused`."""
    if not isinstance(authenticate(ctx).operation, AddShare):
        raise Refused(Refusal.BAD, "the request is not one for a share")


def terms_of(sid: SessionId, record: KeyRecord, late: NodeId, donors: tuple[NodeId, ...]) -> Terms:
    """The terms of an addition; raises `Refused` for nodes that cannot be in these parts.

    The places are those of the record: nobody says where it wants its share.
    """
    if late not in record.coordinates:
        raise Refused(Refusal.DENIED, "the late node is not in the committee of the record")
    others = set(record.nodes) - {late}
    if not is_canonical(donors) or not set(donors) <= others:
        raise Refused(Refusal.BAD, "the donors are not other members in canonical order")
    if len(donors) != record.required_nodes:
        raise Refused(Refusal.BAD, "there must be threshold + 1 donors")
    places = [(node.point, record.coordinates[node]) for node in donors]
    params_hash = Hash32(add_params_hash(sid, record.hash, late.point, places))
    return Terms(record, late, donors, params_hash)


def group_of(terms: Terms, accepted: Sequence[Accepted]) -> Group:
    """The group that START lists, in canonical order; its entries were checked before."""
    members = {
        entry.node: Member(entry.node.point, entry.one_time, terms.record.coordinates[entry.node])
        for entry in accepted
    }
    pairs = [(member.node, member.one_time) for member in members.values()]
    return Group(terms, Hash32(session_hash(terms.params_hash, pairs)), MappingProxyType(members))
