"""The effective configuration: one frozen pydantic model, a class for each section.

The values are those in force: paths are expanded, `ports_shift` is added, `unsafe_expose` and the
old `disable_acl_check` are applied (by the loader, which alone makes these objects). Docstrings and
descriptions are the text of the reference page. *Same on all nodes* marks what must be equal in a
cluster.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from keyserver.app.config.kinds import (
    BOOLEAN,
    NUMBER_OR_ZERO,
    PATH,
    PATHS,
    POSITIVE_NUMBER,
    QUORUM,
    TEXT,
    TEXTS,
    choice,
    expanded,
    integer,
    listed,
    string,
    strings,
    word_of,
)
from keyserver.app.config.values import (
    ContractSource,
    FromRegistry,
    IpNetwork,
    LogTarget,
    NoContract,
    NodeEntry,
    OperatorListen,
    SelfSecret,
    parse_address,
    parse_admin_public,
    parse_contract_source,
    parse_database_url,
    parse_interface,
    parse_ip_network,
    parse_log_targets,
    parse_node,
    parse_node_id,
    parse_operator_listen,
    parse_rpc_endpoint,
    parse_self_secret,
)
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.quorums import MAX_NODES

OPERATIONS = (
    "generate_server_key",
    "store_document_key",
    "generate_both",
    "retrieve_server_key",
    "retrieve_plain",
    "retrieve_shadow",
    "sign_schnorr",
    "sign_frost",
    "sign_ecdsa",
)
"""The names of the operations a client may ask for, in the order of their numbers 1…9."""

STRICT_CREDENTIALS = (
    "generate_both",
    "retrieve_plain",
    "sign_schnorr",
    "sign_frost",
    "sign_ecdsa",
)
"""The operations that new installations do not serve on the strength of a signature in the path."""

GWEI = 10**9
ETHER = 10**18

Port = Annotated[int, integer(0, 65535)]
Interface = Annotated[str, string('"local", "all" or an IP address', parse_interface)]
Source = Annotated[
    ContractSource, string('"none", "registry" or an address', parse_contract_source)
]
Switch = Annotated[bool, BOOLEAN]
Wei = integer(0, name="wei", limit=2**256 - 1)


class Section(BaseModel):
    """What all sections share: frozen, and no key but the declared ones."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True
    )


class SecretStore(Section):
    """The section of the original. Environment variables: `SECRETSTORE_` and the key."""

    disable: Switch = Field(False, description="No key server in this process.")
    disable_http: Switch = Field(False, description="No HTTP interface for clients.")
    disable_auto_migrate: Switch = Field(
        False, description="Never start a node set change by itself."
    )
    self_secret: Annotated[
        SelfSecret | None, string("private key or account address", parse_self_secret)
    ] = Field(
        None,
        description="The key of this node: 64 hexadecimal digits, or better the 40 digits of an "
        "account in the keys directory. Required unless disabled.",
    )
    admin_public: Annotated[NodeId | None, string("128 hex digits", parse_admin_public)] = Field(
        None, description="Public key of the administrator."
    )
    nodes: Annotated[tuple[NodeEntry, ...], listed('"PUBLIC@HOST:PORT"', parse_node)] = Field(
        (), description='The node set when `server_set_contract = "none"`; this node is added.'
    )
    server_set_contract: Source = Field(
        FromRegistry(),
        description="Node set contract. Registry entry `secretstore_server_set`, where that is "
        "absent `server_set_contract`.",
    )
    acl_contract: Source = Field(
        FromRegistry(),
        description="Permissioning contract. Registry entry `secretstore_acl_checker`. With "
        '`"none"` everybody has access to all keys.',
    )
    service_contract: Source = Field(
        NoContract(),
        description="One contract with all four services. Registry entry `secretstore_service`.",
    )
    service_contract_srv_gen: Source = Field(
        NoContract(),
        description="Server key generation. Registry entry `secretstore_service_srv_gen`.",
    )
    service_contract_srv_retr: Source = Field(
        NoContract(),
        description="Server key retrieval. Registry entry `secretstore_service_srv_retr`.",
    )
    service_contract_doc_store: Source = Field(
        NoContract(),
        description="Document key storing. Registry entry `secretstore_service_doc_store`.",
    )
    service_contract_doc_sretr: Source = Field(
        NoContract(),
        description="Document key shadow retrieval. Registry entry "
        "`secretstore_service_doc_sretr`.",
    )
    interface: Interface = Field("127.0.0.1", description="Address for other nodes.")
    port: Port = Field(8083, description="Port for other nodes.")
    http_interface: Interface = Field("127.0.0.1", description="Address for clients.")
    http_port: Port = Field(8082, description="Port for clients.")
    path: Annotated[Path, PATH] = Field(
        "$BASE/secretstore",
        validate_default=True,
        description="Data directory, created if missing.",
    )
    cors: Annotated[tuple[str, ...], TEXTS] = Field(
        (),
        description='Origins of web pages that may call the HTTP interface; `"none"`, `"any"`, '
        '`"null"` or patterns. Absent = none.',
    )
    disable_acl_check: Switch = Field(
        False,
        description='Old, taken with a warning: `true` means `acl_contract = "none"` where that '
        "key is absent.",
    )


