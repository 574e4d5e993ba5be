"""What the configuration means together: shifted ports, listeners, contracts, the listed nodes."""

from collections.abc import Iterable

from keyserver.app.config.model import Config
from keyserver.app.config.values import (
    ContractSource,
    FromRegistry,
    HostPort,
    NoContract,
    NodeEntry,
    OperatorListen,
)
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId
from keyserver.model.quorums import MAX_NODES

DEFAULT_OPERATOR_LISTEN = HostPort("127.0.0.1", 8090)
"""Where the operator listener is when nothing is configured and nobody else wants the port."""

SHIFTED_PORTS = ("secretstore.port", "secretstore.http_port", "rpc.port")
"""The keys that `[misc] ports_shift` is added to."""

EXPOSED_INTERFACES = ("secretstore.interface", "secretstore.http_interface", "rpc.interface")
"""The keys that `[misc] unsafe_expose` overrides."""

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - set only where the operator asked for it


def effective(config: Config) -> Config:
    """Apply `ports_shift`, `unsafe_expose` and the default key file of the seal."""
    shift, exposed = config.misc.ports_shift, config.misc.unsafe_expose
    store, rpc, seal = config.secretstore, config.rpc, config.keyserver.seal
    store = store.model_copy(
        update={"port": store.port + shift, "http_port": store.http_port + shift}
    )
    rpc = rpc.model_copy(update={"port": rpc.port + shift})
    if exposed:
        store = store.model_copy(update={"interface": _EVERYWHERE, "http_interface": _EVERYWHERE})
        rpc = rpc.model_copy(update={"interface": _EVERYWHERE})
    if not (seal.key_file or seal.key_env or seal.passphrase_file):
        seal = seal.model_copy(update={"key_file": store.path / "seal.key"})
    keyserver = config.keyserver.model_copy(update={"seal": seal})
    return config.model_copy(update={"secretstore": store, "rpc": rpc, "keyserver": keyserver})


def value_of(config: Config, name: str) -> object:
    """The value of a dotted key."""
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def peer_address(config: Config) -> HostPort | None:
    """Where other nodes connect; None without a key server."""
    store = config.secretstore
    return None if store.disable else HostPort(store.interface, store.port)


def http_address(config: Config) -> HostPort | None:
    """Where clients connect; None without the HTTP interface."""
    store = config.secretstore
    if store.disable or store.disable_http:
        return None
    return HostPort(store.http_interface, store.http_port)


def rpc_address(config: Config) -> HostPort | None:
    """Where the JSON-RPC module listens; None when it is not served."""
    if config.rpc.disable or not serves_json_rpc(config):
        return None
    return HostPort(config.rpc.interface, config.rpc.port)


def serves_json_rpc(config: Config) -> bool:
    """Whether `[rpc] apis` contains the `secretstore` module."""
    served = False
    for name in config.rpc.apis:
        if name in ("secretstore", "all"):
            served = True
        elif name == "-secretstore":
            served = False
    return served


def operator_address(config: Config) -> OperatorListen | None:
    """Where the operator listener goes; None without a key server.

    Port 0 (any free one) when nothing is configured and another listener wants the usual port. When
    `keyserver.operator_listen` is None, the caller also moves to a free port if this one is taken.
    """
    if config.secretstore.disable:
        return None
    if config.keyserver.operator_listen is not None:
        return config.keyserver.operator_listen
    usual = DEFAULT_OPERATOR_LISTEN
    others = (peer_address(config), http_address(config), rpc_address(config))
    if any(other is not None and other.port == usual.port for other in others):
        return HostPort(usual.host, 0)
    return usual


def contract_sources(config: Config) -> dict[str, ContractSource]:
    """Every contract source by its dotted key, services included that come later."""
    store, own = config.secretstore, config.keyserver
    return {
        "secretstore.server_set_contract": store.server_set_contract,
        "secretstore.acl_contract": store.acl_contract,
        "secretstore.service_contract": store.service_contract,
        "secretstore.service_contract_srv_gen": store.service_contract_srv_gen,
        "secretstore.service_contract_srv_retr": store.service_contract_srv_retr,
        "secretstore.service_contract_doc_store": store.service_contract_doc_store,
        "secretstore.service_contract_doc_sretr": store.service_contract_doc_sretr,
        "keyserver.service_contract_ecdsa_sign": own.service_contract_ecdsa_sign,
        "keyserver.service_contract_schnorr_sign": own.service_contract_schnorr_sign,
    }


def keys_needing_chain(config: Config) -> tuple[str, ...]:
    """The dotted keys of all contracts that are used."""
    if config.secretstore.disable:
        return ()
    sources = contract_sources(config)
    return tuple(key for key, source in sources.items() if source != NoContract())


def keys_needing_registry(config: Config) -> tuple[str, ...]:
    """The dotted keys of all contracts that are looked up in the name registry."""
    if config.secretstore.disable:
        return ()
    sources = contract_sources(config)
    return tuple(key for key, source in sources.items() if source == FromRegistry())


def configured_nodes(config: Config, own: NodeId) -> tuple[NodeEntry, ...]:
    """The node set when it comes from `nodes`: sorted by id, this node always in it.

    This node stands there with its own `interface`:`port`, whatever its entry says; of two entries
    with one key the later counts. Raises `ConfigError` for more nodes than a set can have.
    """
    store = config.secretstore
    by_id = {entry.node_id: entry for entry in store.nodes}
    by_id[own] = NodeEntry(own, HostPort(store.interface, store.port))
    if len(by_id) > MAX_NODES:
        raise ConfigError(
            f"[secretstore] nodes: the set would have {len(by_id)} nodes, this one included "
            f"(at most {MAX_NODES})"
        )
    return tuple(by_id[node_id] for node_id in sorted(by_id))


def repeated_nodes(nodes: Iterable[NodeEntry]) -> tuple[NodeId, ...]:
    """The keys that stand in more than one entry."""
    seen: set[NodeId] = set()
    repeated: dict[NodeId, None] = {}
    for entry in nodes:
        if entry.node_id in seen:
            repeated[entry.node_id] = None
        seen.add(entry.node_id)
    return tuple(repeated)
