"""All tables of the first version, and the code table of anatomies."""

from dataclasses import asdict
from pathlib import Path

from alembic import op

from db.tables import AnatomyRow
from regionmir.core.anatomy import anatomies

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and fill `anatomy`."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    rows = [{"pk": values.pop("key"), **values} for values in map(asdict, anatomies())]
    op.bulk_insert(AnatomyRow.__table__, rows)  # type: ignore[arg-type]
