"""Any 2t + 1 holders presign and sign; whoever cheats is named, and nobody else."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import ORDER, Scalar, verify_digest
from keyserver.crypto.ecdsa import bind, combine
from keyserver.crypto.errors import InvalidPartsError
from keyserver.crypto.presignatures import PublicPresignature, combine_products, finish
from tests.property.crypto.strategies import nonzero, places, seeds
from tests.support.presigners import Presigned, Presigners

_FEW = settings(max_examples=12, deadline=None)

_groups = st.integers(1, 3).flatmap(lambda t: st.tuples(st.just(t), places(2 * t + 1), seeds))
_messages = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.sampled_from([0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1]).map(
        lambda number: number.to_bytes(32, "big")
    ),
)


@_FEW
@given(_groups, _messages, st.data())
def test_any_group_signs_and_its_liars_are_named(
    group: tuple[int, list[Scalar], int], message: bytes, data: st.DataObject
) -> None:
    threshold, xs, seed = group
    nodes = Presigners(threshold, seed, xs)
    presigned = Presigned(nodes)
    liar = data.draw(st.sampled_from(list(nodes.indices)))
    change = data.draw(nonzero)

    parts = presigned.product_shares()
    product = combine_products(presigned.presigning, parts)
    parts[liar] = replace(parts[liar], value=parts[liar].value + change)
    with pytest.raises(InvalidPartsError) as refused:
        combine_products(presigned.presigning, parts)
    assert refused.value.places == (xs[liar],)

    made = [
        finish(presigned.presigning, signer, dealt, product)
        for signer, dealt in zip(nodes.signers, presigned.dealt, strict=True)
    ]
    shares = [presigned.part(presignature, message) for presignature in made]
    bound = bind(PublicPresignature(presigned.presigning, product), message)
    signature = combine(bound, shares, nodes.key.commit())
    verify_digest(message, signature, nodes.key.commit()[0])
    assert signature[64] in (0, 1)
    shares[liar] = replace(shares[liar], value=shares[liar].value + change)
    with pytest.raises(InvalidPartsError) as refused:
        combine(bound, shares, nodes.key.commit())
    assert refused.value.places == (xs[liar],)
