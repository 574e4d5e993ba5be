"""Records of the original have 256-bit places; commitments follow from the verification shares."""

from typing import Any

from keyserver.crypto.curve import Scalar
from keyserver.crypto.polynomial import interpolate_points, interpolate_secret
from keyserver.crypto.vss import evaluate_commitments
from tests.vectors.files import load, point, scalar, secret

_RECORDS: list[dict[str, Any]] = load("legacy_record")["records"]


def test_verification_shares_lie_on_the_commitments() -> None:
    imported = [record for record in _RECORDS if "import" in record]
    assert imported
    for record in imported:
        commitments = [point(text) for text in record["import"]["commitments"]]
        given = record["import"]["verification_shares"]
        xs = [scalar(share["id_number"]) for share in given]
        points = [point(share["point"]) for share in given]
        for x, expected in zip(xs, points, strict=True):
            assert evaluate_commitments(commitments, x) == expected
        needed = len(commitments)
        assert interpolate_points(xs[:needed], points[:needed]) == commitments[0]
        for x, expected in zip(xs, points, strict=True):
            assert interpolate_points(xs[:needed], points[:needed], x) == expected


def test_shares_give_the_joint_secret() -> None:
    by_secret: dict[str, dict[Scalar, str]] = {}
    for record in _RECORDS:
        version = record["parsed"]["versions"][0]
        place = scalar(version["id_numbers"]["0x" + record["node"]])
        by_secret.setdefault(record["joint_secret"], {})[place] = version["secret_share"]
    joint, shares = next((j, s) for j, s in by_secret.items() if len(s) > 1)
    recovered = interpolate_secret(list(shares), [secret(text) for text in shares.values()])
    assert recovered == secret(joint)
