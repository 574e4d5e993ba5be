"""What is signed and proven about a partial decryption, whoever looks at it."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import plain_statement, shadow_statement
from keyserver.crypto.errors import InvalidPointError
from keyserver.crypto.proofs import Statement, verify
from keyserver.model.codec import U8, encode
from keyserver.model.identifiers import Hash32, NodeId, SessionId
from keyserver.model.keys import KeyRecord
from keyserver.sessions.identity import digest, node_bytes
from keyserver.sessions.retrieval.messages import NO_MASK, Mode, Partial, SelectedPartial


@dataclass(frozen=True, slots=True)
class Decryption:
    """What is decrypted in a session; every signature under a part covers all of it."""

    sid: SessionId
    record: KeyRecord
    mode: U8
    common: Point

    def part_digest(self, node: NodeId, part: Partial | SelectedPartial) -> Hash32:
        """What the maker of a part signs."""
        return digest(
            "tks/1/partial",
            self.sid,
            self.record.hash,
            bytes([self.mode]),
            node_bytes(node),
            self.common.compressed,
            part.point.compressed,
            part.mask,
            part.proof,
        )

    def part_statement(self, node: NodeId, mask: Point | None, point: Point) -> Statement:
        """What the proof of a part states; raises `InvalidPointError` at infinity."""
        context = digest("tks/1/ctx/partial", self.sid, self.record.hash, node_bytes(node))
        share = self.record.verification_share(node)
        if share is None:
            raise InvalidPointError("verification share: infinity")
        if mask is None:
            return plain_statement(context, share, self.common, point)
        return shadow_statement(context, share, mask, self.common, point)

    def check_proof(self, node: NodeId, part: Partial | SelectedPartial) -> None:
        """Check the proof of a part of a committee member; raises `CryptoError`."""
        plain = self.mode == Mode.PLAIN
        mask = None if plain else Point.parse(part.mask)
        if plain and part.mask != NO_MASK:
            raise InvalidPointError("mask: none belongs in the plain mode")
        verify(self.part_statement(node, mask, part.point), part.proof)


def select_hash(sid: SessionId, partials: Sequence[SelectedPartial]) -> Hash32:
    """The name of a selection; the coordinator signs it."""
    listed = len(partials).to_bytes(4, "big") + b"".join(encode(entry) for entry in partials)
    return digest("tks/1/select", sid, listed)
