"""@noble/curves in a process of its own: FROST, ECDSA, points for the original's Schnorr form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.schnorr import NonceCommitment
from tests.e2e.published.driver import Driver

JAVASCRIPT = Path(__file__).parent / "js"

needs_noble = pytest.mark.skipif(
    not (JAVASCRIPT / "node_modules" / "@noble" / "curves").is_dir(),
    reason="@noble/curves is not installed: `npm ci --ignore-scripts` in tests/interop/js",
)


@dataclass(frozen=True)
class Key:
    """A shared key as the library describes it."""

    threshold: int
    commitments: tuple[Point, ...]
    shares: Mapping[Scalar, bytes]
    verification_shares: Mapping[Scalar, Point]

    @property
    def public(self) -> Point:
        """The key itself."""
        return self.commitments[0]

    @property
    def as_json(self) -> dict[str, Any]:
        """The library's package of public values."""
        return {
            "signers": {"min": self.threshold + 1, "max": len(self.shares)},
            "commitments": [point.compressed.hex() for point in self.commitments],
            "verifyingShares": {
                name(x): point.compressed.hex() for x, point in self.verification_shares.items()
            },
        }


def name(x: Scalar) -> str:
    """A place as the library names signers."""
    return x.to_bytes().hex()


@dataclass(frozen=True)
class NobleNonces:
    """Nonces that stay in the process, and what it published of them."""

    number: int
    commitment: NonceCommitment


class Noble:
    """What the library is asked, in this project's types."""

    def __init__(self, call: Driver) -> None:
        self._call = call

    # --- FROST ------------------------------------------------------------------------------------

    def deal(self, threshold: int, places: Sequence[Scalar]) -> Key:
        """A key of a trusted dealer."""
        return _key(threshold, self._call("frost.deal", threshold + 1, _names(places)))

    def generate(self, threshold: int, places: Sequence[Scalar]) -> Key:
        """A key that the library's own participants generate together."""
        return _key(threshold, self._call("frost.generate", threshold + 1, _names(places)))

    def commit(self, x: Scalar, share: bytes, *randomness: bytes) -> NobleNonces:
        """Round one; `randomness`: 32 bytes each for the hiding and the binding nonce."""
        drawn = [data.hex() for data in randomness]
        made = self._call("frost.commit", name(x), share.hex(), *drawn)
        hiding, binding = _point(made["hiding"]), _point(made["binding"])
        return NobleNonces(made["number"], NonceCommitment(x, hiding, binding))

    def sign_part(
        self,
        nonces: NobleNonces,
        key: Key,
        commitments: Sequence[NonceCommitment],
        message: bytes,
    ) -> Scalar:
        """Round two."""
        x = nonces.commitment.x
        arguments = (key.as_json, _published(commitments), message.hex())
        share = key.shares[x].hex()
        return _scalar(self._call("frost.sign", nonces.number, name(x), share, *arguments))

    def accepts_part(
        self,
        key: Key,
        commitments: Sequence[NonceCommitment],
        message: bytes,
        x: Scalar,
        part: Scalar,
    ) -> bool:
        """Whether a signer's part is what it had to answer."""
        arguments = (key.as_json, _published(commitments), message.hex())
        return bool(self._call("frost.verifyShare", *arguments, name(x), part.to_bytes().hex()))

    def aggregate(
        self,
        key: Key,
        commitments: Sequence[NonceCommitment],
        message: bytes,
        parts: Sequence[Scalar],
    ) -> bytes:
        """The signature; raises `ClientRaisedError` if it does not hold."""
        by_name = {
            name(one.x): part.to_bytes().hex() for one, part in zip(commitments, parts, strict=True)
        }
        arguments = (key.as_json, _published(commitments), message.hex(), by_name)
        return bytes.fromhex(self._call("frost.aggregate", *arguments))

    def accepts_frost(self, public: Point, message: bytes, signature: bytes) -> bool:
        """Whether a FROST signature holds; raises `ClientRaisedError` if it does not parse."""
        key = public.compressed.hex()
        return bool(self._call("frost.verify", signature.hex(), message.hex(), key))

    # --- the others -------------------------------------------------------------------------------

    def accepts_ecdsa(self, public: Point, digest: bytes, signature: bytes) -> bool:
        """Whether `r || s` holds and has a low s."""
        key = public.compressed.hex()
        return bool(self._call("ecdsa.verify", signature.hex(), digest.hex(), key))

    def recover(self, digest: bytes, signature: bytes) -> Point:
        """The key under which `r || s || v` holds."""
        return _point(self._call("ecdsa.recover", signature.hex(), digest.hex()))

    def accepts_original(self, public: Point, digest: bytes, signature: bytes) -> bool:
        """Whether `c || s` holds by the definition of the original's form."""
        key = public.compressed.hex()
        return bool(self._call("original.verify", signature.hex(), digest.hex(), key))

    def sign_original(self, secret: bytes, digest: bytes) -> bytes:
        """A signature `c || s` by one who has the whole key."""
        return bytes.fromhex(self._call("original.sign", secret.hex(), digest.hex()))


def _key(threshold: int, made: Any) -> Key:
    return Key(
        threshold,
        tuple(map(_point, made["commitments"])),
        {_scalar(x): bytes.fromhex(share) for x, share in made["shares"].items()},
        {_scalar(x): _point(share) for x, share in made["verifyingShares"].items()},
    )


def _names(places: Sequence[Scalar]) -> list[str]:
    return [name(x) for x in places]


def _published(commitments: Sequence[NonceCommitment]) -> list[dict[str, str]]:
    return [
        {
            "identifier": name(one.x),
            "hiding": one.hiding.compressed.hex(),
            "binding": one.binding.compressed.hex(),
        }
        for one in commitments
    ]


def _point(text: str) -> Point:
    return Point.parse(bytes.fromhex(text))


def _scalar(text: str) -> Scalar:
    return Scalar.from_bytes(bytes.fromhex(text))
