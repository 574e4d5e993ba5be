"""What an owner's delegation must be."""

from dataclasses import replace

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import NodeId
from keyserver.sealing.delegations import LONGEST_S, Delegation, owner_of
from keyserver.sealing.errors import OwnerNotProvenError
from keyserver.sealing.signed_requests import sign_personal

OWNER = SecretScalar.from_int(5)
NODE = NodeId.of(SecretScalar.from_int(6).public())
GOOD = Delegation(NODE, "svc:mail", "mail", 1000, 2000, bytes(16))


def owner(delegation: Delegation, now: int = 1500) -> str:
    return owner_of(delegation, sign_personal(OWNER, delegation.text()), now=now)


def test_the_owner_is_who_signed() -> None:
    assert owner(GOOD) == owner(GOOD, 1000) == owner(GOOD, 2000)
    signature = sign_personal(OWNER, GOOD.text())
    for other in (
        replace(GOOD, service="post"),
        replace(GOOD, delegate="svc:post"),
        replace(GOOD, not_after=2001),
        replace(GOOD, node_id=NodeId.of(OWNER.public())),
    ):
        assert owner_of(other, signature, now=1500) != owner(GOOD)


@pytest.mark.parametrize(
    ("delegation", "now"),
    [
        (GOOD, 999),
        (GOOD, 2001),
        (replace(GOOD, not_after=1000 + LONGEST_S + 1), 1500),
        (replace(GOOD, delegate="svc:mail\nmail"), 1500),
        (replace(GOOD, service="a\nb"), 1500),
        (replace(GOOD, nonce=bytes(15)), 1500),
    ],
)
def test_what_is_out_of_its_rules_counts_for_nothing(delegation: Delegation, now: int) -> None:
    with pytest.raises(OwnerNotProvenError, match="delegation"):
        owner(delegation, now)


def test_a_signature_of_nobody() -> None:
    with pytest.raises(OwnerNotProvenError, match="signature"):
        owner_of(GOOD, bytes(65), now=1500)
