"""However evidence is altered or put together from pieces, it convicts nobody but its culprit."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.sessions.evidence import (
    EVIDENCE_CLASSES,
    InvalidEvidenceError,
    decode_evidence,
    encode_evidence,
    judge,
)
from tests.support.evidence import Sample, samples

ALL = list(samples().values())
GUILTY = {(sample.culprit, sample.rule) for sample in ALL}
"""Every node lies in some record, and is honest in what the other rules are about."""
RECORDS = [encode_evidence(sample.evidence) for sample in ALL]

indexes = st.integers(0, len(ALL) - 1)


def convicted(data: bytes) -> Any:
    """Who is convicted of what by these bytes; `None`: nobody of anything."""
    try:
        conviction = judge(decode_evidence(data))
        return conviction.culprit, conviction.rule
    except InvalidEvidenceError:
        return None


def guilty(index: int) -> Any:
    """Whom a record convicts of what as it is."""
    return ALL[index].culprit, ALL[index].rule


@settings(max_examples=400, deadline=None)
@given(indexes, st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=3))
def test_altered_bytes(index: int, changes: list[tuple[float, int]]) -> None:
    data = bytearray(RECORDS[index])
    for place, change in changes:
        data[int(place * (len(data) - 1))] ^= change
    assert convicted(bytes(data)) in (None, guilty(index))


@settings(max_examples=200, deadline=None)
@given(indexes, indexes, st.floats(0, 1), st.floats(0, 1))
def test_spliced_bytes(one: int, other: int, first: float, second: float) -> None:
    head, tail = RECORDS[one], RECORDS[other]
    data = head[: int(first * len(head))] + tail[int(second * len(tail)) :]
    assert convicted(data) in (None, guilty(one), guilty(other))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(EVIDENCE_CLASSES)), st.binary(max_size=400))
def test_junk(kind: int, body: bytes) -> None:
    assert convicted(b"TKSE\x01" + bytes([kind]) + body) is None


def _pieces(value: Any) -> Iterator[Any]:
    """A value and everything in it."""
    yield value
    if isinstance(value, tuple):
        for item in value:
            yield from _pieces(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _pieces(getattr(value, entry.name))


def _kind(value: Any) -> Any:
    """What can stand in the same place."""
    if isinstance(value, tuple):
        return tuple, type(value[0]) if value else None
    return type(value)


PIECES: dict[Any, list[Any]] = {}
for _sample in ALL:
    for _piece in _pieces(_sample.evidence):
        known = PIECES.setdefault(_kind(_piece), [])
        if _piece not in known:
            known.append(_piece)


def _spliced(value: Any, choose: Any) -> Any:
    """The same, with one of its parts replaced by one of the same type from any record."""
    if isinstance(value, tuple) and value and choose(3):
        at = choose(len(value))
        return (*value[:at], _spliced(value[at], choose), *value[at + 1 :])
    if is_dataclass(value) and not isinstance(value, type) and choose(4):
        entry = fields(value)[choose(len(fields(value)))]
        part = _spliced(getattr(value, entry.name), choose)
        try:
            return replace(value, **{entry.name: part})
        except ValueError:
            return value
    pool = PIECES.get(_kind(value), [value])
    return pool[choose(len(pool))]


@settings(max_examples=600, deadline=None)
@given(indexes, st.data())
def test_parts_of_other_records(index: int, data: st.DataObject) -> None:
    """Any part may come from any record: of another session, kind, node, subject."""
    sample: Sample = ALL[index]
    evidence = _spliced(sample.evidence, lambda most: data.draw(st.integers(0, most - 1)))
    assert convicted(encode_evidence(evidence)) in GUILTY | {None}
