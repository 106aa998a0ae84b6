"""Result objects for pseudonymous callers: nothing of the query's patient, nor of a hit's, in bytes, text or pixels."""

import base64
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw
from pydicom.dataset import Dataset

from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.identifiers import Uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import CopyIdentity, DetectedRegion
from regionmir.deid.copies import encoded, may_be_copied, pseudonymous_copy
from regionmir.deid.identity import Substitution
from regionmir.results.crops import region_crop, shareable_crop
from regionmir.results.sheet import sheet_pages
from regionmir.results.source import KeptAnswer, KeptHit, source_image
from tests.support.canaries import Canaries, CanaryIndex, decoded
from tests.support.canary_films import FORMS, canary_films, plain_film
from tests.support.films import chest_values, save
from tests.support.leak_site import part10
from tests.support.results import CODE, every_result, source, written

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

BOX = Box(10, 10, 60, 70)
REGION = DetectedRegion(anatomy_by_short("LLLZ"), BOX, 0.9)
PIXELS = [(chest_values(n, 96, 96) * 255).astype(np.uint8) for n in range(len(FORMS))]
COPIED = [n for n, form in enumerate(FORMS) if form.burned_in == "NO"]


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(scope="module")
def films(canaries: Canaries) -> list[Dataset]:
    return canary_films(PIXELS, canaries)


def copy_of(film: Dataset, folder: Path) -> Dataset:
    identity = CopyIdentity("RGN-ABCDEFGH23", Uid("2.25.1"), Uid("2.25.2"), Uid("2.25.3"), date_shift_days=-100)
    substitution = Substitution(identity, Pseudonymizer(b"k" * 32).uid)
    return part10(encoded(pseudonymous_copy(save(film, folder / "film.dcm"), substitution, "OURS")).getvalue())


def answer_of(query: Dataset, hits: list[Dataset]) -> KeptAnswer:
    kept = [KeptHit(n, 0.9, "PA", "40-44 Y", shareable_crop(film, BOX)) for n, film in enumerate(hits, start=1)]
    return KeptAnswer(CODE, REGION.anatomy, region_crop(query, BOX), tuple(kept), "12 of 13 indexed")


def leaks(canaries: Canaries, query: Dataset, hits: list[Dataset]) -> list[str]:
    index = CanaryIndex(canaries)
    results = every_result(source(image=source_image(query), regions=(REGION,)), answer_of(query, hits))
    return [
        f"{kind}: {place}"
        for kind, result in results.items()
        for part in everything_in(result)
        for place in index.found_in(part)
    ]


def everything_in(result: Dataset) -> Iterator[bytes]:
    """Yield what an object holds: its file, its values, its pixels, the streams of its document."""
    yield written(result)
    yield decoded(result)
    yield bytes(result.get("PixelData", b""))
    document = result.get("EncapsulatedDocument", b"")
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", document, re.DOTALL):
        content = base64.a85decode(stream.strip(), adobe=True)
        yield content if content.startswith(b"\xff\xd8") else zlib.decompress(content)


@pytest.mark.parametrize("number", COPIED)
def test_results_about_a_copy_hold_no_canary_of_its_patient_or_of_a_hit(
    canaries: Canaries, films: list[Dataset], number: int, tmp_path: Path
) -> None:
    assert may_be_copied(films[number].SOPClassUID, films[number].BurnedInAnnotation)
    assert leaks(canaries, copy_of(films[number], tmp_path), films) == []


def test_results_about_an_original_hold_no_canary_of_a_hit(canaries: Canaries, films: list[Dataset]) -> None:
    assert leaks(canaries, plain_film(1, PIXELS[0]), films) == []


def test_results_about_an_original_do_show_its_own_canaries(canaries: Canaries, films: list[Dataset]) -> None:
    """Were this to fail, the tests above would prove nothing: each kind holds what its source says of the patient."""
    found = leaks(canaries, films[1], films)
    assert {"sr", "sheet", "pdf", "gsps", "kos"} == {leak.split(":")[0] for leak in found}


def test_a_canary_in_the_text_of_a_document_is_found(canaries: Canaries, films: list[Dataset]) -> None:
    index = CanaryIndex(canaries)
    document = every_result(source(image=source_image(films[1]), regions=(REGION,)), answer_of(films[1], []))["pdf"]
    streams = list(everything_in(document))[3:]
    assert any("AccessionNumber" in place for stream in streams for place in index.found_in(stream))


def test_what_is_written_on_a_sheet_is_code_region_rank_similarity_view_age_and_coverage(
    films: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels cannot be searched for text: what is drawn there is."""
    drawn: list[str] = []
    for name in ("text", "multiline_text"):
        monkeypatch.setattr(ImageDraw.ImageDraw, name, noting(getattr(ImageDraw.ImageDraw, name), drawn))
    sheet_pages(answer_of(films[1], films))

    fixed = {
        "this patient", "not shown:\nits film may have\ntext burned in, or\ncannot be read",
        "12 of 13 indexed", "PA  40-44 Y", "QUERY",
        "SIMILAR REGIONS, OTHER PATIENTS, NOT FOR DIAGNOSIS", "left lower lung zone (LLLZ)   SIM 16BW3GTD",
    }  # fmt: skip
    shown = {re.sub(r"#\d+|0\.\d{3}", "", text) for text in drawn}
    assert shown - {""} - {text for text in shown if text.replace("\n", " ") == "NOT THIS PATIENT"} == fixed


def noting(draws: Callable[..., None], drawn: list[str]) -> Callable[..., None]:
    """Return `draws` so that it notes the text that it is given."""

    def note(pen: ImageDraw.ImageDraw, at: Any, what: str, *arguments: Any, **values: Any) -> None:
        drawn.append(what)
        draws(pen, at, what, *arguments, **values)

    return note
