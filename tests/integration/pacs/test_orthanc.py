"""A real Orthanc followed: imported whole, additions found, deletions hidden, mass disappearances asked about."""

import hashlib
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from db import anchors, browse, instances, pacs, retrieve, visibility
from db.engine import Database
from db.find import Field, FindSpec, Level, find
from db.retrieve import Wanted
from regionmir.core.errors import PeerRefused, PeerUnavailable
from regionmir.core.records import Disclosure
from regionmir.core.settings import Settings
from regionmir.pacs.following import Follower
from regionmir.pacs.orthanc import OrthancApi
from regionmir.pacs.source import viewer_link
from tests.support.dicom import radiograph
from tests.support.orthanc import RunningOrthanc, running_orthanc
from tests.support.ports import free_port
from workers.pacs_sync import DeletionHook, PacsSync

Following = Callable[[], Follower]
RECIPE = Path(__file__).resolve().parents[3] / "deploy" / "orthanc" / "regionmir.lua"


def films(count: int) -> list[Dataset]:
    return [radiograph(f"P{n}", size=8, StudyDate="20200101") for n in range(count)]


def filed(database: Database) -> set[str]:
    with database.session() as session:
        return {one.sop_instance_uid for one in instances.listing(session)}


def answered(database: Database) -> set[str]:
    """Return the studies that an ordinary query answers."""
    with database.session() as session:
        rows = find(session, FindSpec(Level.STUDY, (Field("0020000D"),)))
        return {row.values["0020000D"] for row in rows}


def test_all_of_an_orthanc_is_imported_and_what_was_done_is_not_done_again(
    orthanc: RunningOrthanc, following: Following, database: Database, settings: Settings
) -> None:
    made = films(12)
    second = radiograph("P0", size=8)
    second.StudyInstanceUID = made[0].StudyInstanceUID
    ct = radiograph("P99", size=8, Modality="CT")
    orthanc.upload(*made, second, ct)

    first = following()
    first.begin()
    stopped_after = [3]

    class Stop(Exception): ...

    def stop() -> None:
        stopped_after[0] -= 1
        if not stopped_after[0]:
            raise Stop

    with pytest.raises(Stop):
        first.import_all(stop)
    with database.session() as session:
        assert pacs.counts(session, "main") == {"waiting": 10, "imported": 3, "failed": 0, "gone": 0}

    done = following().import_all()
    assert done.imported == 10
    assert filed(database) == {one.SOPInstanceUID for one in [*made, second]}
    with database.session() as session:
        assert pacs.counts(session, "main") == {"waiting": 0, "imported": 13, "failed": 0, "gone": 0}
        detail = instances.detail(session, made[0].SOPInstanceUID)
    assert detail is not None
    with settings.objects_dir.joinpath(detail.storage_key).open("rb") as file:
        content = file.read()
    assert hashlib.sha256(content[144 + int.from_bytes(content[140:144], "little") :]).hexdigest() == detail.sha256
    done = following().look(compare=True)
    assert (len(filed(database)), done.failed) == (13, 0)


def test_additions_are_found_in_the_log_and_late_instances_too(
    orthanc: RunningOrthanc, following: Following, database: Database
) -> None:
    old, new = films(2)
    orthanc.upload(old)
    following().look()
    orthanc.upload(new)
    late = radiograph("P0", size=8)
    late.StudyInstanceUID = old.StudyInstanceUID
    orthanc.upload(late)
    done = following().look()
    assert (done.compared, new.SOPInstanceUID in filed(database)) == (None, True)
    while late.SOPInstanceUID not in filed(database):  # Orthanc logs a late instance once the study is stable again
        following().look(compare=False)


def test_a_deleted_study_is_in_no_answer_at_the_next_look_and_its_object_stays(
    orthanc: RunningOrthanc, following: Following, database: Database
) -> None:
    gone, kept = films(2)
    orthanc.upload(gone, kept)
    following().look()
    assert answered(database) == {gone.StudyInstanceUID, kept.StudyInstanceUID}

    orthanc.delete(gone.StudyInstanceUID)
    done = following().look()  # nothing in the log tells of it: Orthanc counts one study less

    assert done.compared is not None
    assert done.compared.hidden == 1
    assert gone.StudyInstanceUID not in answered(database)
    with database.session() as session:
        assert anchors.find_anchor(session, gone.StudyInstanceUID) == []
        wanted = Wanted({"StudyInstanceUID": [gone.StudyInstanceUID]})
        assert retrieve.find_instances(session, wanted, Disclosure.IDENTIFIED, limit=9) == []
        assert browse.count_studies(session) == len(browse.list_studies(session, model_pk=None, limit=9)) == 1
        patients = find(session, FindSpec(Level.PATIENT, (Field("00100020"),)))
        assert {row.values["00100020"] for row in patients} == {"P1"}
        assert visibility.count_hidden(session) == 1
    assert gone.SOPInstanceUID in filed(database)

    orthanc.upload(gone)
    following().look(compare=True)
    assert gone.StudyInstanceUID in answered(database)


