"""A node to ask by C-FIND, and data sets that come back."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from db import peers
from db.engine import Database
from db.peers import Peer
from dicom_node.node import Node
from dicom_node.server import serve
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Disclosure
from regionmir.core.settings import Settings
from regionmir.storage import FileStore
from tests.support.postgres import TestDatabases
from tests.support.seed import SeedFilm, seed

KNOWN = "KNOWN"
"""An AE that is registered as identified."""

PATIENT_ROOT = PatientRootQueryRetrieveInformationModelFind
STUDY_ROOT = StudyRootQueryRetrieveInformationModelFind


@dataclass
class Found:
    """What came back: pending answers with their statuses, and the final status."""

    rows: list[Dataset] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    status: int = -1
    comment: str = ""

    def values(self, keyword: str) -> list[str]:
        return [str(row.get(keyword, "")) for row in self.rows]


@dataclass(frozen=True)
class FindNode:
    """A node that answers on loopback, with a database of its own."""

    node: Node
    port: int

    @property
    def database(self) -> Database:
        return self.node.database

    def register(self, ae_title: str, **values: Any) -> None:
        """Register a peer that may query; other fields of `Peer` as given."""
        with self.database.session() as session:
            peers.upsert(session, Peer(AETitle(ae_title), **{"can_find": True, **values}))


class _NoQueue:
    def wake(self) -> None: ...

    def wake_search(self) -> None: ...

    def depth(self) -> int:
        return 0


@contextmanager
def find_node(
    databases: TestDatabases, folder: Path, films: Iterable[SeedFilm] = (), **settings: Any
) -> Iterator[FindNode]:
    """Run a node with a database of its own in which `films` are filed; the AE `KNOWN` is identified."""
    url = databases.migrated()
    database = Database(url, application_name="test node")
    if films := list(films):
        seed(database, films)
    values = Settings(data_dir=folder, network_timeout_s=10, acse_timeout_s=10).model_copy(
        update={"dicom_port": 0, **settings}
    )
    served = Node(values, database, FileStore(folder), _NoQueue(), values.pseudonymizer())
    server = serve(served)
    node = FindNode(served, server.port)
    node.register(KNOWN, disclosure=Disclosure.IDENTIFIED)
    try:
        yield node
    finally:
        server.stop(drain_s=2.0)
        database.close()
        databases.drop(url)


@contextmanager
def association(
    port: int, *, calling: str = "VIEWER", called: str = "REGIONMIR", **options: Any
) -> Iterator[Association]:
    """Yield an open association with both Find models."""
    ae = AE(calling)
    ae.add_requested_context(PATIENT_ROOT)
    ae.add_requested_context(STUDY_ROOT)
    assoc = ae.associate("127.0.0.1", port, ae_title=called, **options)
    assert assoc.is_established, "association refused"
    try:
        yield assoc
    finally:
        assoc.release()


def ask(assoc: Association, keys: Dataset, model: Any = STUDY_ROOT) -> Found:
    """Return all that one C-FIND brings."""
    found = Found()
    for status, row in assoc.send_c_find(keys, model):
        if status.Status in (0xFF00, 0xFF01):
            assert row is not None
            found.rows.append(row)
            found.pending.append(status.Status)
        else:
            found.status, found.comment = status.Status, status.get("ErrorComment", "")
    return found


def keys(level: str, **values: Any) -> Dataset:
    """Return an Identifier: keys by keyword; None or "" asks for the attribute."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        if isinstance(value, str):  # whatever it is: a client may send a range where pydicom knows none
            identifier.add(DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE))
        else:
            setattr(identifier, keyword, value)
    return identifier


def find(
    port: int, level: str, model: Any = STUDY_ROOT, *, calling: str = "VIEWER", called: str = "REGIONMIR", **values: Any
) -> Found:
    """Ask once over an association of its own."""
    with association(port, calling=calling, called=called) as assoc:
        return ask(assoc, keys(level, **values), model)
