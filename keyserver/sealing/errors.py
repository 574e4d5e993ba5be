"""What can go wrong with seals, operators' shares and service keys.

Each has the code that HTTP answers show (sealing, C18); who answers chooses the status by class.
"""

from keyserver.errors import ConfigError, KeyServerError, StorageError


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


class StaleTermError(StorageError):
    """A box was made in a term that another process has replaced meanwhile; nothing was stored."""


class KeySourceError(ConfigError):
    """A key file, variable or passphrase that cannot be used; the message names it."""


# --- what operators ask for -------------------------------------------------------------------


class OperatorError(KeyServerError):
    """A request about the seal that is refused; nothing has changed."""


class ShareMalformedError(OperatorError):
    """No share: the message names the word, the number of words or the checksum."""

    code = "SHARE_MALFORMED"

    def __init__(self, message: str, *, word: int | None = None, words: int | None = None) -> None:
        """`word`: place of the first unknown word, from 1; `words`: how many there are."""
        super().__init__(message)
        self.word = word
        self.words = words


class ShareWrongSetError(OperatorError):
    """A share of another store, or of shares that were replaced."""

    code = "SHARE_WRONG_SET"

    def __init__(self, message: str, epoch: int | None = None) -> None:
        """`epoch`: of which earlier set of this store it is, where that is known."""
        super().__init__(message)
        self.epoch = epoch


class ShareUnknownError(OperatorError):
    """A share that looks like one of this set, but is none of it."""

    code = "SHARE_UNKNOWN"


class BadSharingError(OperatorError):
    """A threshold, a number of shares or a recipient that cannot be; the message names it."""

    code = "BAD_REQUEST"


class NotInitialisedError(OperatorError):
    """The store has no seal yet."""

    code = "NOT_INITIALISED"


class AlreadyInitialisedError(OperatorError):
    """The store has shares already."""

    code = "ALREADY_INITIALISED"


class SealedError(OperatorError):
    """The node is sealed: nothing that needs a secret can be done."""

    code = "SEALED"
    retriable = True


class StandbyError(OperatorError):
    """Another replica acts for the node."""

    code = "STANDBY"
    retriable = True


class RekeyInProgressError(OperatorError):
    """Another rekey is open."""

    code = "REKEY_IN_PROGRESS"


class RekeyNotFoundError(OperatorError):
    """No rekey of this id is open, or it is not at this step."""

    code = "REKEY_NOT_FOUND"


class TermInUseError(OperatorError):
    """Boxes of the term are there, or it is the active one."""

    code = "TERM_IN_USE"


class NoSuchTermError(OperatorError):
    """The keyring has no term of this number."""

    code = "BAD_REQUEST"


class SlotUnavailableError(OperatorError):
    """A slot's own key cannot be read, so the slot cannot be wrapped anew."""

    code = "SLOT_UNAVAILABLE"


class SealConflictError(OperatorError):
    """Another process has changed the seal meanwhile."""

    code = "CONFLICT"
    retriable = True


class AuditUnavailableError(KeyServerError):
    """The audit log cannot be written, so nothing is done that it must tell of."""

    code = "AUDIT_UNAVAILABLE"
    retriable = True


# --- who asks ---------------------------------------------------------------------------------


class CallerError(KeyServerError):
    """Who asks is not known, or may not."""


class UnauthenticatedError(CallerError):
    """No credential, or one that proves nothing."""

    code = "UNAUTHENTICATED"


class SignatureExpiredError(CallerError):
    """A signed request of another time."""

    code = "SIGNATURE_EXPIRED"


class NonceUsedError(CallerError):
    """A signed request that was seen before."""

    code = "NONCE_USED"


class ForbiddenError(CallerError):
    """The caller has not the scope, or not for this service."""

    code = "FORBIDDEN"


class OwnerNotProvenError(CallerError):
    """The caller names an owner for whom it may not act."""

    code = "OWNER_NOT_PROVEN"


# --- service keys -----------------------------------------------------------------------------


class ServiceKeyError(KeyServerError):
    """A request about service keys that is refused; nothing has changed."""


class BadNameError(ServiceKeyError):
    """An owner, a service or a key id outside its rule; the message names field and rule."""

    code = "BAD_REQUEST"


class KeyNotFoundError(ServiceKeyError):
    """This owner has no such key."""

    code = "KEY_NOT_FOUND"


class OwnerDeletedError(ServiceKeyError):
    """The owner's keys were deleted, and not restored."""

    code = "OWNER_DELETED"


class ExportStaleError(ServiceKeyError):
    """No export that covers all versions was made within the last day."""

    code = "EXPORT_STALE"


class RestoreConflictError(ServiceKeyError):
    """A key to restore is there with other content."""

    code = "CONFLICT"
