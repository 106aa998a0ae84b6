"""Whether objects can be had at once: Instance Availability (0008,0056), the least of all instances that are meant."""

from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, case, literal_column, or_, select
from sqlalchemy.orm import aliased

from db.tables import InstanceRow, PacsRow, PacsStudyRow, PatientRow, PeerRow, SeriesRow, StudyRow


class Availability(StrEnum):
    """How an object can be had (PS3.3 C.4.23.1.1)."""

    ONLINE = "ONLINE"
    """It is kept as it came."""
    NEARLINE = "NEARLINE"
    """It is not, and a retrieve fetches it from a PACS that is known to have its study."""
    UNAVAILABLE = "UNAVAILABLE"
    """It is not, and no PACS that it can be fetched from is known."""


STUDY, SERIES, INSTANCE = aliased(StudyRow), aliased(SeriesRow), aliased(InstanceRow)

_NOT_KEPT: Final[ColumnElement[bool]] = INSTANCE.kept != literal_column("'object'")
"""As the index `instance_not_kept` has it: a parameter would not match its condition."""


def of_instances(*which: ColumnElement[bool]) -> ColumnElement[str]:
    """Return the least availability of the instances that fulfil conditions on `INSTANCE`, `SERIES` and `STUDY`."""
    missing: Any = (
        select(INSTANCE.pk)
        .join(SERIES, SERIES.pk == INSTANCE.series_pk)
        .join(STUDY, STUDY.pk == SERIES.study_pk)
        .where(_NOT_KEPT, *which)
        .correlate(PatientRow, StudyRow, SeriesRow, InstanceRow)
    )
    return case(
        (~missing.exists(), Availability.ONLINE.value),
        (missing.where(~_can_be_fetched()).exists(), Availability.UNAVAILABLE.value),
        else_=Availability.NEARLINE.value,
    )


def _can_be_fetched() -> ColumnElement[bool]:
    """True where a PACS has the study and can be asked: an Orthanc, or a peer whose address is known."""
    row = PacsStudyRow
    return (
        select(row.pacs)
        .join(PacsRow, PacsRow.name == row.pacs)
        .outerjoin(PeerRow, PeerRow.ae_title == PacsRow.ae_title)
        .where(
            row.study_instance_uid == STUDY.study_instance_uid,
            row.state != "gone",
            or_(PacsRow.kind == "orthanc", (PeerRow.host != "") & PeerRow.port.is_not(None)),
        )
        .correlate(STUDY)
        .exists()
    )
