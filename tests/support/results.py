"""A query film with its regions, and an answer with other patients' films, for tests of what goes back to a PACS."""

import datetime as dt
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import DetectedRegion, GenerationInfo
from regionmir.results.crops import region_crop, shareable_crop
from regionmir.results.document import similar_regions_pdf
from regionmir.results.key_objects import key_object
from regionmir.results.presentation import region_boxes
from regionmir.results.report import measurement_report
from regionmir.results.sheet import contact_sheet
from regionmir.results.source import KeptAnswer, KeptHit, ResultSource, source_image
from tests.support.films import synthetic_film

LLLZ = Box(150, 150, 220, 240)
REGIONS = (
    DetectedRegion(anatomy_by_short("LLLZ"), LLLZ, 0.93),
    DetectedRegion(anatomy_by_short("RCPA"), Box(25.5, 200, 80, 256), 0.8125),
    DetectedRegion(anatomy_by_short("CARD"), Box(100, 120, 190, 230), 0.9),
)
MODEL = GenerationInfo("regionmir", "1.2", "ab" * 32, 128, "cd" * 8, tuple(region.anatomy for region in REGIONS))
MADE_AT = dt.datetime(2026, 1, 2, 3, 4, 5)
CODE = "16BW3GTD"

NAMES = {
    "ascii": ((), "Doe^Jane"),
    "korean": (("", "ISO 2022 IR 149"), "Hong^Gildong=洪^吉洞=홍^길동"),
    "japanese": (("", "ISO 2022 IR 87"), "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "cyrillic": (("ISO_IR 144",), "Иванов^Иван"),
    "utf8": (("ISO_IR 192",), "Wang^XiaoDong=王^小东"),
}
"""Character sets with names in them (PS3.5 H to K)."""


def source(film: Dataset | None = None, **values: Any) -> ResultSource:
    """Return the source of results about `film`, by default a synthetic one."""
    given: dict[str, Any] = {
        "image": source_image(film or synthetic_film(1)),
        "regions": REGIONS,
        "model": MODEL,
        "made_at": MADE_AT,
        "pseudonymizer": Pseudonymizer(b"k" * 32),
    }
    return ResultSource(**(given | values))


def other_films(count: int) -> list[Dataset]:
    """Return films of other patients, whose names and UIDs may appear nowhere."""
    return [
        synthetic_film(seed, PatientName=f"Neighbour^{seed:03d}", PatientID=f"NEIGHBOUR-{seed:03d}")
        for seed in range(101, 101 + count)
    ]


def answer(films: Sequence[Dataset], query: Dataset | None = None) -> KeptAnswer:
    """Return the answer that has these films as hits, in this order."""
    hits = tuple(
        KeptHit(rank, 0.98 - rank / 100, str(film.ViewPosition), "40-44 Y", shareable_crop(film, LLLZ))
        for rank, film in enumerate(films, start=1)
    )
    crop = region_crop(query or synthetic_film(1), LLLZ)
    return KeptAnswer(CODE, REGIONS[0].anatomy, crop, hits, "412 of 430 indexed")


def every_result(of: ResultSource, kept: KeptAnswer) -> dict[str, Dataset]:
    """Return one object of each kind."""
    return {
        "sr": measurement_report(of, [kept]),
        "sheet": contact_sheet(of, kept),
        "pdf": similar_regions_pdf(of, kept),
        "gsps": region_boxes(of),
        "kos": key_object(of, kept),
    }


def written(result: Dataset) -> bytes:
    """Return the object as a Part 10 file."""
    buffer = BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read_back(result: Dataset) -> Dataset:
    """Return the object as another program reads it."""
    return dcmread(BytesIO(written(result)))
