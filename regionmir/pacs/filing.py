"""Filing an instance that we fetched ourselves, by the same steps as one that was sent to us."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from db import instances, rejection
from db.engine import Database
from db.instances import Receipt
from regionmir.core.errors import InvalidHeader
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.rejection import KEY_OBJECT_SELECTION, Reaction
from regionmir.pixels.guarded import content_sha256, rejection_note, same_pixels_and_header
from regionmir.storage import FileStore, Incoming
from regionmir.storage.part10 import HEAD_BYTES, dataset_offset
from regionmir.storage.scan import scan_dataset


@dataclass(frozen=True, slots=True)
class Filer:
    """Files Part 10 content as if it had been sent from `source_ae` at `source_address`."""

    database: Database
    store: FileStore
    pseudonymizer: Pseudonymizer
    source_ae: str
    source_address: str
    may_correct: bool = False
    reactions: Mapping[str, Reaction] = field(default_factory=dict)
    """What rejection notes do, by the code of their titles."""

    def file(self, content: bytes) -> Receipt:
        """Return what became of an instance: durably stored, then filed.

        Raises `InvalidHeader`, `StorageFull`, `StorageUnavailable`, `DatabaseUnavailable`.
        """
        offset, syntax, sop_class, sop_instance = _read_meta(content)
        incoming = self.store.receive(
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance,
            transfer_syntax_uid=syntax,
            source_ae=self.source_ae,
        )
        try:
            incoming.write(memoryview(content)[offset:])
            return self._receive(incoming)
        finally:
            incoming.abandon()

    def _receive(self, incoming: Incoming) -> Receipt:
        with incoming.path.open("rb") as file:
            file.seek(incoming.dataset_offset)
            header = read_header(scan_dataset(file, incoming.transfer_syntax_uid), incoming.transfer_syntax_uid)
        stored = self.store.keep(incoming)
        is_document = header.sop_class_uid == KEY_OBJECT_SELECTION
        note = rejection_note(self.store.path(stored.key)) if is_document and self.may_correct else None
        with self.database.session() as session:
            receipt = instances.receive(
                session,
                header,
                stored,
                source_ae=self.source_ae,
                source_address=self.source_address,
                called_ae="",
                pseudonymizer=self.pseudonymizer,
                may_correct=self.may_correct,
                same_content=lambda old, new: same_pixels_and_header(self.store.path(old), self.store.path(new)),
                content_of=lambda key: content_sha256(self.store.path(key)),
                is_stored=self.store.exists,
            )
            if note is not None and receipt.outcome in ("new", "duplicate", "corrected"):
                sender = {"source_ae": self.source_ae, "source_address": self.source_address}
                rejection.reject(session, note, header, self.reactions.get(note.title.code, Reaction.IGNORE), **sender)
        return receipt


def _read_meta(content: bytes) -> tuple[int, Uid, Uid, Uid]:
    """Return where the data set begins, transfer syntax, SOP Class and Instance UID (PS3.10 7.1)."""
    try:
        offset = dataset_offset(content[:HEAD_BYTES])
        meta = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).file_meta
        uids = (meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID)
        syntax, sop_class, sop_instance = (parse_uid(str(uid)) for uid in uids)
    except (ValueError, InvalidDicomError, AttributeError):
        raise InvalidHeader("no DICOM file: its meta group is missing or incomplete") from None
    return offset, syntax, sop_class, sop_instance
