"""What the two HTTP interfaces have in common: one request, one answer, for each operation."""

from enum import StrEnum
from typing import Protocol

from keyserver.client.errors import ClientError
from keyserver.client.node_http import HttpAnswer, HttpRequest
from keyserver.client.results import ServerKey, ShadowAnswer
from keyserver.model.identifiers import NodeId
from keyserver.model.requests import ClientOperation


class DoorKind(StrEnum):
    """The HTTP interfaces of a key server."""

    V1 = "v1"
    """`/v1`: credentials are bound to one request."""
    ORIGINAL = "original"
    """The paths of OpenEthereum, for networks that have nothing else."""


class Door(Protocol):
    """One interface, as one account uses it at one node; plain computation.

    The reading methods take answers of status 200 and raise `BadAnswerError`.
    """

    def request(
        self, operation: ClientOperation, exclude: frozenset[NodeId] = frozenset()
    ) -> HttpRequest:
        """A request with a new credential.

        `exclude`: nodes whose help is not wanted for a shadow. Raises `ClientError` for what the
        interface does not have.
        """
        ...

    def server_key(self, answer: HttpAnswer) -> ServerKey:
        """What came of a generation or retrieval of a server key."""
        ...

    def stored(self, answer: HttpAnswer) -> bool:
        """What came of storing."""
        ...

    def sealed_document_key(self, answer: HttpAnswer) -> bytes:
        """The ECIES message that came of a plain retrieval or of generating both keys."""
        ...

    def sealed_signature(self, answer: HttpAnswer) -> bytes:
        """The ECIES message that came of signing."""
        ...

    def shadow(self, answer: HttpAnswer) -> ShadowAnswer:
        """What came of a shadow retrieval."""
        ...

    def refusal(self, answer: HttpAnswer) -> ClientError:
        """The error that an answer of another status than 200 is."""
        ...
