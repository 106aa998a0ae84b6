"""Whether PostgreSQL keeps what it has committed through a power failure: asked before anything is acknowledged."""

from sqlalchemy import text

from db.engine import Database
from regionmir.core.errors import ConfigurationError

MUST_BE_ON = ("fsync", "full_page_writes", "synchronous_commit")
SETTINGS_OFF = "SELECT name FROM pg_settings WHERE name = ANY(:names) AND reset_val = 'off' ORDER BY name"
"""Names of those that are off by default in a session, whatever the session itself has set."""


def require_durable(database: Database) -> None:
    """Return if a commit survives a power failure. Raises `ConfigurationError`, or `DatabaseUnavailable`."""
    with database.session() as session:
        off = session.scalars(text(SETTINGS_OFF), {"names": list(MUST_BE_ON)}).first()
    if off is not None:
        raise refusal(off)


def refusal(name: str) -> ConfigurationError:
    """Return the error that says that this setting of the server is off."""
    return ConfigurationError(
        f"PostgreSQL runs with {name} = off: an instance that was acknowledged could be lost; set it to on"
    )
