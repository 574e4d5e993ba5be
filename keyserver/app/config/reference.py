"""The reference page of the configuration, `docs/configuration.md`, drawn from the model."""

import inspect
from collections.abc import Iterator
from itertools import groupby

from keyserver.app.config.keys import IGNORED_SECTIONS, Key, all_keys
from keyserver.app.config.model import Config, Section
from keyserver.app.config.rules import LENIENT_KEYS
from keyserver.app.config.sources import OPTIONS
from keyserver.app.config.values import plain

_INTRODUCTION = """\
# Configuration

This page is made from the source by `keyserver config reference`; a test compares the two.

A node is configured by one TOML file, `keyserver run --config FILE`. Files with a `[secretstore]`
section written for OpenEthereum or Parity Ethereum work unchanged. `keyserver init` makes a new
file; `keyserver config check FILE` shows the values in force, where each comes from, and everything
that is wrong, without starting.

## Where values come from

1. the command line, 2. environment variables, 3. the file, 4. defaults: the first that gives a
value wins. Switches (`disable…`, `unsafe_expose`) are on when any of the first three says so.
Environment variables are named after the keys of `[secretstore]` and `[keyserver]`; lists are
separated by commas there. An unknown key or section is an error.

In paths, `$HOME` and a leading `~` stand for the home directory and `$BASE` for `[parity]
base_path`; in defaults below, `$DATA` stands for `[secretstore] path`. Relative paths are relative
to the working directory. Amounts are in wei; addresses are 40 hexadecimal digits, with or without
`0x`. *(later)* marks keys that are checked and kept, but whose feature is not there yet.
"""


def reference_page() -> str:
    """Return the whole page as Markdown."""
    parts = [_INTRODUCTION]
    for section, keys in groupby(all_keys().values(), key=lambda key: key.section):
        parts.append(f"## [{section}]\n\n{_section_text(section)}\n\n{_table(keys)}")
    parts += [_lenient_text(), _options_text(), _ignored_text()]
    return "\n".join(parts)


def _section_text(section: str) -> str:
    model: type[Section] = Config
    for part in section.split("."):
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, Section)
        model = annotation
    return inspect.getdoc(model) or ""


def _table(keys: Iterator[Key]) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        cells = (f"`{key.short}`", key.kind.name, _default(key), key.description)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(key: Key) -> str:
    value = plain(key.default)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _lenient_text() -> str:
    lines = [
        "## Keys with a lenient and a strict value\n",
        "Where one of these keys is absent the node behaves as the original did, and says so at",
        "every start. `keyserver init` writes the strict value.\n",
    ]
    lines += [f"- `{key}`: if absent, {text}." for key, text in LENIENT_KEYS.items()]
    return "\n".join(lines) + "\n"


def _options_text() -> str:
    lines = [
        "## Options of the original\n",
        "`keyserver run` takes these after its own options, as `--option=value` or `--option",
        "value`:\n",
        "| option | key |",
        "|---|---|",
    ]
    lines += [f"| `{option}` | `{key}` |" for option, key in OPTIONS.items()]
    return "\n".join(lines) + "\n"


def _ignored_text() -> str:
    names = ", ".join(f"`[{name}]`" for name in sorted(IGNORED_SECTIONS))
    return (
        "## Ignored sections\n\nRead over with one line in the log, as they configure the Ethereum "
        f"node that the original was part of: {names}.\n"
    )
