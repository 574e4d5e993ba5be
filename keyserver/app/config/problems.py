"""What can be wrong with a configuration, and what is only worth a line in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from keyserver.errors import ConfigError

INVALID_FILE = "You might have supplied invalid parameters in config file."
"""The line above problems with the form of the file, as the original has it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that must be changed before the node can start."""

    text: str
    """One line: where, the field, the rule."""
    keys: tuple[str, ...] = ()
    """The dotted names of the keys concerned."""
    is_form: bool = False
    """Whether the file's form is wrong: syntax, an unknown key or section, a wrong type."""


class InvalidConfigError(ConfigError):
    """All problems found in a configuration; its text has a line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [problem.text for problem in problems]
        if any(problem.is_form for problem in problems):
            lines.insert(0, INVALID_FILE)
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class ConfigWarning:
    """Something the operator should know at every start; the caller logs it."""

    event: str
    """The constant name of the log event."""
    keys: tuple[str, ...]
    """The dotted names of the keys concerned."""
    text: str
    """One or two sentences for the operator."""
    level: Literal["info", "warning"] = "warning"
