"""The structured report: a Comprehensive SR of TID 1500 with one TID 1410 group for each region of the query image."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    ObservationContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from regionmir.core.anatomy import Anatomy
from regionmir.core.errors import ResultError
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion
from regionmir.results.objects import MANUFACTURER, REPORT, as_instance, evidence, finished, new_object, observer
from regionmir.results.source import KeptAnswer, ResultSource

PRIVATE_SCHEME: Final = "99RGNMIR"
SCORE: Final = Code("SCORE", PRIVATE_SCHEME, "Detection score")
SIMILARITY: Final = Code("SIMILARITY", PRIVATE_SCHEME, "Similarity of the most similar region")
RESULT_SET: Final = Code("RESULTSET", PRIVATE_SCHEME, "Result set")

_CHEST_RADIOGRAPHY: Final = Code("399208008", "SCT", "Plain chest X-ray")
_ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical structure")
_SIDES: Final = {"R": Code("24028007", "SCT", "Right"), "L": Code("7771000", "SCT", "Left")}
_ORIGINAL_SOURCE: Final = Code("111040", "DCM", "Original Source")


def measurement_report(source: ResultSource, answers: Sequence[KeptAnswer] = ()) -> Dataset:
    """Return the report of all regions found; `answers` add their result-set codes to the groups of their regions.

    Of other patients it holds a similarity, never a reference. Raises `ResultError` where no region was found.
    """
    if not source.regions:
        raise ResultError("no region was found on the image: there is nothing to report")
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer(source)),
        procedure_reported=_CHEST_RADIOGRAPHY,
        imaging_measurements=[_group(source, region, answers) for region in source.regions],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[as_instance(source.image)],
    )[0]
    _name_original_source(content)
    named = f"RegionMIR regions, SIM {answers[0].code}" if len(answers) == 1 else "RegionMIR regions"
    report = new_object(source, REPORT, named, *(answer.code for answer in answers))
    for element in content:
        report.add(element)
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CurrentRequestedProcedureEvidenceSequence = evidence(source.image)
    report.CodingSchemeIdentificationSequence = [_private_scheme()]
    return finished(report, source)


def _group(
    source: ResultSource, region: DetectedRegion, answers: Sequence[KeptAnswer]
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    kept = [answer for answer in answers if answer.anatomy == region.anatomy]
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=source.uid("tracking", region.anatomy.short), identifier=f"RegionMIR {region.anatomy.short}"
        ),
        referenced_region=_outline(source, region.box),
        finding_type=_ANATOMICAL_STRUCTURE,
        finding_sites=[_site(region.anatomy)],
        algorithm_id=_algorithm(source),
        measurements=[_number(SCORE, region.score), *(_number(SIMILARITY, best) for best in _best(kept))],
    )
    for answer in kept:
        group[0].ContentSequence.append(
            TextContentItem(RESULT_SET, f"SIM {answer.code}", RelationshipTypeValues.CONTAINS)
        )
    return group


def _best(answers: Sequence[KeptAnswer]) -> list[float]:
    return [max(hit.similarity for hit in answer.hits) for answer in answers if answer.hits]


def _outline(source: ResultSource, box: Box) -> ImageRegion:
    """Return the box as a closed polyline of five points: columns and rows, 0\\0 the image's corner (PS3.3 C.18.6)."""
    inside = box.clipped(source.image.columns, source.image.rows)
    x0, y0, x1, y1 = inside.as_tuple()
    return ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]),
        source_image=SourceImageForRegion(source.image.sop_class_uid, source.image.sop_instance_uid),
    )


def _site(anatomy: Anatomy) -> FindingSite:
    code = Code(anatomy.code_value, anatomy.coding_scheme, anatomy.code_meaning)
    return FindingSite(code, laterality=_SIDES.get(anatomy.laterality))


def _algorithm(source: ResultSource) -> AlgorithmIdentification:
    model = source.model
    return AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=[f"weights sha256={model.weights_sha256}", f"preprocessing={model.preprocessing_hash}"],
    )


def _number(name: Code, value: float) -> Measurement:
    return Measurement(name=name, value=round(value, 4), unit=codes.UCUM.NoUnits)


def _name_original_source(item: Dataset) -> None:
    """Name every image that a region was selected from (111040, DCM, Original Source).

    highdicom writes (260753009, SCT, Source); Orthanc's Stone viewer then draws nothing.
    """
    if item.ValueType == "IMAGE" and item.RelationshipType == "SELECTED FROM":
        name = item.ConceptNameCodeSequence[0]
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = _ORIGINAL_SOURCE[:3]
    for child in item.get("ContentSequence", ()):
        _name_original_source(child)


def _private_scheme() -> Dataset:
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME, name="RegionMIR private codes", version="1", responsible_organization=MANUFACTURER
    )
