"""The other implementation, one process for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.e2e.published.driver import driving
from tests.interop.noble import JAVASCRIPT, Noble


@pytest.fixture(scope="module")
def noble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Noble]:
    log = tmp_path_factory.mktemp("noble") / "log"
    with driving(["node", str(JAVASCRIPT / "run.js")], {}, log) as call:
        yield Noble(call)
