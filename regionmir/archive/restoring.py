"""Showing a hidden instance again: its kept object is filed as if it had just been sent."""

from db import audit, instances, removed
from db.engine import Database
from db.removed import RemovedInstance
from regionmir.core.errors import RegionMirError
from regionmir.core.header import read_header
from regionmir.core.identifiers import Uid
from regionmir.core.keeping import Kept
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import InstanceHeader, StoredObject
from regionmir.pixels.compare import same_pixels_and_header
from regionmir.pixels.reduce import REDUCED_SYNTAX
from regionmir.storage import FileStore
from regionmir.storage.part10 import HEAD_BYTES, dataset_offset
from regionmir.storage.scan import scan_dataset


def restore(
    database: Database, store: FileStore, pseudonymizer: Pseudonymizer, uid: Uid, *, by: str, reason: str
) -> None:
    """Show a hidden instance again; it then waits to be indexed. Raises `RegionMirError` where it cannot, and why."""
    with database.session() as session:
        one = removed.show_again(session, uid)
        if one is None or one.for_good:
            raise RegionMirError(f"{uid} {'is hidden for good' if one else 'is not hidden: see `removed list`'}")
        receipt = instances.receive(
            session,
            _header(store, one),
            StoredObject(one.storage_key, one.sha256, one.size_bytes, one.transfer_syntax_uid),
            source_ae=one.source_ae,
            source_address=one.source_address,
            called_ae=one.called_ae,
            pseudonymizer=pseudonymizer,
            may_correct=False,
            same_content=lambda old, new: same_pixels_and_header(store.path(old), store.path(new)),
            is_stored=store.exists,
        )
        if receipt.outcome not in ("new", "duplicate"):
            raise RegionMirError(f"{uid} cannot be shown again: {receipt.comment}")
        if one.kept is Kept.REDUCED:
            instances.note_reduced(session, uid, one.storage_key, one.content_sha256)
        detail = {"sop_instance_uid": uid, "reason": reason}
        audit.record(session, "instance shown again", actor=by, address="", detail=detail)


def _header(store: FileStore, one: RemovedInstance) -> InstanceHeader:
    syntax = REDUCED_SYNTAX if one.kept is Kept.REDUCED else one.transfer_syntax_uid
    with store.open(one.storage_key) as file:
        file.seek(dataset_offset(file.read(HEAD_BYTES)))
        return read_header(scan_dataset(file, syntax), syntax)
