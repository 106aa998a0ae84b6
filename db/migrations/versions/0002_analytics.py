"""Schema `analytics` with its views."""

from alembic import op

from db import views

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the views."""
    views.install(op.get_bind())
