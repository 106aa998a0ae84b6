"""What all results share: the patient and study of the source image, a series of our own, our name, our UIDs."""

from dataclasses import dataclass
from typing import Final

from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from regionmir import __version__
from regionmir.core.charset import set_charset
from regionmir.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from regionmir.results.source import ResultSource, SourceImage

MANUFACTURER: Final = "RegionMIR"


@dataclass(frozen=True, slots=True)
class ResultKind:
    """One kind of result; each object is alone in its series. Series numbers lie above those of modalities."""

    name: str
    sop_class_uid: UID
    modality: str
    series_number: int


REPORT: Final = ResultKind("sr", ComprehensiveSRStorage, "SR", 9001)
SHEET: Final = ResultKind("sheet", SecondaryCaptureImageStorage, "OT", 9002)
DOCUMENT: Final = ResultKind("pdf", EncapsulatedPDFStorage, "DOC", 9003)
PRESENTATION: Final = ResultKind("gsps", GrayscaleSoftcopyPresentationStateStorage, "PR", 9004)
KEY_OBJECTS: Final = ResultKind("kos", KeyObjectSelectionDocumentStorage, "KO", 9005)


def new_object(source: ResultSource, kind: ResultKind, description: str, *parts: str) -> Dataset:
    """Return an object of this kind with everything but its content; `parts` tell it from others about the image.

    Patient, General Study, General Series, General Equipment and SOP Common modules (PS3.3 C.7.1.1 to C.12.1).
    """
    made = Dataset()
    made.update(source.image.subject)
    made.SOPClassUID = kind.sop_class_uid
    made.SOPInstanceUID = source.uid("instance", kind.name, *parts)
    made.SeriesInstanceUID = source.uid("series", kind.name, *parts)
    made.Modality = kind.modality
    made.SeriesNumber = kind.series_number
    made.SeriesDescription = description
    made.InstanceNumber = 1
    made.Manufacturer = made.ManufacturerModelName = MANUFACTURER
    made.SoftwareVersions = __version__
    date, time = source.made_at.strftime("%Y%m%d"), source.made_at.strftime("%H%M%S")
    made.InstanceCreationDate = made.SeriesDate = date
    made.InstanceCreationTime = made.SeriesTime = time
    if kind is not PRESENTATION:
        made.ContentDate, made.ContentTime = date, time
    if kind in (PRESENTATION, SHEET):
        made.BodyPartExamined = "CHEST"
    return made


def finished(made: Dataset, source: ResultSource) -> Dataset:
    """Return the object with its character set (the image's where every text fits, else UTF-8) and meta group."""
    set_charset(made, source.image.charset)
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    made.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return made


def image_reference(image: SourceImage) -> Dataset:
    """Return an item that points to the image (PS3.3 10.8, SOP Instance Reference Macro)."""
    item = Dataset()
    item.ReferencedSOPClassUID = image.sop_class_uid
    item.ReferencedSOPInstanceUID = image.sop_instance_uid
    return item


def as_instance(image: SourceImage) -> Dataset:
    """Return the image as highdicom wants what it refers to. Modality OT: DX would ask for a pixel spacing."""
    instance = Dataset()
    instance.SOPClassUID, instance.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    instance.SeriesInstanceUID = image.series_instance_uid
    instance.Modality = "OT"
    instance.Rows, instance.Columns = image.rows, image.columns
    return instance


def evidence(image: SourceImage) -> list[Dataset]:
    """Return the items of Current Requested Procedure Evidence Sequence (PS3.3 C.17.2)."""
    series = Dataset()
    series.SeriesInstanceUID = image.series_instance_uid
    series.ReferencedSOPSequence = [image_reference(image)]
    study = Dataset()
    study.StudyInstanceUID = image.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return [study]


def observer(source: ResultSource) -> ObserverContext:
    """Return who observed: this software, as a device (TID 1004)."""
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=source.pseudonymizer.uid("result", "device"),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=MANUFACTURER,
        ),
    )