class Seal(Section):
    """Where the key comes from that protects the secrets in the data directory."""

    key_file: Annotated[Path | None, PATH] = Field(
        None,
        description="File with the 32-byte key (raw, hex or base64), readable by its owner only. "
        "Without any key source: `seal.key` in `path`, made at the first start.",
    )
    key_env: Annotated[str | None, TEXT] = Field(
        None, description="Name of the environment variable that holds the 32-byte key."
    )
    key_id: Annotated[str, TEXT] = Field("default", description="Name of that key.")
    previous_key_file: Annotated[Path | None, PATH] = Field(
        None, description="The key before, while it is exchanged (later)."
    )
    previous_key_id: Annotated[str | None, TEXT] = Field(
        None, description="Name of the key before (later)."
    )
    passphrase_file: Annotated[Path | None, PATH] = Field(
        None, description="File with the passphrase; absent = ask at the terminal."
    )
    admins: Annotated[tuple[Address, ...], strings("addresses", parse_address)] = Field(
        (),
        description="Accounts that may administer the seal, service keys and tokens; none = "
        "whoever reaches the operator listener on this machine.",
    )
    share_minutes: Annotated[int, integer(1)] = Field(
        15, description="Minutes that an operator's share waits for the others."
    )
    rotate_days: Annotated[int, integer(0)] = Field(
        90, description="Age at which a new key for new secrets is made (a term); 0 = never."
    )
    on_seal: Annotated[Literal["reexec", "stay"], choice("reexec", "stay")] = Field(
        "reexec", description="What sealing does to the process: replaces it; `stay` comes (later)."
    )
    bootstrap_token_file: Annotated[Path | None, PATH] = Field(
        None, description="Token for the first set-up over HTTP (later)."
    )
    expect_node_id: Annotated[NodeId | None, string("128 hex digits", parse_node_id)] = Field(
        None,
        description="Whose seal alone is opened: the id of this node. Set it where the key of the "
        "node is in the database: whoever writes that could put another node's seal in its place.",
    )
    expect_seal_id: Annotated[str | None, TEXT] = Field(
        None, description="The only seal this node may be opened with (later)."
    )


class ServiceKeys(Section):
    """Keys that services use to encrypt what belongs to their customers."""

    enabled: Switch = Field(
        False,
        description="Serve keys to services, under `/v1/keys`, and ask for tokens or signatures.",
    )
    rotation_days: Annotated[int, integer(1, 3650)] = Field(
        30, description="Age at which a service gets a new key; old ones stay."
    )


class Audit(Section):
    """The log of what was done with the seal and with service keys."""

    files: Annotated[tuple[Path, ...], PATHS] = Field(
        ["$DATA/audit.jsonl"],
        validate_default=True,
        description="File of the audit log; this process alone writes it.",
    )
    required: Switch = Field(True, description="Refuse what cannot be written to the audit log.")


