"""For whom a caller asks, and for which services (sealing, C16.3).

A caller's own keys are those of its principal. For another owner it needs a grant: the name in its
request alone opens nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from keyserver.sealing.errors import ForbiddenError, OwnerNotProvenError
from keyserver.sealing.ports import Caller, Scope
from keyserver.sealing.secret_boxes import SealedValue
from keyserver.sealing.service_keys.names import check_name, matches

_INCLUDES: Final = {Scope.KEYS_DATA: Scope.KEYS_USE}
"""Who may use a key may also have this node use it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """An administrator's word that a principal may act for owners; times in milliseconds."""

    grant_id: str
    principal: str
    owner_pattern: str
    service_pattern: str
    granted_by: str
    """The principal of the administrator."""
    created_at: int
    expires_at: int
    proof: SealedValue | None = field(default=None, repr=False)
    """What the row says, in a box (`keyserver.sealing.service_keys.proofs`)."""


class GrantStore(Protocol):
    """Where grants are kept; every method raises `StorageError` for trouble with the database."""

    async def of_principal(self, principal: str) -> Sequence[Grant]:
        """All grants to somebody, expired ones too."""
        ...

    async def find(self, grant_id: str) -> Grant | None:
        """The grant of this id."""
        ...

    async def add(self, grant: Grant) -> None:
        """Keep a new one, with its proof."""
        ...

    async def delete(self, grant_id: str) -> bool:
        """Forget it; whether it was there."""
        ...

    async def page(self, after: str, limit: int) -> Sequence[Grant]:
        """Grants in the order of their ids, those after `after`; `""` for the first."""
        ...


@dataclass(frozen=True, slots=True)
class Asker:
    """A caller together with the owner it has proved to act for."""

    caller: Caller
    owner: str
    granted: tuple[str, ...]
    """Patterns of the services it may ask for as this owner."""

    def may_use(self, service: str) -> bool:
        """Whether both the caller's credential and the owner's side allow this service."""
        by_credential = any(matches(pattern, service) for pattern in self.caller.services)
        return by_credential and any(matches(pattern, service) for pattern in self.granted)

    def check_service(self, service: str) -> None:
        """Raise `ForbiddenError` unless it may ask for this service."""
        if not self.may_use(service):
            raise ForbiddenError("service: this credential is not for this service")


async def asker_for(caller: Caller, owner: str | None, grants: GrantStore, now_ms: int) -> Asker:
    """The caller, acting for `owner`, or for itself without one.

    Raises `BadNameError` for a name that no owner can have, `OwnerNotProvenError` without a grant
    that is in force.
    """
    if owner is None or owner == caller.principal:
        return Asker(caller, caller.principal, ("*",))
    check_name("owner", owner)
    granted = tuple(
        grant.service_pattern
        for grant in await grants.of_principal(caller.principal)
        if grant.expires_at > now_ms and matches(grant.owner_pattern, owner)
    )
    if not granted:
        raise OwnerNotProvenError("owner: no grant lets this caller act for this owner")
    return Asker(caller, owner, granted)


def check_scope(caller: Caller, scope: Scope) -> None:
    """Raise `ForbiddenError` unless the caller may do that."""
    if not caller.scopes & {scope, _INCLUDES.get(scope, scope)}:
        raise ForbiddenError(f"scope: this needs {scope.value}")
