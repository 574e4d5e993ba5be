"""From all sources to one effective configuration.

The command line wins over the environment, that over the file, that over the defaults; a switch is
on when any of them says so. All problems are gathered and raised together.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from keyserver.app.config.effective import effective
from keyserver.app.config.keys import all_keys, all_sections, suggestion
from keyserver.app.config.kinds import Places, WrongTypeError
from keyserver.app.config.model import Config
from keyserver.app.config.problems import ConfigWarning, InvalidConfigError, Problem
from keyserver.app.config.rules import find_problems, find_warnings
from keyserver.app.config.sources import (
    DEFAULT,
    Given,
    Origin,
    Reading,
    Source,
    read_command_line,
    read_environment,
    read_file,
)
from keyserver.app.config.values import plain


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used, and what the operator should know about it."""

    config: Config
    origins: Mapping[str, Origin]
    """Where each value comes from, by dotted key; a key that is absent here has its default."""
    warnings: tuple[ConfigWarning, ...]
    file: Path | None
    """The file that was read."""

    def origin(self, key: str) -> Origin:
        """Where the value of a dotted key comes from."""
        return self.origins.get(key, DEFAULT)


def load(
    file: Path | None,
    *,
    environ: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    use_default_file: bool = True,
) -> Loaded:
    """Read all sources and return the effective configuration.

    `file` is what `--config` names; without it `$BASE/config.toml` is read if it is there, unless
    `use_default_file` is false (`--no-config`). `arguments` are options of the original as they
    stand on the command line; `environ` is the environment of the process by default. Raises
    `InvalidConfigError` with everything that is wrong.
    """
    environ = os.environ if environ is None else environ
    if file is None and use_default_file:
        default_file = Path(_default_base(environ)) / "config.toml"
        file = default_file if default_file.is_file() else None
    readings = [read_file(file)] if file is not None else []
    readings += [read_environment(environ), read_command_line(arguments)]
    return _decode(_merge(readings), environ, file)


def decode_values(
    values: Mapping[str, object], *, environ: Mapping[str, str] | None = None
) -> Loaded:
    """Decode values by dotted key, TOML's or typed ones, as if a file held them and no more.

    For checking a file before it is written. Raises `InvalidConfigError`.
    """
    reading = Reading()
    for name, value in values.items():
        if name in all_keys():
            reading.given[name] = Given(plain(value), Origin(Source.FILE, "new file"))
        else:
            reading.problems.append(Problem(f"{name}: unknown key{suggestion(name, all_keys())}"))
    return _decode(reading, os.environ if environ is None else environ, None)


def value_from_text(name: str, text: str) -> object:
    """Return the TOML value of a dotted key from text, as in the environment.

    Raises `InvalidConfigError` for a key that does not exist or a text that cannot be one.
    """
    key = all_keys().get(name)
    if key is None:
        problem = Problem(f"{name}: unknown key{suggestion(name, all_keys())}")
        raise InvalidConfigError([problem])
    try:
        return key.kind.from_text(text)
    except ValueError as error:
        raise InvalidConfigError([Problem(f"{name}: {error}", (name,))]) from None


def _merge(readings: Sequence[Reading]) -> Reading:
    """Put the sources together, the weakest first."""
    merged = Reading()
    for reading in readings:
        merged.problems += reading.problems
        merged.warnings += reading.warnings
        for name, given in reading.given.items():
            earlier = merged.given.get(name)
            if earlier and all_keys()[name].is_switch and earlier.value is True:
                continue
            merged.given[name] = given
    return merged


def _decode(reading: Reading, environ: Mapping[str, str], file: Path | None) -> Loaded:
    given = dict(reading.given)
    warnings = list(reading.warnings)
    if _disables_acl_check(given):
        given["secretstore.acl_contract"] = Given("none", given[_OLD_ACL_KEY].origin)
    config, problems = _validate(given, environ)
    origins = {name: item.origin for name, item in given.items()}
    config = effective(config)
    problems = [*reading.problems, *problems]
    problems += _rules_broken(config, origins, problems)
    if problems:
        raise InvalidConfigError(problems)
    warnings = [item for item in warnings if not _names_seal_variable(item, config)]
    warnings += find_warnings(config, origins)
    return Loaded(config, origins, tuple(warnings), file)


