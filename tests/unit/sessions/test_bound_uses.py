"""The memory of bound credentials: what is granted again, what is forgotten, what it costs."""

from keyserver.api.rate_limit import BURST_S
from keyserver.app.config.model import KeyServer
from keyserver.model.bound_requests import MAX_BOUND_LIFETIME_S
from keyserver.model.identifiers import Hash32, Nonce32
from keyserver.model.requests import BoundCredential, Proof
from keyserver.sessions.bound_uses import MAX_PER_COORDINATOR, BoundUses, Claim
from tests.support.fake_cluster import point_of
from tests.support.keys import nodes_of

HERE, THERE = nodes_of(2)
DIGEST, OTHER_DIGEST = Hash32(b"\xd1" * 32), Hash32(b"\xd2" * 32)
NOW = 1_000


def credential(number: int = 1, requester: int = 1, not_after: int = NOW + 60) -> BoundCredential:
    nonce = Nonce32(number.to_bytes(32, "big"))
    return BoundCredential(not_after, nonce, point_of(requester), point_of(2), Proof(bytes(64)))


def test_the_same_request_through_the_same_node_is_granted_again() -> None:
    uses = BoundUses(limit=1)
    for _ in range(3):
        assert uses.claim(credential(), DIGEST, HERE, NOW) is Claim.GRANTED
    assert len(uses) == 1


def test_another_request_or_another_node_is_not() -> None:
    uses = BoundUses()
    assert uses.claim(credential(), DIGEST, HERE, NOW) is Claim.GRANTED
    assert uses.claim(credential(), OTHER_DIGEST, HERE, NOW) is Claim.USED
    assert uses.claim(credential(), DIGEST, THERE, NOW) is Claim.USED
    assert uses.claim(credential(), DIGEST, HERE, NOW) is Claim.GRANTED


def test_nonces_belong_to_their_requester() -> None:
    uses = BoundUses()
    assert uses.claim(credential(requester=1), DIGEST, HERE, NOW) is Claim.GRANTED
    assert uses.claim(credential(requester=3), OTHER_DIGEST, THERE, NOW) is Claim.GRANTED


def test_a_use_is_remembered_as_long_as_the_credential_counts() -> None:
    uses = BoundUses()
    uses.claim(credential(1, not_after=NOW + 60), DIGEST, HERE, NOW)
    uses.claim(credential(2, not_after=NOW + 30), DIGEST, HERE, NOW)
    assert uses.claim(credential(1), DIGEST, THERE, NOW + 60) is Claim.USED
    assert len(uses) == 1, "the second one has expired"
    assert uses.claim(credential(3, not_after=NOW + 99), DIGEST, HERE, NOW + 61) is Claim.GRANTED
    assert len(uses) == 1


def test_each_coordinator_fills_its_own_share_of_the_memory() -> None:
    uses = BoundUses(limit=2)
    for number in (1, 2):
        uses.claim(credential(number), DIGEST, HERE, NOW)
    assert uses.claim(credential(3), DIGEST, HERE, NOW) is Claim.FULL
    assert uses.claim(credential(1), DIGEST, HERE, NOW) is Claim.GRANTED
    assert uses.claim(credential(3), DIGEST, THERE, NOW) is Claim.GRANTED
    later = NOW + 61
    assert uses.claim(credential(3, not_after=later), DIGEST, HERE, later) is Claim.GRANTED


def test_one_client_address_cannot_use_up_a_coordinators_share() -> None:
    a_second = KeyServer.model_fields["rate_limit"].default
    most = a_second * BURST_S + a_second * MAX_BOUND_LIFETIME_S
    assert 0 < most < MAX_PER_COORDINATOR
