import json
from typing import Any

import pytest

from keyserver.crypto.errors import (
    BoxError,
    BoxTagError,
    TruncatedBoxError,
    UnknownBoxFormatError,
    UnknownTermError,
)
from keyserver.sealing.errors import SealRecordDamagedError
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.secret_key import SecretKey
from tests.support.stored_values import boxes, keyring

PLACE = ("key_shares", "share_box", ("aa", "1"))
PLAIN = json.loads(keyring().to_plain())


def changed(**changes: Any) -> bytes:
    return json.dumps({**PLAIN, **changes}).encode()


def term(**changes: Any) -> list[dict[str, Any]]:
    return [{**PLAIN["terms"][0], **changes}]


@pytest.mark.parametrize(
    "plain",
    [
        b"\xff",
        b"[]",
        b"{}",
        changed(format=2),
        changed(active_term=2),
        changed(terms=5),
        changed(terms=[1]),
        changed(terms=term(term=0)),
        changed(terms=term(term="1")),
        changed(terms=term(term=2**32)),
        changed(terms=term(key="00")),
        changed(terms=term(key=None)),
        changed(terms=term(key="zz" * 32)),
        changed(terms=term(created_at=None)),
    ],
)
def test_a_keyring_in_no_known_format_is_refused_unseen(plain: bytes) -> None:
    with pytest.raises(SealRecordDamagedError, match="not in the format") as caught:
        Keyring.from_plain(bytes(16), plain)
    assert caught.value.__suppress_context__
    assert "zz" not in str(caught.value)


def test_a_keyring_is_read_as_written() -> None:
    assert Keyring.from_plain(bytes(range(16)), keyring().to_plain()) == keyring()


def test_terms_come_at_the_end_and_go_unless_active() -> None:
    ring = keyring().rotated(SecretKey(bytes(32)), 5)
    assert ring.active_term == max(ring.terms)
    assert ring.terms[ring.active_term].created_at == 5
    with pytest.raises(ValueError, match="active"):
        ring.without(ring.active_term)
    assert ring.without(1).terms.keys() == ring.terms.keys() - {1}


def test_a_box_opens_in_its_place() -> None:
    sealed = boxes().seal(*PLACE, b"secret")
    assert sealed.term == 1
    assert boxes().open(*PLACE, sealed.box) == b"secret"
    assert boxes().seal(*PLACE, b"secret").box != sealed.box


@pytest.mark.parametrize(
    ("place", "spoil", "error"),
    [
        (("other", *PLACE[1:]), lambda box: box, BoxTagError),
        ((PLACE[0], "other", PLACE[2]), lambda box: box, BoxTagError),
        ((*PLACE[:2], ("aa", "2")), lambda box: box, BoxTagError),
        ((*PLACE[:2], ("aa",)), lambda box: box, BoxTagError),
        (PLACE, lambda box: box[:-1] + bytes([box[-1] ^ 1]), BoxTagError),
        (PLACE, lambda box: box[:5] + b"\x02" + box[6:], UnknownTermError),
        (PLACE, lambda box: b"\x02" + box[1:], UnknownBoxFormatError),
        (PLACE, lambda box: b"\x01\x02" + box[2:], UnknownBoxFormatError),
        (PLACE, lambda box: box[:45], TruncatedBoxError),
    ],
)
def test_each_kind_of_damage_is_its_own_error(
    place: Any, spoil: Any, error: type[BoxError]
) -> None:
    box = boxes().seal(*PLACE, b"secret").box
    with pytest.raises(BoxError) as caught:
        boxes().open(place[0], place[1], place[2], spoil(box))
    assert type(caught.value) is error