def test_a_study_that_came_and_went_between_two_looks_leaves_a_gap_that_makes_us_compare(
    orthanc: RunningOrthanc, following: Following, database: Database
) -> None:
    first, brief, last = films(3)
    orthanc.upload(first)
    following().look()
    orthanc.upload(brief, last)
    orthanc.delete(brief.StudyInstanceUID)
    done = following().look()
    assert done.compared is not None
    assert answered(database) == {first.StudyInstanceUID, last.StudyInstanceUID}


def test_a_mass_disappearance_hides_nothing_until_someone_agrees(
    orthanc: RunningOrthanc, following: Following, database: Database
) -> None:
    made = films(10)
    orthanc.upload(*made)
    following().look()
    orthanc.delete(*(one.StudyInstanceUID for one in made[:6]))

    compared = following().compare()
    assert compared.stopped == "6 of 10 studies have disappeared within a day"
    assert len(answered(database)) == 10
    assert following().compare().hidden == 0
    assert following().compare(agreed=True).hidden == 6
    assert len(answered(database)) == 4

    orthanc.delete(made[9].StudyInstanceUID)
    assert following().compare().hidden == 1, "one more is no mass disappearance"


def test_an_orthanc_that_was_emptied_asks_too(
    orthanc: RunningOrthanc, following: Following, database: Database
) -> None:
    made = films(3)
    orthanc.upload(*made)
    following().look()
    orthanc.delete(*(one.StudyInstanceUID for one in made))
    done = following().look()
    assert done.compared is not None
    assert done.compared.stopped
    assert len(answered(database)) == 3


def test_the_lua_recipe_hides_a_deleted_study_at_once(
    database: Database, settings: Settings, tmp_path: Path, orthanc: RunningOrthanc
) -> None:
    sync = PacsSync(settings, database)
    hook = DeletionHook("127.0.0.1", 0, sync)
    told = {"REGIONMIR_HOOK": f"http://127.0.0.1:{hook.port}/pacs/second/deleted"}
    made = films(3)
    with running_orthanc(tmp_path / "second", lua=RECIPE, environment=told) as second:
        with database.session() as session:
            pacs.upsert(session, pacs.Pacs("second", url=second.url))
        second.upload(*made)
        sync.look()
        assert len(answered(database)) == 3
        assert sync.deleted("second", second.study_id(made[0].StudyInstanceUID)) == 0, "it is still there"
        second.delete(made[0].StudyInstanceUID)
        end = time.monotonic() + 20
        while made[0].StudyInstanceUID in answered(database):
            assert time.monotonic() < end, "Orthanc waits for its script, which waits for us, who wait for Orthanc"
            time.sleep(0.05)
    hook.stop()
    assert len(answered(database)) == 2


def test_an_orthanc_that_is_away_or_none_is_said_to_be(orthanc: RunningOrthanc) -> None:
    with (
        closing(OrthancApi(f"http://127.0.0.1:{free_port()}", timeout_s=2)) as away,
        pytest.raises(PeerUnavailable, match="cannot be reached"),
    ):
        away.system()
    with closing(OrthancApi(f"{orthanc.url}/nothing")) as no, pytest.raises(PeerRefused, match="no such resource"):
        no.system()
    with closing(OrthancApi(orthanc.url)) as api:
        assert api.system()["DicomAet"] == "ORTHANC"


def test_a_link_leads_to_the_study_in_orthanc() -> None:
    one = pacs.Pacs("main", url="http://pacs:8042")
    assert viewer_link(one, "1.2", "abc") == "http://pacs:8042/app/explorer.html#study?uuid=abc"
    other = pacs.Pacs("main", url="http://pacs:8042", viewer_url="https://view/?s={study_instance_uid}")
    assert viewer_link(other, "1.2", "abc") == "https://view/?s=1.2"