class KeyServer(Section):
    """What the original's files cannot say. Environment variables: `KEYSERVER_` and the key."""

    rpc_endpoints: Annotated[tuple[str, ...], strings("URLs", parse_rpc_endpoint)] = Field(
        (),
        repr=False,
        description="Ethereum nodes, `http(s)` or `ws(s)`, asked in this order; the later ones "
        "when the earlier fail.",
    )
    chain_id: Annotated[int | None, integer(1)] = Field(
        None, description="The chain's id, compared with every endpoint's. Required with those."
    )
    registry_address: Annotated[Address | None, string("address", parse_address)] = Field(
        None, description='The name registry; without it `"registry"` finds nothing.'
    )
    confirmations: Annotated[int, integer(0)] = Field(
        3, description="Depth of the confirmed block."
    )
    finality: Annotated[
        Literal["depth", "safe", "finalized"], choice("depth", "safe", "finalized")
    ] = Field("depth", description="What the confirmed block is.")
    acl_depth: Annotated[Literal["head", "both"], choice("head", "both")] = Field(
        "head",
        description="Where a permission must hold: at the newest block, or there and at the "
        "confirmed one. New installations: `both`.",
    )
    poll_seconds: Annotated[float, POSITIVE_NUMBER] = Field(
        1.0, description="How often to ask for new blocks where they are not pushed."
    )
    log_chunk_blocks: Annotated[int, integer(1)] = Field(
        1000, description="Most blocks asked for in one reading of logs."
    )
    start_block: Annotated[int | None, integer(0)] = Field(
        None,
        description="Where the reading of logs begins. Absent = the confirmed block at the first "
        "start; pending requests are found anyway.",
    )
    retry_interval_blocks: Annotated[int, integer(1)] = Field(
        30, description="Blocks between attempts to serve a pending request."
    )
    max_head_age_seconds: Annotated[int, integer(0)] = Field(
        300,
        description="Age of the newest block from which the Ethereum node counts as not "
        "synchronised; 0 = do not check.",
    )
    max_fee_per_gas: Annotated[int, Wei] = Field(500 * GWEI, description="Highest fee paid.")
    max_priority_fee_per_gas: Annotated[int, Wei] = Field(
        10 * GWEI, description="Highest priority fee paid."
    )
    response_gas_limit: Annotated[int, integer(21_000)] = Field(
        10_000_000, description="Most gas one answer may take."
    )
    resend_after_blocks: Annotated[int, integer(1)] = Field(
        10, description="Blocks after which an answer that is not mined is sent at a higher fee."
    )
    min_balance: Annotated[int, Wei] = Field(
        ETHER // 10, description="Warn when the node's account holds less."
    )
    drain_above: Annotated[int | None, Wei] = Field(
        None,
        description="Collect the fees of a service contract when they exceed this; absent = never.",
    )
    service_contract_ecdsa_sign: Source = Field(
        NoContract(),
        description="ECDSA signatures. Registry entry `secretstore_service_ecdsa_sign`.",
    )
    service_contract_schnorr_sign: Source = Field(
        NoContract(),
        description="Schnorr signatures. Registry entry `secretstore_service_schnorr_sign`.",
    )

    cluster_name: Annotated[str, TEXT] = Field(
        "", description="Part of the cluster's identity. Same on all nodes."
    )
    max_faulty: Annotated[int | None, integer(0, MAX_NODES)] = Field(
        None,
        description="How many nodes may be faulty; absent = floor((n-1)/3). Same on all nodes.",
    )
    generation_quorum: Annotated[Literal["all"] | int, QUORUM] = Field(
        "all", description="Nodes that must be there to start a generation or a storing."
    )
    strict_credentials: Annotated[
        tuple[str, ...], strings("operation names", word_of(OPERATIONS))
    ] = Field(
        (),
        description="Operations that do not accept a signature in the path. New installations: "
        + ", ".join(f"`{name}`" for name in STRICT_CREDENTIALS)
        + ".",
    )
    forbid_plain_modes: Switch = Field(
        False,
        description="Serve no operation that shows a document key to a node. New installations: "
        "`true`.",
    )
    generators: Annotated[tuple[Address, ...], strings("addresses", parse_address)] = Field(
        (),
        description="Accounts that may generate keys, by `/v1` only: a signature in the path "
        "proves too little for that; empty = anybody.",
    )
    strict_admin: Switch = Field(
        False,
        description="No administrator's requests in the old form. New installations: `true`.",
    )
    allow_repeated_change: Switch = Field(
        False,
        description="Accept an order in the old form that was carried out before, also when "
        "another change has been completed since.",
    )
    allow_key_loss: Switch = Field(
        False,
        description="Carry out a node set change after which some keys cannot be used any more. "
        "Counts only where all nodes have it; for one change, then remove it.",
    )
    serve_during_change: Switch = Field(
        False, description="Serve requests also during a change ordered in the old form."
    )
    refresh_interval_days: Annotated[float, NUMBER_OR_ZERO] = Field(
        0, description="Renew the shares of all keys that often; 0 = never. Same on all nodes."
    )
    presignatures: Annotated[int, integer(0, 64)] = Field(
        4, description="Prepared ECDSA signatures kept ready for each key in use."
    )

    operator_listen: Annotated[
        OperatorListen | None, expanded("`HOST:PORT` or `unix:PATH`", parse_operator_listen)
    ] = Field(
        None,
        description="Health, metrics and administration. Absent = 127.0.0.1:8090, or a free port "
        "where that one is taken.",
    )
    tls_cert: Annotated[Path | None, PATH] = Field(
        None,
        description="Certificate of the client listener, and of the operator listener unless that "
        "is loopback or a Unix socket.",
    )
    tls_key: Annotated[Path | None, PATH] = Field(None, description="Its private key.")
    trusted_proxies: Annotated[tuple[IpNetwork, ...], strings("IP addresses", parse_ip_network)] = (
        Field((), description="Proxies whose forwarded client address is believed.")
    )
    rate_limit: Annotated[int, integer(0)] = Field(
        100, description="Requests a second for each client address and requester; 0 = no limit."
    )

    database_url: Annotated[str, expanded("URL", parse_database_url)] = Field(
        "sqlite:///$DATA/keyserver.sqlite",
        validate_default=True,
        repr=False,
        description="`sqlite:///FILE` or `postgresql://…`. Absent = `keyserver.sqlite` in `path`.",
    )
    log_format: Annotated[Literal["console", "json"] | None, choice("console", "json")] = Field(
        None, description='Absent = `"console"` on a terminal, else `"json"`.'
    )
    seal: Seal
    service_keys: ServiceKeys
    audit: Audit


