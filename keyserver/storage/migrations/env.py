"""Run by Alembic: apply the steps on the connection that `upgrade` was given."""

from alembic import context

from keyserver.storage.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=False,  # the caller's transaction is the one
)
context.run_migrations()
