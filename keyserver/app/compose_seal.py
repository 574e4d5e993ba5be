"""The composition root's part that deals with the seal: made before anything needs a secret."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final
from uuid import UUID

import structlog

from keyserver.api.administrators import Administrators
from keyserver.api.refusals import Refusals
from keyserver.app.accounts import NodeKey
from keyserver.app.audit_log import opened_audit_log
from keyserver.app.compose_service_keys import ServiceKeys, compose_service_keys
from keyserver.app.config import ConfigWarning, HostPort, Loaded, operator_address
from keyserver.app.config.rules import KEY_BESIDE_DATA
from keyserver.app.replacing import sealed_because, seen_before
from keyserver.app.store import automatic_source
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.callers import CallerRegistry
from keyserver.sealing.errors import KeySourceError, SealError
from keyserver.sealing.key_sources import STATIC, KeySource
from keyserver.sealing.opening import open_or_create
from keyserver.sealing.ports import AuditOutcome, SealState
from keyserver.sealing.rekeys import Rekeys
from keyserver.sealing.service_keys.proofs import ProvenTokens
from keyserver.sealing.shares import SHAMIR
from keyserver.sealing.upkeep import Upkeep
from keyserver.sealing.vault import EPOCH_CHANGED, Vault
from keyserver.storage.audit_file import AuditFiles
from keyserver.storage.callers import SqlRequestNonces, SqlTokenStore
from keyserver.storage.database import Database
from keyserver.storage.sealing import SqlSealStore

NO_KEY: Final = (
    "self secret is required when using secretstore (set [secretstore] self_secret to the account "
    "of the node's key file, or run `keyserver init`; or have the key in the store: "
    "`keyserver seal init`)"
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SealSide:
    """Everything about the seal of this process."""

    me: NodeId
    key: NodeKey | None
    """The node's key where the configuration has it; else it is in the vault."""
    boot_id: str
    """Of this process; also its name among the replicas."""
    database: Database
    audit: AuditFiles
    vault: Vault
    upkeep: Upkeep
    rekeys: Rekeys
    callers: CallerRegistry
    administrators: Administrators
    denied: Refusals
    """Orders that were not admitted."""
    refused_shares: Refusals
    service_keys: ServiceKeys | None
    """`None` where they are not enabled."""


@asynccontextmanager
async def opened_seal(
    loaded: Loaded, database: Database, key: NodeKey | None, *, random: RandomSource, clock: Clock
) -> AsyncIterator[SealSide]:
    """Read the seal of a database, and open it if it opens by itself; shut it at the end.

    A new database gets a seal that the key source opens. Raises `ConfigError` (no node key, a key
    source or an audit log that cannot be used), `SealError` and `StorageError`.
    """
    boot_id = str(UUID(bytes=random.bytes(16), version=4))
    async with opened_audit_log(loaded.config, boot_id, clock=clock) as audit:
        side = await _open(loaded, database, key, audit, boot_id, random=random, clock=clock)
        try:
            yield side
        finally:
            await side.denied.write_sums()
            await side.refused_shares.write_sums()
            await audit.checkpoint()
            side.rekeys.forget()
            if side.vault.is_open:
                side.vault.shut("stopped")


