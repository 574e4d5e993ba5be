"""Where values come from: the file, the environment, the command line.

Each reader returns the values it found by dotted key, still as TOML values, each with its origin,
and the problems it met on the way. Nothing is decoded here.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from keyserver.app.config.keys import (
    IGNORED_KEYS,
    IGNORED_SECTIONS,
    Key,
    all_keys,
    all_sections,
    suggestion,
)
from keyserver.app.config.problems import ConfigWarning, Problem


class Source(StrEnum):
    """The four places a value can come from, the weakest first."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value comes from."""

    source: Source
    detail: str = ""
    """File and line, name of the variable, or option."""

    def __str__(self) -> str:
        return f"{self.source} {self.detail}".rstrip()


DEFAULT = Origin(Source.DEFAULT)


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written."""

    value: object
    origin: Origin

    def __repr__(self) -> str:
        return f"Given(from {self.origin})"


@dataclass(slots=True)
class Reading:
    """What one source, or all of them together, gave."""

    given: dict[str, Given] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[ConfigWarning] = field(default_factory=list)


OPTIONS: Mapping[str, str] = {
    "--no-secretstore": "secretstore.disable",
    "--no-secretstore-http": "secretstore.disable_http",
    "--no-secretstore-auto-migrate": "secretstore.disable_auto_migrate",
    "--secretstore-http-cors": "secretstore.cors",
    "--secretstore-acl-contract": "secretstore.acl_contract",
    "--secretstore-contract": "secretstore.service_contract",
    "--secretstore-srv-gen-contract": "secretstore.service_contract_srv_gen",
    "--secretstore-srv-retr-contract": "secretstore.service_contract_srv_retr",
    "--secretstore-doc-store-contract": "secretstore.service_contract_doc_store",
    "--secretstore-doc-sretr-contract": "secretstore.service_contract_doc_sretr",
    "--secretstore-nodes": "secretstore.nodes",
    "--secretstore-server-set-contract": "secretstore.server_set_contract",
    "--secretstore-interface": "secretstore.interface",
    "--secretstore-port": "secretstore.port",
    "--secretstore-http-interface": "secretstore.http_interface",
    "--secretstore-http-port": "secretstore.http_port",
    "--secretstore-path": "secretstore.path",
    "--secretstore-secret": "secretstore.self_secret",
    "--secretstore-admin": "secretstore.admin_public",
    "--password": "account.password",
    "--ports-shift": "misc.ports_shift",
    "--unsafe-expose": "misc.unsafe_expose",
}
"""The options of the original, each with the key it sets (configuration, section 2)."""


def read_command_line(arguments: Sequence[str]) -> Reading:
    """Read `--option=value`, `--option value` and switches; see `OPTIONS`."""
    reading = Reading()
    rest = list(arguments)
    while rest:
        name, equals, text = rest.pop(0).partition("=")
        if name not in OPTIONS:
            meant = suggestion(name, OPTIONS)
            reading.problems.append(Problem(f"{name}: unknown option{meant}"))
            continue
        key = all_keys()[OPTIONS[name]]
        if key.is_switch and not equals:
            text = "true"
        elif not equals:
            if not rest:
                reading.problems.append(Problem(f"{name}: needs a value", (key.name,)))
                continue
            text = rest.pop(0)
        _add_text(reading, key, text, Origin(Source.COMMAND_LINE, name), repeatable=True)
    return reading


def read_environment(environ: Mapping[str, str]) -> Reading:
    """Read the variables named after keys of `[secretstore]` and `[keyserver]`."""
    reading = Reading()
    keys = {key.variable: key for key in all_keys().values() if key.variable}
    for variable in sorted(environ):
        key = keys.get(variable)
        if key is not None:
            _add_text(reading, key, environ[variable], Origin(Source.ENVIRONMENT, variable))
        elif variable.startswith(("KEYSERVER_", "SECRETSTORE_")):
            meant = suggestion(variable, [name for name in keys if name])
            text = f"{variable} in the environment stands for no key of the configuration{meant}"
            reading.warnings.append(ConfigWarning("unknown_environment_variable", (), text))
    return reading


def _add_text(
    reading: Reading, key: Key, text: str, origin: Origin, *, repeatable: bool = False
) -> None:
    try:
        value = key.kind.from_text(text)
    except ValueError as error:
        reading.problems.append(Problem(f"{origin.detail}: {error}", (key.name,)))
        return
    earlier = reading.given.get(key.name)
    if repeatable and earlier and isinstance(value, list) and isinstance(earlier.value, list):
        value = [*earlier.value, *value]
    reading.given[key.name] = Given(value, origin)


def read_file(path: Path) -> Reading:
    """Read a TOML file; sections and keys of the original that mean nothing here are named once."""
    reading = Reading()
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"There was an error reading your config file at: {path} ({reason})"
        reading.problems.append(Problem(message))
        return reading
    except tomllib.TOMLDecodeError as error:
        reading.problems.append(Problem(f"{path}: {error}", is_form=True))
        return reading
    except (ValueError, RecursionError):  # Python's own limits
        text = "holds a number of thousands of digits, or arrays nested hundreds of times"
        reading.problems.append(Problem(f"{path}: {text}", is_form=True))
        return reading
    _FileReader(path, text, reading).read(tables)
    return reading


class _FileReader:
    """Walks the tables of one parsed file."""

    def __init__(self, path: Path, text: str, reading: Reading) -> None:
        self._path = path
        self._lines = _line_numbers(text)
        self._reading = reading

    def read(self, tables: Mapping[str, object]) -> None:
        ignored: list[str] = []
        for name, content in tables.items():
            if name in IGNORED_SECTIONS and isinstance(content, dict):
                ignored.append(f"[{name}]")
            elif name in all_sections() and isinstance(content, dict):
                ignored.extend(self._read_section(name, content))
            elif isinstance(content, dict):
                meant = suggestion(name, all_sections() | IGNORED_SECTIONS)
                self._problem("", name, f"[{name}]: unknown section{meant}")
            else:
                self._problem("", name, f"{name}: stands outside of any section")
        if ignored:
            text = f"Ignored in {self._path}, without meaning here: {', '.join(ignored)}"
            warning = ConfigWarning("ignored_settings", (), text, level="info")
            self._reading.warnings.append(warning)

    def _read_section(self, section: str, content: Mapping[str, object]) -> Iterator[str]:
        """Take the keys of one table; yield the labels of those that are ignored."""
        for short, value in content.items():
            name = f"{section}.{short}"
            if name in IGNORED_KEYS:
                yield f"[{section}] {short}"
            elif name in all_sections():
                if isinstance(value, dict):
                    yield from self._read_section(name, value)
                else:
                    self._problem(section, short, f"[{section}] {short}: must be a table")
            elif name in all_keys():
                origin = Origin(Source.FILE, self._where(section, short))
                self._reading.given[name] = Given(value, origin)
            else:
                meant = suggestion(short, _names_in(section))
                message = f"[{section}] {short}: unknown key{meant}"
                self._problem(section, short, message)

    def _problem(self, section: str, short: str, message: str) -> None:
        text = f"{self._where(section, short)}: {message}"
        self._reading.problems.append(Problem(text, is_form=True))

    def _where(self, section: str, short: str) -> str:
        line = self._lines.get((section, short)) or self._lines.get((short, ""))
        return f"{self._path}:{line}" if line else str(self._path)


def _names_in(section: str) -> list[str]:
    """The keys and sub-tables of a section."""
    paths = [*all_keys(), *all_sections()]
    return [path.rpartition(".")[2] for path in paths if path.rpartition(".")[0] == section]


_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*[=.]")


def _line_numbers(text: str) -> dict[tuple[str, str], int]:
    """Where each table `(name, "")` and key `(table, key)` stands; only for messages.

    The parser gives no positions. Quoted names and keys inside strings of several lines may be
    missed or found wrongly; then a message has no line number, or that of a namesake.
    """
    lines: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = header[1]
            lines.setdefault((table, ""), number)
        elif key := _KEY.match(line):
            lines.setdefault((table, key[1]), number)
    return lines
