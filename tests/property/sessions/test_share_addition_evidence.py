"""Whatever is changed in a record about a share addition, it convicts its liar or nobody."""

from dataclasses import fields, replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.model.identifiers import NodeId
from keyserver.sessions.conviction import InvalidEvidenceError
from keyserver.sessions.evidence import decode_evidence, encode_evidence, judge
from keyserver.simulation.adversary import share_additions as lies
from keyserver.simulation.liars import Lie, at
from tests.support.key_life import try_add_share
from tests.support.late_nodes import DONORS, LATE, quarrel

LIES: list[tuple[Lie, int]] = [
    (at("AddMask", lies.mask_that_is_not_zero), DONORS[0]),
    (at("AddMask", lies.mask_of_degree(1)), DONORS[1]),
    (at("AddMask", lies.false_values), DONORS[1]),
    (at("AddBlinded", lies.false_share), DONORS[1]),
    (at("AddBlinded", lies.share_that_does_not_open), DONORS[2]),
]


@cache
def _records() -> tuple[tuple[bytes, NodeId], ...]:
    """Each with the node that it convicts."""
    found = []
    for lie, liar in LIES:
        net, record = quarrel(lie, liar)
        try_add_share(net, record, LATE, DONORS)
        (report,) = net.reports
        found.append((report.evidence, net.members[liar].id))
    return tuple(found)


def _convicted(data: bytes) -> NodeId | None:
    try:
        return judge(decode_evidence(data)).culprit
    except InvalidEvidenceError:
        return None


def test_as_they_are_they_convict() -> None:
    for data, liar in _records():
        assert _convicted(data) == liar


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_altered_bytes(data: st.DataObject) -> None:
    whole, liar = data.draw(st.sampled_from(_records()))
    altered = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(6, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    assert _convicted(bytes(altered)) in {None, liar}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_cut_bytes(data: st.DataObject) -> None:
    whole, _ = data.draw(st.sampled_from(_records()))
    assert _convicted(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_parts_of_one_in_another(data: st.DataObject) -> None:
    """What was signed in one session convicts nobody else in another."""
    (into, liar), (source, other) = (data.draw(st.sampled_from(_records())) for _ in range(2))
    target, giver = decode_evidence(into), decode_evidence(source)
    shared = {entry.name for entry in fields(target)} & {  # type: ignore[arg-type]
        entry.name
        for entry in fields(giver)  # type: ignore[arg-type]
    }
    taken: dict[str, Any] = {
        name: getattr(giver, name) for name in data.draw(st.sets(st.sampled_from(sorted(shared))))
    }
    mixed: Any = replace(target, **taken)  # type: ignore[type-var]
    assert _convicted(encode_evidence(mixed)) in {None, liar, other}
