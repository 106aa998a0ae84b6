"""The archive as one value: what whoever answers for it uses, put together once per process."""

from dataclasses import dataclass, field

from db.engine import Database
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
