"""What one node thinks of an order: each rule alone, and which comes first."""

from dataclasses import replace

import pytest

from keyserver.crypto.curve import ORDER
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.node_set import Migration, NodeSet, NodeSetSnapshot, static_set_contract
from keyserver.model.set_change import (
    AdministratorOrder,
    BoundOrder,
    LegacyOrder,
    MigrationOrder,
    SetChange,
    bound_order_digest,
    domain_of,
)
from keyserver.model.set_change_rules import (
    AdministratorView,
    KeysWouldBeLostError,
    MigrationView,
    OrderRefusedError,
    Rule,
    administrator_of,
    judge_migration,
    judge_order,
)
from tests.support.set_changes import (
    ADMIN,
    ALL,
    NODES,
    NOW,
    OTHER_KEY,
    bound_order,
    completed,
    legacy_order,
    set_of,
    sign,
    view,
)

STRANGER = NodeId.of(OTHER_KEY.public())
NO_KEY = Signature(b"\x01" * 64 + b"\x1b")
"""A recovery id that the original does not accept."""


def refused(order: AdministratorOrder, seen: AdministratorView) -> tuple[Rule, str]:
    with pytest.raises(OrderRefusedError) as refusal:
        judge_order(order, seen)
    return refusal.value.rule, refusal.value.code


def test_valid_orders() -> None:
    legacy = judge_order(legacy_order(), view())
    assert legacy == SetChange.ordered(ALL, set_of(NODES[:3]))
    bound = judge_order(bound_order(), view(strict_admin=True))
    digest = bound_order_digest(bound_order(), domain_of(ALL))
    assert bound == SetChange.ordered(ALL, set_of(NODES[:3]), digest)
    assert not legacy.is_repeat
    assert not bound.is_repeat
    same = judge_order(legacy_order(new=NODES), view())
    assert (same.old, same.new) == (ALL, ALL)


def test_a_high_s_counts_too() -> None:
    def high(signature: Signature) -> Signature:
        s = ORDER - int.from_bytes(signature[32:64], "big")
        return Signature(signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1]))

    order = legacy_order()
    other = LegacyOrder(order.new_nodes, high(order.old_signature), high(order.new_signature))
    assert judge_order(other, view()) == judge_order(order, view())


@pytest.mark.parametrize("order", [legacy_order(), bound_order()])
def test_without_an_administrator(order: AdministratorOrder) -> None:
    seen = view(administrator=None, strict_admin=True)
    assert refused(order, seen) == (Rule.NO_ADMINISTRATOR, "AccessDenied")
    with pytest.raises(OrderRefusedError):
        administrator_of(order, seen)
    assert administrator_of(order, view()) == ADMIN


def test_the_old_form_can_be_switched_off() -> None:
    broken = LegacyOrder((STRANGER,), NO_KEY, NO_KEY)
    assert refused(broken, view(strict_admin=True)) == (Rule.LEGACY_FORM, "OperationDisabled")


def test_a_node_that_is_not_configured() -> None:
    wanted = (Rule.UNKNOWN_NODE, "NodeDisconnected")
    nodes = tuple(sorted({*NODES[:2], STRANGER}))
    assert refused(LegacyOrder(nodes, NO_KEY, NO_KEY), view()) == wanted
    assert refused(replace(bound_order(), new_nodes=nodes, signature=NO_KEY), view()) == wanted


def test_signatures_that_belong_to_nobody() -> None:
    wanted = (Rule.UNREADABLE_SIGNATURE, "EthKey")
    order, foreign = legacy_order(), legacy_order(key=OTHER_KEY)
    assert refused(replace(order, old_signature=NO_KEY), view()) == wanted
    # Even where the other one is by a stranger: what does not recover comes first.
    assert refused(replace(foreign, new_signature=NO_KEY), view()) == wanted
    assert refused(replace(bound_order(), signature=NO_KEY), view()) == wanted


