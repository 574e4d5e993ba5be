"""The effective configuration for showing: every value with its origin, and no secrets."""

from dataclasses import dataclass

from keyserver.app.config.keys import all_keys
from keyserver.app.config.loader import Loaded
from keyserver.app.config.sources import Origin
from keyserver.app.config.values import plain, without_credentials

_URLS = frozenset({"keyserver.rpc_endpoints", "keyserver.database_url"})


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One key as it is in force."""

    key: str
    """The dotted name."""
    value: object
    """Ready for JSON; without secrets."""
    origin: Origin


def effective_values(loaded: Loaded) -> tuple[EffectiveValue, ...]:
    """All keys in the order of the model."""
    return tuple(
        EffectiveValue(name, _shown(name, _value_of(loaded, name)), loaded.origin(name))
        for name in all_keys()
    )


def _value_of(loaded: Loaded, name: str) -> object:
    value: object = loaded.config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _shown(name: str, value: object) -> object:
    if name in _URLS:
        if isinstance(value, tuple):
            return [without_credentials(url) for url in value]
        return without_credentials(str(value))
    return plain(value)
