from keyserver.net.admission import HandshakeSlots


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
