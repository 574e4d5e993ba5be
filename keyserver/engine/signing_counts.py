"""What has become of the signatures that this node was asked for, for metrics and operators."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from keyserver.model.requests import SigningScheme
from keyserver.sessions.core import DeniedError, SessionError, UnavailableError


class SigningOutcome(StrEnum):
    """How a request for a signature ended."""

    MADE = "made"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    BROKEN_OFF = "broken_off"
    """Whoever asked is gone, or this node has trouble of its own."""


@dataclass(slots=True)
class SigningCounts:
    """Since the node was started."""

    signatures: Counter[tuple[SigningScheme, SigningOutcome]] = field(default_factory=Counter)
    presigned: int = 0
    """Presignatures that were made, in advance or when one was needed."""
    presigning_failed: int = 0
    last_failure: str | None = None
    """Why none could be made in advance; `None` once one could."""

    @contextmanager
    def counted(self, scheme: SigningScheme) -> Iterator[None]:
        """Count what comes of one request."""
        outcome = SigningOutcome.BROKEN_OFF
        try:
            yield
            outcome = SigningOutcome.MADE
        except DeniedError:
            outcome = SigningOutcome.DENIED
            raise
        except UnavailableError:
            outcome = SigningOutcome.UNAVAILABLE
            raise
        finally:
            self.signatures[scheme, outcome] += 1

    @contextmanager
    def counted_presigning(self) -> Iterator[None]:
        """Count what comes of one presigning."""
        try:
            yield
        except SessionError:
            self.presigning_failed += 1
            raise
        self.presigned += 1
        self.last_failure = None
