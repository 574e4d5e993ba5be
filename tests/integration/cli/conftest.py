"""Commands run in the process of the tests here: what they do to a process is left out."""

from collections.abc import Sequence

import pytest


@pytest.fixture(autouse=True)
def dumps_forbidden(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """Forbids nothing and configures no log; tells how often it was asked to forbid dumps."""
    asked: list[str] = []
    monkeypatch.setattr("keyserver.app.memory.forbid_dumps", lambda: asked.append("forbidden"))
    monkeypatch.setattr("keyserver.app.logging.configure", lambda: None)
    return asked
