"""Similar regions in `analytics` leave out whoever may be the anchor's patient: views are made anew (`db.migrate`)."""

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change no table."""
