"""Filing arrivals: new, duplicate, corrected, in conflict; from many associations at once."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from db import audit, deliveries, generations, instances, pseudonyms, search_rows
from db.deliveries import Result
from db.engine import Database
from db.tables import (
    DeliveryRow,
    EmbeddingRow,
    FindingRow,
    InstanceRow,
    InstanceVersionRow,
    PatientRow,
    PseudonymRow,
    RegionRow,
    SeriesRow,
    StudyResultsRow,
    StudyRow,
)
from regionmir.core.anatomy import anatomies
from regionmir.core.identifiers import AETitle, Uid
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.records import InstanceState
from tests.support.records import PSEUDONYMIZER, element, embedded, generation, header, index, receive, stored

J2K = Uid("1.2.840.10008.1.2.4.90")


def count(database: Database, row: type) -> int:
    with database.session() as session:
        return session.scalar(select(func.count()).select_from(row)) or 0


def state(database: Database, sop: str) -> tuple[str, str]:
    with database.session() as session:
        found = instances.detail(session, sop)
        assert found is not None
        return found.summary.state, found.summary.reason


def index_all(database: Database) -> int:
    with database.session() as session:
        model_pk = generations.ensure_model(session, generation())
        claimed = instances.claim(session, "worker", 1000, 60)
    for number, one in enumerate(claimed):
        assert index(database, model_pk, one, embedded(anatomies()[:3], 64, number))
    return model_pk


def test_a_new_instance_waits_with_its_parents_and_four_pseudonyms(database: Database) -> None:
    head = header(t00100010=element("PN", {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}))
    assert receive(database, head).outcome == "new"
    with database.session() as session:
        patient = session.scalars(select(PatientRow)).one()
        study = session.scalars(select(StudyRow)).one()
        instance = session.scalars(select(InstanceRow)).one()
        assert (patient.patient_id, patient.name, patient.sex) == ("P1", "Yamada^Tarou=山田^太郎", "F")
        assert patient.birth_date == dt.date(1960, 1, 1)
        assert -365 <= patient.date_shift_days <= -1
        assert (study.study_date, study.accession_number) == (dt.date(2020, 1, 1), "A1.2.3")
        assert (instance.state, instance.view) == ("received", "PA")
        assert instance.age_years == pytest.approx(60.0, abs=0.01)
        kinds = session.scalars(select(PseudonymRow.kind).order_by(PseudonymRow.kind)).all()
        assert kinds == ["instance", "patient", "series", "study"]
        assert pseudonyms.lookup(session, "instance", PSEUDONYMIZER.uid("instance", head.sop_instance_uid)) == (
            head.sop_instance_uid
        )
        values = search_rows.studies(session, [study.pk])[study.pk]
        assert values.patient_pseudonym.startswith("RGN-")
        assert values.study_pseudonym == PSEUDONYMIZER.uid("study", Uid("1.2.3"))
        assert search_rows.instances(session, [instance.pk])[instance.pk].series_pseudonym.startswith("2.25.")


def test_an_equal_data_set_is_a_duplicate_and_makes_no_work(database: Database) -> None:
    receive(database, header())
    index_all(database)
    assert receive(database, header()).outcome == "duplicate"
    assert state(database, "1.2.3.1.1") == ("indexed", "")
    assert count(database, InstanceVersionRow) == 0


def test_equal_pixels_and_header_in_another_transfer_syntax_are_a_duplicate(database: Database) -> None:
    receive(database, header())
    assert receive(database, header(), "compressed", syntax=J2K, same=True).outcome == "duplicate"
    with database.session() as session:
        assert session.scalars(select(InstanceRow.storage_key)).all() == [stored("first").key]


def test_another_content_without_the_right_is_refused_kept_aside_once_and_audited(database: Database) -> None:
    receive(database, header())
    index_all(database)
    for _ in range(2):
        receipt = receive(database, header(), "second")
        assert receipt.outcome == "conflict"
        assert 0 < len(receipt.comment) <= 64
    assert state(database, "1.2.3.1.1") == ("indexed", "")
    with database.session() as session:
        (conflict,) = instances.conflicts(session)
        assert conflict.storage_key == stored("second").key
        assert [event.kind for event in audit.listing(session)] == ["instance refused"]
        assert session.scalars(select(InstanceRow.storage_key)).one() == stored("first").key


def test_a_correction_replaces_the_instance_drops_its_regions_of_all_models_and_settles_the_conflict(
    database: Database,
) -> None:
    receive(database, header())
    index_all(database)
    receive(database, header(), "second")
    changed = header(t00100040=element("CS", "M"), t00081030=element("LO", "corrected"))
    assert receive(database, changed, "second", may_correct=True).outcome == "corrected"
    assert state(database, "1.2.3.1.1") == ("received", "")
    assert count(database, RegionRow) == count(database, EmbeddingRow) == 0
    with database.session() as session:
        assert instances.conflicts(session) == []
        assert session.scalars(select(InstanceRow.storage_key)).one() == stored("second").key
        versions = {v.kind: v.storage_key for v in instances.detail(session, "1.2.3.1.1").versions}  # type: ignore[union-attr]
        assert versions == {"superseded": stored("first").key, "conflict": stored("second").key}
        assert session.scalars(select(PatientRow.sex)).one() == "M"
        assert session.scalars(select(StudyRow.study_description)).one() == "corrected"
        assert [event.kind for event in audit.listing(session)] == ["instance corrected", "instance refused"]


def test_a_corrected_sex_reaches_the_embeddings_of_the_patients_other_instances(database: Database) -> None:
    receive(database, header(1))
    receive(database, header(2))
    index_all(database)
    receive(database, header(1, t00100040=element("CS", "M")), "second", may_correct=True)
    with database.session() as session:
        assert set(session.scalars(select(EmbeddingRow.sex))) == {"M"}


@pytest.mark.parametrize("change", ["kept = 'nothing'", "state = 'failed'"])
@pytest.mark.parametrize("study", ["1.2.3", "1.2.4"])
def test_films_that_cannot_be_indexed_anew_follow_their_moved_study_or_series(
    database: Database, study: str, change: str
) -> None:
    receive(database, header(1))
    receive(database, header(2))
    index_all(database)
    with database.session() as session:
        session.execute(text(f"UPDATE instance SET {change} WHERE sop_instance_uid = '1.2.3.1.2'"))
    values: dict[str, Any] = {"t00100040": element("CS", "M"), "t00080020": element("DA", "20210101")}
    moved = header(1, study=study, series="1.2.3.1", sop="1.2.3.1.1", patient_id="P2", **values)
    assert receive(database, moved, "second", may_correct=True).outcome == "corrected"
    with database.session() as session:
        patient_pk, study_pk = session.execute(select(StudyRow.patient_pk, StudyRow.pk)).one()
        row = EmbeddingRow
        said = session.execute(select(row.patient_pk, row.study_pk, row.sex, row.study_date).distinct()).all()
    assert said == [(patient_pk, study_pk, "M", dt.date(2021, 1, 1))]


@pytest.mark.parametrize(("other", "changed"), [("1.2.3", {}), ("1.2.4", {"t00080020": element("DA", "20210101")})])
def test_a_correction_waits_for_no_film_that_it_does_not_change(
    database: Database, other: str, changed: dict[str, Any]
) -> None:
    receive(database, header(1))
    receive(database, header(2, study=other))
    with ThreadPoolExecutor(1) as pool, database.session() as session:
        held = select(InstanceRow.pk).where(InstanceRow.sop_instance_uid == f"{other}.1.2").with_for_update()
        session.scalars(held).one()
        correcting = pool.submit(receive, database, header(1, **changed), "second", may_correct=True)
        assert correcting.result(20).outcome == "corrected"


def test_corrections_back_and_forth_end_with_the_last_one(database: Database) -> None:
    receive(database, header())
    for content in ("second", "first", "second", "third"):
        assert receive(database, header(), content, may_correct=True).outcome == "corrected"
    with database.session() as session:
        assert session.scalars(select(InstanceRow.storage_key)).one() == stored("third").key


def test_a_worker_that_holds_a_corrected_instance_loses_it(database: Database) -> None:
    receive(database, header())
    with database.session() as session:
        model_pk = generations.ensure_model(session, generation())
        (claimed,) = instances.claim(session, "worker", 1, 60)
    receive(database, header(), "second", may_correct=True)
    assert not index(database, model_pk, claimed, embedded(anatomies()[:1], 64))
    assert state(database, "1.2.3.1.1") == ("received", "")
    assert count(database, RegionRow) == 0


def test_a_study_of_another_patient_is_refused(database: Database) -> None:
    receive(database, header(1))
    receipt = receive(database, header(2, patient_id="P2"), "two")
    assert receipt.outcome == "conflict"
    assert "another patient" in receipt.comment
    assert len(receipt.comment) <= 64
    assert count(database, InstanceRow) == count(database, PatientRow) == 1
    with database.session() as session:
        (conflict,) = instances.conflicts(session)
        assert conflict.sop_instance_uid == "1.2.3.1.2"


def test_a_correction_of_the_patient_moves_the_study_and_indexes_it_anew(database: Database) -> None:
    receive(database, header(1))
    receive(database, header(2))
    index_all(database)
    moved = header(1, patient_id="P2", t00100010=element("PN", {"Alphabetic": "Roe^Richard"}))
    assert receive(database, moved, "second", may_correct=True).outcome == "corrected"
    with database.session() as session:
        study = session.scalars(select(StudyRow)).one()
        patient = session.get_one(PatientRow, study.patient_pk)
        assert (patient.patient_id, patient.name) == ("P2", "Roe^Richard")
        assert instances.counts_by_state(session)["received"] == 2
        found = pseudonyms.for_originals(session, "patient", ["P1\x1f\x1f", "P2\x1f\x1f"])
        assert len(set(found.values())) == 2
        assert session.scalars(select(PatientRow.patient_id)).all() == ["P2"]  # nobody is left without a study
    assert count(database, EmbeddingRow) == count(database, RegionRow) == 0


def test_a_patient_with_another_study_stays_when_one_moves_away(database: Database) -> None:
    receive(database, header(1, study="1.1"), "one")
    receive(database, header(1, study="1.2"), "two")
    receive(database, header(1, study="1.1", patient_id="P2"), "three", may_correct=True)
    with database.session() as session:
        assert session.scalars(select(PatientRow.patient_id).order_by(PatientRow.patient_id)).all() == ["P1", "P2"]


def test_a_new_instance_of_a_corrected_patient_is_filed_with_the_moved_study(database: Database) -> None:
    receive(database, header(1))
    assert receive(database, header(2, patient_id="P2"), "two", may_correct=True).outcome == "corrected"
    assert count(database, InstanceRow) == 2
    with database.session() as session:
        assert session.scalars(select(PatientRow.patient_id).join(StudyRow)).all() == ["P2"]


def test_a_missing_issuer_makes_no_other_patient(database: Database) -> None:
    receive(database, header(1))
    assert receive(database, header(2, issuer="HOSPITAL"), "two").outcome == "new"
    assert receive(database, header(1, study="1.2.4", issuer="OTHER"), "three").outcome == "new"
    assert receive(database, header(2, study="1.2.4", issuer="HOSPITAL"), "four").outcome == "conflict"


def test_studies_without_patient_id_are_each_their_own_patient(database: Database) -> None:
    receive(database, header(1, study="1.2.3", patient_id=""), "one")
    receive(database, header(2, study="1.2.3", patient_id=""), "two")
    receive(database, header(1, study="1.2.4", patient_id=" "), "three")
    with database.session() as session:
        assert session.scalar(select(func.count(StudyRow.patient_pk.distinct()))) == 2


def test_a_series_of_another_study_is_refused_and_moved_by_a_correction(database: Database) -> None:
    receive(database, header(1, study="1.2.3"))
    stray = header(1, study="1.2.4", series="1.2.3.1")
    assert receive(database, stray, "two").comment.startswith("series belongs to another study")
    assert receive(database, stray, "two", may_correct=True).outcome == "corrected"
    with database.session() as session:
        assert session.scalars(select(StudyRow.study_instance_uid)).all() == ["1.2.4"], "the emptied one is gone"
        assert instances.conflicts(session) == []


def test_a_correction_leaves_no_patient_study_or_series_without_instances(database: Database) -> None:
    receive(database, header(1, study="1.2.3", sop="9.9"))
    model_pk = index_all(database)
    with database.session() as session:
        study_pk = session.scalars(select(StudyRow.pk)).one()
        values = {"study": study_pk, "model": model_pk}
        session.execute(text("INSERT INTO finding (study_pk, label) VALUES (:study, 'Nodule')"), values)
        session.execute(text("INSERT INTO study_results (study_pk, model_pk) VALUES (:study, :model)"), values)
        about_no_film = Result("sr", study_pk, Uid("1.2.3"), model_pk, Uid("2.25.1"))
        deliveries.enqueue(session, about_no_film, AETitle("ARCHIVE"))
    moved = header(1, study="1.2.4", sop="9.9", patient_id="P2")
    assert receive(database, moved, "second", may_correct=True).outcome == "corrected"
    other_series = header(1, study="1.2.4", series="1.2.4.2", sop="9.9", patient_id="P2")
    assert receive(database, other_series, "third", may_correct=True).outcome == "corrected"
    with database.session() as session:
        assert session.scalars(select(StudyRow.study_instance_uid)).all() == ["1.2.4"]
        assert session.scalars(select(SeriesRow.series_instance_uid)).all() == ["1.2.4.2"]
        assert session.scalars(select(PatientRow.patient_id)).all() == ["P2"]
    assert count(database, FindingRow) == count(database, StudyResultsRow) == count(database, DeliveryRow) == 0


@pytest.mark.parametrize("left", [0, 1])
def test_what_is_or_was_sent_about_a_film_follows_it_to_its_study(database: Database, left: int) -> None:
    for number in range(left + 1):
        receive(database, header(number, study="1.2.3", series=f"1.2.3.{number}", sop=f"9.{number}"))
    model_pk = index_all(database)
    with database.session() as session:
        study_pk = session.scalars(select(StudyRow.pk)).one()
        for number, pk in enumerate(session.scalars(select(InstanceRow.pk).order_by(InstanceRow.sop_instance_uid))):
            result = Result("sr", study_pk, Uid("1.2.3"), model_pk, Uid(f"2.25.{number}"), pk)
            deliveries.enqueue(session, result, AETitle("ARCHIVE"))
        session.execute(update(DeliveryRow).values(state="delivered"))
    moved = header(0, study="1.2.4", sop="9.0", patient_id="P2")
    assert receive(database, moved, "second", may_correct=True).outcome == "corrected"
    with database.session() as session:
        about = {one.sop_instance_uid: one.study_instance_uid for one in deliveries.listing(session)}
    assert about == {"2.25.0": "1.2.4", **({"2.25.1": "1.2.3"} if left else {})}


def test_an_instance_that_is_moved_to_and_fro_at_once_is_in_one_study_at_last(database: Database) -> None:
    def move(number: int) -> str:
        head = header(1, study=f"1.2.{number % 2}", sop="9.9", patient_id=f"P{number % 2}")
        return receive(database, head, f"{number}", may_correct=True).outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(move, range(40)))
    assert sorted(set(outcomes)) == ["corrected", "new"]
    assert [count(database, row) for row in (PatientRow, StudyRow, SeriesRow, InstanceRow)] == [1, 1, 1, 1]


def test_an_instance_that_comes_again_in_another_study_is_a_conflict(database: Database) -> None:
    receive(database, header(1, study="1.2.3", sop="9.9"))
    assert receive(database, header(1, study="1.2.4", sop="9.9"), "two").outcome == "conflict"
    assert receive(database, header(1, study="1.2.4", sop="9.9"), "two", may_correct=True).outcome == "corrected"
    with database.session() as session:
        found = instances.detail(session, "9.9")
        assert found is not None
        assert found.summary.study_instance_uid == "1.2.4"


def test_our_own_pseudonymous_copy_is_kept_and_never_indexed(database: Database) -> None:
    original = header()
    receive(database, original)
    copy = header(
        study=PSEUDONYMIZER.uid("study", original.study_instance_uid),
        sop=PSEUDONYMIZER.uid("instance", original.sop_instance_uid),
        series="2.2",
        patient_id="RGN-X",
    )
    assert receive(database, copy, "copy").outcome == "new"
    assert state(database, copy.sop_instance_uid) == ("unsupported", "own_copy")
    with database.session() as session:
        assert instances.reindex(session, state=InstanceState.UNSUPPORTED) == 0


class _Colliding(Pseudonymizer):
    """Gives every patient the same first pseudonym."""

    def patient_id(self, patient: str, attempt: int = 0) -> str:
        return "RGN-AAAAAAAAAA" if attempt == 0 else super().patient_id(patient, attempt)


def test_two_patients_never_share_a_pseudonym(database: Database) -> None:
    colliding = _Colliding(b"k" * 32)
    receive(database, header(study="1.1", patient_id="A"), "one", pseudonymizer=colliding)
    receive(database, header(study="1.2", patient_id="B"), "two", pseudonymizer=colliding)
    with database.session() as session:
        found = session.scalars(select(PseudonymRow.pseudonym).where(PseudonymRow.kind == "patient")).all()
    assert len(set(found)) == 2


def test_nothing_a_sender_writes_breaks_the_insert(database: Database) -> None:
    long = "x" * 100_000
    nasty = header(
        patient_id="P\0" + long,
        issuer=long,
        t00100010=element("PN", {"Alphabetic": "Doe\0^\ud800Jane" + long}),
        t00100030=element("DA", "19601332"),
        t00080020=element("DA", "yesterday"),
        t00080050=element("SH", long),
        t00081030=element("LO", "a\0b\udfff"),
        t00101010=element("AS", "999Y"),
        t00200011=element("IS", 10**40),
        t00200013=element("IS", "9" * 400),
        t00280010=element("US", float("nan")),
        t00280011=element("US", None),
        t00189999=element("FD", float("inf"), float("nan")),
        t00185101={"vr": "CS"},
        t00082218="not an element",
    )
    assert receive(database, nasty).outcome == "new"
    other = replace(
        nasty, patient_id=nasty.patient_id + "y", study_instance_uid=Uid("1.2.9"), sop_instance_uid=Uid("7")
    )
    assert receive(database, replace(other, series_instance_uid=Uid("8")), "two").outcome == "new"
    assert count(database, PatientRow) == 2  # over-long and different stays different
    with database.session() as session:
        row = session.scalars(select(InstanceRow).where(InstanceRow.sop_instance_uid == "1.2.3.1.1")).one()
        assert (row.age_years, row.instance_number, row.rows, row.columns) == (None, None, None, None)


def test_many_associations_may_store_one_study_at_once(database: Database) -> None:
    """Sixteen threads file the same forty instances, each in another order."""
    heads = [header(n, series=f"1.2.3.{n % 3 + 1}", sop=f"1.2.3.9.{n}") for n in range(40)]

    def store(thread: int) -> list[str]:
        order = heads[thread:] + heads[:thread]
        return [receive(database, head, head.sop_instance_uid).outcome for head in order]

    with ThreadPoolExecutor(16) as pool:
        outcomes = [outcome for found in pool.map(store, range(16)) for outcome in found]
    assert outcomes.count("new") == 40
    assert outcomes.count("duplicate") == 15 * 40
    assert [count(database, row) for row in (PatientRow, StudyRow, SeriesRow, InstanceRow)] == [1, 1, 3, 40]
    assert count(database, PseudonymRow) == 1 + 1 + 3 + 40


def test_corrections_and_arrivals_at_once_neither_lock_up_nor_split_the_study(database: Database) -> None:
    """Half of the threads say patient P1, the others P2; all may correct, while a worker claims."""

    def store(thread: int) -> None:
        for n in range(12):
            patient = f"P{thread % 2 + 1}"
            receive(database, header(n, patient_id=patient), f"{n} {patient}", may_correct=True)

    def work(_: int) -> None:
        for _round in range(20):
            with database.session() as session:
                held = instances.claim(session, "worker", 4, 60)
            with database.session() as session:
                for one in held:
                    instances.finish_unsupported(session, one, owner="worker", reason="test")

    with ThreadPoolExecutor(7) as pool:
        jobs = [pool.submit(store, n) for n in range(6)] + [pool.submit(work, 0)]
        for job in jobs:
            job.result()
    assert [count(database, row) for row in (StudyRow, SeriesRow, InstanceRow)] == [1, 1, 12]


def test_a_commit_is_on_disk_whatever_the_servers_default(database: Database) -> None:
    with database.session() as session:
        name = session.scalar(text("SELECT current_database()"))
        session.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    other = Database(database.url.render_as_string(hide_password=False), application_name="other")
    with other.session() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"
    other.close()
