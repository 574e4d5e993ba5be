"""The root of the error hierarchy (docs/architecture.md, Errors).

A *final* error is told to the client and published on a contract; a *retriable* one is not: the
request stays pending and comes back.
"""

from typing import ClassVar


class KeyServerError(Exception):
    """Anything that goes wrong inside this project on purpose."""

    code: str = "Internal"
    """Name of the error in the HTTP interface's table of errors."""

    retriable: ClassVar[bool] = False
    """Whether the same request may succeed later."""


class ConfigError(KeyServerError):
    """A configuration that cannot be used; stops the start and names the field."""


class StorageError(KeyServerError):
    """A row that does not open or parse, or a database that cannot be used."""

    retriable = True


class ChainError(KeyServerError):
    """The Ethereum node is unreachable, on another chain, or answered nonsense."""

    retriable = True