def test_signatures_by_another_key_or_over_something_else() -> None:
    wanted = (Rule.WRONG_SIGNER, "ConsensusUnreachable")
    order, foreign = legacy_order(), legacy_order(key=OTHER_KEY)
    swapped = LegacyOrder(order.new_nodes, order.new_signature, order.old_signature)
    forgotten = legacy_order(old=set_of(NODES[:4]))
    tries: list[AdministratorOrder] = [
        foreign,
        replace(order, new_signature=foreign.new_signature),
        replace(order, old_signature=foreign.old_signature),
        swapped,
        forgotten,
        replace(order, new_nodes=NODES[:2]),
        bound_order(key=OTHER_KEY),
        replace(bound_order(), new_nodes=NODES[:2]),
        replace(bound_order(), epoch=2),
        replace(bound_order(), not_after=NOW + 301),
        replace(bound_order(), old_set_id=Hash32(b"\x01" * 32)),
    ]
    for each in tries:
        assert refused(each, view()) == wanted


def test_an_order_counts_in_its_network_only() -> None:
    elsewhere = NodeSet(0, static_set_contract("another"), NODES)
    on_chain = NodeSet(5, ALL.contract, NODES)
    for configured in (elsewhere, on_chain):
        order = bound_order()
        assert refused(order, view(configured=configured))[0] is Rule.WRONG_SIGNER
        # The original's form has no such protection.
        assert judge_order(legacy_order(), view(configured=configured)).old == configured


def test_a_bound_order_for_other_nodes() -> None:
    fewer = set_of(NODES[:4])
    order = bound_order(old=fewer)
    wanted = (Rule.OTHER_SET, "ConsensusUnreachable")
    assert refused(order, view()) == wanted
    assert judge_order(order, view(configured=fewer)).old == fewer


def test_a_bound_order_expires() -> None:
    order = bound_order(not_after=NOW)
    assert judge_order(order, view(now=NOW)).new == set_of(NODES[:3])
    assert refused(order, view(now=NOW + 1)) == (Rule.EXPIRED, "SignatureExpired")


@pytest.mark.parametrize("epoch", [0, 2, 2**64 - 1])
def test_a_bound_order_of_another_epoch(epoch: int) -> None:
    wanted = (Rule.WRONG_EPOCH, "ConsensusUnreachable")
    assert refused(bound_order(epoch=epoch), view()) == wanted


def test_a_bound_order_can_be_given_again_until_the_next_change() -> None:
    order = bound_order()
    first = judge_order(order, view())
    done = completed(first)
    again = judge_order(order, view(done))
    assert again == replace(first, is_repeat=True)
    second = bound_order(new=NODES[1:], epoch=2)
    later = completed(judge_order(second, view(done)), epoch=2)
    assert refused(order, view(done, later))[0] is Rule.WRONG_EPOCH
    back = bound_order(epoch=3)
    assert not judge_order(back, view(done, later)).is_repeat


def test_a_legacy_pair_can_be_given_again_until_the_next_change() -> None:
    order = legacy_order()
    done = completed(judge_order(order, view()))
    again = judge_order(order, view(done))
    assert again.is_repeat
    assert again.id == done.id
    later = completed(judge_order(legacy_order(new=NODES[1:]), view(done)), epoch=2)
    assert refused(order, view(done, later)) == (Rule.REPEATED, "ConsensusUnreachable")
    allowed = judge_order(order, view(done, later, allow_repeated_change=True))
    assert not allowed.is_repeat, "it counts as a new one"
    third = replace(done, epoch=3)
    assert judge_order(order, view(done, later, third)).is_repeat
    assert refused(legacy_order(new=NODES[1:]), view(done, later, third))[0] is Rule.REPEATED


def test_a_bound_change_also_uses_up_the_pair() -> None:
    done = completed(judge_order(bound_order(), view()))
    later = completed(SetChange.ordered(ALL, ALL), epoch=2)
    assert judge_order(legacy_order(), view(done)).is_repeat
    assert refused(legacy_order(), view(done, later))[0] is Rule.REPEATED


