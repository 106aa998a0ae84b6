"""A batch of films, of which some are broken, without a database: objects in a folder, outcomes in a list."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from db.instances import ClaimedInstance
from regionmir.core.identifiers import parse_uid
from regionmir.core.records import InstanceState
from regionmir.pixels.layout import DEFAULT_MAX_PIXELS
from tests.support.fake_model import PLACES, FakeModel
from tests.support.films import save, synthetic_film
from workers.pipeline import NOT_A_CHEST, judged, read_film

INDEXED, UNSUPPORTED, FAILED = InstanceState.INDEXED, InstanceState.UNSUPPORTED, InstanceState.FAILED


class Folder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / key


def claimed(film: Dataset, key: str) -> ClaimedInstance:
    return ClaimedInstance(
        pk=hash(key) % 10**6,
        sop_instance_uid=parse_uid(str(film.SOPInstanceUID)),
        sop_class_uid=parse_uid(str(film.SOPClassUID)),
        modality=str(film.Modality),
        storage_key=key,
        transfer_syntax_uid=parse_uid(str(film.file_meta.TransferSyntaxUID)),
        source_ae="TEST",
        attempts=1,
        attributes={},
    )


def blank(film: Dataset) -> Dataset:
    film.PixelData = b"\0\1" * (film.Rows * film.Columns)
    return film


def run(folder: Path, films: list[Dataset], model: FakeModel, spoil: Callable[[Path], None] | None = None) -> list[Any]:
    rows = []
    for number, film in enumerate(films):
        path = save(film, folder / f"{number}.dcm")
        if number == 1 and spoil is not None:
            spoil(path)
        rows.append(claimed(film, path.name))
    futures: list[Future[Any]] = []
    for row in rows:
        future: Future[Any] = Future()
        future.set_result(read_film(Folder(folder), DEFAULT_MAX_PIXELS, row))
        futures.append(future)
    outcomes = {row.storage_key: outcome for row, outcome in judged(zip(rows, futures, strict=True), model)}
    return [outcomes[row.storage_key] for row in rows]


def test_films_of_a_batch_share_one_forward_pass(tmp_path: Path) -> None:
    model = FakeModel()
    outcomes = run(tmp_path, [synthetic_film(seed) for seed in range(5)], model)
    assert model.passes == [5]
    assert [o.state for o in outcomes] == [INDEXED] * 5
    assert all(len(o.regions) == len(PLACES) for o in outcomes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-40_000]),
        lambda path: path.write_bytes(b"not DICOM at all" * 100),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["truncated", "not-dicom", "empty", "missing"],
)
def test_one_broken_film_harms_no_other(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    model = FakeModel()
    outcomes = run(tmp_path, [synthetic_film(seed) for seed in range(3)], model, spoil)
    assert [o.state for o in outcomes] == [INDEXED, FAILED, INDEXED]
    assert outcomes[1].reason
    assert model.passes == [2]


def test_what_is_no_chest_radiograph_is_unsupported_before_its_pixels_are_decoded(tmp_path: Path) -> None:
    model = FakeModel()
    outcomes = run(tmp_path, [synthetic_film(0, Modality="CT", PixelData=b"\0")], model)
    assert [o.state for o in outcomes] == [UNSUPPORTED]
    assert outcomes[0].reason == "modality CT"
    assert model.passes == []


def test_an_image_that_the_model_refuses_is_unsupported(tmp_path: Path) -> None:
    outcomes = run(tmp_path, [synthetic_film(0), blank(synthetic_film(1))], FakeModel())
    assert [(o.state, o.reason) for o in outcomes] == [(INDEXED, ""), (UNSUPPORTED, NOT_A_CHEST)]


def test_a_film_on_which_the_forward_pass_breaks_fails_alone(tmp_path: Path) -> None:
    dark = synthetic_film(1)
    dark.PixelData = (dark.pixel_array // 8).astype("uint16").tobytes()
    model = FakeModel(breaks_below=0.1)
    outcomes = run(tmp_path, [synthetic_film(0), dark, synthetic_film(2)], model)
    assert [o.state for o in outcomes] == [INDEXED, FAILED, INDEXED]
    assert outcomes[1].reason == "model failed: ValueError"
    assert model.passes == [3, 1, 1, 1]


def test_boxes_come_back_in_stored_pixels(tmp_path: Path) -> None:
    straight, mirrored = synthetic_film(0), synthetic_film(0)
    mirrored.PatientOrientation = ["R", "F"]
    mirrored.PixelData = np.ascontiguousarray(mirrored.pixel_array[:, ::-1]).tobytes()
    one, other = run(tmp_path, [straight, mirrored], FakeModel())
    width = straight.Columns
    for a, b in zip(one.regions, other.regions, strict=True):
        assert b.region.box.x0 == pytest.approx(width - a.region.box.x1)
        assert b.region.box.x1 == pytest.approx(width - a.region.box.x0)
        np.testing.assert_allclose(a.vector, b.vector, atol=1e-5)
