"""Gives a store its first set of shares (sealing, C7).

An empty store gets its seal and the node's key. A store that runs with a key file, a variable or a
passphrase gets shares in place of it, or beside it; no record is touched. Afterwards the node is
sealed: the first unsealing shows that the shares are good.
"""

from collections.abc import Sequence
from dataclasses import replace

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource
from keyserver.errors import KeyServerError, StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import (
    AlreadyInitialisedError,
    BadSharingError,
    NoMatchingSlotError,
    SealConflictError,
)
from keyserver.sealing.handing_out import NewShares, Sharing
from keyserver.sealing.key_sources import PASSPHRASE, KeySource, new_passphrase_params
from keyserver.sealing.keyring import Keyring
from keyserver.sealing.opening import (
    IDENTITY_PLACE,
    OpenSeal,
    matching_slot,
    open_keyring,
    open_root,
    read_record,
    slot_key,
)
from keyserver.sealing.ports import (
    Actor,
    ActorKind,
    AuditDetails,
    AuditLog,
    AuditOutcome,
    SealStore,
    SealVersion,
    StoredIdentity,
    StoredSeal,
)
from keyserver.sealing.record import SEAL_ID_SIZE, SealRecord
from keyserver.sealing.rekeying import KeptSlot, Renewal, first_record, renew
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SIZE, SecretKey
from keyserver.sealing.shares import ShareSlot

LOCAL_OPERATOR = Actor(ActorKind.LOCAL)


class PreparedSeal:
    """A first set of shares, not in force before `commit`.

    The shares can be handed out, and shown again as a proof, while nothing has changed yet.
    """

    def __init__(
        self,
        store: SealStore,
        audit: AuditLog,
        actor: Actor,
        *,
        renewal: Renewal,
        seal: StoredSeal,
        identity: StoredIdentity | None,
        replaces: SealVersion | None,
    ) -> None:
        """Use `prepare`; `replaces`: version of the seal in force, `None` in an empty store."""
        self._store = store
        self._audit = audit
        self._actor = actor
        self._renewal = renewal
        self._seal = seal
        self._identity = identity
        self._replaces = replaces

    @property
    def shares(self) -> NewShares:
        """What to hand out."""
        return self._renewal.new

    @property
    def record(self) -> SealRecord:
        """The record that the shares belong to."""
        return self._renewal.record

    @property
    def node_id(self) -> NodeId:
        """Whose store it is."""
        return self.record.node_id

    @property
    def secret_moved(self) -> bool:
        """Whether the node's key goes into the store, so the configuration need not have it."""
        return self._identity is not None

    async def commit(self) -> None:
        """Put the shares in force, in one transaction.

        Raises `AlreadyInitialisedError` if the store got shares meanwhile, `SealConflictError` if
        its seal was changed otherwise, `StorageError` and `AuditUnavailableError`.
        """
        slot = self.shares.slot
        details: AuditDetails = {
            "epoch": slot.epoch,
            "identifier": slot.identifier,
            "shares": slot.count,
            "threshold": slot.threshold,
            "kept_slot": len(self.record.slots) > 1,
        }
        await self._audit.record("seal.init", AuditOutcome.OK, self._actor, details)
        try:
            await self._write()
        except KeyServerError as problem:
            failed: AuditDetails = {"epoch": slot.epoch, "code": problem.code.upper()}
            await self._audit.record("seal.init", AuditOutcome.ERROR, self._actor, failed)
            raise

    async def _write(self) -> None:
        store, seal, identity = self._store, self._seal, self._identity
        try:
            if self._replaces is None:
                await store.create(seal, identity)
            else:
                await store.replace(seal, expected=self._replaces, identity=identity)
        except SealConflictError:
            _refuse_shares(await store.load())
            raise
        except StorageError as problem:
            found = await store.load()
            if found == seal:
                return  # it was done, only the answer was lost
            if self._replaces is None and found is not None:
                raise AlreadyInitialisedError("another process has initialised it") from problem
            raise


async def initialise(
    store: SealStore,
    audit: AuditLog,
    *,
    node_secret: SecretScalar | None,
    shares: int,
    threshold: int,
    recipients: Sequence[str] = (),
    source: KeySource | None,
    keep_slot: bool = False,
    random: RandomSource,
    now_ms: int,
    actor: Actor = LOCAL_OPERATOR,
) -> NewShares:
    """`prepare` and commit in one: whoever loses the answer has lost the shares."""
    prepared = await prepare(
        store,
        audit,
        node_secret=node_secret,
        shares=shares,
        threshold=threshold,
        recipients=recipients,
        source=source,
        keep_slot=keep_slot,
        random=random,
        now_ms=now_ms,
        actor=actor,
    )
    await prepared.commit()
    return prepared.shares


