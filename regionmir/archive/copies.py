"""Pseudonymous copies of instances: made when they are asked for, under the pseudonyms that answers show."""

from pathlib import Path

from pydicom.dataset import FileDataset

from db import pseudonyms
from regionmir.archive.archive import Archive
from regionmir.core.identifiers import Uid
from regionmir.core.records import CopyIdentity
from regionmir.deid.copies import pseudonymous_copy
from regionmir.deid.identity import OTHER, Substitution

ONLY_FILMS = "only CR, DX and SC without burned-in annotation leave"
"""What a caller is told where nothing of what is wanted may leave as a pseudonymous copy."""


def copy_of(archive: Archive, path: Path, identity: CopyIdentity) -> FileDataset:
    """Return the copy of the object at `path` that says that it is of `identity`; see `pseudonymous_copy`."""
    substitution = Substitution(identity, lambda kind, uid: pseudonym_of(archive, kind, uid))
    return pseudonymous_copy(path, substitution, archive.settings.ae_title)


def pseudonym_of(archive: Archive, kind: str, uid: Uid) -> Uid:
    """Return the pseudonym of a UID that an instance refers to: the table's, or the one that it would get there."""
    if kind == OTHER:
        return archive.pseudonymizer.uid(kind, uid)
    with archive.database.session() as session:
        return pseudonyms.uid_for(session, kind, uid, archive.pseudonymizer)
