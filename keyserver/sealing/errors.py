"""What can go wrong when a store is opened; each stops the start and says what to do."""

from keyserver.errors import ConfigError, StorageError


class SealError(StorageError):
    """A store whose secrets cannot be opened."""

    retriable = False


class ForeignSealError(SealError):
    """The seal record belongs to another node."""


class NoMatchingSlotError(SealError):
    """The seal record has no slot that this kind of key opens."""


class WrongKeyError(SealError):
    """The key or passphrase at hand does not open its slot."""


class SealRecordDamagedError(SealError):
    """The seal record or the keyring was altered, or is incomplete."""

    code = "SEAL_RECORD_DAMAGED"


class KeySourceError(ConfigError):
    """A key file, variable or passphrase that cannot be used; the message names it."""
