"""The effective configuration for showing: every value with its origin, and no secrets."""

from dataclasses import dataclass

from keyserver.app.config.effective import (
    EXPOSED_INTERFACES,
    SHIFTED_PORTS,
    http_address,
    operator_address,
    peer_address,
    rpc_address,
    value_of,
)
from keyserver.app.config.keys import all_keys
from keyserver.app.config.loader import Loaded
from keyserver.app.config.model import Config
from keyserver.app.config.sources import Origin
from keyserver.app.config.values import HostPort, plain, without_credentials

_URLS = frozenset({"keyserver.rpc_endpoints", "keyserver.database_url"})


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One key as it is in force."""

    key: str
    """The dotted name."""
    value: object
    """Ready for JSON; without secrets."""
    origin: Origin
    meaning: str
    """What the key is for, in a sentence or two."""
    moved_by: str | None = None
    """The label of another key that has changed the value."""


def effective_values(loaded: Loaded) -> tuple[EffectiveValue, ...]:
    """All keys in the order of the model."""
    moved = _moved(loaded.config)
    return tuple(
        EffectiveValue(
            name,
            _shown(name, value_of(loaded.config, name)),
            loaded.origin(name),
            key.description,
            moved.get(name),
        )
        for name, key in all_keys().items()
    )


def _moved(config: Config) -> dict[str, str]:
    """The keys whose values another key changes, each with that one's label."""
    moved: dict[str, str] = {}
    if config.misc.ports_shift:
        moved |= dict.fromkeys(SHIFTED_PORTS, "[misc] ports_shift")
    if config.misc.unsafe_expose:
        moved |= dict.fromkeys(EXPOSED_INTERFACES, "[misc] unsafe_expose")
    return moved


def listeners(config: Config) -> dict[str, str]:
    """Where the process will listen, by what for."""
    scheme = "http" if config.keyserver.tls_cert is None else "https"
    http, rpc = http_address(config), rpc_address(config)
    addresses = {
        "clients": http and f"{scheme}://{http}",
        "json_rpc": rpc and f"http://{rpc}",
        "other_nodes": peer_address(config),
        "operator": operator_address(config),
    }
    return {name: _listening(at) for name, at in addresses.items() if at is not None}


def _listening(at: object) -> str:
    if isinstance(at, HostPort) and at.port == 0:
        return f"{at.host}, a free port"
    return str(at)


def _shown(name: str, value: object) -> object:
    if name in _URLS:
        if isinstance(value, tuple):
            return [without_credentials(url) for url in value]
        return without_credentials(str(value))
    return plain(value)
