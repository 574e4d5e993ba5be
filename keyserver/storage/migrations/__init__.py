"""The steps by which the tables came to be, run by Alembic from inside the program.

A new step is a module in `versions`, named after its number, and `schema.SCHEMA_VERSION` counted
up; a test compares the outcome of all steps with `schema.METADATA`.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, target: str = "head") -> None:
    """Run the steps that this database does not have yet, in the connection's transaction."""
    command.upgrade(configuration(connection), target)


def configuration(connection: Connection | None = None) -> Config:
    """What Alembic needs to know; there is no `alembic.ini`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
