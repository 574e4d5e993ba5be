"""What can go wrong for a client, each with advice on what to do."""

from typing import ClassVar

from keyserver.errors import KeyServerError


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
