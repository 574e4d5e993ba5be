"""Attacks on presignatures whose answers a coordinator gathers for different requests.

A coordinator may tell every node something else. Each honest node answers once for a presignature,
`sigma_j = P_j + d_j + delta_j*e_j`, where `P_j` is all that depends on secrets of the key, `d` and
`e` are masks of degree 2t that are zero at 0, and `delta_j` is a hash of what the node was asked.
With t corrupted nodes the attacker knows t values of each mask. Which combinations of answers are
free of masks is linear algebra; only those tell anything at all (engine design, section 12.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import ORDER, Scalar, recover
from keyserver.crypto.ecdsa import EcdsaShare, bind, combine, encode_signature
from keyserver.crypto.errors import InvalidPartsError, InvalidSignatureError
from keyserver.crypto.polynomial import interpolate
from keyserver.crypto.presignatures import PublicPresignature
from tests.property.crypto.strategies import nonzero, places
from tests.property.linear_spans import Row, Span, combined
from tests.support.presigners import Presigned, Presigners


def mask_row(x: int, *, degree: int, first: int) -> Row:
    """The value at `x` of a mask whose coefficients are the unknowns from `first` on."""
    return {first + k - 1: pow(x, k, ORDER) for k in range(1, degree + 1)}


def free_combinations(
    threshold: int, corrupted: Sequence[int], honest: Sequence[tuple[int, int]]
) -> int:
    """How many independent combinations of the honest answers contain no mask.

    `honest` are the places of honest nodes with the `delta` that each has used.
    """
    degree = 2 * threshold
    known = Span()
    for x in corrupted:
        known.add(mask_row(x, degree=degree, first=0))
        known.add(mask_row(x, degree=degree, first=degree))
    free = 0
    for x, delta in honest:
        masked = combined(
            [
                (1, mask_row(x, degree=degree, first=0)),
                (delta, mask_row(x, degree=degree, first=degree)),
            ]
        )
        free += masked in known
        known.add(masked)
    return free


@dataclass(frozen=True)
class Setting:
    """A group with its corrupted members, and how the honest ones are divided."""

    threshold: int
    corrupted: list[int]
    honest: list[int]


@st.composite
def settings_of(draw: st.DrawFn, *, size: int) -> Setting:
    """A group of `size * t + 1`."""
    threshold = draw(st.integers(1, 4))
    xs = [int(x) for x in draw(places(size * threshold + 1))]
    return Setting(threshold, xs[:threshold], xs[threshold:])


_MANY = settings(max_examples=60, deadline=None)


@_MANY
@given(settings_of(size=2), nonzero)
def test_answers_to_one_request_give_the_signature_and_no_more(
    setting: Setting, delta: Scalar
) -> None:
    honest = [(x, int(delta)) for x in setting.honest]
    assert free_combinations(setting.threshold, setting.corrupted, honest) == 1
    for missing in range(len(honest)):
        fewer = honest[:missing] + honest[missing + 1 :]
        assert free_combinations(setting.threshold, setting.corrupted, fewer) == 0


@_MANY
@given(settings_of(size=2), nonzero, nonzero, st.data())
def test_answers_to_different_requests_give_nothing(
    setting: Setting, one: Scalar, other: Scalar, data: st.DataObject
) -> None:
    """However the honest nodes are divided among requests, two of which differ."""
    if one == other:
        other += Scalar(1)
    index = data.draw(st.integers(0, setting.threshold - 1))
    more = data.draw(
        st.lists(
            st.sampled_from([int(one), int(other)]),
            min_size=setting.threshold - 1,
            max_size=setting.threshold - 1,
        )
    )
    deltas = [int(one), *more]
    deltas.insert(index, int(other))
    honest = list(zip(setting.honest, deltas, strict=True))
    assert free_combinations(setting.threshold, setting.corrupted, honest) == 0


@_MANY
@given(settings_of(size=3), st.data())
def test_larger_groups_would_give_more(setting: Setting, data: st.DataObject) -> None:
    """Why other sizes are refused: in a group of 3t + 1 every honest node may have been asked
    something else, so that no request is answered twice, and still answers combine."""
    count = len(setting.honest)
    deltas = data.draw(st.lists(nonzero, min_size=count, max_size=count, unique=True))
    honest = list(zip(setting.honest, map(int, deltas), strict=True))
    assert free_combinations(setting.threshold, setting.corrupted, honest) > 0


# --- the same with real answers --------------------------------------------------------------


NODES = Presigners(1, "attacks")
KEY = NODES.key.commit()
PRESIGNED = Presigned(NODES)
PUBLIC = PublicPresignature(PRESIGNED.presigning, PRESIGNED.product())
PLACES = [int(x) for x in PRESIGNED.presigning.places]


def answers_to(messages: Sequence[bytes]) -> list[EcdsaShare]:
    """One answer of every node under one presignature, each to its own message."""
    return [
        PRESIGNED.part(made, message)
        for made, message in zip(PRESIGNED.presignatures(), messages, strict=True)
    ]


def signs_any(shares: Sequence[EcdsaShare], messages: Sequence[bytes]) -> bool:
    """Whether interpolation gives a signature of the key on one of these messages."""
    s = interpolate(PRESIGNED.presigning.places, [share.value for share in shares])
    for message in messages:
        for bound in (bind(PUBLIC, other) for other in messages):
            try:
                if recover(message, encode_signature(bound.nonce, s)) == KEY[0]:
                    return True
            except InvalidSignatureError:
                continue
    return False


def number(value: int) -> bytes:
    return (value % 2**256).to_bytes(32, "big")


def test_one_message_for_all_signs() -> None:
    messages = [number(12345)] * 3
    assert signs_any(answers_to(messages), messages)


@pytest.mark.parametrize(
    "messages",
    [
        [number(1000 + 7 * x) for x in PLACES],
        [number(5), number(5), number(5 + ORDER)],
        [number(5 + ORDER), number(5), number(5)],
        [number(0), number(ORDER), number(ORDER)],
        [number(1), number(2), number(1)],
    ],
    ids=("on a line", "m and m + q", "m + q and m", "zero and q", "two requests"),
)
def test_different_messages_under_one_presignature_sign_nothing(messages: list[bytes]) -> None:
    """Digests on a line combine to the one at 0; `m` and `m + q` are the same digest. Neither is
    of use, because each message has its own nonce and its own scale of the second mask."""
    shares = answers_to(messages)
    assert not signs_any(shares, [*messages, number(1000)])
    for message in messages:
        with pytest.raises(InvalidPartsError) as refused:
            combine(bind(PUBLIC, message), shares, KEY)
        others = [x for x, asked in zip(PLACES, messages, strict=True) if asked != message]
        assert [int(x) for x in refused.value.places] == others