async def _open(
    loaded: Loaded,
    database: Database,
    key: NodeKey | None,
    audit: AuditFiles,
    boot_id: str,
    *,
    random: RandomSource,
    clock: Clock,
) -> SealSide:
    """Load the vault, open it if it opens by itself, and make what stands around it."""
    config, own = loaded.config, loaded.config.keyserver
    store = SqlSealStore(database)
    vault = Vault(
        store,
        audit,
        random=random,
        clock=clock,
        share_minutes=own.seal.share_minutes,
        node_id=_expected_node(loaded, key),
        reason=sealed_because(),
        seen=seen_before(),
    )
    await vault.load()
    if vault.status().state is SealState.UNINITIALISED:
        if sealed_because() is not None:
            # with its exit code no supervisor starts it again, without what this process knows
            raise ConfigError("database_url: the seal is gone, it went back; restore a backup")
        await _first_seal(loaded, store, key, random, clock)
        await vault.load()
    me = vault.status().node_id
    assert me is not None, "the store has a seal by now"
    may_open = vault.status().reason in (None, EPOCH_CHANGED)
    source = automatic_source(loaded, vault.record(), may_ask=may_open)
    if source is not None and may_open:
        await _open_by_itself(vault, source)
    nonces, tokens = SqlRequestNonces(database), ProvenTokens(SqlTokenStore(database), vault)
    callers = CallerRegistry(me, own.seal.admins, nonces, tokens, clock)
    denied = Refusals("auth.denied", audit, clock.monotonic, AuditOutcome.DENIED)
    service_keys = None
    if own.service_keys.enabled:
        service_keys = compose_service_keys(
            config, database, vault, callers, audit, denied, clock, random
        )
    days = own.seal.rotate_days
    return SealSide(
        me=me,
        key=key,
        boot_id=boot_id,
        database=database,
        audit=audit,
        vault=vault,
        upkeep=Upkeep(vault, store, audit, random=random, clock=clock, rotate_days=days),
        rekeys=Rekeys(vault, audit, random=random, clock=clock, source=source),
        callers=callers,
        administrators=Administrators(callers, listens_locally(loaded), denied),
        denied=denied,
        refused_shares=Refusals("seal.unseal.share", audit, clock.monotonic, AuditOutcome.REFUSED),
        service_keys=service_keys,
    )


def _expected_node(loaded: Loaded, key: NodeKey | None) -> NodeId | None:
    """Whose the store must be, as far as the configuration says that."""
    expected = loaded.config.keyserver.seal.expect_node_id
    if key is None:
        return expected
    if expected not in (None, key.node_id):
        raise ConfigError(
            f"seal.expect_node_id: is not the node of self_secret, which is 0x{key.node_id.hex()}"
        )
    return key.node_id


def listens_locally(loaded: Loaded) -> bool:
    """Whether only this machine reaches the operator listener."""
    address = operator_address(loaded.config)
    return not isinstance(address, HostPort) or address.is_loopback


async def _first_seal(
    loaded: Loaded, store: SqlSealStore, key: NodeKey | None, random: RandomSource, clock: Clock
) -> None:
    if key is None:
        raise ConfigError(NO_KEY)
    source = automatic_source(loaded, None)
    assert source is not None, "a store without shares has a key source"
    await open_or_create(
        store, node_id=key.node_id, source=source, random=random, now_ms=clock.unix() * 1000
    )
    log.info("store_sealed", source=type(source).__name__)


async def _open_by_itself(vault: Vault, source: KeySource) -> None:
    """Open a seal with a key source; where shares open it too, trouble leaves it sealed."""
    try:
        await vault.open_with(source)
    except (SealError, KeySourceError) as error:
        if vault.status().required == 0:
            raise
        log.warning("seal_not_opened", problem=str(error))


def start_warnings(loaded: Loaded, side: SealSide) -> tuple[ConfigWarning, ...]:
    """What the operator should know at every start, now that the store has told what opens it."""
    kinds = {slot["kind"] for slot in side.vault.record()["slots"]}
    from_files = () if side.key is None else side.key.warnings
    found = [*loaded.warnings, *from_files]
    if STATIC not in kinds:
        found = [each for each in found if each.event != KEY_BESIDE_DATA]
    if SHAMIR in kinds and side.key is not None:
        text = (
            "the node's key is in the store, which operators' shares open, and can be had without "
            "them from [secretstore] self_secret: take it out, and [account] password with it; "
            "destroy the files"
        )
        found.append(ConfigWarning("node_key_beside_shares", ("secretstore.self_secret",), text))
    return tuple(found)


def node_secret(side: SealSide) -> SecretScalar:
    """The node's key, from the vault or the configuration; raises `SealedError`."""
    secret = side.vault.node_secret
    if secret is not None:
        return secret
    assert side.key is not None, "the start is refused without a key"
    return side.key.secret


def seal_facts(side: SealSide) -> dict[str, object]:
    """What the status of the seal says of this process."""
    return {
        "boot_id": side.boot_id,
        "replica": side.boot_id,
        "version": version("keyserver"),
        "pid": os.getpid(),
        "memory": {"mlock": side.vault.memory_locked},
    }