def _rules_broken(
    config: Config, origins: Mapping[str, Origin], known: Sequence[Problem]
) -> list[Problem]:
    """Problems between keys, without those that only follow from what is known already."""
    if any(not problem.keys for problem in known):
        return []  # a file that was not read, or a misspelt name: what is missing is no news
    bad = {key for problem in known for key in problem.keys}
    return [item for item in find_problems(config, origins) if not bad & set(item.keys)]


_OLD_ACL_KEY = "secretstore.disable_acl_check"


def _disables_acl_check(given: Mapping[str, Given]) -> bool:
    old = given.get(_OLD_ACL_KEY)
    return old is not None and old.value is True and "secretstore.acl_contract" not in given


def _names_seal_variable(warning: ConfigWarning, config: Config) -> bool:
    """Whether an unknown variable is the one `seal.key_env` names."""
    variable = config.keyserver.seal.key_env
    return (
        warning.event == "unknown_environment_variable"
        and variable is not None
        and warning.text.startswith(f"{variable} ")
    )


def _default_base(environ: Mapping[str, str]) -> str:
    data = environ.get("XDG_DATA_HOME") or f"{_home(environ)}/.local/share"
    return f"{data}/io.parity.ethereum"


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or str(Path.home())


def _places(given: Mapping[str, Given], environ: Mapping[str, str]) -> Places:
    """What path variables stand for; a value of a wrong type is reported when it is validated."""

    def written(name: str, default: str) -> str:
        item = given.get(name)
        return item.value if item and isinstance(item.value, str) and item.value else default

    home = _home(environ)
    default_base = _default_base(environ)
    base = Places(home, default_base, "").expand(written("parity.base_path", default_base))
    data = Places(home, base, "").expand(written("secretstore.path", "$BASE/secretstore"))
    return Places(home, base, data)


_BEHIND_DEFAULTS = ("secretstore.path", "parity.base_path")
"""What makes a default a wrong value: the one that is checked, `database_url`, contains them."""


def _validate(
    given: Mapping[str, Given], environ: Mapping[str, str]
) -> tuple[Config, list[Problem]]:
    """Decode all values; where some do not decode, their keys fall back to the defaults."""
    try:
        return Config.model_validate(_tree(given), context=_places(given, environ)), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    problems = []
    good = dict(given)
    for detail in details:
        wrong = ".".join(str(part) for part in detail["loc"])
        name = next((key for key in (wrong, *_BEHIND_DEFAULTS) if key in given), None)
        if name is None:
            text = f"{all_keys()[wrong].label}: its default, in the home directory: "
            raise InvalidConfigError([Problem(f"{text}{detail['ctx']['error']}", (wrong,))])
        problems.append(_problem_of(name, given[name].origin, detail["ctx"]["error"]))
        good.pop(name, None)
    config, more = _validate(good, environ)
    return config, [*dict.fromkeys(problems), *more]  # once, if defaults contain the value


def _problem_of(name: str, origin: Origin, error: Exception) -> Problem:
    key = all_keys()[name]
    is_form = isinstance(error, WrongTypeError) and origin.source is Source.FILE
    label = f"{key.label}: " if origin.source is Source.FILE else ""
    return Problem(f"{origin.detail}: {label}{error}", (name,), is_form)


def _tree(given: Mapping[str, Given]) -> dict[str, Any]:
    """The nested tables pydantic wants, from dotted names; every section is there."""
    root: dict[str, Any] = {}
    for section in sorted(all_sections()):
        _table(root, section)
    for name, item in given.items():
        key = all_keys()[name]
        _table(root, key.section)[key.short] = item.value
    return root


def _table(root: dict[str, Any], section: str) -> dict[str, Any]:
    for part in section.split("."):
        root = root.setdefault(part, {})
    return root
