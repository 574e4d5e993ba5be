"""The published distributed key generation: only its sharing algebra is ours too."""

from typing import Any

from keyserver.crypto.curve import Scalar, mul_base, sum_secrets
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret
from keyserver.crypto.vss import check_share, evaluate_commitments, sum_commitments
from tests.vectors.files import load, point, secret

_INPUTS: dict[str, Any] = load("frost_dkg")["vectors"]["inputs"]
_NODES = {int(name): value for name, value in _INPUTS.items() if name.isdigit()}
_POLYNOMIALS = {
    place: SecretPolynomial([secret(node["signing_key"]), secret(node["coefficient"])])
    for place, node in _NODES.items()
}


def test_commitments() -> None:
    for place, node in _NODES.items():
        expected = tuple(point(c) for c in node["vss_commitments"])
        assert _POLYNOMIALS[place].commit() == expected


def test_shares_received() -> None:
    for place, node in _NODES.items():
        for sender, share in node["signing_shares"].items():
            received = _POLYNOMIALS[int(sender)].evaluate(Scalar(place))
            assert received == secret(share)
            check_share(_POLYNOMIALS[int(sender)].commit(), Scalar(place), received)


def test_joint_key() -> None:
    sums = [
        total
        for total in sum_commitments([p.commit() for p in _POLYNOMIALS.values()])
        if total is not None
    ]
    assert sums[0] == point(_INPUTS["verifying_key"])
    shares = {}
    for place, node in _NODES.items():
        share = sum_secrets(p.evaluate(Scalar(place)) for p in _POLYNOMIALS.values())
        assert share == secret(node["signing_share"])
        assert evaluate_commitments(sums, Scalar(place)) == point(node["verifying_share"])
        shares[Scalar(place)] = share
    joint = interpolate_secret(list(shares), list(shares.values()))
    assert mul_base(joint) == point(_INPUTS["verifying_key"])
