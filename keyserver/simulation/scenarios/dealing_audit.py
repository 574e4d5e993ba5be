"""What an honest node relies on in a generation: other nodes' one-time keys and deals.

What honest nodes have made must arrive as they made it; what liars have made must at least be
proven and signed. Checked at the moment at which an honest node goes on with it.
"""

from typing import Any

from keyserver.crypto.curve import verify_digest
from keyserver.crypto.dkg import POSSESSION_PROOF_SIZE, check_possession
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.proofs import verify
from keyserver.crypto.transcripts import deal_hash, one_time_statement, share_digest
from keyserver.model.identifiers import NodeId, SessionId
from keyserver.sessions.sharing.messages import (
    Accept,
    Deal,
    DealtShare,
    Propose,
    Shares,
    Start,
)
from keyserver.sessions.sharing.phases import Group
from keyserver.sessions.sharing.terms import group_of, terms_of
from keyserver.simulation.scenarios.violation import Violation, require


class DealingAudit:
    """Remembers what nodes said in generations."""

    def __init__(self, liars: frozenset[NodeId]) -> None:
        self._liars = liars
        self._accepts: dict[tuple[SessionId, NodeId], Accept] = {}
        self._deals: dict[tuple[SessionId, NodeId], Deal] = {}

    def on_send(self, sender: NodeId, sid: SessionId, message: Any) -> None:
        """Take note of what a node has made."""
        match message:
            case Accept():
                self._accepts[sid, sender] = message
            case Deal():
                self._deals[sid, sender] = message

    def check_deal(self, node: NodeId, sid: SessionId, propose: Propose, start: Start) -> None:
        """An honest node seals shares to these one-time keys: they are their owners'."""
        terms = terms_of(propose.params, propose.skipped)
        for entry in start.accepted:
            said = self._accepts.get((sid, entry.node))
            if entry.node in self._liars:
                statement = one_time_statement(terms.params_hash, entry.node.point, entry.one_time)
                try:
                    verify(statement, entry.proof)
                except CryptoError as problem:
                    raise Violation("shares are sealed to a key nobody proved") from problem
            elif said is not None:
                own = said.one_time == entry.one_time
                require(own, "shares are sealed to a key that is not its owner's", node.short)

    def check_ok(
        self, node: NodeId, sid: SessionId, propose: Propose, start: Start, shares: Shares
    ) -> None:
        """An honest node relies on these deals."""
        group = group_of(terms_of(propose.params, propose.skipped), start.accepted)
        place = list(group.members).index(node)
        for dealt in shares.deals:
            made = self._deals.get((sid, dealt.dealer))
            if dealt.dealer in self._liars:
                _check_proven(group, node, dealt)
            elif made is not None:
                same = (dealt.constant, dealt.possession) == (made.commitments[0], made.possession)
                same = same and dealt.ciphertext == made.shares[place].ciphertext
                require(same, "a deal was accepted that its dealer never made", node.short)


def _check_proven(group: Group, receiver: NodeId, dealt: DealtShare) -> None:
    session, dealer = group.session_hash, dealt.dealer.point
    if len(dealt.possession) != POSSESSION_PROOF_SIZE:
        raise Violation("a deal was accepted whose dealer does not know its secret")
    try:
        check_possession(session, dealer, dealt.constant, dealt.possession)
    except CryptoError as problem:
        what = "a deal was accepted whose dealer does not know its secret"
        raise Violation(what, str(problem)) from problem
    named = deal_hash(session, dealer, dealt.constant, dealt.possession, dealt.tail_hash)
    signed = share_digest(session, dealer, receiver.point, named, dealt.ciphertext)
    try:
        verify_digest(signed, dealt.signature, dealer)
    except CryptoError as problem:
        raise Violation("a deal was accepted that its dealer did not sign") from problem
