"""Credentials that are made for one session.

A client's signature is shown to no other node: each session gets a proof of it, bound to the
session and the request (engine design, section 6.1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from keyserver.model.identifiers import Address, NodeId, Nonce32
from keyserver.model.requests import AnyOperation, Credential


@dataclass(frozen=True, slots=True)
class Opening:
    """What a credential's proof is bound to."""

    coordinator: NodeId
    boot_nonce: Nonce32
    counter: int
    operation: AnyOperation


CredentialSource = Callable[[Opening], Credential]
"""Makes the credential of one session."""


def source_of(credential: Credential | CredentialSource) -> CredentialSource:
    """The source as it is; for a credential that is the same in every session, one that gives it.

    On-chain credentials are of the second kind.
    """
    return credential if callable(credential) else lambda _: credential


@runtime_checkable
class SignedSource(Protocol):
    """A source that knows whose signature it proves."""

    @property
    def address(self) -> Address:
        """The account."""
        ...


def signer_of(credential: object) -> Address | None:
    """Who has signed what a source proves; `None` for other sources, and for credentials."""
    return credential.address if isinstance(credential, SignedSource) else None