async def prepare(
    store: SealStore,
    audit: AuditLog,
    *,
    node_secret: SecretScalar | None,
    shares: int,
    threshold: int,
    recipients: Sequence[str] = (),
    source: KeySource | None,
    keep_slot: bool = False,
    random: RandomSource,
    now_ms: int,
    actor: Actor = LOCAL_OPERATOR,
) -> PreparedSeal:
    """Make a first set of shares for a store, changing nothing yet.

    `node_secret`: the node's key from the configuration; without one an empty store gets a new one.
    `source` opens the slot that the store has; an empty store has none and needs none. `now_ms`:
    milliseconds since 1970. Raises `AlreadyInitialisedError`, `BadSharingError`,
    `ForeignSealError`, what `open_root` raises, and `StorageError`.
    """
    sharing = Sharing(threshold, shares, tuple(recipients))
    stored = await store.load()
    if stored is None:
        if keep_slot:
            raise BadSharingError("keep_slot: the store is empty and has no slot to keep")
        node_secret = node_secret or SecretScalar.random(random)
        renewal, seal = _first(NodeId.of(node_secret.public()), sharing, random, now_ms)
    else:
        await _require_node_key(store, stored, node_secret)
        seal = await _opened(stored, source)
        kept = [await kept_slot(seal.record, source, random)] if keep_slot and source else []
        renewal = renew(seal.record, sharing, kept, now_ms=now_ms, rng=random)
        seal = replace(renewal.applied(seal), keyring_version=seal.keyring_version + 1)
    return PreparedSeal(
        store,
        audit,
        actor,
        renewal=renewal,
        seal=seal.stored(random),
        identity=sealed_identity(node_secret, seal, random) if node_secret else None,
        replaces=stored.version if stored else None,
    )


async def _require_node_key(
    store: SealStore, stored: StoredSeal, secret: SecretScalar | None
) -> None:
    """Make sure that a store that is to get shares is this node's, and will have its key."""
    _refuse_shares(stored)
    read_record(stored, NodeId.of(secret.public()) if secret else None)
    if secret is None and await store.identity() is None:
        raise BadSharingError("node key: the store does not have it; configure it or name its file")


async def _opened(stored: StoredSeal, source: KeySource | None) -> OpenSeal:
    if source is None:
        raise NoMatchingSlotError("seal: the store is in use; name the key that opens it")
    record = read_record(stored, None)
    return open_keyring(stored, record, await open_root(record, source))


def _first(
    node_id: NodeId, sharing: Sharing, random: RandomSource, now_ms: int
) -> tuple[Renewal, OpenSeal]:
    bare = SealRecord(random.bytes(SEAL_ID_SIZE), node_id, epoch=1, slots=())
    renewal = first_record(bare, sharing, now_ms=now_ms, rng=random)
    keyring = Keyring.first(bare.seal_id, SecretKey(random.bytes(SIZE)), now_ms)
    return renewal, OpenSeal(renewal.record, renewal.root, keyring, keyring_version=1)


def sealed_identity(secret: SecretScalar, seal: OpenSeal, random: RandomSource) -> StoredIdentity:
    """The node's key as the store keeps it."""
    table, column, row = IDENTITY_PLACE
    sealed = SecretBoxes(seal.keyring, random).seal(table, column, row, secret.expose())
    return StoredIdentity(seal.record.node_id, sealed.box, sealed.term)


async def kept_slot(record: SealRecord, source: KeySource, random: RandomSource) -> KeptSlot:
    """The slot that a source opens, to keep it beside new shares; raises as `open_root`."""
    slot = matching_slot(record, source)
    params = new_passphrase_params(random) if slot.kind == PASSPHRASE else slot.params
    return KeptSlot(slot.kind, params, await slot_key(source, replace(slot, params=params)))


def _refuse_shares(stored: StoredSeal | None) -> None:
    if stored is not None and ShareSlot.of(SealRecord.from_json(stored.record)) is not None:
        raise AlreadyInitialisedError("the store has shares already; run: keyserver seal rekey")
