"""Rules between keys: what stops the start, and what the operator is warned about."""

import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Final

from keyserver.app.config.effective import (
    http_address,
    keys_needing_chain,
    keys_needing_registry,
    operator_address,
    peer_address,
    repeated_nodes,
    rpc_address,
    value_of,
)
from keyserver.app.config.keys import all_keys
from keyserver.app.config.model import Config
from keyserver.app.config.problems import ConfigWarning, Problem
from keyserver.app.config.sources import Origin, Source
from keyserver.app.config.values import HostPort, NoContract, PrivateKey
from keyserver.app.config.writer import STRICT_VALUES

Origins = Mapping[str, Origin]

KEY_BESIDE_DATA: Final = "seal_key_beside_data"
"""The warning about a key file, which a store that shares open has none of."""

LENIENT_KEYS: Mapping[str, str] = {
    "keyserver.forbid_plain_modes": "operations that show a document key to one node are served",
    "keyserver.strict_credentials": "whoever has seen a path can use its signature again for "
    "another operation",
    "keyserver.acl_depth": "a permission of a block that is later dropped is honoured",
    "keyserver.strict_admin": "administrator's requests in the old form are accepted, which can "
    "be repeated by whoever has seen them",
}
"""Keys whose absence means the original's behaviour, each with what that leaves open."""


def find_problems(config: Config, origins: Origins) -> list[Problem]:
    """Everything between keys that stops the start."""
    problems = list(_port_problems(config))
    if not config.secretstore.disable:
        problems += _secretstore_problems(config)
        problems += _keyserver_problems(config)
    return [Problem(_where(problem, origins) + problem.text, problem.keys) for problem in problems]


def _where(problem: Problem, origins: Origins) -> str:
    """The place of the first key that was written somewhere."""
    for key in problem.keys:
        origin = origins.get(key)
        if origin is not None:
            return f"{origin.detail}: "
    return ""


def _label(key: str) -> str:
    return all_keys()[key].label


def _port_problems(config: Config) -> Iterator[Problem]:
    ports = {
        "secretstore.port": config.secretstore.port,
        "secretstore.http_port": config.secretstore.http_port,
        "rpc.port": config.rpc.port,
    }
    for key, port in ports.items():
        if port > 65535:
            text = f"{_label(key)}: is {port} with [misc] ports_shift, above 65535"
            yield Problem(text, (key, "misc.ports_shift"))
    wanted = {
        "secretstore.port": peer_address(config),
        "secretstore.http_port": http_address(config),
        "rpc.port": rpc_address(config),
        "keyserver.operator_listen": operator_address(config),
    }
    for (key, first), (other, second) in combinations(wanted.items(), 2):
        if isinstance(first, HostPort) and isinstance(second, HostPort) and _clash(first, second):
            text = f"{_label(other)}: wants {second} as {_label(key)} does"
            yield Problem(text, (other, key))


def _clash(first: HostPort, second: HostPort) -> bool:
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    same_host = first.host == second.host or bool(everywhere & {first.host, second.host})
    return first.port != 0 and first.port == second.port and same_host


def _secretstore_problems(config: Config) -> Iterator[Problem]:
    store = config.secretstore
    by_contract = store.server_set_contract != NoContract()
    if store.admin_public is not None and not store.disable_auto_migrate and by_contract:
        yield Problem(
            "secret store admininstrator public key is specified with auto-migration enabled "
            "(set [secretstore] disable_auto_migrate = true or remove admin_public)",
            ("secretstore.admin_public", "secretstore.disable_auto_migrate"),
        )


def _keyserver_problems(config: Config) -> Iterator[Problem]:
    own = config.keyserver
    if own.rpc_endpoints and own.chain_id is None:
        text = "[keyserver] chain_id: is required with rpc_endpoints"
        yield Problem(text, ("keyserver.chain_id", "keyserver.rpc_endpoints"))
    if (own.tls_cert is None) != (own.tls_key is None):
        text = "[keyserver] tls_cert, tls_key: one is of no use without the other"
        yield Problem(text, ("keyserver.tls_cert", "keyserver.tls_key"))
    listen = operator_address(config)
    if isinstance(listen, HostPort) and not listen.is_loopback and own.tls_cert is None:
        text = (
            f"[keyserver] operator_listen: {listen} can be reached from other machines without "
            "encryption (use a loopback address, unix:PATH, or tls_cert and tls_key)"
        )
        yield Problem(text, ("keyserver.operator_listen", "keyserver.tls_cert"))
    if own.seal.key_file is not None and own.seal.key_env is not None:
        text = "[keyserver.seal] key_file, key_env: give only one of them"
        yield Problem(text, ("keyserver.seal.key_env", "keyserver.seal.key_file"))
    if own.max_priority_fee_per_gas > own.max_fee_per_gas:
        text = "[keyserver] max_priority_fee_per_gas: must not exceed max_fee_per_gas"
        keys = ("keyserver.max_priority_fee_per_gas", "keyserver.max_fee_per_gas")
        yield Problem(text, keys)


def find_warnings(config: Config, origins: Origins) -> list[ConfigWarning]:
    """What the operator is told at every start."""
    everywhere = [*_exposure_warnings(config), *_later_warnings(config, origins)]
    if config.secretstore.disable:
        return everywhere
    return [
        *everywhere,
        *_own_key_warnings(config, origins),
        *_set_warnings(config),
        *_chain_warnings(config),
        *_old_key_warnings(config, origins),
        *_seal_warnings(config),
        *_lenient_warnings(origins),
    ]


