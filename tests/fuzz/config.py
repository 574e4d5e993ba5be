"""Configuration files, the environment and the command line."""

import tempfile
from pathlib import Path
from random import Random

from keyserver.app.config import load
from keyserver.app.config.keys import all_keys
from keyserver.app.config.problems import InvalidConfigError
from keyserver.app.config.sources import OPTIONS
from tests.fuzz.mutation import altered, altered_text

_OLD = Path(__file__).parents[1] / "e2e" / "clients" / "old"
_MADE = """
[secretstore]
nodes = ["{node}@127.0.0.1:8083"]
server_set_contract = "none"
acl_contract = "registry"
service_contract = "0x0000000000000000000000000000000000000001"
path = "$BASE/data"

[keyserver]
rpc_endpoints = ["http://127.0.0.1:8545", "ws://127.0.0.1:8546"]
chain_id = 1337
registry_address = "0x0000000000000000000000000000000000000002"
confirmations = 3
generation_quorum = 4
strict_credentials = ["retrieve_plain"]
trusted_proxies = ["10.0.0.0/8"]

[keyserver.seal]
key_env = "SEAL"

[misc]
logging = "keyserver=debug,warn"
"""


class Configuration:
    """Files that were altered, with variables and options that were altered as well."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._file = Path(self._directory.name) / "config.toml"
        texts = [file.read_text() for file in sorted(_OLD.glob("*.toml"))]
        self._texts = [*texts, _MADE.format(node="04" * 64)]
        self._names = [key.variable for key in all_keys().values() if key.variable]

    def feed(self, random: Random) -> str:
        text = altered_text(random, random.choice(self._texts), self._texts)
        raw = text.encode("utf-8", "replace")
        if random.random() < 0.1:
            raw = altered(random, raw, [])
        self._file.write_bytes(raw)
        environ = {"HOME": self._directory.name}
        if random.random() < 0.1:
            environ[random.choice(self._names)] = self._word(random)
        arguments = []
        if random.random() < 0.1:
            arguments = [random.choice(sorted(OPTIONS)), self._word(random)]
        try:
            loaded = load(self._file, environ=environ, arguments=arguments)
        except InvalidConfigError:
            return "refused"
        return "warned of" if loaded.warnings else "used"

    def _word(self, random: Random) -> str:
        line = random.choice(random.choice(self._texts).split("\n"))
        word = line.partition("=")[2].strip(' "[]') or line
        return altered(random, word.encode(), []).decode("utf-8", "replace").replace("\x00", "")

    def close(self) -> None:
        self._directory.cleanup()
