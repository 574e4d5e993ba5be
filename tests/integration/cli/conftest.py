"""Commands run in the process of the tests here: what they do to a process is left out."""

from collections.abc import Sequence
from typing import Any

import pytest
import typer

from keyserver.cli import seal_handing_out
from tests.support.seal_commands import Typed


@pytest.fixture(autouse=True)
def _process_stays_as_it_is(
    dumps_forbidden: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No dumps are forbidden, and no log is configured."""
    monkeypatch.setattr("keyserver.app.logging.configure", lambda: None)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """What somebody types at a terminal, one answer after the other."""
    answers = Typed()

    def prompt(text: str, **how: Any) -> str:
        if text.lstrip().startswith("Press Enter"):
            return ""
        assert how["hide_input"], "secrets are not echoed"
        answers.questions.append(text)
        return answers.pop(0)

    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(seal_handing_out, "at_terminal", lambda: True)
    return answers