def test_the_next_epoch() -> None:
    assert view().next_epoch == 1
    done = completed(SetChange.ordered(ALL, ALL), epoch=41)
    assert view(done).next_epoch == 42


def test_lost_keys_are_counted() -> None:
    error = KeysWouldBeLostError(12)
    assert (error.keys, error.code) == (12, "Internal")
    assert "12 keys" in str(error)


def test_signatures_of_two_pairs_can_be_joined_where_the_old_form_counts() -> None:
    """What the original's form does not protect from, and why there is another one."""
    ordered = [legacy_order(new=NODES[:4]), legacy_order(new=NODES[1:])]
    first = completed(judge_order(ordered[0], view()))
    fewer = set_of(NODES[:3])
    other = legacy_order(old=set_of(NODES[:4]), new=fewer.nodes)
    joined = LegacyOrder(fewer.nodes, ordered[1].old_signature, other.new_signature)
    assert judge_order(joined, view(first)).new == fewer
    assert refused(joined, view(first, strict_admin=True))[0] is Rule.LEGACY_FORM


# --- migrations -------------------------------------------------------------------------------

ID = Hash32(b"\x4d" * 32)
NEW = NODES[1:4]
MIGRATION = Migration(ID, frozenset(NEW), NEW[0], False)
SNAPSHOT = NodeSetSnapshot(ALL, set_of(NEW), MIGRATION, (), 0, 100)
ORDER_ = MigrationOrder(ID, NEW, NEW[0])
SEEN = MigrationView(SNAPSHOT, frozenset(NEW))


def test_a_migration_of_the_contract() -> None:
    assert judge_migration(ORDER_, SEEN) == SetChange.ordered(ALL, set_of(NEW), ID)


def with_migration(**changes: object) -> MigrationView:
    migration = replace(MIGRATION, **changes)  # type: ignore[arg-type]
    return MigrationView(replace(SNAPSHOT, migration=migration), frozenset(NEW))


@pytest.mark.parametrize(
    ("order", "seen", "rule"),
    [
        (ORDER_, replace(SEEN, snapshot=replace(SNAPSHOT, stale=True)), Rule.STALE_VIEW),
        (ORDER_, replace(SEEN, snapshot=replace(SNAPSHOT, migration=None)), Rule.NO_MIGRATION),
        (replace(ORDER_, id=ZERO_HASH), SEEN, Rule.OTHER_MIGRATION),
        (replace(ORDER_, new_nodes=NODES[1:5]), SEEN, Rule.OTHER_TARGET),
        (replace(ORDER_, master=NEW[1]), SEEN, Rule.OTHER_MASTER),
        (ORDER_, replace(SEEN, settled=None), Rule.UNSETTLED),
        (ORDER_, replace(SEEN, settled=frozenset(NODES)), Rule.UNSETTLED),
        (
            replace(ORDER_, master=NODES[4]),
            with_migration(master=NODES[4]),
            Rule.MASTER_OUTSIDE,
        ),
    ],
)
def test_migrations_that_are_refused(
    order: MigrationOrder, seen: MigrationView, rule: Rule
) -> None:
    with pytest.raises(OrderRefusedError) as refusal:
        judge_migration(order, seen)
    assert (refusal.value.rule, refusal.value.code) == (rule, "ConsensusUnreachable")


def test_a_bound_order_is_not_taken_for_a_pair() -> None:
    bound = bound_order()
    pair = LegacyOrder(bound.new_nodes, bound.signature, bound.signature)
    assert refused(pair, view())[0] is Rule.WRONG_SIGNER
    over_hash = BoundOrder(ALL.id, NODES[:3], 1, NOW, sign(ALL.id))
    assert refused(over_hash, view())[0] is Rule.WRONG_SIGNER
