"""Commands run in the process of the tests here: what they do to a process is left out."""

from collections.abc import Sequence
from typing import Any

import pytest
import typer

from keyserver.cli import seal_handing_out


@pytest.fixture(autouse=True)
def dumps_forbidden(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """Forbids nothing and configures no log; tells how often it was asked to forbid dumps."""
    asked: list[str] = []
    monkeypatch.setattr("keyserver.app.memory.forbid_dumps", lambda: asked.append("forbidden"))
    monkeypatch.setattr("keyserver.app.logging.configure", lambda: None)
    return asked


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What somebody types at a terminal, one answer after the other."""
    answers: list[str] = []

    def prompt(text: str, **how: Any) -> str:
        if text.lstrip().startswith("Press Enter"):
            return ""
        assert how["hide_input"], "secrets are not echoed"
        return answers.pop(0)

    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(seal_handing_out, "at_terminal", lambda: True)
    return answers
