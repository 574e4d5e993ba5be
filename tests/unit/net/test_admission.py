from keyserver.net.admission import HandshakeSlots, Penalties
from tests.support.keys import nodes_of


def test_an_address_has_its_own_limit() -> None:
    slots = HandshakeSlots()
    assert [slots.enter("a") for _ in range(5)] == [True] * 4 + [False]
    assert slots.enter("b")
    slots.leave("a")
    assert slots.enter("a")
    assert not slots.enter("a")


def test_all_addresses_share_a_limit() -> None:
    slots = HandshakeSlots()
    assert all(slots.enter(str(number)) for number in range(64))
    assert not slots.enter("one more")
    slots.leave("3")
    assert slots.enter("one more")


def test_nothing_is_kept_of_those_who_left() -> None:
    slots = HandshakeSlots(in_all=1, per_address=1)
    for number in range(100):
        assert slots.enter(str(number))
        assert not slots.enter(str(number))
        slots.leave(str(number))
    assert not slots._by_address


PEER, OTHER = nodes_of(2)


def test_whoever_is_sent_away_stays_away_for_longer_every_time() -> None:
    penalties, now = Penalties(1.0, 60.0), 100.0
    assert penalties.left_s(PEER, now) == 0
    for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
        assert penalties.punish(PEER, now) == seconds
        assert penalties.left_s(PEER, now + seconds - 0.5) == 0.5
        assert penalties.left_s(OTHER, now) == 0
        now += seconds
        assert penalties.left_s(PEER, now) == 0
    assert penalties.punish(PEER, now + 599) == 60
    assert penalties.punish(PEER, now + 599 + 60 + 600) == 1, "all is forgiven"
