"""What is not kept as it came is found by an index: every answer to a query says whether something is."""

from alembic import op
from sqlalchemy import text

revision = "0016"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("instance_not_kept", "instance", ["series_pk"], postgresql_where=text("kept <> 'object'"))
