"""The main job with dcmtk as the client: 200 real radiographs in, similar regions out, byte-identical copies back."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread

from regionmir.admin.demo.instance import Instance
from regionmir.pixels.dicomize import WrittenFilm
from tests.support.end_to_end import (
    command,
    dataset_bytes,
    find_similar,
    listed,
    new_instance,
    real_films,
    run_tool,
    states,
    wait_until_final,
)
from tests.support.ports import free_port

COUNT = 200
TARGET_S = 60
HIT = re.compile(r"SIM [0-9A-Z]{8} RL #(\d{3}) (-?\d\.\d\d)( PA| AP)?")

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Filled:
    instance: Instance
    films: tuple[WrittenFilm, ...]
    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, shared_or_demo: Path | None, dcmtk: Path) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("e2e")
    films = real_films(folder, shared_or_demo, COUNT)
    with new_instance(folder / "node") as instance:
        command(instance, "peers", "add", "KNOWN", "--source", "127.0.0.1", "--disclosure", "identified")
        began = time.monotonic()
        run_tool(
            str(dcmtk / "storescu"), "-aet", "SENDER", "-aec", "REGIONMIR", "+sd", "+r", "+sp", "*.dcm", "127.0.0.1",
            str(instance.dicom_port), str(folder / "dicom"),
        )  # fmt: skip
        wait_until_final(instance, COUNT, TARGET_S + 60)
        yield Filled(instance, films, folder, time.monotonic() - began)


def test_all_are_indexed_within_a_minute_of_the_first_byte(filled: Filled) -> None:
    print(f"{COUNT} films sent by storescu and indexed in {filled.seconds:.1f} s")
    assert states(filled.instance) == {
        "received": 0, "indexing": 0, "indexed": COUNT, "unsupported": 0, "failed": 0,
    }  # fmt: skip
    assert filled.seconds <= TARGET_S


def test_a_known_ae_gets_ranked_hits_with_original_identities(filled: Filled, dcmtk: Path) -> None:
    anchor = filled.films[3]
    answers = find_similar(dcmtk, filled.instance, "RL", anchor.accession_number, calling="KNOWN")
    found = [HIT.fullmatch(answer["StudyDescription"]) for answer in answers]
    assert all(found), answers
    assert [int(m[1]) for m in found if m] == list(range(1, 11))
    similarities = [float(m[2]) for m in found if m]
    assert similarities == sorted(similarities, reverse=True)
    known = {film.study_instance_uid: film for film in filled.films}
    for answer in answers:
        film = known[answer["StudyInstanceUID"]]
        assert (answer["PatientID"], answer["AccessionNumber"]) == (film.patient_id, film.accession_number)
        assert film.patient_id != anchor.patient_id


def test_an_unknown_ae_gets_the_same_hits_under_pseudonyms(filled: Filled, dcmtk: Path) -> None:
    anchor = filled.films[3].accession_number
    identified = find_similar(dcmtk, filled.instance, "RL", anchor, calling="KNOWN")
    answers = find_similar(dcmtk, filled.instance, "RL", anchor, calling="STRANGER")
    assert len(answers) == 10
    originals = {film.patient_id for film in filled.films} | {film.study_instance_uid for film in filled.films}
    for answer, original in zip(answers, identified, strict=True):
        assert HIT.fullmatch(answer["StudyDescription"])
        assert answer["StudyDescription"].split()[3:] == original["StudyDescription"].split()[3:]
        assert re.fullmatch(r"RGN-[A-Z2-7]{10}", answer["PatientID"])
        assert answer["StudyInstanceUID"].startswith("2.25.")
        assert not originals & set(answer.values())
        assert answer.get("AccessionNumber", "") in ("", "(no value available)")


def test_an_unknown_anchor_fails_and_says_why(filled: Filled, dcmtk: Path) -> None:
    answers = find_similar(dcmtk, filled.instance, "RL", "NOSUCHSTUDY", calling="KNOWN", check=False)
    assert len(answers) == 1
    assert answers[0]["StudyDescription"].startswith("SIM !")


def test_the_best_hit_comes_back_byte_identical_by_c_get(filled: Filled, dcmtk: Path, tmp_path: Path) -> None:
    best = find_similar(dcmtk, filled.instance, "RL", filled.films[3].accession_number, calling="KNOWN")[0]
    run_tool(
        str(dcmtk / "getscu"), "-S", "-aet", "KNOWN", "-aec", "REGIONMIR", "-od", str(tmp_path),
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={best['StudyInstanceUID']}",
        "127.0.0.1", str(filled.instance.dicom_port),
    )  # fmt: skip
    _assert_identical(filled, list(tmp_path.iterdir()))


def test_the_best_hit_comes_back_byte_identical_by_c_move(filled: Filled, dcmtk: Path, tmp_path: Path) -> None:
    best = find_similar(dcmtk, filled.instance, "RL", filled.films[3].accession_number, calling="KNOWN")[0]
    port = free_port()
    command(
        filled.instance, "peers", "add", "MOVER", "--host", "127.0.0.1", "--port", str(port),
        "--source", "127.0.0.1", "--disclosure", "identified",
    )  # fmt: skip
    run_tool(
        str(dcmtk / "movescu"), "-S", "-aet", "MOVER", "-aem", "MOVER", "-aec", "REGIONMIR",
        "+P", str(port), "-od", str(tmp_path), "-v",
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={best['StudyInstanceUID']}",
        "127.0.0.1", str(filled.instance.dicom_port),
    )  # fmt: skip
    _assert_identical(filled, list(tmp_path.iterdir()))


def test_a_stranger_gets_no_pixels(filled: Filled, dcmtk: Path, tmp_path: Path) -> None:
    best = find_similar(dcmtk, filled.instance, "RL", filled.films[3].accession_number, calling="STRANGER")[0]
    output = run_tool(
        str(dcmtk / "getscu"), "-d", "-S", "-aet", "STRANGER", "-aec", "REGIONMIR", "-od", str(tmp_path),
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={best['StudyInstanceUID']}",
        "127.0.0.1", str(filled.instance.dicom_port), check=False,
    )  # fmt: skip
    assert not list(tmp_path.iterdir())
    assert "0x0124" in output.lower()


def test_sending_everything_again_is_acknowledged_and_makes_no_work(filled: Filled, dcmtk: Path) -> None:
    before = listed(filled.instance)
    run_tool(
        str(dcmtk / "storescu"), "-aet", "SENDER", "-aec", "REGIONMIR", "+sd", "+r", "+sp", "*.dcm", "127.0.0.1",
        str(filled.instance.dicom_port), str(filled.folder / "dicom"),
    )  # fmt: skip
    assert listed(filled.instance) == before


def _assert_identical(filled: Filled, received: list[Path]) -> None:
    assert len(received) == 1
    uid = dcmread(received[0], stop_before_pixels=True).SOPInstanceUID
    sent = next(film for film in filled.films if film.sop_instance_uid == uid)
    assert dataset_bytes(received[0]) == dataset_bytes(filled.folder / "dicom" / sent.file)
