"""The tables, as SQLAlchemy 2 Core describes them; `migrations` builds the same ones step by step.

Byte strings are stored as they are, numbers as integers, structured public values in the
canonical encoding (`keyserver.model.codec`). A column whose name ends in `_box` is sealed
(sealing, C2 and C4) and listed in `SEALED_COLUMNS`.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION: Final = "0008"
"""The newest migration: four digits, counting up."""

METADATA: Final = MetaData()


# --- secrets at rest (sealing, C17) -----------------------------------------------------------

SEAL: Final = Table(
    "seal",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("record", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    CheckConstraint("id = 1", name="seal_is_one_row"),
)

SEAL_KEYRING: Final = Table(
    "seal_keyring",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("box", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="seal_keyring_is_one_row"),
)

NODE_IDENTITY: Final = Table(
    "node_identity",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("node_id", LargeBinary, nullable=False),
    Column("secret_box", LargeBinary, nullable=False),
    Column("secret_term", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="node_identity_is_one_row"),
)
"""The node's key, where it is kept in the store: its public half, and its private half sealed."""

REPLICAS: Final = Table(
    "replicas",
    METADATA,
    Column("replica_id", Text, primary_key=True),
    Column("operator_url", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", Integer, nullable=False),
    Column("required", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("software", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)
"""The processes of this node; both times in milliseconds by the database's clock."""

ACTIVE_REPLICA: Final = Table(
    "active_replica",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("replica_id", Text),
    Column("unsealed", Boolean, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="active_replica_is_one_row"),
)
"""Which process acts for the node, until when (milliseconds by the database's clock), and how often
that has changed hands; no `replica_id` while it is up to anybody."""

REQUEST_NONCES: Final = Table(
    "request_nonces",
    METADATA,
    Column("address", LargeBinary, primary_key=True),
    Column("nonce", LargeBinary, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Index("request_nonces_by_age", "expires_at"),
)
"""Nonces of signed requests that were seen lately; `expires_at` in Unix seconds."""


# --- service keys (sealing, C15 to C17); times in milliseconds since 1970 ---------------------

SERVICE_KEYS: Final = Table(
    "service_keys",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("key_box", LargeBinary, nullable=False),
    Column("key_term", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("origin", Text, nullable=False),
    UniqueConstraint("owner", "service", "seq", name="one_version_of_a_number"),
    Index("service_keys_by_term", "key_term"),
)
"""All versions of all service keys; never changed, and deleted with their owner only."""

OWNER_EXPORTS: Final = Table(
    "owner_exports",
    METADATA,
    Column("export_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("versions", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False),
)
"""Exports that allow a deletion for a day; `versions`: hash of what was exported."""

OWNER_TOMBSTONES: Final = Table(
    "owner_tombstones",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("deleted_at", BigInteger, nullable=False),
    Column("deleted_by", Text, nullable=False),
    Column("keys", BigInteger, nullable=False),
    Column("export_sha256", LargeBinary, nullable=False),
)
"""Owners whose keys were deleted."""

API_TOKENS: Final = Table(
    "api_tokens",
    METADATA,
    Column("token_id", Text, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("principal", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("services", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    Column("proof_box", LargeBinary, nullable=False),
    Column("proof_term", BigInteger, nullable=False),
    Index("api_tokens_by_term", "proof_term"),
)
"""Tokens of callers; `scopes` and `services` are JSON lists, `proof_box` holds what a row says."""

GRANTS: Final = Table(
    "grants",
    METADATA,
    Column("grant_id", Text, primary_key=True),
    Column("principal", Text, nullable=False),
    Column("owner_pattern", Text, nullable=False),
    Column("service_pattern", Text, nullable=False),
    Column("granted_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("proof_box", LargeBinary, nullable=False),
    Column("proof_term", BigInteger, nullable=False),
    Index("grants_of_principal", "principal"),
    Index("grants_by_term", "proof_term"),
)
"""Who may act for which owners; `proof_box` holds what the row says."""


# --- keys (engine design, sections 4 and 15) --------------------------------------------------

KEY_RECORDS: Final = Table(
    "key_records",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("record_hash", LargeBinary, nullable=False),
    Column("certified", LargeBinary, nullable=False),
    Column("installed_at", BigInteger, nullable=False, server_default=text("0")),
    Index("key_records_by_age", "installed_at", "key_id"),
)
"""The active record of every key: an encoded `CertifiedRecord`, and since when it is in force here,
in Unix seconds."""

OPEN_RECORDS: Final = Table(
    "open_records",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("record_hash", LargeBinary, primary_key=True),
    Column("record", LargeBinary, nullable=False),
    Column("transcript", LargeBinary, nullable=False),
    Column("holding", LargeBinary),
)
"""Undecided records: this node is READY for them, or has their holding certificate."""

KEY_SHARES: Final = Table(
    "key_shares",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("record_hash", LargeBinary, nullable=False),
    Column("share_box", LargeBinary, nullable=False),
    Column("share_term", BigInteger, nullable=False),
    Index("key_shares_by_term", "share_term"),
)
"""This node's shares, of active and of undecided records."""

SKIPPED_VERSIONS: Final = Table(
    "skipped_versions",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("decision", LargeBinary, nullable=False),
)
"""Versions decided as *nothing*, until a later record carries these decisions."""

DOCUMENT_KEYS: Final = Table(
    "document_keys",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("certified", LargeBinary, nullable=False),
)
"""Decided document keys: an encoded `CertifiedDocumentKey`."""

DOCUMENT_CANDIDATES: Final = Table(
    "document_candidates",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("attempt", BigInteger, nullable=False),
    Column("record_hash", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
"""Document keys this node voted for in an attempt that is not decided."""

SKIPPED_ATTEMPTS: Final = Table(
    "skipped_attempts",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("attempt", BigInteger, primary_key=True),
    Column("decision", LargeBinary, nullable=False),
)
"""Attempts to store a document key that were decided as *nothing*."""

PROMISES: Final = Table(
    "promises",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("params_hash", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
"""What this node has accepted for an undecided successor (engine design, section 13)."""

VOTES: Final = Table(
    "votes",
    METADATA,
    Column("subject", LargeBinary, primary_key=True),
    Column("round", BigInteger, primary_key=True),
    Column("kind", Integer, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
)
"""This node's own votes; never deleted (engine design, section 7.6)."""


EVIDENCE: Final = Table(
    "evidence",
    METADATA,
    Column("culprit", LargeBinary, primary_key=True),
    Column("offence", LargeBinary, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("session", LargeBinary),
    Column("first_seen", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Index("evidence_by_hash", "hash"),
)
"""What other nodes were convicted of, each with one record that proves it; public."""


# --- durable work (chain watcher, section 13) -------------------------------------------------

ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")
"""Ascending numbers given by the database; SQLite counts in its own INTEGER only."""

OPEN_TASK: Final = "state IN ('pending', 'running', 'answered', 'held')"
"""The states in which a task still owes something (`TaskState.is_open`)."""

TASKS: Final = Table(
    "tasks",
    METADATA,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("contract", LargeBinary, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("requester", LargeBinary, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_block", BigInteger, nullable=False),
    Column("first_hash", LargeBinary, nullable=False),
    Column("first_log", Integer),
    Column("last_block", BigInteger, nullable=False),
    Column("last_hash", LargeBinary, nullable=False),
    Column("last_log", Integer),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_block", BigInteger, nullable=False),
    Column("result", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("closed_block", BigInteger),
    Column("revision", BigInteger, nullable=False),
    Index(
        "one_open_task",
        "chain_id",
        "contract",
        "kind",
        "key_id",
        "requester",
        "message",
        unique=True,
        sqlite_where=text(OPEN_TASK),
        postgresql_where=text(OPEN_TASK),
    ),
    Index("tasks_of_key", "chain_id", "key_id"),
    Index("tasks_by_state", "chain_id", "state", "next_attempt_block"),
    sqlite_autoincrement=True,
)

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("task_id", ROW_ID, ForeignKey("tasks.id", name="outbox_task"), nullable=False),
    Column("epoch_contract", LargeBinary, nullable=False),
    Column("epoch_change", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("sender", LargeBinary, nullable=False),
    Column("variant", LargeBinary, nullable=False),
    Column("contract", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("is_error", Boolean, nullable=False),
    Column("bound_to_epoch", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("nonce", BigInteger),
    Column("attempts", LargeBinary, nullable=False),
    Column("mined", LargeBinary),
    Column("failures", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    UniqueConstraint(
        "task_id",
        "epoch_contract",
        "epoch_change",
        "method",
        "sender",
        "variant",
        name="one_answer",
    ),
    Index("outbox_by_sender", "chain_id", "sender", "state"),
    sqlite_autoincrement=True,
)

READ_BLOCKS: Final = Table(
    "read_blocks",
    METADATA,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)
"""The newest blocks whose logs have become tasks."""

PLANNED_STARTS: Final = Table(
    "planned_starts",
    METADATA,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("contract", LargeBinary, primary_key=True),
    Column("migration_id", LargeBinary, nullable=False),
    Column("current_set", LargeBinary, nullable=False),
    Column("new_set", LargeBinary, nullable=False),
    Column("block", BigInteger, nullable=False),
)
"""Under which id this node would start a migration, for each contract of key server sets."""

JOINED_MIGRATIONS: Final = Table(
    "joined_migrations",
    METADATA,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("contract", LargeBinary, primary_key=True),
    Column("migration_id", LargeBinary, primary_key=True),
    Column("target_set", LargeBinary, nullable=False),
    Column("accepted_block", BigInteger, nullable=False),
    Column("succeeded_block", BigInteger),
)
"""Migrations that this node takes or took part in."""

SET_CHANGES: Final = Table(
    "set_changes",
    METADATA,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("change_id", LargeBinary, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("contract", LargeBinary, nullable=False),
    Column("old_nodes", LargeBinary, nullable=False),
    Column("new_nodes", LargeBinary, nullable=False),
    Column("completed_at", BigInteger, nullable=False),
)
"""Completed changes of the node set, all of them (engine design, section 14.4)."""


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Where boxes are, and what names the row in their context (sealing, C4.3)."""

    table: str
    column: str
    key_columns: tuple[str, ...]


SHARE_BOX: Final = SealedColumn("key_shares", "share_box", ("key_id", "version"))

SECRET_BOX: Final = SealedColumn("node_identity", "secret_box", ("id",))
KEY_BOX: Final = SealedColumn("service_keys", "key_box", ("owner", "service", "key_id"))

TOKEN_PROOF: Final = SealedColumn("api_tokens", "proof_box", ("token_id",))
GRANT_PROOF: Final = SealedColumn("grants", "proof_box", ("grant_id",))

SEALED_COLUMNS: Final = (SHARE_BOX, SECRET_BOX, KEY_BOX, TOKEN_PROOF, GRANT_PROOF)
"""Every column that holds boxes; a test compares it with the tables."""
