"""What is taken over from the query's image, and what may not be."""

from typing import Any

import numpy as np
import pytest

from regionmir.core.errors import InvalidBox, InvalidHeader
from regionmir.core.geometry import Box
from regionmir.results.crops import region_crop, shareable_crop
from regionmir.results.source import source_image
from tests.support.films import synthetic_film
from tests.support.results import LLLZ, answer, every_result, other_films, source, written

SECONDARY = {"kind": "SC"}


def test_patient_and_study_are_those_of_the_image() -> None:
    film = synthetic_film(1)
    subject = source_image(film).subject
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
        assert str(subject[keyword].value) == str(film[keyword].value)
    assert "SOPInstanceUID" not in subject
    assert "PixelData" not in subject


def test_required_attributes_that_the_image_lacks_are_empty() -> None:
    subject = source_image(synthetic_film(1, PatientBirthDate=None, ReferringPhysicianName=None)).subject
    assert subject["PatientBirthDate"].is_empty
    assert subject["ReferringPhysicianName"].is_empty


@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:The value length")
def test_a_date_of_words_is_left_out_and_a_long_patient_id_is_kept() -> None:
    subject = source_image(synthetic_film(1, PatientBirthDate="unknown", PatientID="9" * 70)).subject
    assert subject["PatientBirthDate"].is_empty
    assert subject.PatientID == "9" * 70


def test_the_copy_shares_nothing_with_the_image() -> None:
    film = synthetic_film(1)
    image = source_image(film)
    film.PatientName = "Changed^Later"
    assert str(image.subject.PatientName) == "Synthetic^Patient 0001"


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "Rows"])
def test_what_is_no_image_is_refused(keyword: str) -> None:
    with pytest.raises(InvalidHeader, match=keyword):
        source_image(synthetic_film(1, **{keyword: None}))


def test_a_source_tells_no_secret_and_no_patient_when_printed() -> None:
    text = repr(source())
    assert "kkkk" not in text
    assert "Synthetic" not in text


@pytest.mark.parametrize(
    ("film", "shown"),
    [
        ({}, True),
        ({"kind": "CR", "BurnedInAnnotation": None}, True),
        ({"BurnedInAnnotation": "YES"}, False),
        ({"BurnedInAnnotation": "TRUE"}, False),
        ({"BurnedInAnnotation": ["NO", "YES"]}, False),
        (SECONDARY, True),
        ({**SECONDARY, "BurnedInAnnotation": None}, False),
        ({**SECONDARY, "BurnedInAnnotation": "YES"}, False),
    ],
)
def test_a_hit_is_shown_only_where_no_text_can_be_burned_in(film: dict[str, Any], shown: bool) -> None:
    assert (shareable_crop(synthetic_film(2, **film), LLLZ) is not None) is shown


def test_a_crop_is_the_region_as_viewed_and_nothing_beyond_it() -> None:
    film, mirrored = synthetic_film(2), synthetic_film(2, PatientOrientation=["R", "F"])
    crop = region_crop(film, LLLZ)
    assert crop.shape == (90, 70)
    assert crop.base is None, "a view would keep the whole film"
    np.testing.assert_array_equal(region_crop(mirrored, LLLZ), crop[:, ::-1])
    with pytest.raises(InvalidBox):
        region_crop(film, Box(300, 300, 400, 400))


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_an_image_full_of_broken_values_still_gets_its_results() -> None:
    film = synthetic_film(1, PatientBirthDate="unknown", StudyTime="noon", PatientAge="old", PixelAspectRatio=None)
    for result in every_result(source(film), answer(other_films(1))).values():
        assert written(result)
