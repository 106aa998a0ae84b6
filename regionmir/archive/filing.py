"""An instance that has arrived: it is on the disk, then in the database, and only then acknowledged."""

from collections.abc import Callable

from db import ingest, instances, rejection
from db.engine import Session
from db.instances import Receipt
from regionmir.archive.archive import Archive
from regionmir.archive.errors import NotToCorrect, SopMismatch
from regionmir.core.header import read_header
from regionmir.core.records import Caller, InstanceHeader, StoredObject
from regionmir.core.rejection import KEY_OBJECT_SELECTION, RejectionNote
from regionmir.monitoring.figures import RECEIVED_BYTES
from regionmir.monitoring.stages import stage
from regionmir.pixels.guarded import content_sha256, rejection_note, same_pixels_and_header
from regionmir.storage import Incoming
from regionmir.storage.scan import scan_dataset

AndThen = Callable[[Session, InstanceHeader], None]
"""What else is to be written down with an instance, in the same transaction."""

_FILED = ("new", "duplicate", "corrected")
_ANEW = ("new", "corrected")
"""Outcomes after which an instance is filed, and those after which there is work."""


def read_incoming(incoming: Incoming, sop_class_uid: str, sop_instance_uid: str) -> InstanceHeader:
    """Return the header of an instance that is the one that was announced. Raises `InvalidHeader`, `SopMismatch`."""
    with incoming.path.open("rb") as file:
        file.seek(incoming.dataset_offset)
        dataset = scan_dataset(file, incoming.transfer_syntax_uid)
    header = read_header(dataset, incoming.transfer_syntax_uid)
    if header.sop_instance_uid != sop_instance_uid:
        raise SopMismatch("SOPInstanceUID differs between command and data set")
    if header.sop_class_uid != sop_class_uid:
        raise SopMismatch("SOPClassUID differs between command and data set")
    return header


def file_instance(
    archive: Archive,
    incoming: Incoming,
    header: InstanceHeader,
    caller: Caller,
    called_ae: str,
    and_then: AndThen | None = None,
) -> Receipt:
    """File one instance and wake the workers: the object is durable first, then its row, and only then this returns.

    Raises `StorageFull`, `StorageUnavailable`, `DatabaseUnavailable`.
    """
    uid = header.sop_instance_uid
    with stage("keep", uid):
        stored = archive.store.keep(incoming)
    is_document = header.sop_class_uid == KEY_OBJECT_SELECTION
    note = rejection_note(archive.store.path(stored.key)) if is_document else None
    with stage("file", uid):
        alone = note is None and and_then is None
        receipt = _file_new(archive, header, stored, caller, called_ae) if alone else None
        if receipt is None:
            receipt = _file(archive, header, stored, caller, called_ae, note, and_then, may_be_new=not alone)
    RECEIVED_BYTES.inc(stored.size_bytes)
    if receipt.outcome in _ANEW:
        archive.queue.wake()
    return receipt


def _file_new(
    archive: Archive, header: InstanceHeader, stored: StoredObject, caller: Caller, called_ae: str
) -> Receipt | None:
    arrival = ingest.Arrival(header, stored, caller.ae_title, caller.address, called_ae, archive.pseudonymizer)
    return ingest.receive_new(archive.database, arrival)


def _file(
    archive: Archive,
    header: InstanceHeader,
    stored: StoredObject,
    caller: Caller,
    called_ae: str,
    note: RejectionNote | None,
    and_then: AndThen | None,
    *,
    may_be_new: bool,
) -> Receipt:
    """File an instance of which anything may be known, and do what goes with it, in one transaction."""
    with archive.database.session() as session:
        receipt = instances.receive(
            session,
            header,
            stored,
            source_ae=caller.ae_title,
            source_address=caller.address,
            called_ae=called_ae,
            pseudonymizer=archive.pseudonymizer,
            may_correct=caller.rights.correct,
            same_content=lambda old, new: same_pixels_and_header(archive.store.path(old), archive.store.path(new)),
            content_of=lambda key: content_sha256(archive.store.path(key)),
            is_stored=archive.store.exists,
            may_be_new=may_be_new,
        )
        if receipt.outcome in _FILED and note is not None:
            _reject(archive, session, note, header, caller)
        elif receipt.outcome in _FILED and and_then is not None:
            and_then(session, header)
    return receipt


def _reject(archive: Archive, session: Session, note: RejectionNote, header: InstanceHeader, caller: Caller) -> None:
    """Do what a rejection note says, for a sender that may correct; from others it is an ordinary document."""
    sender = {"source_ae": caller.ae_title, "source_address": caller.address}
    if not caller.rights.correct:
        rejection.refused(session, header, "no right to correct", **sender)
        return
    rejection.reject(session, note, header, archive.settings.reactions()[note.title.code], **sender)


def refuse_conflict(receipt: Receipt) -> None:
    """Raise `NotToCorrect` for another version of what is filed, by a sender that may not correct it, and for what was
    deleted for good."""
    if receipt.outcome in ("conflict", "refused"):
        raise NotToCorrect(receipt.comment)
