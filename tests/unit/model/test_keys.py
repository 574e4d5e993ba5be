"""Records refuse what no honest node writes."""

from dataclasses import replace

import pytest

from keyserver.crypto.curve import Scalar, SecretScalar, mul_base
from keyserver.model.identifiers import ZERO_HASH, Hash32
from keyserver.model.keys import CommitteeMember, Decision, HoldingCertificate, KeyShare
from tests.support.keys import nodes_of, record_of


def test_a_record_knows_its_members() -> None:
    record = record_of(nodes_of(4), threshold=1)
    assert record.required_nodes == 2
    assert list(record.coordinates) == list(record.nodes)
    first = record.nodes[0]
    share = record.verification_share(first)
    assert share == record.verification_share(first)
    assert share is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"record_format": 2}, "format"),
        ({"threshold": 2}, "commitments"),
        ({"public": mul_base(Scalar(77))}, "commitments"),
        ({"committee": ()}, "threshold"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(change: dict[str, object], why: str) -> None:
    record = record_of(nodes_of(4), threshold=1)
    with pytest.raises(ValueError, match=why):
        replace(record, **change)  # type: ignore[arg-type]


def test_a_committee_has_an_order_and_coordinates() -> None:
    record = record_of(nodes_of(4), threshold=1)
    first, *rest = record.committee
    with pytest.raises(ValueError, match="canonical"):
        replace(record, committee=(*rest, first))
    with pytest.raises(ValueError, match="canonical"):
        replace(record, committee=(first, first, *rest))
    with pytest.raises(ValueError, match="coordinates"):
        replace(record, committee=(CommitteeMember(first.node, Scalar(0)), *rest))
    with pytest.raises(ValueError, match="coordinates"):
        replace(record, committee=(CommitteeMember(first.node, rest[0].x), *rest))


def test_a_share_does_not_print() -> None:
    share = KeyShare(Scalar(1), SecretScalar.from_int(12345))
    assert "12345" not in repr(share)
    assert "redacted" in repr(share) or "value" not in repr(share)


def test_a_decision_may_be_nothing() -> None:
    assert Decision(1, ZERO_HASH, ()).is_nothing
    assert not Decision(1, Hash32(b"\1" * 32), ()).is_nothing


def test_ready_signatures_are_votes_of_round_0() -> None:
    record = record_of(nodes_of(4), threshold=1)
    holding = HoldingCertificate(Hash32(b"\2" * 32), ())
    prepared = holding.prepares(record)
    assert (prepared.round, prepared.value) == (0, record.hash)
    assert prepared.transcript == holding.transcript
