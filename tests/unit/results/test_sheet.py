"""The contact sheet cannot be taken for the patient's own images."""

import dataclasses
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.errors import UnsupportedImage
from regionmir.pixels.draw import PANEL, WARNING
from regionmir.pixels.eligibility import check_frontal_chest
from regionmir.results.sheet import contact_sheet, sheet_pages
from regionmir.results.source import KeptAnswer
from tests.support.films import synthetic_film
from tests.support.results import CODE, LLLZ, answer, other_films, read_back, source, written

Picture = np.ndarray


@pytest.fixture(scope="module")
def kept() -> KeptAnswer:
    return answer(other_films(3))


@pytest.fixture(scope="module")
def sheet(kept: KeptAnswer) -> Dataset:
    return read_back(contact_sheet(source(), kept))


def coloured(picture: Picture, colour: tuple[int, int, int]) -> Picture:
    return np.asarray(np.all(np.abs(picture.astype(int) - colour) < 60, axis=-1))


def test_the_sheet_says_whose_pixels_it_holds(sheet: Dataset) -> None:
    assert sheet.SeriesDescription == f"OTHER PATIENTS: similar LLLZ, SIM {CODE}"
    assert sheet.ImageType == ["DERIVED", "SECONDARY"]
    assert (sheet.BurnedInAnnotation, sheet.ConversionType) == ("YES", "WSD")
    assert "NOT FOR DIAGNOSIS" in sheet.DerivationDescription


@pytest.mark.parametrize("short", ["LLLZ", "RCLA", "CARD"])
def test_its_series_description_fits_its_64_characters(short: str, kept: KeptAnswer) -> None:
    named = dataclasses.replace(kept, anatomy=anatomy_by_short(short))
    assert len(contact_sheet(source(), named).SeriesDescription) <= 64


def test_it_is_derived_from_the_query_image_alone(sheet: Dataset) -> None:
    (item,) = sheet.SourceImageSequence
    assert item.ReferencedSOPInstanceUID == synthetic_film(1).SOPInstanceUID


def test_its_pixels_are_the_drawn_page(sheet: Dataset, kept: KeptAnswer) -> None:
    assert sheet.SOPClassUID == SecondaryCaptureImageStorage
    np.testing.assert_array_equal(sheet.pixel_array, np.asarray(sheet_pages(kept)[0]))


def test_every_hit_is_marked_and_the_query_is_not(kept: KeptAnswer) -> None:
    alone = np.asarray(sheet_pages(dataclasses.replace(kept, hits=()))[0])
    marks = [
        coloured(np.asarray(sheet_pages(dataclasses.replace(kept, hits=kept.hits[:count]))[0])[90:], WARNING).sum()
        for count in (1, 2, 3)
    ]
    assert coloured(alone[90:], WARNING).sum() == 0, "only the header warns"
    assert coloured(alone[:90], WARNING).sum() > 500
    assert marks[0] > 200
    assert marks[1] > 1.8 * marks[0]
    assert marks[2] > 2.7 * marks[0]


def test_a_narrow_crop_still_carries_a_mark_that_can_be_read(kept: KeptAnswer) -> None:
    narrow = dataclasses.replace(kept.hits[0], crop=np.zeros((400, 90), np.float32))
    page = np.asarray(sheet_pages(dataclasses.replace(kept, hits=(narrow,)))[0])[90:]
    ys, _ = np.nonzero(coloured(page, WARNING))
    assert np.ptp(ys) > 20, "two lines"


def test_a_hit_that_may_not_be_shown_has_rank_and_similarity_and_no_pixel(kept: KeptAnswer) -> None:
    hidden = dataclasses.replace(kept.hits[0], crop=None)
    (page,) = sheet_pages(dataclasses.replace(kept, hits=(hidden, *kept.hits[1:])))
    pixels = np.asarray(page)
    assert coloured(pixels[90:], WARNING).sum() < coloured(np.asarray(sheet_pages(kept)[0])[90:], WARNING).sum()
    assert np.all(pixels == PANEL, axis=-1).sum() > 20_000, "an empty tile"


def test_more_than_ten_hits_make_pages_of_one_size(kept: KeptAnswer) -> None:
    hits = tuple(dataclasses.replace(kept.hits[0], rank=rank) for rank in range(1, 24))
    long = dataclasses.replace(kept, hits=hits)
    sheet = read_back(contact_sheet(source(), long))
    assert (
        sheet.SOPClassUID == sheet.file_meta.MediaStorageSOPClassUID == MultiFrameTrueColorSecondaryCaptureImageStorage
    )
    assert (sheet.NumberOfFrames, list(sheet.PageNumberVector)) == (3, [1, 2, 3])
    assert sheet.pixel_array.shape == (3, sheet.Rows, sheet.Columns, 3)
    np.testing.assert_array_equal(sheet.pixel_array[2], np.asarray(sheet_pages(long)[2]))


def test_a_sheet_from_a_lossy_image_says_so(kept: KeptAnswer) -> None:
    lossy = contact_sheet(source(synthetic_film(1, LossyImageCompression="01")), kept)
    assert lossy.LossyImageCompression == "01"
    assert "LossyImageCompression" not in contact_sheet(source(), kept)


def test_a_sheet_that_comes_back_is_never_indexed(sheet: Dataset) -> None:
    with pytest.raises(UnsupportedImage, match="own_copy"):
        check_frontal_chest(sheet)


def test_nothing_outside_a_hits_region_reaches_the_sheet() -> None:
    film = other_films(1)[0]
    changed = dcmread(BytesIO(written(film)))
    pixels = changed.pixel_array.copy()
    x0, y0, x1, y1 = map(int, LLLZ.as_tuple())
    outside = np.ones(pixels.shape, bool)
    outside[y0:y1, x0:x1] = False
    pixels[outside] = 4095 - pixels[outside]
    changed.PixelData = pixels.tobytes()
    assert contact_sheet(source(), answer([changed])).PixelData == contact_sheet(source(), answer([film])).PixelData
