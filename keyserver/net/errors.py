"""What can go wrong with a connection. Each of them ends the connection and nothing else."""

from enum import Enum

from keyserver.errors import KeyServerError


class TransportError(KeyServerError):
    """A connection that cannot be made or kept."""

    retriable = True
    code = "NodeDisconnected"


class Flaw(Enum):
    """What is wrong with an act of the handshake."""

    READ_FAILED = "has the wrong length"
    BAD_VERSION = "is of an unknown version"
    BAD_PUBKEY = "holds no public key"
    BAD_CIPHERTEXT = "holds a static key that does not open"
    BAD_TAG = "does not authenticate"
    NOT_ADMITTED = "comes from a node that is not admitted"


class HandshakeError(TransportError):
    """An act that fails; the connection is closed without a word."""

    def __init__(self, act: int, flaw: Flaw) -> None:
        super().__init__(f"act {act} of the handshake {flaw.value}")
        self.act = act
        self.flaw = flaw


class FramingError(TransportError):
    """Bytes after the handshake that no correct node sends."""


class LinkError(TransportError):
    """A message that breaks the rules of the link, or a peer that does not belong here."""
