"""Boxes that do not open are counted."""

import pytest

from keyserver.crypto.errors import BoxError
from keyserver.crypto.randomness import SeededRandom
from keyserver.sealing.errors import SealedError
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SecretKey
from tests.support.sealing import SealScene

PLACE = ("key_shares", "share_box", ("key", "1"))
FIRST = Keyring.first(bytes(16), SecretKey(b"\x01" * 32), 0)
SECOND = FIRST.rotated(SecretKey(b"\x02" * 32), 0)


def test_what_does_not_open_is_counted() -> None:
    boxes = SecretBoxes(FIRST, SeededRandom(0))
    good = boxes.seal(*PLACE, b"secret").box
    assert boxes.open(*PLACE, good) == b"secret"
    assert boxes.unopened == 0
    bad = [good[:-1], good[:-1] + bytes([good[-1] ^ 1]), b"\x02" + good[1:], b""]
    for number, box in enumerate(bad, start=1):
        with pytest.raises(BoxError):
            boxes.open(*PLACE, box)
        assert boxes.unopened == number


def test_a_box_of_a_term_that_another_process_made_is_not_counted() -> None:
    """The keyring is read anew and the box opened again: only then it may be a damaged one."""
    first, second = SecretBoxes(FIRST, SeededRandom(0)), SecretBoxes(SECOND, SeededRandom(1))
    newer = second.seal(*PLACE, b"secret").box
    with pytest.raises(BoxError, match="term 2"):
        first.open(*PLACE, newer)
    assert first.unopened == 0
    first.use(SECOND)
    assert first.open(*PLACE, newer) == b"secret"


def test_a_box_of_a_term_that_is_gone_is_counted() -> None:
    boxes = SecretBoxes(FIRST, SeededRandom(0))
    old = boxes.seal(*PLACE, b"secret").box
    boxes.use(SECOND.without(1))
    with pytest.raises(BoxError, match="term 1"):
        boxes.open(*PLACE, old)
    assert boxes.unopened == 1


def test_a_shut_store_has_no_bad_boxes() -> None:
    boxes = SecretBoxes(FIRST, SeededRandom(0))
    boxes.shut()
    with pytest.raises(SealedError):
        boxes.open(*PLACE, b"")
    assert boxes.unopened == 0


async def test_the_vault_tells_of_them_while_it_is_open() -> None:
    scene = await SealScene.make()
    assert (await scene.process()).unopened == 0
    vault = await scene.opened()
    with pytest.raises(BoxError):
        vault.boxes.open(*PLACE, b"no box")
    assert vault.unopened == 1