class Account(Section):
    """Accounts in key files."""

    password: Annotated[tuple[Path, ...], PATHS] = Field(
        (), description="Files of passwords, one on each line; all are tried."
    )
    unlock: Annotated[tuple[Address, ...], listed("addresses", parse_address)] = Field(
        (), description="Accounts that must exist and open with one of the passwords."
    )
    keys_iterations: Annotated[int, integer(1, 10_000_000)] = Field(
        10240, description="Rounds of PBKDF2 in new key files."
    )


class Parity(Section):
    """Places, named as in the original."""

    base_path: Annotated[Path, PATH] = Field(
        "$BASE",
        validate_default=True,
        description="What `$BASE` stands for. Absent = `io.parity.ethereum` in `$XDG_DATA_HOME` or "
        "`~/.local/share`.",
    )
    keys_path: Annotated[Path, PATH] = Field(
        "$BASE/keys",
        validate_default=True,
        description="Keys directory; it and its direct subdirectories are searched.",
    )
    chain: Annotated[str, expanded("name or path", str)] = Field(
        "ethereum",
        description="Name or file of a chain specification; only its keys subdirectory counts.",
    )


class Misc(Section):
    """Logs and ports."""

    ports_shift: Port = Field(0, description="Added to `port`, `http_port` and the JSON-RPC port.")
    unsafe_expose: Switch = Field(False, description="Every `interface` becomes 0.0.0.0.")
    logging: Annotated[tuple[LogTarget, ...], string('"TARGET=LEVEL,…"', parse_log_targets)] = (
        Field(
            (),
            description="Levels off, error, warn, info, debug, trace; unknown targets are ignored. "
            "Absent = info.",
        )
    )
    log_file: Annotated[Path | None, PATH] = Field(None, description="Write logs there too.")
    color: Switch = Field(True, description="Colours in console logs on a terminal.")


class Rpc(Section):
    """The JSON-RPC server with the original's `secretstore` module."""

    disable: Switch = Field(False, description="No JSON-RPC server.")
    interface: Interface = Field("127.0.0.1", description="Address it listens at.")
    port: Port = Field(8545, description="Port it listens at.")
    apis: Annotated[tuple[str, ...], listed("names", str)] = Field(
        (),
        description="The module is served only if `secretstore` or `all` is in it; `-name` "
        "removes.",
    )
    cors: Annotated[tuple[str, ...], TEXTS] = Field((), description="As in `[secretstore]`.")
    hosts: Annotated[tuple[str, ...], listed("names", str)] = Field(
        ("none",),
        description='Allowed `Host` headers; `"none"` = the address of this listener and '
        'localhost, or any where it listens everywhere; `"all"` = any.',
    )
    max_payload: Annotated[int, integer(1)] = Field(5, description="Largest request body in MiB.")


class Config(Section):
    """The whole effective configuration."""

    secretstore: SecretStore
    keyserver: KeyServer
    account: Account
    parity: Parity
    misc: Misc
    rpc: Rpc
