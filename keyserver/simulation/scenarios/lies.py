"""What liars of a plan do, by name: the rows of the adversary matrix."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.transcripts import deal_hash, tail_hash
from keyserver.engine.links import Keys
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import Address
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    BoundCredential,
    LegacyCredential,
    OnChainAddress,
    OnChainPublic,
)
from keyserver.sessions.core import SessionKind
from keyserver.sessions.sharing.messages import Deal
from keyserver.simulation.adversary import (
    dealing,
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
from keyserver.simulation.adversary.rows import (
    Behaviour,
    Must,
    Part,
    Protocol,
    Row,
    Tells,
    TellsOnLinks,
)
from keyserver.simulation.cluster import Cluster, SimulatedNode
from keyserver.simulation.liars import Lie, LinkLie, LinkPlace, Place, honest, in_cluster


def _unproven_deal(place: Place, message: Deal) -> Deal:
    """A right deal, signed for all, but for the proof that its dealer knows the constant."""
    group, one_time = place.phase.group, place.phase.one_time
    polynomial = SecretPolynomial.random(group.terms.params.threshold, place.random)
    commitments, possession = polynomial.commit(), b"\x01" * len(message.possession)
    named = deal_hash(
        group.session_hash,
        place.ctx.me.point,
        commitments[0],
        possession,
        tail_hash(commitments),
    )
    shares = tuple(
        dealing._seal(
            place, group, named, receiver, polynomial.evaluate(receiver.x).expose(), one_time
        )
        for receiver in group.members.values()
    )
    return Deal(commitments, possession, shares)


_UNPROVEN = Row(
    Behaviour.BAD_PROOF,
    Protocol.GENERATION,
    Part.MEMBER,
    "a right deal without proof of possession",
    Tells("Deal", _unproven_deal),
    Must.COMPLETES,
)

_ROWS: tuple[Row, ...] = (
    *generation_members.ROWS,
    *generation_coordinators.ROWS,
    *storing.MEMBERS,
    *storing.COORDINATORS,
    *retrieval_holders.ROWS,
    *retrieval_coordinators.ROWS,
    _UNPROVEN,
)

_OF_SIGNATURES: tuple[Row, ...] = (
    *schnorr_signers.ROWS,
    *schnorr_coordinators.ROWS,
    *presigning.ROWS,
    *ecdsa.ROWS,
)

_OF_CHANGES: tuple[Row, ...] = (*redistribution.ROWS, *set_changing.ROWS)

_FORGED = b"\xfa" * 20


def _forged_record(_: LinkPlace, message: Keys) -> Keys:
    """Records of another author under the certificates of the true ones."""
    facts = []
    for one in message.keys:
        certified = one.record
        if certified is not None:
            changed = replace(certified.record, author=Address(_FORGED))
            certified = replace(certified, record=changed)
        facts.append(replace(one, record=certified))
    return replace(message, keys=tuple(facts))


def _forged_document(_: LinkPlace, message: Keys) -> Keys:
    """Document keys with their points exchanged, under the decisions for the true ones."""
    facts = []
    for one in message.keys:
        held = one.document
        if held is not None:
            swapped = DocumentKey(held.document.encrypted, held.document.common)
            held = replace(held, document=swapped)
        facts.append(replace(one, document=held))
    return replace(message, keys=tuple(facts))


FORGERIES: dict[str, LinkLie] = {
    "catalogue: records of another author": _forged_record,
    "catalogue: document keys with their points exchanged": _forged_document,
}
"""What liars show to nodes that were away."""

LIES: dict[str, Row] = {
    f"{row.protocol.value}, {row.part.value}: {row.name}": row
    for row in (*_ROWS, *_OF_CHANGES, *_OF_SIGNATURES)
    if isinstance(row.deed, Tells | TellsOnLinks)
}
"""Lies by the name they have in plans."""

_DULL = (Behaviour.OVERSIZED, Behaviour.SILENT)
"""What never gets past the parser, or is nothing at all: drawn seldom."""


OF_A_LIFE = frozenset(row.protocol for row in _ROWS)
"""The protocols in which a key is made and used."""

OF_SIGNATURES = frozenset(row.protocol for row in _OF_SIGNATURES)
"""Those in which it signs."""

OF_CHANGES = frozenset({Protocol.REDISTRIBUTION, Protocol.SET_CHANGE})
"""Those in which it goes to another set."""


def draw(
    random: Random, part: Part, count: int, protocols: frozenset[Protocol] = OF_A_LIFE
) -> tuple[str, ...]:
    """Some lies of a part, every behaviour in every protocol as likely as any other."""
    classes: dict[tuple[str, str], list[str]] = {}
    for name, row in sorted(LIES.items()):
        if row.protocol not in protocols or row.part is not part:
            continue
        if row.behaviour not in _DULL or random.random() < 0.1:
            family = row.protocol.value.partition(",")[0]
            classes.setdefault((family, row.behaviour.value), []).append(name)
    chosen = random.sample(sorted(classes), min(count, len(classes)))
    return tuple(random.choice(classes[each]) for each in chosen)


def make_liar(cluster: Cluster, node: SimulatedNode, names: tuple[str, ...]) -> None:
    """Make a node tell the first of these lies that changes what it is about to say."""
    rows = [LIES[name] for name in names if name in LIES]
    lies = [_where_it_fits(row, row.deed) for row in rows if isinstance(row.deed, Tells)]
    told: list[Any] = [_on_link(row.deed) for row in rows if isinstance(row.deed, TellsOnLinks)]
    forged = [FORGERIES[name] for name in names if name in FORGERIES]
    told += [_on_link(TellsOnLinks("Keys", forgery)) for forgery in forged]
    in_cluster(cluster, node, _first_of(lies), _first_of(told) if told else honest)


_FORM_OF: dict[Protocol, type] = {
    Protocol.PLAIN: BoundCredential,
    Protocol.SHADOW_LEGACY: LegacyCredential,
    Protocol.SHADOW_BOUND: BoundCredential,
    Protocol.SHADOW_CONTRACT: OnChainPublic,
    Protocol.FROST: LegacyCredential,
    Protocol.SCHNORR: OnChainAddress,
    Protocol.ECDSA: OnChainAddress,
}
"""Which credential requests of a protocol have."""


def _where_it_fits(row: Row, deed: Tells) -> Lie:
    """Lies about credentials are told about those of their kind, others in their sessions only."""
    if row.protocol in redistribution.FORMS:
        return _in_redistributions(deed.lie)
    form = _FORM_OF.get(row.protocol)
    if form is None or row.part is Part.MEMBER:
        return deed.lie

    def lie(place: Place, message: Any) -> Any:
        try:
            fits = isinstance(place.ctx.request.credential(), form)
        except CodecError:  # another liar's
            fits = False
        return deed.lie(place, message) if fits else message

    return lie


def _in_redistributions(told: Lie) -> Lie:
    """A generation has messages of the same types."""

    def lie(place: Place, message: Any) -> Any:
        moves = place.ctx.kind is SessionKind.REDISTRIBUTION
        return told(place, message) if moves else message

    return lie


def _on_link(deed: TellsOnLinks) -> LinkLie:
    def lie(place: LinkPlace, message: Any) -> Any:
        return deed.told(place, message) if type(message).__name__ == deed.message else message

    return lie


def _first_of(lies: Sequence[Lie] | Sequence[LinkLie]) -> Any:
    def lie(place: Any, message: Any) -> Any:
        for one in lies:
            told = one(place, message)
            if told is not message:
                return told
        return message

    return lie
