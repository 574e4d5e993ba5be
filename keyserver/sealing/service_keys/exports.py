"""Documents with all keys of an owner: made before a deletion, read to restore them.

    {"format":1,"kind":"owner-export","owner","exported_at",
     "keys":[{"service","id","seq","key","created_at","expires_at","origin"}]}

The document leaves the node encrypted to age recipients only (sealing, C15.4).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyrage

from keyserver.crypto.boxes import canonical_json
from keyserver.sealing.errors import BadNameError
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.service_keys.model import Pair, ServiceKey, Version
from keyserver.sealing.service_keys.names import check_key_id, check_name

FORMAT: Final = 1
KIND: Final = "owner-export"
MOST_RECIPIENTS: Final = 64

_FIELDS: Final = frozenset({"format", "kind", "owner", "exported_at", "keys"})
_KEY_FIELDS: Final = frozenset(
    {"service", "id", "seq", "key", "created_at", "expires_at", "origin"}
)
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9_.:-]{0,39}")
_SAFE_INTEGER: Final = 1 << 53


def versions_hash(versions: Iterable[Version]) -> bytes:
    """Names a set of versions of one owner: 32 bytes, the same whatever their order."""
    names = sorted([version.pair.service, version.key_id, version.seq] for version in versions)
    return hashlib.sha256(canonical_json(names)).digest()


def document_of(owner: str, keys: Sequence[ServiceKey], exported_at: int) -> bytes:
    """The document in the clear: secret."""
    return canonical_json(
        {
            "format": FORMAT,
            "kind": KIND,
            "owner": owner,
            "exported_at": exported_at,
            "keys": [_entry(key) for key in keys],
        }
    )


def encrypt_to(recipients: Sequence[str], document: bytes) -> bytes:
    """The document as an age file; raises `BadNameError` for a recipient that is none."""
    if not 1 <= len(recipients) <= MOST_RECIPIENTS:
        raise BadNameError(f"recipients: 1 to {MOST_RECIPIENTS} are needed")
    parsed = []
    for number, text in enumerate(recipients):
        try:
            parsed.append(pyrage.x25519.Recipient.from_str(text))
        except pyrage.RecipientError:
            raise BadNameError(f"recipients.{number}: must be an age recipient, age1…") from None
    encrypted: bytes = pyrage.encrypt(document, parsed)
    return encrypted


# Any: what a client sent as JSON.
def read_document(owner: str, document: Mapping[str, Any]) -> tuple[ServiceKey, ...]:
    """The keys of a decrypted document, by service and number.

    Raises `BadNameError`, naming the field, for what is no export of this owner, or is not complete
    in itself; no message shows a key.
    """
    if document.keys() != _FIELDS:
        raise BadNameError(f"document: must have the fields {', '.join(sorted(_FIELDS))}")
    if document["format"] != FORMAT or document["kind"] != KIND:
        raise BadNameError(f"document: must be of kind {KIND}, format {FORMAT}")
    if document["owner"] != owner:
        raise BadNameError("document.owner: is another owner than the one to restore")
    entries = document["keys"]
    if not isinstance(entries, list) or not entries:
        raise BadNameError("document.keys: must be a list of keys")
    keys = [_read_entry(owner, number, entry) for number, entry in enumerate(entries)]
    _check_unique(keys)
    return tuple(sorted(keys, key=lambda key: (key.version.pair.service, key.version.seq)))


def _entry(key: ServiceKey) -> dict[str, str | int]:
    version = key.version
    return {
        "service": version.pair.service,
        "id": version.key_id,
        "seq": version.seq,
        "key": key.key.expose().hex(),
        "created_at": version.created_at,
        "expires_at": version.expires_at,
        "origin": version.origin,
    }


def _read_entry(owner: str, number: int, entry: object) -> ServiceKey:
    place = f"document.keys.{number}"
    if not isinstance(entry, dict) or entry.keys() != _KEY_FIELDS:
        raise BadNameError(f"{place}: must have the fields {', '.join(sorted(_KEY_FIELDS))}")
    for name in ("service", "id", "key", "origin"):
        if not isinstance(entry[name], str):
            raise BadNameError(f"{place}.{name}: must be text")
    for name, lowest in (("seq", 1), ("created_at", 0), ("expires_at", 0)):
        value = entry[name]
        if type(value) is not int or not lowest <= value < _SAFE_INTEGER:
            raise BadNameError(f"{place}.{name}: must be a whole number from {lowest} on")
    if not _KEY.fullmatch(entry["key"]):
        raise BadNameError(f"{place}.key: must be 64 hexadecimal digits in lower case")
    if not _ORIGIN.fullmatch(entry["origin"]):
        raise BadNameError(f"{place}.origin: must be a word")
    version = Version(
        pair=Pair(owner, check_name(f"{place}.service", entry["service"])),
        key_id=check_key_id(entry["id"]),
        seq=entry["seq"],
        created_at=entry["created_at"],
        expires_at=entry["expires_at"],
        origin=entry["origin"],
    )
    return ServiceKey(version, SecretKey(bytes.fromhex(entry["key"])), is_current=False)


def _check_unique(keys: Sequence[ServiceKey]) -> None:
    versions = [key.version for key in keys]
    ids = {(version.pair.service, version.key_id) for version in versions}
    numbers = {(version.pair.service, version.seq) for version in versions}
    if not len(versions) == len(ids) == len(numbers):
        raise BadNameError("document.keys: an id or a number stands there twice for one service")
