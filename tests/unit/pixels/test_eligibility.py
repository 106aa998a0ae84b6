"""What is indexed by attributes: frontal chest radiographs, and nothing that says it is something else."""

from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from regionmir.core.errors import UnsupportedImage
from regionmir.pixels.eligibility import check_frontal_chest
from tests.support.films import synthetic_film


def coded(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


LATERAL = coded("399067008", "SCT", "lateral")
HIP = coded("24136001", "SCT", "Hip joint")


@pytest.mark.parametrize("kind", ["DX", "CR", "SC"])
@pytest.mark.parametrize("view", ["PA", "AP"])
def test_a_frontal_chest_film_is_taken_with_its_view(kind: str, view: str) -> None:
    assert check_frontal_chest(synthetic_film(1, kind=kind, ViewPosition=view)) == view


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": None, "BodyPartExamined": None, "PatientOrientation": None, "ImageType": None}, ""),
        ({"ViewPosition": "", "ViewCodeSequence": coded("272479007", "SCT", "postero-anterior")}, "PA"),
        ({"ViewPosition": "", "ViewCodeSequence": coded("R-10206", "SRT", "antero-posterior")}, "AP"),
        ({"ViewPosition": "", "ViewCodeSequence": coded("R-10214", "SNM3", "postero-anterior")}, "PA"),
        ({"ViewPosition": "AP_SUPINE"}, "AP"),
        ({"ViewPosition": "PA STEHEND"}, "PA"),
        ({"ViewPosition": "STANDING"}, ""),
        ({"BodyPartExamined": "THORAX"}, "PA"),
        ({"BodyPartExamined": "CHEST PA"}, "PA"),
        ({"BodyPartExamined": "TORAX"}, "PA"),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": coded("51185008", "SCT", "Chest")}, "PA"),
        ({"AnatomicRegionSequence": coded("T-D3000", "SRT", "Chest")}, "PA"),
        ({"AnatomicRegionSequence": coded("RPID77", "99LOCAL", "Chest, two views")}, "PA"),
        ({"ImageLaterality": "U"}, "PA"),
        ({"ImageLaterality": "B"}, "PA"),
        ({"NumberOfFrames": "2"}, "PA"),
        ({"PresentationIntentType": "FOR PRESENTATION"}, "PA"),
        ({"BurnedInAnnotation": "YES"}, "PA"),
    ],
)
def test_missing_or_unusual_attributes_are_tolerated(attributes: dict[str, Any], view: str) -> None:
    assert check_frontal_chest(synthetic_film(1, **attributes)) == view


@pytest.mark.parametrize("modality", ["DX", "CR", "RG", "OT", ""])
def test_a_secondary_capture_is_taken_where_nothing_says_otherwise(modality: str) -> None:
    check_frontal_chest(synthetic_film(1, kind="SC", Modality=modality))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "modality CT"),
        ({"Modality": "MG"}, "modality MG"),
        ({"kind": "SC", "Modality": "US"}, "modality US"),
        ({"Modality": "OT"}, "modality OT"),
        ({"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1"}, "SOP class not indexed"),
        ({"BodyPartExamined": "HIP"}, "body part HIP"),
        ({"BodyPartExamined": "ABDOMEN"}, "body part ABDOMEN"),
        ({"BodyPartExamined": "THORAX SPINE"}, "body part THORAX SPINE"),
        ({"AnatomicRegionSequence": HIP}, "body part HIP JOINT"),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": HIP}, "body part HIP JOINT"),
        ({"ViewPosition": "LL"}, "lateral view"),
        ({"ViewPosition": "LATERAL"}, "lateral view"),
        ({"ViewPosition": "LLD"}, "decubitus view"),
        ({"ViewPosition": "RAO"}, "oblique view"),
        ({"ViewPosition": "AP AXIAL"}, "view not frontal"),
        ({"ViewPosition": "", "ViewCodeSequence": LATERAL}, "lateral view"),
        ({"ViewPosition": "PA", "ViewCodeSequence": LATERAL}, "lateral view"),
        ({"ViewPosition": "PA", "ViewCodeSequence": coded("399348003", "SCT", "antero-posterior")}, "views contradict"),
        ({"PatientOrientation": ["A", "F"]}, "not a frontal orientation"),
        ({"ImageLaterality": "R"}, "one side only"),
        ({"Laterality": "L"}, "one side only"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for processing"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "for processing"),
        ({"QualityControlImage": "YES"}, "quality control image"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric PALETTE COLOR"),
        ({"kind": "SC", "NumberOfFrames": "30"}, "multi-frame capture"),
        ({"PatientSpeciesDescription": "Canis lupus familiaris"}, "not a human"),
        ({"AnatomicalOrientationType": "QUADRUPED"}, "not a human"),
    ],
)
def test_what_says_that_it_is_something_else_is_refused_with_a_reason(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedImage) as refused:
        check_frontal_chest(synthetic_film(1, **attributes))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CT_small.dcm", "modality CT"),
        ("MR_small.dcm", "modality MR"),
        ("examples_ybr_color.dcm", "modality US"),
        ("reportsi.dcm", "no image"),
        ("test-SR.dcm", "no image"),
        ("rtplan.dcm", "no image"),
        ("waveform_ecg.dcm", "no image"),
        ("liver_1frame.dcm", "modality SEG"),
        ("JPGExtended.dcm", "modality NM"),
    ],
)
def test_real_objects_of_other_kinds_are_refused_with_a_reason(name: str, reason: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    with pytest.raises(UnsupportedImage) as refused:
        check_frontal_chest(dcmread(path))
    assert refused.value.reason == reason


def test_a_presentation_state_a_document_and_a_key_note_are_no_images() -> None:
    for sop_class in ("11.1", "104.1", "88.59"):
        note = Dataset()
        note.SOPClassUID, note.Modality = f"1.2.840.10008.5.1.4.1.1.{sop_class}", "CR"
        with pytest.raises(UnsupportedImage, match="no image"):
            check_frontal_chest(note)


def test_a_reason_never_holds_more_than_a_short_plain_word() -> None:
    film = synthetic_film(1)
    film.add_new("BodyPartExamined", "LO", "Müller^Hans <script> 1970-01-01 and more")
    with pytest.raises(UnsupportedImage) as refused:
        check_frontal_chest(film)
    assert len(refused.value.reason) <= len("body part ") + 16
    assert "<" not in refused.value.reason


def test_no_pixel_data_are_needed_to_judge_attributes() -> None:
    assert check_frontal_chest(synthetic_film(1, PixelData=None)) == "PA"
