"""The handshake of BOLT #8, `Noise_XK_secp256k1_ChaChaPoly_SHA256`, as values.

Engine design, section 5.1. The initiator knows the responder's key; the responder learns the
initiator's in act three. Each state is a value that takes one act:

    begin(..)         act one ->                 AwaitingActTwo (initiator)
    AwaitingActOne    -> act one, act two ->     AwaitingActThree (responder)
    AwaitingActTwo    -> act two, act three ->   Secured
    AwaitingActThree  -> act three               Secured

A state is used once: its ephemeral key must not serve a second conversation. Every failure is a
`HandshakeError`; the caller closes without a word.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keyserver.crypto.curve import Point, SecretScalar, ecdh_sha256
from keyserver.crypto.errors import DecryptionError, InvalidPointError
from keyserver.crypto.hashing import sha256
from keyserver.model.identifiers import NodeId
from keyserver.net.cipher import derive_two, open_sealed, seal
from keyserver.net.errors import Flaw, HandshakeError
from keyserver.net.node_key import NodeKey

PROTOCOL_NAME: Final = b"Noise_XK_secp256k1_ChaChaPoly_SHA256"
PROLOGUE: Final = b"tks/1"
"""Keeps this protocol's handshakes apart from those of others."""

ACT_ONE_SIZE: Final = 50
ACT_TWO_SIZE: Final = 50
ACT_THREE_SIZE: Final = 66

_VERSION: Final = 0
_KEY_END: Final = 34
_SEALED_KEY_END: Final = 50

Admits = Callable[[NodeId], bool]
"""Whether a node may connect."""


@dataclass(frozen=True, slots=True)
class TransportKeys:
    """What both directions start from, 32 bytes each."""

    sending: bytes = field(repr=False)
    receiving: bytes = field(repr=False)
    chaining: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secured:
    """The handshake is over: who the peer is, and the keys shared with it."""

    peer: NodeId
    keys: TransportKeys


@dataclass(frozen=True, slots=True)
class _Transcript:
    """Running hash of all that was said, and the chaining key."""

    digest: bytes
    chaining: bytes = field(repr=False)

    @classmethod
    def begin(cls, prologue: bytes, responder: Point) -> "_Transcript":
        """Both sides' common ground: protocol, prologue and the responder's key."""
        name = sha256(PROTOCOL_NAME)
        return cls(sha256(name + prologue), name).mix(responder.compressed)

    def mix(self, data: bytes) -> "_Transcript":
        """Take public bytes into the hash."""
        return _Transcript(sha256(self.digest + data), self.chaining)

    def agree(self, secret: bytes) -> tuple["_Transcript", bytes]:
        """Take a shared secret into the chaining key; also returns a key to seal with."""
        chaining, key = derive_two(self.chaining, secret)
        return _Transcript(self.digest, chaining), key


@dataclass(frozen=True, slots=True)
class AwaitingActTwo:
    """The initiator has sent act one."""

    _key: NodeKey = field(repr=False)
    _ephemeral: SecretScalar = field(repr=False)
    _responder: Point
    _transcript: _Transcript = field(repr=False)

    def receive(self, act: bytes) -> tuple[bytes, Secured]:
        """Take act two; returns act three and the result. Raises `HandshakeError`."""
        _check_form(2, act, ACT_TWO_SIZE)
        transcript, theirs, key = _read_ephemeral(2, act, self._transcript, self._agree)
        sealed = seal(key, 1, transcript.digest, self._key.public.compressed)
        transcript = transcript.mix(sealed)
        transcript, key = transcript.agree(self._key.ecdh(theirs))
        act_three = bytes([_VERSION]) + sealed + seal(key, 0, transcript.digest, b"")
        sending, receiving = derive_two(transcript.chaining, b"")
        keys = TransportKeys(sending, receiving, transcript.chaining)
        return act_three, Secured(NodeId.of(self._responder), keys)

    def _agree(self, theirs: Point) -> bytes:
        return ecdh_sha256(self._ephemeral, theirs)


def begin(
    key: NodeKey, responder: Point, ephemeral: SecretScalar, prologue: bytes = PROLOGUE
) -> tuple[AwaitingActTwo, bytes]:
    """Begin as initiator towards the node `responder`; returns the state and act one.

    `ephemeral` must be fresh.
    """
    transcript = _Transcript.begin(prologue, responder)
    secret = ecdh_sha256(ephemeral, responder)
    transcript, act, _ = _write_ephemeral(ephemeral, transcript, secret)
    return AwaitingActTwo(key, ephemeral, responder, transcript), act


