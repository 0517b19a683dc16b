"""Alembic's environment: the models' metadata, over the connection that the caller opened."""

from alembic import context
from sqlalchemy import text

from shared.models import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, compare_server_default=False)
with context.begin_transaction():
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    context.run_migrations()
