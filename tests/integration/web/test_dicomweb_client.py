"""The field's client, over its whole surface, against the served application."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from tests.support.films import save, synthetic_film
from tests.support.postgres import TestDatabases
from tests.support.web_server import WebServer, web_server

NATIVE, COMPRESSED, INVERTED = 0, 1, 2
LUT = bytes(range(256)) * 16


@pytest.fixture(scope="module")
def films() -> list[Dataset]:
    return [
        synthetic_film(NATIVE, rows=64, columns=48),
        synthetic_film(COMPRESSED, rows=64, columns=48, transfer_syntax_uid=JPEG2000Lossless),
        synthetic_film(
            INVERTED, kind="CR", rows=64, columns=48, patient=NATIVE, ICCProfile=LUT,
            PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=None,
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def served(
    databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory, films: list[Dataset]
) -> Iterator[WebServer]:
    url = databases.migrated()
    with web_server(tmp_path_factory.mktemp("web"), url) as server:
        server.sign_in()
        server.file(*films)
        yield server
    databases.drop(url)


@pytest.fixture
def client(served: WebServer) -> Iterator[DICOMwebClient]:
    with requests.Session() as session:
        session.trust_env = False
        yield DICOMwebClient(served.dicomweb, session=session)


def uids(film: Dataset) -> tuple[str, str, str]:
    return film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID


def values(answers: list[dict[str, dict[str, object]]], tag: str) -> list[object]:
    return [answer[tag]["Value"][0] for answer in answers]  # type: ignore[index]


def test_it_finds_studies_by_every_kind_of_key(client: DICOMwebClient, films: list[Dataset]) -> None:
    assert len(client.search_for_studies()) == 3
    for filters, found in (
        ({"StudyInstanceUID": films[1].StudyInstanceUID}, [1]),
        ({"00100020": films[0].PatientID}, [0, 2]),
        ({"PatientName": "synthetic^pat*0001"}, [1]),
        ({"ModalitiesInStudy": "CR"}, [2]),
        ({"StudyDate": f"{films[1].StudyDate}-"}, [1, 2]),
    ):
        answers = client.search_for_studies(search_filters=filters)
        assert sorted(values(answers, "0020000D")) == sorted(films[n].StudyInstanceUID for n in found), filters
    assert client.search_for_studies(search_filters={"PatientID": "NOBODY"}) == []


def test_it_pages_and_chooses_fields(client: DICOMwebClient) -> None:
    everything = values(client.search_for_studies(), "0020000D")
    paged = [values(client.search_for_studies(limit=1, offset=n), "0020000D")[0] for n in range(3)]
    assert paged == everything
    [first] = client.search_for_studies(limit=1, fields=["PatientAge", "StudyDescription"])
    assert first["00101010"]["Value"][0].endswith("Y")
    assert first["00081030"]["Value"] == ["Thorax synthetic"]
    assert first["00201208"]["Value"] == [1]


def test_it_finds_series_and_instances_with_and_without_their_study(
    client: DICOMwebClient, films: list[Dataset]
) -> None:
    study, series, instance = uids(films[0])
    assert values(client.search_for_series(study), "0020000E") == [series]
    assert values(client.search_for_instances(study), "00080018") == [instance]
    assert values(client.search_for_instances(study, series), "00080018") == [instance]
    every = client.search_for_series(search_filters={"Modality": "CR"})
    assert values(every, "0020000E") == [films[2].SeriesInstanceUID]
    assert values(every, "0020000D") == [films[2].StudyInstanceUID]
    assert len(client.search_for_instances()) == 3


@pytest.mark.parametrize("n", [NATIVE, COMPRESSED, INVERTED])
def test_it_retrieves_the_same_instance_at_every_level(client: DICOMwebClient, films: list[Dataset], n: int) -> None:
    study, series, instance = uids(films[n])
    one = client.retrieve_instance(study, series, instance)
    for got in (
        *client.retrieve_study(study),
        *client.iter_study(study),
        *client.retrieve_series(study, series),
        *client.iter_series(study, series),
        one,
    ):
        assert got.SOPInstanceUID == instance
        assert got.PatientName == films[n].PatientName
        assert (got.pixel_array == films[n].pixel_array).all()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
def test_a_compressed_instance_comes_as_stored_or_native(
    client: DICOMwebClient, films: list[Dataset], syntax: str
) -> None:
    got = client.retrieve_instance(*uids(films[COMPRESSED]), media_types=(("application/dicom", syntax),))
    assert got.file_meta.TransferSyntaxUID == syntax
    assert (got.pixel_array == films[COMPRESSED].pixel_array).all()


def test_what_cannot_be_given_in_the_accepted_syntax_is_not_acceptable(
    client: DICOMwebClient, films: list[Dataset]
) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        client.retrieve_instance(*uids(films[NATIVE]), media_types=(("application/dicom", RLELossless),))
    assert refused.value.response.status_code == 406


@pytest.mark.parametrize("n", [NATIVE, COMPRESSED, INVERTED])
def test_metadata_have_everything_but_pixels_and_say_where_these_are(
    client: DICOMwebClient, films: list[Dataset], n: int
) -> None:
    study, series, instance = uids(films[n])
    [at_study], [at_series] = client.retrieve_study_metadata(study), client.retrieve_series_metadata(study, series)
    metadata = client.retrieve_instance_metadata(study, series, instance)
    assert at_study == at_series == metadata
    pixels = metadata.pop("7FE00010")
    assert pixels["vr"] == ("OB" if n == COMPRESSED else "OW")
    assert metadata["00083002"]["Value"] == [films[n].file_meta.TransferSyntaxUID]
    assert metadata["00280004"]["Value"] == [films[n].PhotometricInterpretation]
    metadata.pop("00282000", None)
    read = Dataset.from_json(metadata)
    for element in films[n]:
        if element.keyword not in ("PixelData", "SpecificCharacterSet", "ICCProfile"):
            same = float if element.VR == "DS" else str
            assert same(read[element.tag].value) == same(element.value), element.keyword
    data = b"".join(client.retrieve_bulkdata(pixels["BulkDataURI"]))
    assert np.frombuffer(data, "<u2").tobytes() == films[n].pixel_array.astype("<u2").tobytes()


def test_bulk_data_beside_the_pixels_have_an_address(client: DICOMwebClient, films: list[Dataset]) -> None:
    metadata = client.retrieve_instance_metadata(*uids(films[INVERTED]))
    assert client.retrieve_bulkdata(metadata["00282000"]["BulkDataURI"]) == [LUT]


@pytest.mark.parametrize("n", [NATIVE, COMPRESSED, INVERTED])
def test_frames_are_native_unless_another_syntax_is_accepted(
    client: DICOMwebClient, films: list[Dataset], n: int
) -> None:
    [frame] = client.retrieve_instance_frames(*uids(films[n]), [1])
    assert frame == films[n].pixel_array.astype("<u2").tobytes()
    assert list(client.iter_instance_frames(*uids(films[n]), [1])) == [frame]


def test_a_jpeg_2000_frame_comes_as_it_is_stored(client: DICOMwebClient, films: list[Dataset]) -> None:
    film = films[COMPRESSED]
    [frame] = client.retrieve_instance_frames(*uids(film), [1], media_types=(("image/jp2", JPEG2000Lossless),))
    assert frame[:4] == b"\xff\x4f\xff\x51"
    assert frame.rstrip(b"\0") in film.PixelData


@pytest.mark.parametrize("n", [COMPRESSED, INVERTED])
def test_viewers_ask_for_any_syntax_and_are_told_which_it_is(served: WebServer, films: list[Dataset], n: int) -> None:
    study, series, instance = uids(films[n])
    path = f"{served.dicomweb}/studies/{study}/series/{series}/instances/{instance}/frames/1"
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    answer = httpx.get(path, headers={"Accept": accept}, trust_env=False)
    expected = JPEG2000Lossless if n == COMPRESSED else ExplicitVRLittleEndian
    assert answer.headers["Content-Type"].startswith('multipart/related; type="application/octet-stream"; boundary=')
    assert f"Content-Type: application/octet-stream; transfer-syntax={expected}\r\n\r\n".encode() in answer.content


def test_a_frame_that_is_not_there_is_not_found(client: DICOMwebClient, films: list[Dataset]) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        client.retrieve_instance_frames(*uids(films[0]), [2])
    assert refused.value.response.status_code == 404


def picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_rendered_pictures_follow_photometric_interpretation_and_window(
    client: DICOMwebClient, films: list[Dataset]
) -> None:
    plain = np.asarray(picture(client.retrieve_instance_rendered(*uids(films[NATIVE]), media_types=("image/png",))))
    assert plain.shape == (64, 48)
    stored = films[NATIVE].pixel_array.astype(float)
    assert np.corrcoef(plain.ravel(), stored.ravel())[0, 1] > 0.99
    inverted = client.retrieve_instance_rendered(*uids(films[INVERTED]), media_types=("image/png",))
    stored = films[INVERTED].pixel_array.astype(float)
    assert np.corrcoef(np.asarray(picture(inverted)).ravel(), stored.ravel())[0, 1] < -0.99
    dark = client.retrieve_instance_rendered(
        *uids(films[NATIVE]), media_types=("image/png",), params={"window": "8000,100,linear"}
    )
    assert np.asarray(picture(dark)).max() == 0


def test_pictures_come_in_the_wanted_size_and_kind(client: DICOMwebClient, films: list[Dataset]) -> None:
    study, series, instance = uids(films[COMPRESSED])
    for content in (
        client.retrieve_instance_rendered(study, series, instance, media_types=("image/jpeg",)),
        client.retrieve_series_rendered(study, series, media_types=("image/jpeg",)),
        client.retrieve_instance_frames_rendered(study, series, instance, [1], media_types=("image/jpeg",)),
    ):
        assert picture(content).format == "JPEG"
    part = client.retrieve_instance_rendered(
        study, series, instance, media_types=("image/jpeg",), params={"viewport": "24,32,10,10,12,16", "quality": "50"}
    )
    assert picture(part).size == (24, 32)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_thumbnails_exist_at_every_level(served: WebServer, films: list[Dataset], level: int) -> None:
    names = ("studies", "series", "instances")
    path = "".join(f"/{name}/{uid}" for name, uid in zip(names[:level], uids(films[0])[:level], strict=True))
    answer = httpx.get(f"{served.dicomweb}{path}/thumbnail", headers={"Accept": "image/jpeg"}, trust_env=False)
    assert answer.status_code == 200
    assert max(picture(answer.content).size) == 256


def test_it_stores_instances_and_gets_them_back_byte_for_byte(client: DICOMwebClient, tmp_path: Path) -> None:
    made = synthetic_film(90, rows=32, columns=32, transfer_syntax_uid=RLELossless)
    film = dcmread(save(made, tmp_path / "film.dcm"))  # the client writes no preamble for what was not read from a file
    answer = client.store_instances([film])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [film.SOPInstanceUID]
    assert "FailedSOPSequence" not in answer
    assert client.store_instances([film], film.StudyInstanceUID).ReferencedSOPSequence
    any_syntax = (("application/dicom", "*"),)
    got = client.retrieve_instance(*uids(film), media_types=any_syntax)
    assert got.file_meta.TransferSyntaxUID == RLELossless
    assert got.PixelData == film.PixelData


def test_nothing_can_be_deleted(client: DICOMwebClient, films: list[Dataset]) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        client.delete_study(films[0].StudyInstanceUID)
    assert refused.value.response.status_code == 405
    assert dcmread(io.BytesIO(httpx.get(
        f"{client.base_url}/studies/{films[0].StudyInstanceUID}/series/{films[0].SeriesInstanceUID}"
        f"/instances/{films[0].SOPInstanceUID}", headers={"Accept": "application/dicom"}, trust_env=False,
    ).content)).PatientID == films[0].PatientID  # fmt: skip
