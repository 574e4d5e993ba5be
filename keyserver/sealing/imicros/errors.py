"""What stops an import before it begins; what is odd in the data is listed instead."""

from keyserver.errors import KeyServerError


class ImicrosError(KeyServerError):
    """An import that cannot be made."""


class ImicrosShareError(ImicrosError):
    """A text that is no share, or shares that make no key; the message says which and why."""


class VerifyHashError(ImicrosError):
    """A text that is no verify hash as imicros-keys 0.0.7 makes them."""


class DumpError(ImicrosError):
    """A file that is no dump of an imicros-keys database."""
