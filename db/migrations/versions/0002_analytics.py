"""Schema `analytics`; its views are made after all migrations (`db.migrate`)."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the schema."""
    op.execute("CREATE SCHEMA IF NOT EXISTS analytics")