def _exposure_warnings(config: Config) -> Iterator[ConfigWarning]:
    http, rpc = http_address(config), rpc_address(config)
    if http is not None and not http.is_loopback and config.keyserver.tls_cert is None:
        text = (
            f"[secretstore] http_interface: clients reach {http} without encryption, so whoever is "
            "between can use their signatures again and change answers (set [keyserver] tls_cert "
            "and tls_key, or use a loopback address behind a proxy that encrypts)"
        )
        keys = ("secretstore.http_interface", "keyserver.tls_cert")
        yield ConfigWarning("http_without_tls", keys, text)
    if rpc is not None and not rpc.is_loopback:
        text = (
            f"[rpc] interface: passwords travel to {rpc} without encryption, and whoever knows one "
            "can sign anything with that account (use a loopback address)"
        )
        yield ConfigWarning("json_rpc_without_tls", ("rpc.interface",), text)


def _later_warnings(config: Config, origins: Origins) -> Iterator[ConfigWarning]:
    """Nobody should believe in a protection that is not there yet."""
    later = [
        name
        for name, key in all_keys().items()
        if name in origins and key.is_later and value_of(config, name) != key.default
    ]
    if later:
        names = ", ".join(_label(key) for key in later)
        text = f"Checked, but without effect in this version: {names}"
        yield ConfigWarning("keys_without_effect", tuple(later), text)


def _own_key_warnings(config: Config, origins: Origins) -> Iterator[ConfigWarning]:
    if not isinstance(config.secretstore.self_secret, PrivateKey):
        return
    text = (
        f"[secretstore] self_secret is a private key in clear ({origins['secretstore.self_secret']}"
        "): whoever reads that can act as this node (put it into an encrypted key file, and write "
        "the address of that)"
    )
    yield ConfigWarning("private_key_in_clear", ("secretstore.self_secret",), text)


def _set_warnings(config: Config) -> Iterator[ConfigWarning]:
    store = config.secretstore
    by_contract = store.server_set_contract != NoContract()
    if by_contract and store.nodes:
        text = (
            "[secretstore] nodes is ignored: the node set comes from a contract "
            '(server_set_contract is not "none")'
        )
        yield ConfigWarning("nodes_ignored", ("secretstore.nodes",), text)
    for node_id in repeated_nodes(store.nodes):
        text = f"[secretstore] nodes: the later of several entries counts for {node_id.hex()}"
        yield ConfigWarning("node_listed_twice", ("secretstore.nodes",), text)
    if store.admin_public is not None and not store.disable_auto_migrate and not by_contract:
        text = (
            "[secretstore] admin_public without disable_auto_migrate = true: taken as true, "
            "because a node set from `nodes` never migrates by itself"
        )
        yield ConfigWarning("auto_migrate_without_effect", ("secretstore.admin_public",), text)


def _chain_warnings(config: Config) -> Iterator[ConfigWarning]:
    store, own = config.secretstore, config.keyserver
    if store.acl_contract == NoContract():
        text = "Running SecretStore with disabled ACL check: everyone has access to stored keys"
        yield ConfigWarning("acl_check_disabled", ("secretstore.acl_contract",), text)
    if (needing := keys_needing_chain(config)) and not own.rpc_endpoints:
        text = (
            f"[keyserver] rpc_endpoints is empty, but a chain is needed for {_names(needing)}: "
            "until there is one, nobody has permission and no contract is served"
        )
        yield ConfigWarning("chain_endpoint_missing", ("keyserver.rpc_endpoints",), text)
    if (needing := keys_needing_registry(config)) and own.registry_address is None:
        text = (
            f'[keyserver] registry_address is not set: "registry" finds nothing for '
            f"{_names(needing)}"
        )
        yield ConfigWarning("registry_address_missing", ("keyserver.registry_address",), text)


def _names(keys: tuple[str, ...]) -> str:
    return ", ".join(key.rpartition(".")[2] for key in keys)


def _old_key_warnings(config: Config, origins: Origins) -> Iterator[ConfigWarning]:
    if "secretstore.disable_acl_check" not in origins:
        return
    ruled = config.secretstore.disable_acl_check and config.secretstore.acl_contract == NoContract()
    effect = 'it means acl_contract = "none"' if ruled else "it has no effect"
    text = f"[secretstore] disable_acl_check is an old key; here {effect}"
    yield ConfigWarning("old_key", ("secretstore.disable_acl_check",), text)


def _seal_warnings(config: Config) -> Iterator[ConfigWarning]:
    key_file = config.keyserver.seal.key_file
    if key_file is None or not _is_inside(key_file, config.secretstore.path):
        return
    if config.secretstore.self_secret is None:
        return  # the key is in the store, which operators' shares open
    text = (
        f"{key_file} lies beside the data it protects: whoever copies {config.secretstore.path} "
        "has key and boxes (see [keyserver.seal] key_file)"
    )
    yield ConfigWarning(KEY_BESIDE_DATA, ("keyserver.seal.key_file",), text)


def _is_inside(path: Path, directory: Path) -> bool:
    return path.absolute().is_relative_to(directory.absolute())


def _lenient_warnings(origins: Origins) -> Iterator[ConfigWarning]:
    for key, open_door in LENIENT_KEYS.items():
        if origins.get(key, Origin(Source.DEFAULT)).source is Source.DEFAULT:
            strict = f"{key.rpartition('.')[2]} = {json.dumps(STRICT_VALUES[key])}"
            text = f"{_label(key)} is not set: {open_door} (strict: {strict})"
            yield ConfigWarning("lenient_default", (key,), text)
