"""What can go wrong for a client, each with advice on what to do."""

from typing import ClassVar

from keyserver.errors import KeyServerError
from keyserver.model.identifiers import NodeId


class ClientError(KeyServerError):
    """A request or a document that did not work out; the second line of the text is advice."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(f"{message}\n{advice}" if advice else message)
        self.advice = advice


class RefusedByContractError(ClientError):
    """The contract reverted the transaction, or the Ethereum node did not take it."""


class RefusedByKeyServersError(ClientError):
    """The key servers settled the request with an error."""


class NoAnswerError(ClientError):
    """No answer came in time; the request is still pending on the contract."""

    retriable: ClassVar[bool] = True


class BadAnswerError(ClientError):
    """An answer that cannot be used: no point, or a shadow that does not open."""

    retriable: ClassVar[bool] = True


class NotAuthorError(ClientError):
    """The server key was generated for another account."""


class DocumentError(ClientError):
    """A file that is no encrypted document, was altered, or is in the way."""


class NodeError(ClientError):
    """What went wrong at one node that was asked over HTTP."""

    def __init__(self, node: str, message: str, *, advice: str = "") -> None:
        super().__init__(f"{node}: {message}", advice=advice)
        self.node = node
        """The node's URL."""


class NodeUnreachableError(NodeError):
    """The node could not be connected to, or its answer did not arrive."""

    retriable: ClassVar[bool] = True

    def __init__(self, node: str, message: str, *, may_have_worked: bool, advice: str = "") -> None:
        super().__init__(node, message, advice=advice)
        self.may_have_worked = may_have_worked
        """Whether the request may have reached the node, and may have been carried out."""


class NodeNotTrustedError(NodeError):
    """The node is not the one it should be: its certificate, or the network it says it is in."""


class NodeNotReadyError(NodeError):
    """The node, or the network, cannot do this now; the same request may succeed later."""

    retriable: ClassVar[bool] = True

    def __init__(
        self,
        node: str,
        text: str,
        *,
        status: int,
        error_code: str,
        retry_after_s: float | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(node, f"{text} ({status} {error_code})", advice=advice)
        self.status = status
        self.error_code = error_code
        """As in the errors of `/v1`, such as `SEALED`, whichever interface was asked."""
        self.retry_after_s = retry_after_s


class NodeFailedError(NodeError):
    """The node reports trouble of its own; another one may do better."""

    def __init__(
        self, node: str, text: str, *, status: int, error_code: str, advice: str = ""
    ) -> None:
        super().__init__(node, f"{text} ({status} {error_code})", advice=advice)
        self.status = status
        self.error_code = error_code


class RefusedOverHttpError(NodeError, RefusedByKeyServersError):
    """The key servers refuse this request for good."""

    def __init__(
        self, node: str, text: str, *, status: int, error_code: str, advice: str = ""
    ) -> None:
        super().__init__(node, f"{text} ({status} {error_code})", advice=advice)
        self.status = status
        self.error_code = error_code
        """As in the errors of `/v1`, such as `ACCESS_DENIED`, whichever interface was asked."""


class LyingNodesError(BadAnswerError):
    """Shadows that are not what their makers committed to."""

    def __init__(self, nodes: frozenset[NodeId]) -> None:
        names = ", ".join(sorted(f"0x{node.hex()}" for node in nodes))
        super().__init__(
            f"wrong shadows, made by {names}",
            advice="Tell their operators; ask through other nodes too: the node that was asked "
            "could have swapped the shadows.",
        )
        self.nodes = nodes


class KeyNotConfirmedError(ClientError):
    """Another node does not confirm a server key: it may have been swapped on the way."""
