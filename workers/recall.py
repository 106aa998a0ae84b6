"""The probe of recall: a search by index now and then compared with an exact one, as a figure for Prometheus."""

from db.engine import Database
from db.recall import probe_recall
from regionmir.monitoring.figures import RECALL, RECALL_AT


def measure_recall(database: Database) -> int:
    """Measure the recall of the active model's indexes and return of how many anatomies. Raises `Transient`."""
    measured = probe_recall(database, lambda anatomy, share: RECALL.labels(anatomy).set(share))
    if measured:
        RECALL_AT.set_to_current_time()
    return measured
