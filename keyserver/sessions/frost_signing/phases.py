"""Phases of a signing session.

Coordinator:  AwaitingNonces → AwaitingSignatureShares
Participant:  AwaitingVerdict → AwaitingPackage → AwaitingSigned (on chain only)
"""

from dataclasses import dataclass

from keyserver.crypto.curve import Point
from keyserver.crypto.schnorr import Nonces, SigningPackage
from keyserver.model.identifiers import Hash32
from keyserver.sessions.frost_signing.messages import (
    ChosenSigner,
    NonceCommitments,
    SignatureShare,
)
from keyserver.sessions.frost_signing.terms import Signing
from keyserver.sessions.gathering import Gathering
from keyserver.sessions.rounds import Round


@dataclass(frozen=True, slots=True)
class AwaitingNonces:
    """Holders were asked for commitments."""

    signing: Signing
    recipient: Point | None
    """The requester's key, to which the signature is sealed; `None` if a contract asked."""
    gathering: Gathering[NonceCommitments]


@dataclass(frozen=True, slots=True)
class AwaitingSignatureShares:
    """t + 1 holders have their package."""

    signing: Signing
    recipient: Point | None
    signers: tuple[ChosenSigner, ...]
    package: SigningPackage
    package_hash: Hash32
    round: Round[SignatureShare]


CoordinatorPhase = AwaitingNonces | AwaitingSignatureShares


@dataclass(frozen=True, slots=True)
class AwaitingVerdict:
    """The chain is asked whether request and requester are what they say."""

    signing: Signing


@dataclass(frozen=True, slots=True)
class AwaitingPackage:
    """The commitments are out; the nonces are for one package."""

    signing: Signing
    nonces: Nonces
    """In memory only, and gone with the first answer."""


@dataclass(frozen=True, slots=True)
class AwaitingSigned:
    """The share is out, the nonces are gone."""

    signing: Signing
    package: SigningPackage


ParticipantPhase = AwaitingVerdict | AwaitingPackage | AwaitingSigned

Phase = CoordinatorPhase | ParticipantPhase
