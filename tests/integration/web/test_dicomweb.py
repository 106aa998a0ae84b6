"""DICOMweb without sign-in, its similarity scopes, what is stored, and what is refused."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from db import audit, instances
from db.engine import Database
from db.retrieve import copy_identities
from regionmir.archive.copies import copy_of
from regionmir.core.records import Disclosure
from regionmir.deid.copies import encoded
from regionmir.storage.bucket import BucketStore
from tests.support.bucket import CREDENTIALS, bucket_server, new_bucket
from tests.support.canaries import Canaries
from tests.support.dicom import as_file, radiograph
from tests.support.films import synthetic_film
from tests.support.web_server import WebServer, url_of, web_server

DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
BOUNDARY = "a-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path, url_of(database), stow_max_bytes=2**20, anonymous_store=True) as server:
        yield server


def get(served: WebServer, path: str, accept: str = "application/dicom+json", **options: Any) -> httpx.Response:
    return httpx.get(f"{served.dicomweb}{path}", headers={"Accept": accept}, trust_env=False, timeout=60, **options)


def body(*parts: bytes, content_type: str = "application/dicom") -> bytes:
    written = b"".join(b"--a-boundary\r\nContent-Type: %s\r\n\r\n%s\r\n" % (content_type.encode(), p) for p in parts)
    return written + b"--a-boundary--\r\n"


def post(served: WebServer, content: Any, path: str = "/studies", content_type: str = CONTENT_TYPE) -> httpx.Response:
    headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
    return httpx.post(f"{served.dicomweb}{path}", content=content, headers=headers, trust_env=False, timeout=60)


def value(answer: dict[str, Any], tag: str) -> Any:
    return answer[tag]["Value"][0]


def addresses(served: WebServer) -> dict[str, str]:
    """Return the addresses of the only instance, and of what it is in, as the caller sees them."""
    [found] = get(served, "/instances").json()
    study, series, instance = (value(found, tag) for tag in ("0020000D", "0020000E", "00080018"))
    return {
        "study": f"/studies/{study}",
        "series": f"/studies/{study}/series/{series}",
        "instance": f"/studies/{study}/series/{series}/instances/{instance}",
    }


def canary_film(canaries: Canaries) -> Dataset:
    film = synthetic_film(1, rows=32, columns=32)
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDescription", "InstitutionName",
        "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDate", "StudyID", "OperatorsName",
        "FrameOfReferenceUID", "ImageComments", "ReferencedPatientSequence", "SeriesDescription", "StationName",
    ):  # fmt: skip
        canaries.put(film, keyword)
    canaries.private(film, "private")
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return film


def test_nothing_of_the_original_leaves_without_sign_in(served: WebServer) -> None:
    canaries = Canaries()
    film = canary_film(canaries)
    served.file(film)
    at = addresses(served)
    asked = [
        *((path, "application/dicom+json") for path in ("/studies", "/series", "/instances")),
        *((f"{path}?includefield=all", "application/dicom+json") for path in ("/studies", "/series", "/instances")),
        *((f"{at[one]}/metadata", "application/dicom+json") for one in at),
        *((path, DICOM) for path in at.values()),
        (f"{at['instance']}/frames/1", "*/*"),
        (f"{at['instance']}/bulkdata/7FE00010", "*/*"),
        (f"{at['instance']}/rendered", "image/png"),
        (f"{at['study']}/thumbnail", "image/jpeg"),
    ]
    for path, accept in asked:
        answer = get(served, path, accept)
        assert answer.status_code == 200, (path, answer.text)
        said = answer.content + str(answer.headers).encode()
        found = [place for place, text in canaries.texts.items() if text.encode() in said]
        assert found == [], path


def test_originals_name_and_match_nothing_without_sign_in(served: WebServer) -> None:
    film = synthetic_film(1, rows=32, columns=32)
    served.file(film)
    study = film.StudyInstanceUID
    for path in (f"/studies/{study}", f"/studies/{study}/metadata", f"/studies/{study}/thumbnail"):
        assert get(served, path, "*/*").status_code == 404
    for key in (f"PatientID={film.PatientID}", f"StudyInstanceUID={study}", f"AccessionNumber={film.AccessionNumber}"):
        assert get(served, f"/studies?{key}").status_code == 204


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", str(JPEG2000Lossless)])
def test_copies_are_those_that_a_c_get_gives(served: WebServer, syntax: str) -> None:
    served.file(synthetic_film(1, rows=32, columns=32, transfer_syntax_uid=syntax))
    archive = served.site.archive
    with archive.database.session() as session:
        [summary] = instances.listing(session)
        detail = instances.detail(session, summary.sop_instance_uid)
        assert detail is not None
        identity = copy_identities(session, [1])[1]
    expected = encoded(copy_of(archive, archive.store.path(detail.storage_key), identity)).getvalue()
    assert get(served, addresses(served)["instance"], "application/dicom; transfer-syntax=*").content == expected


def test_what_may_name_a_patient_does_not_leave_without_sign_in(served: WebServer) -> None:
    served.file(synthetic_film(1, kind="SC", BurnedInAnnotation=None, rows=32, columns=32))
    at = addresses(served)
    for path, accept in (
        (at["study"], DICOM),
        (f"{at['series']}/metadata", "application/json"),
        (f"{at['instance']}/rendered", "image/png"),
        (f"{at['instance']}/frames/1", "*/*"),
    ):
        answer = get(served, path, accept)
        assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/problem+json")
    served.sign_in()
    assert get(served, addresses(served)["instance"], "application/dicom").status_code == 200


def test_who_retrieved_what_is_audited(served: WebServer) -> None:
    film = synthetic_film(1, rows=32, columns=32)
    served.file(film)
    get(served, addresses(served)["study"], DICOM)
    with served.site.archive.database.session() as session:
        [event] = audit.listing(session, kinds=["retrieve"])
    assert event.detail["disclosure"] == "pseudonymous"
    assert event.detail["studies"] == [film.StudyInstanceUID]


def test_what_an_identified_user_asks_gets_and_sends_is_audited_under_its_name(served: WebServer) -> None:
    film, sent = synthetic_film(1, rows=32, columns=32), radiograph("P1")
    served.file(film)
    served.sign_in("workstation")
    get(served, f"/studies?PatientID={film.PatientID}")
    get(served, f"/studies/{film.StudyInstanceUID}", DICOM)
    for _ in range(2):
        post(served, body(as_file(sent)))
    told = [event for event in trail(served, 6) if event.kind not in ("peer added", "retrieve")]
    assert [event.kind for event in told] == [
        "query", "transfer begins", "instances transferred", "instances transferred", "instances transferred",
    ]  # fmt: skip
    assert {event.actor for event in told} == {"workstation"}
    query, _, given, *stored = (ElementTree.fromstring(event.message) for event in told)
    asked = query.findtext(".//ParticipantObjectQuery") or ""
    assert f"PatientID={film.PatientID}" in base64.b64decode(asked).decode()
    assert given.find(f".//ParticipantObjectIdentification[@ParticipantObjectID='{film.StudyInstanceUID}']") is not None
    actions = [one.find("EventIdentification").get("EventActionCode") for one in stored]  # type: ignore[union-attr]
    assert actions == ["C", "R"]


def trail(served: WebServer, events: int) -> list[audit.AuditEvent]:
    """Return the trail, oldest first, when it has so many events: that something was sent is told afterwards."""
    end = time.monotonic() + 30
    while True:
        with served.site.archive.database.session() as session:
            found = audit.listing(session)[::-1]
        if len(found) >= events or time.monotonic() > end:
            return found
        time.sleep(0.02)


def test_viewers_that_ask_for_fuzzy_matching_are_told_that_it_is_literal(served: WebServer) -> None:
    served.sign_in()
    served.file(*(synthetic_film(n, rows=32, columns=32) for n in range(3)))
    asked = (
        "/studies?PatientName=*synth*&00100020=*SYN*&StudyDescription=*Thorax*&ModalitiesInStudy=CR,DX"
        "&limit=101&offset=0&fuzzymatching=&includefield=00081030,00080060"
    )
    answer = get(served, asked)
    assert answer.status_code == 200
    assert answer.headers["Warning"].startswith('299 RegionMIR "The fuzzymatching parameter is not supported.')
    assert len(answer.json()) == 3
    for study in answer.json():
        assert study["00080061"]["Value"] == ["DX"]
        assert (value(study, "00201206"), value(study, "00201208")) == (1, 1)
        assert value(study, "00081190") == f"{served.dicomweb}/studies/{value(study, '0020000D')}"
    assert "Warning" not in get(served, "/studies?fuzzymatching=false").headers


def test_more_answers_than_the_cap_are_told_and_can_be_had_page_by_page(database: Database, tmp_path: Path) -> None:
    with web_server(tmp_path, url_of(database), find_cap=2) as served:
        served.file(*(synthetic_film(n, rows=16, columns=16) for n in range(3)))
        answer = get(served, "/studies")
        assert len(answer.json()) == 2
        assert "additional results" in answer.headers["Warning"]
        assert len(get(served, "/studies?limit=2&offset=2").json()) == 1


@pytest.fixture
def similar(served: WebServer) -> list[Dataset]:
    films = [synthetic_film(seed, rows=128, columns=96) for seed in range(4)]
    served.file(*films)
    served.index()
    return films


def test_a_scope_lists_the_studies_that_are_similar_by_rank(served: WebServer, similar: list[Dataset]) -> None:
    answer = get(served, f"/sim/{similar[0].AccessionNumber}/LLLZ/studies?limit=101&offset=0&fuzzymatching=true")
    texts = [value(study, "00081030") for study in answer.json()]
    assert [text.split()[3] for text in texts] == ["#001", "#002", "#003"]
    assert all(text.startswith("SIM ") and " LLLZ " in text for text in texts)
    first = answer.json()[0]
    assert f"/sim/{similar[0].AccessionNumber}/LLLZ/studies/" in value(first, "00081190")
    below = f"/sim/{similar[0].AccessionNumber}/LLLZ/studies/{value(first, '0020000D')}"
    assert get(served, f"{below}/series").json()
    assert get(served, f"{below}/metadata").json()
    sought = get(served, f"/sim/{similar[0].AccessionNumber}/LLLZ/studies?StudyInstanceUID={value(first, '0020000D')}")
    assert [value(one, "00081030").split()[3] for one in sought.json()] == ["#001"]
    assert len(get(served, f"/sim/{similar[0].AccessionNumber}/LLLZ/studies?limit=1&offset=1").json()) == 1


def test_the_static_scope_takes_the_expression_in_the_description(served: WebServer, similar: list[Dataset]) -> None:
    answer = get(served, f"/sim/studies?StudyDescription=*sim {similar[0].AccessionNumber} lllz*&fuzzymatching=")
    assert [value(study, "00081030").split()[3] for study in answer.json()] == ["#001", "#002", "#003"]
    again = value(answer.json()[1], "00081030")
    [same] = get(served, "/sim/studies", params={"StudyDescription": again}).json()
    assert value(same, "0020000D") == value(answer.json()[1], "0020000D")
    assert len(get(served, "/sim/studies").json()) == 4


def test_a_search_that_fails_says_why(served: WebServer, similar: list[Dataset]) -> None:
    [row] = get(served, "/sim/studies?StudyDescription=SIM NOBODY LLLZ").json()
    assert value(row, "00081030").startswith("SIM ! C101 no such anchor")
    for path, status in (("/sim/NOBODY/LLLZ/studies", 404), (f"/sim/{similar[0].AccessionNumber}/NOSE/studies", 400)):
        answer = get(served, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_stored_instances_are_durable_and_a_second_time_is_no_error(served: WebServer) -> None:
    one, other = radiograph("P1"), radiograph("P2")
    for _ in range(2):
        answer = post(served, body(as_file(one), as_file(other)))
        assert answer.status_code == 200
        sequence = answer.json()["00081199"]["Value"]
        assert [value(item, "00081155") for item in sequence] == [one.SOPInstanceUID, other.SOPInstanceUID]
        assert "00081190" not in answer.json()
    with served.site.archive.database.session() as session:
        kept = [instances.detail(session, found.sop_instance_uid) for found in instances.listing(session)]
    assert len(kept) == 2
    for found in kept:
        assert found is not None
        assert served.store.path(found.storage_key).is_file()
    assert list(served.store.incoming_dir.iterdir()) == []


def test_one_bad_part_harms_no_other(served: WebServer) -> None:
    good, conflicting = radiograph("P1"), radiograph("P2")
    post(served, body(as_file(conflicting)))
    conflicting.PatientID = "P3"
    truncated = as_file(radiograph("P4"))[:-100]
    answer = post(served, body(b"no DICOM", as_file(good), as_file(conflicting), truncated))
    assert answer.status_code == 202
    assert [value(item, "00081155") for item in answer.json()["00081199"]["Value"]] == [good.SOPInstanceUID]
    assert [value(item, "00081197") for item in answer.json()["00081198"]["Value"]] == [0xC000, 0x0124, 0xC000]
    assert list(served.store.incoming_dir.iterdir()) == []


def test_an_instance_of_another_study_than_the_path_is_refused(served: WebServer) -> None:
    film = radiograph()
    assert post(served, body(as_file(film)), "/studies/1.2.3").status_code == 409
    assert post(served, body(as_file(film)), f"/studies/{film.StudyInstanceUID}").status_code == 200
    assert post(served, as_file(film), content_type="application/dicom").status_code == 200


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", CONTENT_TYPE, 400),
        (b"not multipart", CONTENT_TYPE, 400),
        (b"--a-boundary\r\n\r\nhalf a part", CONTENT_TYPE, 400),
        (b"--a-boundary--\r\n", CONTENT_TYPE, 400),
        (b"--a-boundary\r\n" + b"X" * 10_000 + b": y\r\n\r\n", CONTENT_TYPE, 400),
        (b"x", "multipart/related; type=application/dicom", 400),
        (b"x", "multipart/related; type=application/dicom; boundary=" + "b" * 300, 400),
        (b"x", "multipart/related; type=", 400),
        (b"x", ";;;", 400),
        (b"{}", "application/json", 415),
        (b"x", 'multipart/related; type="application/dicom+json"; boundary=x', 415),
        (b"x", "multipart/form-data; boundary=x", 415),
        (body(b"x"), CONTENT_TYPE, 409),
        (body(as_file(radiograph()), content_type="text/plain"), CONTENT_TYPE, 409),
        (b"", "application/dicom", 409),
    ],
)
def test_malformed_bodies_get_a_status_and_no_trace(
    served: WebServer, content: bytes, content_type: str, status: int
) -> None:
    answer = post(served, content, content_type=content_type)
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    if status != 409:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]
    assert list(served.store.incoming_dir.iterdir()) == []


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_over_the_limit_is_cut_off_and_leaves_nothing(served: WebServer, chunked: bool) -> None:
    large = body(as_file(radiograph(size=1024)))
    assert len(large) > 2**20

    def pieces() -> Iterator[bytes]:
        yield from (large[at : at + 65_536] for at in range(0, len(large), 65_536))

    try:
        answer = post(served, pieces() if chunked else large)
    except httpx.WriteError:  # the service closed before all was sent
        pass
    else:
        assert answer.status_code == 413
        assert "stow_max_bytes" in answer.json()["detail"]
    assert get(served, "/instances").status_code == 204
    assert list(served.store.incoming_dir.iterdir()) == []


def test_storing_without_sign_in_needs_the_setting(database: Database, tmp_path: Path) -> None:
    with web_server(tmp_path, url_of(database)) as served:
        answer = post(served, body(as_file(radiograph())))
        assert answer.status_code == 403
        assert "anonymous_store" in answer.json()["detail"]


def test_who_signed_in_may_store_where_its_token_may_write(database: Database, tmp_path: Path) -> None:
    with web_server(tmp_path, url_of(database), anonymous_store=True) as served:
        served.sign_in("looks", scopes=("query", "read"))
        assert post(served, body(as_file(radiograph()))).status_code == 403
        served.sign_in("writes", disclosure=Disclosure.PSEUDONYMOUS)
        assert post(served, body(as_file(radiograph()))).status_code == 200
        served.token = "none of ours"
        assert get(served, "/studies").status_code == 401


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/studies/1.2.3", "*/*", 404),
        ("/studies/1.2.3/metadata", "application/json", 404),
        ("/studies/1.2.3'%20OR%20'1'='1/metadata", "*/*", 400),
        ("/studies/%2e%2e%2f%2e%2e%2fetc", "*/*", 404),
        ("/studies/1.2.3%00", "*/*", 400),
        ("/studies/" + "1." * 40 + "1/metadata", "*/*", 400),
        ("/studies/1.2/series/x/instances", "*/*", 400),
        ("/studies", "text/html", 406),
        ("/studies", "application/dicom+xml", 406),
        ("/studies", "broken", 400),
        ("/studies", "application/dicom+json; q=0", 406),
        ("/studies?limit=-1", "*/*", 400),
        ("/studies?limit=ten", "*/*", 400),
        ("/studies?offset=99999999999999", "*/*", 400),
        ("/studies?fuzzymatching=perhaps", "*/*", 400),
        ("/studies?NoSuchKeyword=1", "*/*", 400),
        ("/studies?00091001=1", "*/*", 400),
        ("/studies?StudyDate=yesterday", "*/*", 400),
        ("/studies?PatientName=" + "x" * 2000, "*/*", 400),
        ("/studies?PatientName=a%00b", "*/*", 400),
        ("/studies?includefield=nonsense", "*/*", 400),
        ("/studies/1.2/series/1.3/instances/1.4/frames/0", "*/*", 400),
        ("/studies/1.2/series/1.3/instances/1.4/frames/1,x", "*/*", 400),
        ("/studies/1.2/series/1.3/instances/1.4/bulkdata/../../secret", "*/*", 400),
        ("/studies/1.2/series/1.3/instances/1.4/bulkdata/7fe00010x", "*/*", 400),
        ("/studies/1.2/rendered?window=1,2", "*/*", 400),
        ("/studies/1.2/rendered?window=1,nan,linear", "*/*", 400),
        ("/studies/1.2/rendered?viewport=0,0", "*/*", 400),
        ("/studies/1.2/rendered?viewport=9999999,1", "*/*", 400),
        ("/studies/1.2/rendered?quality=0", "*/*", 400),
        ("/sim/a*/LLLZ/studies", "*/*", 400),
        ("/sim/4711/LL;LZ/studies", "*/*", 400),
        ("/nothing", "*/*", 404),
        ("/", "*/*", 404),
    ],
)
def test_bad_requests_get_a_problem_document(served: WebServer, path: str, accept: str, status: int) -> None:
    served.file(synthetic_film(1, rows=16, columns=16))
    answer = get(served, path, accept)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(answer.text)
    assert problem["status"] == status
    assert problem["detail"]
    assert "Traceback" not in answer.text


def test_a_broken_object_is_no_internal_error(served: WebServer) -> None:
    served.sign_in()
    served.file(synthetic_film(1, rows=32, columns=32, PixelData=b"\0" * 10))
    at = addresses(served)["instance"]
    for path, accept in ((f"{at}/rendered", "image/png"), (f"{at}/frames/1", "*/*")):
        assert get(served, path, accept).status_code == 422
    assert dcmread(BytesIO(get(served, at, "application/dicom").content)).Rows == 32


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("identified", [True, False])
def test_one_odd_or_broken_instance_leaves_the_metadata_of_its_study_whole(served: WebServer, identified: bool) -> None:
    first = synthetic_film(1, rows=16, columns=16)
    of_study = {"rows": 16, "columns": 16, "patient": 1, "StudyInstanceUID": first.StudyInstanceUID}
    served.file(
        first,
        synthetic_film(2, WindowCenter="NaN", WindowWidth="1e999", **of_study),
        synthetic_film(3, InstanceNumber=33, **of_study),
    )
    broken = [path for path in served.store.objects_dir.rglob("*.dcm") if dcmread(path).InstanceNumber == 33]
    broken[0].write_bytes(b"no DICOM")
    if identified:
        served.sign_in()
    answer = get(served, f"{addresses_of_all(served)[0]}/metadata")
    assert answer.status_code == 200
    assert [value(one, "00200013") for one in answer.json()] == [1, 1]
    centres = [one["00281050"].get("Value") for one in answer.json()]
    assert sorted(centres, key=str) == [None, [2048.0]]


def addresses_of_all(served: WebServer) -> list[str]:
    """Return the addresses of all studies as the caller sees them."""
    return [f"/studies/{value(one, '0020000D')}" for one in get(served, "/studies").json()]


def test_objects_that_cannot_be_read_are_not_available(served: WebServer) -> None:
    served.file(synthetic_film(1, rows=32, columns=32))
    at = addresses(served)["instance"]
    for path in served.store.objects_dir.rglob("*.dcm"):
        path.unlink()
    for path, accept in ((at, DICOM), (f"{at}/metadata", "*/*"), (f"{at}/frames/1", "*/*"), (f"{at}/rendered", "*/*")):
        answer = get(served, path, accept)
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), path


@pytest.mark.parametrize("what", ["", "/metadata"])
def test_an_outage_in_the_middle_of_a_study_never_gives_a_shorter_one(served: WebServer, what: str) -> None:
    served.sign_in()
    served.file(*study_of_three())
    study, accept = addresses_of_all(served)[0] + what, DICOM if not what else "*/*"
    cannot_be_read(served, 2)
    with pytest.raises(httpx.RemoteProtocolError):
        get(served, study, accept)
    cannot_be_read(served, 1)
    answer = get(served, study, accept)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), "the third could be read"


def study_of_three() -> list[Dataset]:
    """Return three films of one study."""
    first = synthetic_film(1, rows=16, columns=16)
    of_study = {"patient": 1, "StudyInstanceUID": first.StudyInstanceUID}
    return [first, *(synthetic_film(n, rows=16, columns=16, InstanceNumber=n, **of_study) for n in (2, 3))]


def cannot_be_read(served: WebServer, number: int) -> None:
    """Let the disk fail for the instance of this number: its name leads to itself."""
    paths = [path for path in served.store.objects_dir.rglob("*.dcm") if not path.is_symlink()]
    [path] = [path for path in paths if dcmread(path).InstanceNumber == number]
    path.unlink()
    path.symlink_to(path)


def test_a_missing_object_is_left_out_and_a_bucket_that_is_away_is_asked_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in CREDENTIALS.items():
        monkeypatch.setenv(name, secret)
    with ExitStack() as running:
        url = new_bucket(running.enter_context(bucket_server()), "films")
        with web_server(tmp_path, url_of(database), s3_url=url) as served:
            store, asked = served.store, list[object]()
            assert isinstance(store, BucketStore)
            served.sign_in()
            served.file(*study_of_three())
            [study] = addresses_of_all(served)
            for key in list(store.keys()):
                if dcmread(store.path(key)).InstanceNumber == 1:
                    store.delete(key)
            assert [value(one, "00200013") for one in get(served, f"{study}/metadata").json()] == [2, 3]
            assert get(served, study, DICOM).content.count(b"Content-Type: application/dicom") == 2
            for copy in store.copies_dir.rglob("*.dcm"):
                copy.unlink()
            running.close()
            store._client.meta.events.register("before-call.s3.GetObject", lambda **call: asked.append(call["model"]))
            assert get(served, f"{study}/metadata").status_code == 503
            assert len(asked) == 1


def test_without_the_database_the_service_says_so(tmp_path: Path) -> None:
    with web_server(tmp_path, f"postgresql:///none?host={tmp_path}", anonymous_store=True) as served:
        assert get(served, "/studies").status_code == 503
        assert get(served, "/studies/1.2.3").status_code == 503
        answer = post(served, body(as_file(radiograph())))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert value(answer.json()["00081198"]["Value"][0], "00081197") == 0xA701
