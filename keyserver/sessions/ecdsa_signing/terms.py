"""What is signed in a session, and what its participants sign about it."""

from dataclasses import dataclass

from keyserver.crypto.curve import Scalar, verify_digest
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.model.identifiers import Hash32, NodeId, SessionId, Signature
from keyserver.model.keys import KeyRecord
from keyserver.model.requests import SigningScheme, SignMessage
from keyserver.sessions.authentication import Authentic
from keyserver.sessions.core import Refusal, Refused
from keyserver.sessions.ecdsa_signing.messages import ShareProof
from keyserver.sessions.identity import digest, node_bytes


@dataclass(frozen=True, slots=True)
class Signing:
    """What is signed in a session, and with which version of which key."""

    sid: SessionId
    record: KeyRecord
    message: Hash32


def signing_of(sid: SessionId, authentic: Authentic, record: KeyRecord) -> Signing:
    """What an authentic request asks to be signed; raises `Refused` if it is something else."""
    operation = authentic.operation
    if not isinstance(operation, SignMessage) or operation.scheme is not SigningScheme.ECDSA:
        raise Refused(Refusal.BAD, "the request is not one for an ECDSA signature")
    return Signing(sid, record, operation.message)


def share_digest(
    signing: Signing, presig_id: bytes, node: NodeId, value: Scalar, proof: ShareProof
) -> Hash32:
    """What a signer signs with its part: all that the proof of the part depends on."""
    return digest(
        "tks/1/ecdsashare",
        signing.sid,
        node_bytes(node),
        presig_id,
        signing.record.hash,
        signing.message,
        value.to_bytes(),
        proof,
    )


def check_whole(signing: Signing, signature: Signature) -> None:
    """Check a finished signature, with low s and a `v` that contracts take; raises `Refused`."""
    try:
        verify_digest(signing.message, signature, signing.record.public)
    except InvalidSignatureError as problem:
        raise Refused(Refusal.BAD, str(problem)) from problem
    if signature[64] > 1:
        raise Refused(Refusal.BAD, "signature: v must be 0 or 1")
