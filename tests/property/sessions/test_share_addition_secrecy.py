"""What a late node and t - 1 donors who work with it can find out: no other share, and not the key.

Everything they see is linear in the coefficients of the key's polynomial and of the honest donors'
masks. So what they can find out is what lies in the span of the equations they hold; the rest, by
linear algebra over the field of scalars, is as good as any other value to them. The equations are
taken from what honest donors really sent, whatever they had been told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from keyserver.crypto.curve import ORDER
from keyserver.crypto.share_addition import mask_hash
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.core import Completed, Received, Send
from keyserver.sessions.share_addition.messages import AddBlinded, AddComplaint, AddMask, AddMasks
from keyserver.sessions.share_addition.phases import AwaitingMasked
from keyserver.simulation.adversary import share_additions as lies
from keyserver.simulation.liars import Lie, Place, at, honest
from tests.property.linear_spans import Row, Span
from tests.support.delivery import Delivery, Moment
from tests.support.key_life import generate, lose_share, try_add_share
from tests.support.late_nodes import telling


@dataclass
class View:
    """What the conspirators hold after some sessions."""

    net: Delivery
    record: CertifiedRecord
    conspirators: frozenset[NodeId]
    span: Span = field(default_factory=Span)
    masks: dict[Hash32, int] = field(default_factory=dict)
    """The first unknown of each honest mask, by its hash; the key's polynomial begins at 0."""

    def __post_init__(self) -> None:
        for node in self.conspirators:
            self.span.add(self.at(0, node))

    @property
    def size(self) -> int:
        return self.record.record.threshold + 1

    def at(self, first: int, node: NodeId) -> Row:
        """A polynomial's value at the place of a node."""
        x = int(self.record.record.coordinates[node])
        return {first + power: pow(x, power, ORDER) for power in range(self.size)}

    def see(self, moments: Sequence[Moment], late: NodeId) -> None:
        """Add what honest donors have sent, and what conspirators open of it."""
        for moment in moments:
            me = moment.ctx.me
            if me in self.conspirators:
                continue
            for effect in moment.effects:
                if isinstance(effect, Send) and isinstance(effect.message, AddMask):
                    self._see_mask(moment, effect.message, late)
        for moment in moments:
            if moment.ctx.me in self.conspirators:
                continue
            for effect in moment.effects:
                if isinstance(effect, Send) and isinstance(effect.message, AddBlinded):
                    self._see_blinded(moment)
                if isinstance(effect, Send) and isinstance(effect.message, AddComplaint):
                    self._see_complaint(moment, effect.message)

    def _see_mask(self, moment: Moment, mask: AddMask, late: NodeId) -> None:
        phase = moment.after
        assert isinstance(phase, AwaitingMasked)
        first = self.size * (1 + len(self.masks))
        session = phase.group.session_hash
        named = mask_hash(session, moment.ctx.me.point, mask.commitments)
        self.masks[Hash32(named)] = first
        self.span.add(self.at(first, late))
        for member in phase.group.donors:
            node = NodeId.of(member.node)
            if node in self.conspirators or member.one_time == lies.KNOWN.public:
                self.span.add(self.at(first, node))

    def _see_blinded(self, moment: Moment) -> None:
        """Its share, and whatever honest masks were among those it was given."""
        event = moment.event
        assert isinstance(event, Received)
        row = dict(self.at(0, moment.ctx.me))
        if isinstance(event.message, AddMasks):
            for relayed in event.message.masks:
                first = self.masks.get(relayed.mask_hash)
                if first is not None:
                    row |= self.at(first, moment.ctx.me)
        self.span.add(row)

    def _see_complaint(self, moment: Moment, complaint: AddComplaint) -> None:
        """It opens everything that the dealer has sealed for the accuser."""
        phase = moment.before
        for mask in phase.masks:
            first = self.masks.get(Hash32(mask.mask_hash))
            if first is not None and NodeId.of(mask.dealer.node) == complaint.dealer:
                self.span.add(self.at(first, moment.ctx.me))

    def knows_key(self) -> bool:
        return {0: 1} in self.span

    def knows_share(self, node: NodeId) -> bool:
        return self.at(0, node) in self.span


