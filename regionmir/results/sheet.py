"""The contact sheet: the query's region beside those of other patients, as a secondary capture that says so."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from regionmir.core.errors import ResultError
from regionmir.core.geometry import Box
from regionmir.pixels import draw
from regionmir.pixels.decode import DisplayValues
from regionmir.pixels.render import HEADER_TEXT, HITS_PER_ROW, OTHER_PATIENTS, Panel, comparison_picture
from regionmir.results.objects import SHEET, finished, image_reference, new_object
from regionmir.results.source import KeptAnswer, KeptHit, ResultSource

HITS_PER_PAGE: Final = 2 * HITS_PER_ROW

_WITHHELD: Final = "not shown:\nits film may have\ntext burned in, or\ncannot be read"
_SOURCE_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")


def contact_sheet(source: ResultSource, answer: KeptAnswer) -> Dataset:
    """Return a Secondary Capture, or a multi-frame true colour one where the answer has more than ten hits.

    Raises `ResultError` for an answer without the query's crop.
    """
    frames = _frames(sheet_pages(answer))
    sheet = new_object(source, SHEET, describe(answer), answer.code)
    sheet.ConversionType = "WSD"
    sheet.ImageType = ["DERIVED", "SECONDARY"]
    sheet.DerivationDescription = f"{HEADER_TEXT}. Crops of one region each, scaled, 8 bits. SIM {answer.code}"
    sheet.SourceImageSequence = [_source_item(source)]
    sheet.PatientOrientation = None
    sheet.BurnedInAnnotation = "YES"
    if source.image.lossy:
        sheet.LossyImageCompression = "01"
    _set_pixels(sheet, frames)
    if len(frames) > 1:
        _make_multi_frame(sheet, len(frames))
    return finished(sheet, source)


def describe(answer: KeptAnswer) -> str:
    """Return a series description (LO, 64 characters) that begins with whose pixels these are."""
    return f"{OTHER_PATIENTS} similar {answer.short}, SIM {answer.code}"


def sheet_pages(answer: KeptAnswer) -> list[Image.Image]:
    """Return the sheet as RGB pictures, ten hits on each, all with the query's region, all of one size."""
    starts = range(0, max(1, len(answer.hits)), HITS_PER_PAGE)
    pages = [_page(answer, answer.hits[start : start + HITS_PER_PAGE]) for start in starts]
    size = (max(page.width for page in pages), max(page.height for page in pages))
    return [_padded(page, size) for page in pages]


def _page(answer: KeptAnswer, hits: Sequence[KeptHit]) -> Image.Image:
    if answer.query_crop is None:
        raise ResultError("the region that was asked about is not there any more")
    query = _panel(answer.query_crop, caption="this patient")
    return comparison_picture(
        query,
        [_hit_panel(hit, query.box) for hit in hits],
        title=f"{answer.name} ({answer.short})   SIM {answer.code}",
        coverage=answer.coverage,
        show_films=False,
        per_row=max(1, min(HITS_PER_ROW, len(answer.hits))),
    )


def _hit_panel(hit: KeptHit, shape: Box) -> Panel:
    caption = "  ".join(filter(None, (hit.view, hit.age_band)))
    if hit.crop is None:
        return Panel(None, shape, hit.rank, hit.similarity, caption, withheld=_WITHHELD)
    return _panel(hit.crop, hit.rank, hit.similarity, caption)


def _panel(crop: DisplayValues, rank: int | None = None, similarity: float | None = None, caption: str = "") -> Panel:
    height, width = crop.shape
    return Panel(crop, Box(0, 0, width, height), rank, similarity, caption)


def _padded(page: Image.Image, size: tuple[int, int]) -> Image.Image:
    if page.size == size:
        return page
    larger = Image.new("RGB", size, draw.BACKGROUND)
    larger.paste(page)
    return larger


def _frames(pages: Sequence[Image.Image]) -> npt.NDArray[np.uint8]:
    """Return (frames, rows, columns, 3)."""
    return np.stack([np.asarray(page, np.uint8) for page in pages])


def _source_item(source: ResultSource) -> Dataset:
    item = image_reference(source.image)
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = _SOURCE_IMAGE[:3]
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _set_pixels(sheet: Dataset, frames: npt.NDArray[np.uint8]) -> None:
    sheet.SamplesPerPixel = 3
    sheet.PhotometricInterpretation = "RGB"
    sheet.PlanarConfiguration = 0
    sheet.Rows, sheet.Columns = frames.shape[1:3]
    sheet.BitsAllocated = sheet.BitsStored = 8
    sheet.HighBit = 7
    sheet.PixelRepresentation = 0
    data = frames.tobytes()
    sheet.PixelData = data + b"\0" * (len(data) % 2)
    sheet["PixelData"].VR = "OB"


def _make_multi_frame(sheet: Dataset, count: int) -> None:
    """Turn the sheet into pages (PS3.3 A.8.5, C.8.6.3)."""
    sheet.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    sheet.NumberOfFrames = count
    sheet.PageNumberVector = list(range(1, count + 1))
    sheet.FrameIncrementPointer = tag_for_keyword("PageNumberVector")
