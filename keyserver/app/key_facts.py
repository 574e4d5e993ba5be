"""What is public about a key, as operators are told it."""

from keyserver.api.facts import KeyFacts, MemberFacts
from keyserver.app.store import Store
from keyserver.errors import StorageError
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.storage.inspection import public_state


async def key_facts(store: Store, key_id: KeyId, announced: frozenset[NodeId]) -> KeyFacts | None:
    """One key; `announced`: nodes that say they hold a share, beyond those of the certificate.

    `None` for a key without an active record. Raises `StorageError` if it cannot be read; a share
    that does not open is a fact, not an error.
    """
    state = await public_state(store.database, key_id)
    if state.active is None:
        return None
    record, certificate = state.active.record, state.active.certificate
    holders = {entry.node for entry in certificate.holding.signatures} | announced
    members = [
        MemberFacts(each.node, int(each.x), each.node in holders) for each in record.committee
    ]
    return KeyFacts(
        key_id=key_id,
        author=record.author,
        threshold=record.threshold,
        required_nodes=record.required_nodes,
        version=record.version,
        public=record.public.raw64,
        record_hash=record.hash,
        set_id=record.set_id,
        committee=tuple(members),
        share=await _share(store, key_id),
        has_document_key=state.document is not None,
        certified=bool(certificate.decision.signatures),
        undecided=any((state.prepared, state.promise, state.document_candidate)),
    )


async def _share(store: Store, key_id: KeyId) -> str:
    try:
        share = (await store.records.load(key_id)).share
    except StorageError:
        return "unreadable"
    return "none" if share is None else "held"