STRATEGIES: dict[str, Lie] = {
    "honest": honest,
    **{name: lies.told_by_late(name) for name in lies.LATE},
    "plays all other donors": lies.of_both(
        at("AddStart", lies.keys_of_its_own), at("AddMasks", lies.masks_of_its_own)
    ),
    "other sums, then other commitments": lies.of_both(
        at("AddMasks", lies.other_sums), at("AddCommitments", lies.then_other_commitments)
    ),
}

DONOR_LIES: list[Lie] = [
    honest,
    at("AddMask", lies.false_values),
    at("AddMask", lies.no_scalars),
    at("AddMask", lies.mask_that_is_not_zero),
    at("AddMask", lies.unsigned_values),
]

SIZES = [(4, 1), (5, 2), (7, 3)]


def sessions(nodes: int, threshold: int, seed: int, helpers: int, count: int = 6) -> View:
    """Several additions for one late node, which tries something else in each."""
    random = Random(seed)
    net = Delivery(nodes)
    record = generate(net, threshold)
    late, *others = random.sample(range(nodes), nodes)
    conspirators = frozenset(net.members[i].id for i in (late, *others[:helpers]))
    view = View(net, record, conspirators)
    names = random.sample(sorted(STRATEGIES), len(STRATEGIES))
    for name in ("honest", "plays all other donors", *names)[:count]:
        lose_share(net, late)
        net.moments.clear()
        told = {node: random.choice(DONOR_LIES) for node in conspirators}
        victim = net.members[random.choice(others)].id
        to_one, lie = random.random() < 0.5, STRATEGIES[name]
        told[net.members[late].id] = _to(victim, lie) if to_one else lie
        net.tamper = telling(net, told)
        try_add_share(net, record, late, random.sample(others, threshold + 1))
        view.see(net.moments, net.members[late].id)
    return view


def _to(victim: NodeId, lie: Lie) -> Lie:
    def told(place: Place, message: object) -> object:
        return lie(place, message) if place.to == victim else message

    return told


@pytest.mark.parametrize(("nodes", "threshold"), SIZES)
def test_t_conspirators_find_out_nothing(nodes: int, threshold: int) -> None:
    for seed in range(8):
        view = sessions(nodes, threshold, seed, helpers=threshold - 1)
        assert len(view.conspirators) == threshold
        assert not view.knows_key(), f"seed {seed}"
        for member in view.net.members:
            known = view.knows_share(member.id)
            assert known == (member.id in view.conspirators), f"seed {seed}"


@pytest.mark.parametrize(("nodes", "threshold"), SIZES)
def test_one_more_would_have_the_key(nodes: int, threshold: int) -> None:
    """The method notices when there is something to be known."""
    view = sessions(nodes, threshold, 1, helpers=threshold, count=1)
    assert view.knows_key()
    assert all(view.knows_share(member.id) for member in view.net.members)


def test_a_single_value_without_its_mask_would_be_noticed() -> None:
    """So would the hole that masks are for: a donor that sums what is not there."""
    net = Delivery(5)
    record = generate(net, 2)
    lose_share(net, 0)
    net.moments.clear()
    assert isinstance(try_add_share(net, record, 0, (1, 2, 4)), Completed)
    conspirators = frozenset({net.members[0].id, net.members[1].id})
    full = View(net, record, conspirators)
    full.see(net.moments, net.members[0].id)
    assert not full.knows_key()
    one = net.members[2].id
    opened = View(net, record, conspirators)
    opened.see(net.moments, net.members[0].id)
    for first in opened.masks.values():
        opened.span.add(opened.at(first, one))
    assert opened.knows_key()
