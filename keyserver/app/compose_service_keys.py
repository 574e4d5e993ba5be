"""The composition root's part that deals with service keys."""

from dataclasses import dataclass

from keyserver.api.administrators import Administrators
from keyserver.api.operator_owners import OwnerRoutes
from keyserver.api.refusals import Refusals
from keyserver.api.service_keys_admission import ServiceKeyNeeds
from keyserver.app.config import Config
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.sealing.ports import AuditLog, Callers
from keyserver.sealing.service_keys.boxes import KeyBoxes, KeyVault
from keyserver.sealing.service_keys.credentials import Credentials
from keyserver.sealing.service_keys.keys import ServiceKeys as HandedOut
from keyserver.sealing.service_keys.owners import Owners
from keyserver.sealing.service_keys.proofs import ProvenGrants, ProvenTokens
from keyserver.storage.callers import SqlGrantStore, SqlTokenStore
from keyserver.storage.database import Database
from keyserver.storage.service_keys import SqlServiceKeyStore


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """Service keys of this process, for both listeners."""

    client_needs: ServiceKeyNeeds
    owners: Owners
    credentials: Credentials

    def owner_needs(self, administrators: Administrators) -> OwnerRoutes:
        """What the routes of the operator listener need."""
        return OwnerRoutes(self.owners, self.credentials, administrators)


def compose_service_keys(
    config: Config,
    database: Database,
    vault: KeyVault,
    callers: Callers,
    audit: AuditLog,
    denied: Refusals,
    clock: Clock,
    random: RandomSource,
) -> ServiceKeys:
    """Make all of it; nothing runs by itself. `denied` hears who was turned away."""
    store, boxes = SqlServiceKeyStore(database), KeyBoxes(vault)
    tokens = ProvenTokens(SqlTokenStore(database), vault)
    grants = ProvenGrants(SqlGrantStore(database), vault)
    keys = HandedOut(
        store,
        boxes,
        audit,
        random=random,
        clock=clock,
        rotation_days=config.keyserver.service_keys.rotation_days,
    )
    return ServiceKeys(
        ServiceKeyNeeds(keys, callers, grants, denied, clock),
        Owners(store, boxes, audit, random=random, clock=clock),
        Credentials(tokens, grants, audit, random=random, clock=clock),
    )
