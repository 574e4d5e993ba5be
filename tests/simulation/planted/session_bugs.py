"""Bugs in the protocols of nodes: checks that a participant or coordinator does not make."""

from dataclasses import replace
from typing import Any

from keyserver.crypto import complaints, dkg
from keyserver.crypto.elgamal import shadow_partial
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.quorums import Quorums
from keyserver.sessions import authentication
from keyserver.sessions.bound_uses import BoundUses, Claim
from keyserver.sessions.core import TimerFired
from keyserver.sessions.retrieval import coordinator as retrieval_coordinator
from keyserver.sessions.retrieval import participant as holder
from keyserver.sessions.runner import Runner
from keyserver.sessions.sharing import dealt as generation_dealt
from keyserver.sessions.sharing import participant as member
from keyserver.sessions.storing import participant as storer
from tests.simulation.planted.bug import Bug, nothing, replacing


class Anything:
    """Equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def _as_author(ctx: Any, *_: Any) -> Any:
    authentic = authentication.authenticate(ctx)
    active = ctx.key.active
    return authentic if active is None else replace(authentic, requester=active.record.author)


def _same_mask(share: Any, common: Any, _: Any) -> Any:
    return shadow_partial(share, common, SeededRandom(b"always the same"))


_ended_by = Runner._ended_by


def _never_idle(runner: Runner, event: Any) -> Any:
    return None if isinstance(event, TimerFired) else _ended_by(runner, event)


BUGS = (
    Bug(
        "possession",
        "dealers prove that they know the constant they commit to",
        replacing(
            (dkg, "check_possession", nothing),
            (generation_dealt, "check_possession", nothing),
        ),
    ),
    Bug(
        "deal signature",
        "dealers sign their deals",
        replacing((dkg, "verify_digest", nothing)),
    ),
    Bug("share", "receivers check their shares", replacing((dkg, "check_share", nothing))),
    Bug(
        "one-time keys",
        "one-time keys are proven and signed by their owners",
        replacing((member, "check_accepted", nothing)),
    ),
    Bug(
        "complaints",
        "complaints are judged by what they prove",
        replacing((complaints, "judge", lambda *_, **__: complaints.Verdict.DEALER)),
    ),
    Bug(
        "holder quorum",
        "t + 1 + f nodes hold a share before a key counts as made",
        replacing((Quorums, "holders", lambda _, threshold: threshold + 1)),
    ),
    Bug(
        "agreement quorum",
        "a quorum shares an honest node with every other",
        replacing((Quorums, "agreement", property(lambda q: (q.nodes + q.faulty) // 2))),
    ),
    Bug(
        "holding certificate",
        "a node commits only when enough others are READY",
        replacing((member, "check_holding", nothing)),
    ),
    Bug(
        "prepared certificate",
        "a node commits to a document key only when a quorum has prepared it",
        replacing((storer, "check_prepared", nothing)),
    ),
    Bug(
        "decision",
        "a quorum has signed a decision",
        replacing((member, "check_decision", nothing), (storer, "check_decision", nothing)),
    ),
    Bug(
        "partial proof",
        "coordinators check the proofs of partial decryptions",
        replacing((retrieval_coordinator, "check_partial", nothing)),
    ),
    Bug(
        "selection",
        "holders check the selection that their shadow is made for",
        replacing((holder, "_check_select", nothing)),
    ),
    Bug(
        "masks", "every shadow has a fresh mask", replacing((holder, "shadow_partial", _same_mask))
    ),
    Bug(
        "mode",
        "a key is opened only in the form that was asked for",
        replacing((holder, "mode_of", lambda _: Anything())),
    ),
    Bug(
        "permission",
        "holders ask the chain for the permission",
        replacing((holder, "verdict_refusal", nothing)),
    ),
    Bug(
        "credential",
        "a requester proves to know its signature",
        replacing((authentication, "_check_possession", nothing)),
    ),
    Bug(
        "used credentials",
        "a credential is used through one node",
        replacing((BoundUses, "claim", lambda *_: Claim.GRANTED)),
    ),
    Bug(
        "author",
        "only the author of a key stores under it",
        replacing((storer, "authenticate", _as_author)),
    ),
    Bug(
        "points",
        "what is stored is what was asked for",
        replacing((storer, "_check_points", nothing)),
    ),
    Bug(
        "idle sessions",
        "a participant ends when nothing comes from its coordinator",
        replacing((Runner, "_ended_by", _never_idle)),
    ),
)