@dataclass(frozen=True, slots=True)
class AwaitingActOne:
    """The responder, before anything has been said; `ephemeral` must be fresh."""

    key: NodeKey = field(repr=False)
    ephemeral: SecretScalar = field(repr=False)
    prologue: bytes = PROLOGUE

    def receive(self, act: bytes) -> tuple["AwaitingActThree", bytes]:
        """Take act one; returns the next state and act two. Raises `HandshakeError`."""
        _check_form(1, act, ACT_ONE_SIZE)
        transcript = _Transcript.begin(self.prologue, self.key.public)
        transcript, theirs, _ = _read_ephemeral(1, act, transcript, self.key.ecdh)
        secret = ecdh_sha256(self.ephemeral, theirs)
        transcript, act_two, key = _write_ephemeral(self.ephemeral, transcript, secret)
        return AwaitingActThree(self.ephemeral, transcript, key), act_two


@dataclass(frozen=True, slots=True)
class AwaitingActThree:
    """The responder has sent act two."""

    _ephemeral: SecretScalar = field(repr=False)
    _transcript: _Transcript = field(repr=False)
    _sealing_key: bytes = field(repr=False)

    def receive(self, act: bytes, admits: Admits) -> Secured:
        """Take act three; `admits` is asked once the initiator has proven who it is.

        Raises `HandshakeError`.
        """
        _check_form(3, act, ACT_THREE_SIZE)
        sealed, tag = act[1:_SEALED_KEY_END], act[_SEALED_KEY_END:]
        digest = self._transcript.digest
        initiator = _point(3, _opened(3, Flaw.BAD_CIPHERTEXT, self._sealing_key, 1, digest, sealed))
        transcript = self._transcript.mix(sealed)
        transcript, key = transcript.agree(ecdh_sha256(self._ephemeral, initiator))
        _opened(3, Flaw.BAD_TAG, key, 0, transcript.digest, tag)
        peer = NodeId.of(initiator)
        if not admits(peer):
            raise HandshakeError(3, Flaw.NOT_ADMITTED)
        receiving, sending = derive_two(transcript.chaining, b"")
        return Secured(peer, TransportKeys(sending, receiving, transcript.chaining))


def _write_ephemeral(
    ephemeral: SecretScalar, transcript: _Transcript, secret: bytes
) -> tuple[_Transcript, bytes, bytes]:
    """Acts one and two: the sender's ephemeral key and the proof of a shared `secret`.

    Returns the transcript, the act and the key it was sealed with.
    """
    public = ephemeral.public().compressed
    transcript, key = transcript.mix(public).agree(secret)
    tag = seal(key, 0, transcript.digest, b"")
    return transcript.mix(tag), bytes([_VERSION]) + public + tag, key


def _read_ephemeral(
    number: int, act: bytes, transcript: _Transcript, agree: Callable[[Point], bytes]
) -> tuple[_Transcript, Point, bytes]:
    """The receiving side of `_write_ephemeral`; also returns the sender's ephemeral key."""
    public, tag = act[1:_KEY_END], act[_KEY_END:]
    theirs = _point(number, public)
    transcript, key = transcript.mix(public).agree(agree(theirs))
    _opened(number, Flaw.BAD_TAG, key, 0, transcript.digest, tag)
    return transcript.mix(tag), theirs, key


def _check_form(number: int, act: bytes, size: int) -> None:
    if len(act) != size:
        raise HandshakeError(number, Flaw.READ_FAILED)
    if act[0] != _VERSION:
        raise HandshakeError(number, Flaw.BAD_VERSION)


def _point(number: int, data: bytes) -> Point:
    try:
        return Point.parse(data)
    except InvalidPointError as problem:
        raise HandshakeError(number, Flaw.BAD_PUBKEY) from problem


def _opened(
    number: int, flaw: Flaw, key: bytes, nonce: int, associated: bytes, sealed: bytes
) -> bytes:
    try:
        return open_sealed(key, nonce, associated, sealed)
    except DecryptionError as problem:
        raise HandshakeError(number, flaw) from problem
