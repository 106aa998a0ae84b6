"""Putting together what follows a PACS, from its row and the settings of the process."""

from collections.abc import Callable
from urllib.parse import urlsplit

from db import peers
from db.engine import Database
from db.pacs import Pacs
from regionmir.core.settings import Settings
from regionmir.pacs.filing import Filer
from regionmir.pacs.following import Follower
from regionmir.pacs.orthanc import OrthancApi, read_password
from regionmir.storage import open_store


def orthanc_api(pacs: Pacs) -> OrthancApi:
    """Return the API of a PACS of kind `orthanc`; nothing is connected yet. Raises `ConfigurationError`."""
    return OrthancApi(pacs.url, pacs.username, read_password(pacs.password_file))


def follower(
    settings: Settings, database: Database, pacs: Pacs, stopping: Callable[[], bool] = lambda: False
) -> Follower:
    """Return what follows this Orthanc."""
    made = filer(settings, database, pacs)
    return Follower(database, orthanc_api(pacs), made, pacs, stopping, deletes=settings.pacs_deleted == "delete")


def filer(settings: Settings, database: Database, pacs: Pacs) -> Filer:
    """Return what files that which is fetched from this PACS. Where its AE may correct, so may what comes from it."""
    with database.session() as session:
        peer = peers.get(session, pacs.ae_title) if pacs.ae_title else None
    return Filer(
        database,
        open_store(settings),
        settings.pseudonymizer(),
        source_ae=pacs.ae_title or pacs.name,
        source_address=urlsplit(pacs.url).hostname or "",
        may_correct=peer.can_correct if peer else False,
        reactions=settings.reactions(),
    )


def viewer_link(pacs: Pacs, study_instance_uid: str, remote_id: str) -> str:
    """Return where people see a study in this PACS; empty where no viewer is configured."""
    template = pacs.viewer_url
    if not template and pacs.kind == "orthanc":
        template = f"{pacs.url.rstrip('/')}/app/explorer.html#study?uuid={{remote_id}}"
    return template.replace("{study_instance_uid}", study_instance_uid).replace("{remote_id}", remote_id)
