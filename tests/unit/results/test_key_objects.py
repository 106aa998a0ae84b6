"""The key object marks the query image and nothing else."""

import pytest
from pydicom.dataset import Dataset

from regionmir.results.key_objects import key_object
from tests.support.films import synthetic_film
from tests.support.results import CODE, answer, other_films, read_back, source


@pytest.fixture(scope="module")
def selection() -> Dataset:
    return read_back(key_object(source(), answer(other_films(3))))


def test_it_selects_the_query_image_alone(selection: Dataset) -> None:
    film = synthetic_film(1)
    images = [item for item in selection.ContentSequence if item.ValueType == "IMAGE"]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images] == [film.SOPInstanceUID]
    (study,) = selection.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == film.StudyInstanceUID


def test_it_tells_how_to_open_the_answer_again(selection: Dataset) -> None:
    (text,) = [
        str(item.TextValue)
        for item in selection.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]
    assert text == (
        "3 regions similar to the left lower lung zone of this image."
        f" To open them again, search RGN_LLLZ for: SIM {CODE}"
    )
    assert selection.ContentTemplateSequence[0].TemplateIdentifier == "2010"
