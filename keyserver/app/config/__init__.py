"""The configuration: the only place that reads the file, the environment and their options.

`load` puts all sources together and returns a `Loaded`: the frozen `Config`, where each value comes
from, and warnings to log. The modules:

- `model`: the sections and keys; `kinds` and `values`: how one value is written and decoded;
- `keys`: the keys as a flat table; `sources`: reading; `loader`: precedence and decoding;
- `effective`: what the values mean together (listeners, contracts, nodes); `rules`: what stops the
  start and what is warned about; `problems`: how both look;
- `report`: the effective values for showing; `writer`: new files; `reference`: the manual's page.
"""

from keyserver.app.config.effective import (
    configured_nodes,
    contract_sources,
    http_address,
    operator_address,
    peer_address,
    rpc_address,
)
from keyserver.app.config.loader import Loaded, load
from keyserver.app.config.model import OPERATIONS, STRICT_CREDENTIALS, Config
from keyserver.app.config.problems import ConfigWarning, InvalidConfigError
from keyserver.app.config.values import (
    AccountKey,
    AtAddress,
    ContractSource,
    FromRegistry,
    HostPort,
    LogTarget,
    NoContract,
    NodeEntry,
    OperatorListen,
    PrivateKey,
    UnixSocket,
)

__all__ = [
    "OPERATIONS",
    "STRICT_CREDENTIALS",
    "AccountKey",
    "AtAddress",
    "Config",
    "ConfigWarning",
    "ContractSource",
    "FromRegistry",
    "HostPort",
    "InvalidConfigError",
    "Loaded",
    "LogTarget",
    "NoContract",
    "NodeEntry",
    "OperatorListen",
    "PrivateKey",
    "UnixSocket",
    "configured_nodes",
    "contract_sources",
    "http_address",
    "load",
    "operator_address",
    "peer_address",
    "rpc_address",
]
