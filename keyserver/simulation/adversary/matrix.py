"""The whole adversary matrix: every cheat, and why some combinations have none."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from keyserver.simulation.adversary import (
    addition,
    agreement,
    both,
    catalogue,
    ecdsa,
    generation_coordinators,
    generation_members,
    presigning,
    redistribution,
    retrieval_coordinators,
    retrieval_holders,
    schnorr_coordinators,
    schnorr_signers,
    set_changing,
    storing,
)
from keyserver.simulation.adversary.rows import Behaviour, Part, Protocol, Row

ROWS: tuple[Row, ...] = (
    *generation_members.ROWS,
    *generation_coordinators.ROWS,
    *both.ROWS,
    *storing.MEMBERS,
    *storing.COORDINATORS,
    *retrieval_holders.ROWS,
    *retrieval_coordinators.ROWS,
    *agreement.ROWS,
    *catalogue.ROWS,
    *addition.ROWS,
    *redistribution.ROWS,
    *set_changing.ROWS,
    *schnorr_signers.ROWS,
    *schnorr_coordinators.ROWS,
    *presigning.ROWS,
    *ecdsa.ROWS,
)

Combination = tuple[Behaviour, Protocol, Part]

B, P = Behaviour, Protocol
_BOTH_PARTS = (Part.MEMBER, Part.COORDINATOR)
_RETRIEVALS = (P.PLAIN, P.SHADOW_LEGACY, P.SHADOW_BOUND, P.SHADOW_CONTRACT)
_AGREEMENTS = (P.AGREEMENT, P.DOCUMENT_AGREEMENT)
_WITHOUT_SHARES = (P.STORING, *_RETRIEVALS, *_AGREEMENTS, P.CATALOGUE, P.SET_CHANGE)
_FORMS = redistribution.FORMS
_SCHNORR = (P.SCHNORR, P.FROST)


@dataclass(frozen=True, slots=True)
class Omission:
    """Combinations that make no sense, and why."""

    behaviours: tuple[Behaviour, ...]
    protocols: tuple[Protocol, ...]
    parts: tuple[Part, ...]
    reason: str

    @property
    def combinations(self) -> Iterator[Combination]:
        """Each of them."""
        yield from product(self.behaviours, self.protocols, self.parts)


OMISSIONS: tuple[Omission, ...] = (
    Omission((B.WRONG_SHARE,), _WITHOUT_SHARES, _BOTH_PARTS, "no shares are sent"),
    Omission(
        (B.DEGREE,),
        (P.STORING, P.PLAIN, *_AGREEMENTS, P.CATALOGUE, P.SET_CHANGE),
        _BOTH_PARTS,
        "no polynomials are sent",
    ),
    Omission(
        (B.DEGREE,),
        (P.SHADOW_LEGACY, P.SHADOW_BOUND, P.SHADOW_CONTRACT),
        (Part.MEMBER,),
        "the coordinator says how many parts there are",
    ),
    Omission(
        (B.BAD_PARTIAL,),
        (
            P.GENERATION,
            P.BOTH,
            P.STORING,
            *_AGREEMENTS,
            P.CATALOGUE,
            P.ADDITION,
            *_FORMS,
            P.SET_CHANGE,
        ),
        _BOTH_PARTS,
        "there are no partial results",
    ),
    Omission(
        (B.BAD_PARTIAL, B.EQUIVOCATION, B.LIED_SET),
        (P.PLAIN,),
        (Part.COORDINATOR,),
        "it says one thing to each holder, in the opening; parts are not passed on",
    ),
    Omission(
        (B.EQUIVOCATION,),
        (P.PLAIN,),
        (Part.MEMBER,),
        "a holder says one thing, to the coordinator: another one is a bad partial result",
    ),
    Omission(
        (B.NONCE,),
        _AGREEMENTS,
        _BOTH_PARTS,
        "votes have no nonces: the same vote is the same bytes",
    ),
    Omission((B.NONCE,), (P.CATALOGUE,), (Part.MEMBER,), "facts have no nonces"),
    Omission(
        (B.NONCE,),
        (P.STORING, P.PLAIN, P.SHADOW_LEGACY, P.SHADOW_CONTRACT),
        (Part.COORDINATOR,),
        "the request has no nonce (that of a bound one: the bound retrieval); masks are holders'",
    ),
    Omission((B.BAD_POINT,), (P.STORING,), (Part.MEMBER,), "votes hold no points"),
    Omission((B.BAD_POINT,), (P.SET_CHANGE,), _BOTH_PARTS, "the messages hold no points"),
    Omission((B.NONCE,), (P.SET_CHANGE,), _BOTH_PARTS, "the messages hold no nonces"),
    Omission(
        (B.STALE_ACL,),
        (*_FORMS, P.SET_CHANGE),
        _BOTH_PARTS,
        "no permission is asked for; another change than the node's own: lying about the request",
    ),
    Omission((B.BAD_POINT,), _AGREEMENTS, (Part.COORDINATOR,), "as a voter: the same record"),
    Omission(
        (B.STALE_ACL,),
        (P.BOTH,),
        _BOTH_PARTS,
        "a signed request to generate or to store asks nothing of the chain",
    ),
    Omission(
        (B.STALE_ACL,),
        (*_AGREEMENTS, P.CATALOGUE, P.ADDITION),
        _BOTH_PARTS,
        "what was decided before is not asked of the chain again",
    ),
    Omission(
        (B.LIED_SET,),
        (P.DOCUMENT_AGREEMENT,),
        (Part.MEMBER,),
        "the record that was decided before says who votes",
    ),
    Omission(
        (B.REPLAY,),
        (P.ADDITION,),
        (Part.COORDINATOR,),
        "a late node that repeats itself opens no session: the opening of a retrieval, replayed",
    ),
    Omission(
        tuple(b for b in B if b not in (B.WRONG_SHARE, B.DEGREE, B.BAD_PARTIAL, B.STALE_ACL)),
        (P.CATALOGUE,),
        (Part.COORDINATOR,),
        "whoever asks has nothing to lie about; asking too much: the floods of members",
    ),
    Omission((B.WRONG_SHARE,), (*_SCHNORR, P.ECDSA), _BOTH_PARTS, "nothing is dealt"),
    Omission((B.DEGREE,), _SCHNORR, (Part.MEMBER,), "the coordinator says how many sign"),
    Omission((B.DEGREE,), (P.ECDSA,), _BOTH_PARTS, "the presignature says how many sign"),
    Omission((B.LIED_SET,), (P.ECDSA,), (Part.COORDINATOR,), "the presignature says who signs"),
    Omission((B.BAD_POINT,), (P.ECDSA,), _BOTH_PARTS, "the messages hold no points"),
    Omission(
        (B.STALE_ACL,),
        (P.PRESIGNING,),
        _BOTH_PARTS,
        "nobody asks for a presignature, and no permission is needed to have one made",
    ),
    Omission(
        tuple(B),
        (P.TRANSPORT,),
        _BOTH_PARTS,
        "a connection has two ends, whatever n and t: played on real connections, listed apart",
    ),
)


def combinations() -> Iterator[Combination]:
    """All there are."""
    yield from product(Behaviour, Protocol, Part)
