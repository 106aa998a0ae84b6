"""Annotations of a film as viewers write them: a TID 1500 report, a presentation state, a key object selection."""

from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from regionmir.core.anatomy import SIDE_CODES, Anatomy

REPORT = "1.2.840.10008.5.1.4.1.1.88.33"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
KOS = "1.2.840.10008.5.1.4.1.1.88.59"

Corners = tuple[float, float, float, float]


def report(film: Dataset, box: Corners, anatomy: Anatomy | None = None, **values: Any) -> Dataset:
    """Return a Comprehensive SR after TID 1500 with one measurement group (TID 1410) around `box`."""
    made = _made(film, REPORT, "SR", **values)
    x0, y0, x1, y1 = box
    image = content("IMAGE", "SELECTED FROM", ReferencedSOPSequence=[reference(film)])
    drawn = content(
        "SCOORD",
        "CONTAINS",
        ("111030", "DCM", "Image Region"),
        GraphicType="POLYLINE",
        GraphicData=[x0, y0, x1, y0, x1, y1, x0, y1, x0, y0],
        ContentSequence=[image],
    )
    parts = [drawn]
    if anatomy is not None:
        site = content("CODE", "CONTAINS", ("363698007", "SCT", "Finding Site"))
        site.ConceptCodeSequence = [code(anatomy.code_value, anatomy.coding_scheme, anatomy.code_meaning)]
        if anatomy.laterality:
            side = content("CODE", "HAS CONCEPT MOD", ("272741003", "SCT", "Laterality"))
            side.ConceptCodeSequence = [code(*SIDE_CODES[anatomy.laterality])]
            site.ContentSequence = [side]
        parts.insert(0, site)
    group = content("CONTAINER", "CONTAINS", ("125007", "DCM", "Measurement Group"), ContentSequence=parts)
    groups = content("CONTAINER", "CONTAINS", ("126010", "DCM", "Imaging Measurements"), ContentSequence=[group])
    made.ValueType, made.ConceptNameCodeSequence = "CONTAINER", [code("126000", "DCM", "Imaging Measurement Report")]
    made.ContentSequence = [groups]
    return made


def presentation(film: Dataset, box: Corners, units: str = "PIXEL") -> Dataset:
    """Return a Grayscale Softcopy Presentation State with a closed rectangle."""
    made = _made(film, GSPS, "PR")
    x0, y0, x1, y1 = box
    shape = Dataset()
    shape.GraphicAnnotationUnits, shape.GraphicDimensions, shape.NumberOfGraphicPoints = units, 2, 5
    shape.GraphicData = [x0, y0, x1, y0, x1, y1, x0, y1, x0, y0]
    shape.GraphicType, shape.GraphicFilled = "POLYLINE", "N"
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicObjectSequence = "MARKS", [shape]
    layer.ReferencedImageSequence = [reference(film)]
    made.GraphicAnnotationSequence = [layer]
    return made


def key_image(film: Dataset) -> Dataset:
    """Return a Key Object Selection of the film."""
    made = _made(film, KOS, "KO")
    made.ValueType, made.ConceptNameCodeSequence = "CONTAINER", [code("113000", "DCM", "Of Interest")]
    made.ContentSequence = [content("IMAGE", "CONTAINS", ReferencedSOPSequence=[reference(film)])]
    return made


def rejection_note(title: str, *films: Dataset) -> Dataset:
    """Return a Key Object Selection that rejects films of one patient; `title`: a code of CID 7010."""
    made = _made(films[0], KOS, "KO")
    made.ValueType, made.ConceptNameCodeSequence = "CONTAINER", [code(title, "DCM", "Rejected")]
    made.ContentSequence = [content("IMAGE", "CONTAINS", ReferencedSOPSequence=[reference(film)]) for film in films]
    made.CurrentRequestedProcedureEvidenceSequence = [_evidence(film) for film in films]
    return made


def _evidence(film: Dataset) -> Dataset:
    study, series = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = film.SeriesInstanceUID, [reference(film)]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = film.StudyInstanceUID, [series]
    return study


def reference(film: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = film.SOPClassUID, film.SOPInstanceUID
    return item


def content(kind: str, relation: str, name: tuple[str, str, str] | None = None, **values: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    if name:
        item.ConceptNameCodeSequence = [code(*name)]
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _made(film: Dataset, sop_class: str, modality: str, **values: Any) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop_class, generate_uid(), modality
    made.StudyInstanceUID, made.SeriesInstanceUID = film.StudyInstanceUID, generate_uid()
    made.PatientID, made.PatientName, made.Manufacturer = film.PatientID, film.PatientName, "A viewer"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made
