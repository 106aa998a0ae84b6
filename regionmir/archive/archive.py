"""The archive as one value: what whoever answers for it uses, put together once per process."""

from dataclasses import dataclass, field

from db.engine import Database
from db.replica import POOL_SIZE, Replica
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.settings import Settings
from regionmir.query.limits import FailedAnchors
from regionmir.queue import IndexQueue
from regionmir.storage import FileStore


@dataclass(frozen=True, slots=True)
class Archive:
    """Everything a handler may use. `queue.wake()` never blocks and never raises here (see `archive.wakeups`)."""

    settings: Settings
    database: Database
    store: FileStore
    queue: IndexQueue
    pseudonymizer: Pseudonymizer
    failed_anchors: FailedAnchors = field(default_factory=FailedAnchors)
    replica: Replica | None = None
    """Where neighbours are looked for, if there is one."""


def replica_of(settings: Settings, process: str, shared_by: int = 1) -> Replica | None:
    """Return the read replica that the settings name, None without one. So many processes share out its connections."""
    url = settings.database_replica_url
    pool_size = max(1, (settings.database_pool or POOL_SIZE) // shared_by)
    return Replica(url, application_name=f"regionmir {process} replica", pool_size=pool_size) if url else None
