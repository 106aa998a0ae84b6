"""Comparing what is here with what an archive has, both ways; nothing is changed by it."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field

from db import pacs_here, removed
from db.engine import Database
from db.pacs import Pacs
from db.pacs_here import StudyHere
from regionmir.pacs.dicom import DicomBackfill
from regionmir.pacs.listed import ListedStudy
from regionmir.pacs.orthanc import Gone, OrthancApi


@dataclass(frozen=True, slots=True)
class OtherPatient:
    """A study that is another patient's there than here (PatientIDs)."""

    study_instance_uid: str
    here: str
    there: str


@dataclass
class Differences:
    """What differs. Studies by UID, with instances where only some of a study differ."""

    studies: int = 0
    """Studies that the archive has, of the modalities that we follow."""
    missing: dict[str, str] = field(default_factory=dict)
    """Not here: Study Instance UID and Orthanc's identifier."""
    incomplete: dict[str, str] = field(default_factory=dict)
    """Here, and not all of their instances."""
    missing_instances: int = 0
    gone: list[str] = field(default_factory=list)
    """The archive had them and has them no more."""
    gone_instances: list[str] = field(default_factory=list)
    """Of studies that it has."""
    other_patient: list[OtherPatient] = field(default_factory=list)
    removed_here: int = 0
    """There, and deleted or rejected here: left as they are. Instances; of a plain DICOM archive studies."""

    @property
    def count(self) -> int:
        """Return how many differences there are to be put right."""
        whole = len(self.missing) + len(self.incomplete) + len(self.gone)
        return whole + len(self.gone_instances) + len(self.other_patient)


def compare_orthanc(database: Database, pacs: Pacs, api: OrthancApi) -> Differences:
    """Return what differs from an Orthanc, instance by instance. Raises `PeerUnavailable`, `PeerRefused`."""
    listed = api.listed()
    with database.session() as session:
        known = pacs_here.known(session, pacs.name)
        here = pacs_here.studies(session, pacs, [one.study_instance_uid for one in listed])
    found = Differences(gone=sorted(known - {one.study_instance_uid for one in listed}))
    for one in listed:
        try:
            there = {instance.sop_instance_uid for instance in api.instances(one.remote_id, pacs.modalities)}
        except Gone:
            continue
        if there:
            found.studies += 1
            _note(database, found, one, here.get(one.study_instance_uid), there)
    return found


def compare_dicom(
    database: Database, pacs: Pacs, backfill: DicomBackfill, first: dt.date, last: dt.date
) -> Differences:
    """Return what differs from any archive for studies of these dates: whole studies, which C-FIND tells of.

    Raises `PeerUnavailable`, `PeerRefused`.
    """
    days = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    listed = [one for day in days for one in backfill.listed(day)]
    uids: set[str] = {one.study_instance_uid for one in listed}
    with database.session() as session:
        known = pacs_here.known(session, pacs.name, first, last)
        here = pacs_here.studies(session, pacs, uids)
        left = pacs_here.removed_of(session, uids - set(here))
    found = Differences(studies=len(uids), gone=sorted(known - uids), removed_here=len(left))
    for one in listed:
        if one.study_instance_uid in here:
            _note_patient(found, one, here[one.study_instance_uid])
        elif one.study_instance_uid not in left:
            found.missing[one.study_instance_uid] = ""
    return found


def _note(
    database: Database, found: Differences, one: ListedStudy, here: StudyHere | None, there: Collection[str]
) -> None:
    """Note in what one study differs."""
    missing = set(there) - (here.from_pacs | here.others if here else frozenset())
    if missing:
        with database.session() as session:
            left = removed.unwanted(session, missing)
        missing -= left
        found.removed_here += len(left)
    if missing:
        found.missing_instances += len(missing)
        (found.incomplete if here else found.missing)[one.study_instance_uid] = one.remote_id
    if here:
        found.gone_instances += sorted(here.from_pacs - set(there))
        _note_patient(found, one, here)


def _note_patient(found: Differences, one: ListedStudy, here: StudyHere) -> None:
    there = one.patient_id.strip()
    if there != here.patient_id and there not in here.former_ids:
        found.other_patient.append(OtherPatient(one.study_instance_uid, here.patient_id, there))
