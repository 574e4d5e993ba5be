"""What may stand in the audit log: its actions, and the names, types and lengths of details.

Nothing else gets in, whoever writes it: no share, key, token, signature or body has a name here,
and no text is longer than what its name stands for (sealing, C14).
"""

import re
from collections.abc import Mapping
from typing import Final

from keyserver.sealing.ports import Actor, ActorKind

CHECKPOINT: Final = "audit.checkpoint"
"""The head of the log, signed by the node's key; made by the log itself."""

TORN: Final = "audit.torn"
"""The last line was incomplete and was cut off."""

SEALED: Final = "seal.sealed"
"""The node was sealed: the one action that an unwritable log does not stop."""

ACTIONS: Final = frozenset(
    {
        "seal.init",
        "seal.unseal.share",
        "seal.unsealed",
        SEALED,
        "seal.share.expired",
        "seal.share.withdrawn",
        "seal.shares.cleared",
        "seal.rotate",
        "seal.rewrap",
        "seal.retire",
        "seal.handover",
        "keys.create",
        "keys.get",
        "keys.rotate",
        "keys.encrypt",
        "keys.decrypt",
        "keys.owner.export",
        "keys.owner.delete",
        "keys.owner.restore",
        "auth.denied",
        CHECKPOINT,
        TORN,
    }
)
"""Actions by their full name."""

FAMILIES: Final = ("seal.rekey", "seal.slot", "token", "grant", "delegation", "backup")
"""Beginnings of names: a dot and a word follow."""

_WORD: Final = re.compile(r"[a-z][a-z_]{0,31}")

NAME_BYTES: Final = 300
"""The longest name of an owner, a service or a principal with its prefix, in UTF-8."""

SAFE_INTEGER: Final = 1 << 53

_NAMES: Final = frozenset(
    {"owner", "service", "services", "principal", "owner_pattern", "service_pattern"}
)
"""Names that somebody chose: any text of 1 to `NAME_BYTES` bytes."""

_TOKEN_ID: Final = re.compile(r"[a-z2-7]{16}")
_ACTORS: Final[Mapping[ActorKind, re.Pattern[str]]] = {
    ActorKind.ETH: re.compile(r"0x[0-9a-f]{40}"),
    ActorKind.TOKEN: _TOKEN_ID,
}
"""What actors are called; those of other kinds have no name."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_WORD_TEXT: Final = re.compile(r"[a-z][a-z0-9_.:-]{0,39}")

_TEXTS: Final[Mapping[str, re.Pattern[str]]] = {
    "code": re.compile(r"[A-Z][A-Z0-9_]{0,47}"),
    "reason": _WORD_TEXT,
    "kind": _WORD_TEXT,
    "origin": _WORD_TEXT,
    "scope": _WORD_TEXT,
    "scopes": re.compile(r"[a-z]{1,9}:[a-z]{1,9}(, ?[a-z]{1,9}:[a-z]{1,9}){0,7}"),
    "method": re.compile(r"[A-Z]{1,7}"),
    # The pattern of a route, such as /v1/seal/rekey/{id}: never a path as it was asked for.
    "route": re.compile(r"/[a-z0-9/_{}.-]{0,79}"),
    # An IP address, an Ethereum address or the word unix.
    "address": re.compile(r"[0-9A-Za-z.:%]{1,48}"),
    "key_id": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "seal_id": re.compile(r"[0-9a-f]{32}"),
    "rekey": re.compile(r"[0-9a-f-]{8,36}"),
    "export": re.compile(r"[0-9a-f-]{8,36}"),
    "export_sha256": _HASH,
    "token": _TOKEN_ID,
    "grant": re.compile(r"[0-9a-z-]{1,36}"),
}
"""Texts by the form that each has."""

_INTEGERS: Final = frozenset(
    {
        "bytes",
        "count",
        "done",
        "epoch",
        "expires_at",
        "from_term",
        "group",
        "identifier",
        "keys",
        "left",
        "member",
        "owners",
        "progress",
        "required",
        "rows",
        "seconds",
        "shares",
        "slot_id",
        "term",
        "threshold",
        "version",
    }
)
"""Counts and numbers: 0 to 2^53 - 1."""

_SWITCHES: Final = frozenset({"created", "kept_slot", "dropped_slot", "verified", "replaced"})
"""Yes or no."""

DETAIL_NAMES: Final = _NAMES | _TEXTS.keys() | _INTEGERS | _SWITCHES
"""All names of details that other parts of the program may write."""

Detail = str | int | bool | None
"""A value; `None` may stand under every name."""


def check_action(action: str) -> None:
    """Raise `ValueError` unless this is an action of the log."""
    if action in ACTIONS:
        return
    family, _, word = action.rpartition(".")
    if family not in FAMILIES or not _WORD.fullmatch(word):
        raise ValueError("audit log: no action of this name")


def check_actor(actor: Actor) -> None:
    """Raise `ValueError` unless the actor's name is what its kind stands for."""
    form = _ACTORS.get(actor.kind)
    if actor.name is not None and (form is None or not form.fullmatch(actor.name)):
        raise ValueError(f"audit log: an actor of kind {actor.kind.value} has no such name")


def check_details(details: Mapping[str, Detail]) -> None:
    """Raise `ValueError` naming the first detail that may not be in the log, never its value."""
    for name, value in details.items():
        if name not in DETAIL_NAMES:
            # A name that is not listed may itself be a secret.
            raise ValueError("audit log: a detail whose name is not on the list")
        if value is not None and not _fits(name, value):
            raise ValueError(f"audit log: {name} has a value of another form than its name allows")


def _fits(name: str, value: Detail) -> bool:
    match value:
        case bool():
            return name in _SWITCHES
        case int():
            return name in _INTEGERS and 0 <= value < SAFE_INTEGER
        case str() if name in _NAMES:
            return _is_name(value)
        case str():
            pattern = _TEXTS.get(name)
            return pattern is not None and pattern.fullmatch(value) is not None
    return False


def _is_name(value: str) -> bool:
    try:
        return 1 <= len(value.encode()) <= NAME_BYTES
    except UnicodeEncodeError:
        return False
