"""Small real objects to be delivered, and studies that they are about."""

from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from sqlalchemy import text

from db import deliveries, generations
from db.deliveries import DeliverySummary, Result
from db.engine import Database
from regionmir.core.identifiers import AETitle, Uid
from tests.support.dicom import radiograph
from tests.support.records import generation, header, receive


@dataclass
class FilmBuilder:
    """Builds a small radiograph for every result, and counts; `fails` are raised first."""

    built: list[str] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)

    def build(self, result: Result) -> Dataset:
        self.built.append(result.sop_instance_uid)
        if self.fails:
            raise self.fails.pop(0)
        dataset = radiograph(size=8, StudyDate="20200101")
        dataset.SOPInstanceUID = result.sop_instance_uid
        dataset.StudyInstanceUID = result.study_instance_uid
        return dataset


def make_results(database: Database, count: int, *, kind: str = "film") -> list[Result]:
    """File a study with one instance and return results about it, with UIDs of their own."""
    receive(database, header())
    with database.session() as session:
        model_pk = generations.ensure_model(session, generation())
        study_pk = session.execute(text("SELECT pk FROM study")).scalar_one()
    return [Result(kind, study_pk, Uid("1.2.3"), model_pk, Uid(f"1.2.3.99.{n}")) for n in range(1, count + 1)]


def enqueue(database: Database, results: list[Result], destination: str = "RECEIVER") -> list[bool]:
    """Put results into the outbox, each in a transaction of its own."""
    added = []
    for result in results:
        with database.session() as session:
            added.append(deliveries.enqueue(session, result, AETitle(destination)))
    return added


def outbox(database: Database) -> list[DeliverySummary]:
    """Return all deliveries, oldest first."""
    with database.session() as session:
        return deliveries.listing(session)[::-1]


def make_due(database: Database) -> None:
    """Let every pause end."""
    with database.session() as session:
        session.execute(text("UPDATE delivery SET next_try_at = now()"))
