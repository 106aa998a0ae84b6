"""What Alembic runs: the migrations, in the transaction of the connection that `db.migrate` hands over."""

from alembic import context

from db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transaction_per_migration=False,
)
context.run_migrations()
