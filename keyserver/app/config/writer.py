"""Writing configuration files: what `keyserver init` makes, and anybody who starts nodes."""

import json
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

from keyserver.app.config.keys import Key, all_keys, suggestion
from keyserver.app.config.model import STRICT_CREDENTIALS
from keyserver.app.config.values import plain
from keyserver.errors import ConfigError

STRICT_VALUES: Mapping[str, object] = {
    "keyserver.acl_depth": "both",
    "keyserver.strict_credentials": list(STRICT_CREDENTIALS),
    "keyserver.forbid_plain_modes": True,
    "keyserver.strict_admin": True,
}
"""What every new file says about the keys whose absence means the original's behaviour."""

_WIDTH = 100


def render_file(values: Mapping[str, object], *, heading: str) -> str:
    """Return the text of a configuration file with a comment above every key.

    `values` maps dotted keys to TOML values or the typed ones of the model. Raises `ConfigError`
    for a key that does not exist. A private key cannot be written this way.
    """
    keys = all_keys()
    for name in values:
        if name not in keys:
            raise ConfigError(f"{name}: unknown key{suggestion(name, keys)}")
    blocks = [_comment(heading)]
    section = ""
    for key in sorted((keys[name] for name in values), key=_table_order):
        if key.section != section:
            section = key.section
            blocks.append(f"[{section}]")
        blocks.append(_entry(key, values[key.name]))
    return "\n\n".join(blocks) + "\n"


def write_new_file(path: Path, text: str) -> None:
    """Write a file that its owner alone can read; raises `ConfigError` if it exists already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already and is not overwritten") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _table_order(key: Key) -> tuple[int, int]:
    """The order of the model, with sub-tables after the plain keys of their section."""
    names = list(all_keys())
    sections = list(dict.fromkeys(item.section for item in all_keys().values()))
    return sections.index(key.section), names.index(key.name)


def _comment(text: str) -> str:
    wrapped = textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in wrapped)


def _entry(key: Key, value: object) -> str:
    return f"{_comment(key.description)}\n{key.short} = {_toml(plain(value))}"


def _toml(value: object) -> str:
    """One TOML value; JSON's strings, numbers, booleans and flat arrays are TOML's too."""
    if isinstance(value, list):
        items = [_toml(item) for item in value]
        flat = ", ".join(items)
        if len(flat) < 70:
            return f"[{flat}]"
        return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    return json.dumps(value, ensure_ascii=False)
