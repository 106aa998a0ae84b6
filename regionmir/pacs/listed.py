"""A study as an archive lists it."""

from dataclasses import dataclass

from regionmir.core.identifiers import Uid


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study that an archive has, and whose it says that it is. `remote_id`: Orthanc's; else empty."""

    study_instance_uid: Uid
    patient_id: str
    remote_id: str = ""
