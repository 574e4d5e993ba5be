"""A PostgreSQL server for the nodes that have several processes."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import PostgresServer, PostgresUnavailableError


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer.start()
    except PostgresUnavailableError as reason:
        pytest.skip(f"no PostgreSQL server can be started: {reason}")
    try:
        yield server
    finally:
        server.stop()
