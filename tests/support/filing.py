"""Files films as the node does, without a network: object on disk, then rows."""

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info

from db import instances
from db.engine import Database
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.pixels.compare import content_sha256
from regionmir.storage import FileStore

PSEUDONYMIZER = Pseudonymizer(b"a site key of tests only, 32 bytes")


def file_film(
    database: Database,
    store: FileStore,
    film: Dataset,
    *,
    pseudonymizer: Pseudonymizer = PSEUDONYMIZER,
    source_ae: str = "TEST",
) -> Uid:
    """Store and file one data set with a file meta group, and return its SOP Instance UID; it waits for a worker."""
    path = store.incoming_dir / f"{film.SOPInstanceUID}.dcm"
    film.save_as(path, enforce_file_format=True)
    transfer_syntax = parse_uid(str(film.file_meta.TransferSyntaxUID))
    dataset_offset = 132 + 12 + int(read_file_meta_info(path).FileMetaInformationGroupLength)
    stored = store.adopt(path, dataset_offset, transfer_syntax)
    header = read_header(film, transfer_syntax)
    with database.session() as session:
        instances.receive(
            session,
            header,
            stored,
            source_ae=source_ae,
            source_address="127.0.0.1",
            called_ae="REGIONMIR",
            pseudonymizer=pseudonymizer,
            may_correct=True,
            same_content=lambda old, new: False,
            content_of=lambda key: content_sha256(store.path(key)),
        )
    return header.sop_instance_uid
