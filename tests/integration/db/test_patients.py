"""Two patients that are one, wrong values, a study of somebody else: put right in answers, filters and pseudonyms."""

import datetime as dt
import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from db import audit, generations, instances, patients, pseudonyms, result_sets, retrieve
from db.engine import Database, Session
from db.find import Field, FindSpec, Level, find
from db.instances import IndexedFilm
from db.patients import By, Changes, PutRight
from db.retrieve import StoredInstance, Wanted
from db.tables import EmbeddingRow, PatientRow, StudyRow
from regionmir.core.errors import QueryRefused, RegionMirError
from regionmir.core.identifiers import AETitle
from regionmir.core.records import Caller, Disclosure, PatientValues, Rights
from regionmir.query.request import RegionQuery
from regionmir.query.search import Answer, reopen, search
from tests.support.records import PSEUDONYMIZER, element, embedded, generation, header, receive
from tests.support.seed import all_found, many_films, seed

BY = By("operator", "RIS message A40")
CALLER = Caller(AETitle("VIEWER"), "127.0.0.1", Rights(find=True), Disclosure.IDENTIFIED, registered=True)
FOUND = tuple(all_found(1))


def pk_of(database: Database, patient_id: str) -> int:
    with database.session() as session:
        [found] = patients.find(session, patient_id)
        return found.pk


def merge(database: Database, old: str, new: str) -> PutRight:
    with database.session() as session:
        return patients.merge(session, pk_of(database, old), pk_of(database, new), BY)


def correct(database: Database, patient_id: str, changes: Changes) -> PutRight:
    with database.session() as session:
        return patients.correct(session, pk_of(database, patient_id), changes, BY)


def pseudonym(database: Database, patient_id: str) -> str:
    with database.session() as session:
        key = session.scalars(select(PatientRow.key).where(PatientRow.patient_id == patient_id)).one()
        return pseudonyms.for_originals(session, pseudonyms.PATIENT, [key])[key]


def studies_of(database: Database, patient_id: str) -> set[str]:
    with database.session() as session:
        query = select(StudyRow.study_instance_uid).join(PatientRow).where(PatientRow.patient_id == patient_id)
        return set(session.scalars(query))


def sent(database: Database, study: str) -> StoredInstance:
    with database.session() as session:
        wanted = Wanted({"StudyInstanceUID": [study]})
        return retrieve.find_instances(session, wanted, Disclosure.IDENTIFIED, limit=9)[0]


def answered(database: Database, study: str, *tags: str) -> list[str]:
    with database.session() as session:
        fields = (Field("0020000D"), *map(Field, tags))
        [row] = [one for one in find(session, FindSpec(Level.STUDY, fields)) if one.values["0020000D"] == study]
        return [plain(row.values[tag]) for tag in tags]


def plain(value: Any) -> str:
    """Return the first value of an element in the DICOM JSON model, or a value that is none as it is."""
    first = value["Value"][0] if isinstance(value, dict) else value
    return str(first["Alphabetic"] if isinstance(first, dict) else first)


def test_merged_patients_are_one_in_answers_filters_pseudonyms_and_what_is_sent(database: Database) -> None:
    films, info = many_films(5, FOUND, 16)
    seed(database, films, info=info)
    with database.session() as session:
        before = search(session, RegionQuery("ACC0", FOUND, 10), CALLER)
    assert len(before.hits) == 4

    done = merge(database, "REALID1", "REALID0")

    assert (done.studies, done.instances, done.patient_pseudonym) == (1, 1, pseudonym(database, "REALID0"))
    with database.session() as session:
        after = search(session, RegionQuery("ACC0", FOUND, 10), CALLER)
        back = search(session, RegionQuery("ACC1", FOUND, 10), CALLER)
        kept = result_sets.get(session, before.code)
        assert patients.find(session, "REALID1") == []
        told = audit.listing(session, kinds=["patients merged"])
    assert len(after.hits) == len(back.hits) == 3, "the same patient is no hit"
    assert kept is not None
    assert len(kept.hits) == 3
    study = "1.2.826.0.1.1"
    assert answered(database, study, "00100010", "00100020") == ["Canary0^Real", "REALID0"]
    assert sent(database, study).corrected == PatientValues("REALID0", "", "Canary0^Real", dt.date(1960, 1, 1), "F")
    assert sent(database, "1.2.826.0.1.0").corrected is None, "what came under the right ID leaves as it came"
    identities = retrieve_identity(database, study)
    assert identities == pseudonym(database, "REALID0")
    assert sorted(one.message.count("REALID1") for one in told) == [0, 2]


@pytest.mark.parametrize("change", ["merge", "move", "correct", "arrive"])
def test_a_film_that_is_written_while_its_patient_is_put_right_is_found_as_theirs(
    database: Database, change: str
) -> None:
    receive(database, header(1, study="1.2.0", patient_id="WRONG"))
    receive(database, header(1, study="1.2.1", patient_id="RIGHT"))
    wrong, right = pk_of(database, "WRONG"), pk_of(database, "RIGHT")

    def put_right() -> None:
        with database.session() as session:
            if change == "merge":
                patients.merge(session, wrong, right, BY)
            elif change == "move":
                patients.move(session, "1.2.0", right, BY)
            elif change == "correct":
                patients.correct(session, wrong, Changes(sex="M"), BY)
        if change == "arrive":
            corrected = header(1, study="1.2.2", patient_id="WRONG", t00100040=element("CS", "M"))
            assert receive(database, corrected, "second", may_correct=True).outcome == "corrected"

    if change == "arrive":
        receive(database, header(1, study="1.2.2", patient_id="WRONG"))
    putting_right = threading.Thread(target=put_right)
    with database.session() as session:
        model_pk = generations.ensure_model(session, generation())
        [claimed] = instances.claim(session, "worker", 1, 60)
    film = IndexedFilm(claimed, embedded(FOUND, 64), "pixels", "pipeline")
    with database.session() as session:
        assert instances.finish_indexed(session, [film], owner="worker", model_pk=model_pk)
        putting_right.start()
        putting_right.join(1.0)
    putting_right.join(30.0)
    with database.session() as session:
        found = session.execute(select(EmbeddingRow.patient_pk, EmbeddingRow.sex)).all()
    assert found == [(wrong, "M") if change in ("correct", "arrive") else (right, "F")]


def test_a_patient_whose_issuer_is_sometimes_missing_is_no_hit_of_their_own(database: Database) -> None:
    films, info = many_films(5, FOUND, 16)
    issuers = ("", "HOSPITAL", "OTHER")
    theirs = [
        replace(film, header=replace(film.header, patient_id="4711", issuer_of_patient_id=issuer))
        for film, issuer in zip(films, issuers, strict=False)
    ]
    seed(database, [*theirs, *films[3:]], info=info)
    pseudonymous = replace(CALLER, disclosure=Disclosure.PSEUDONYMOUS)

    def found(anchor: str, caller: Caller, **more: Any) -> tuple[str, set[int]]:
        with database.session() as session:
            answer = search(session, RegionQuery(anchor, FOUND, 10, **more), caller)
            return answer.code, numbers(session, answer)

    def numbers(session: Session, answer: Answer) -> set[int]:
        studies = select(StudyRow.study_instance_uid).where(StudyRow.pk.in_([hit.study_pk for hit in answer.hits]))
        return {int(uid.rpartition(".")[2]) for uid in session.scalars(studies)}

    assert found("ACC1", CALLER)[1] == {2, 3, 4}, "another issuer's number is another patient's"
    assert found("ACC0", CALLER)[1] == {3, 4}, "whoever issued it"
    code, all_of_them = found("ACC1", CALLER, with_same_patient=True)
    assert all_of_them == {0, 2, 3, 4}
    with database.session() as session:
        opened = reopen(session, code, pseudonymous)
        assert opened is not None
        assert numbers(session, opened) == {2, 3, 4}


@pytest.mark.parametrize("anchor", ["ONE", "LAST"])
def test_an_anchor_is_of_one_patient_where_an_issuer_is_missing_and_of_several_where_issuers_differ(
    database: Database, anchor: str
) -> None:
    films, info = many_films(4, FOUND, 16)
    seed(database, films[3:], info=info)

    def file(number: int, issuer: str) -> None:
        film = films[number]
        shared = film.header.attributes | {"00080050": element("SH", "ONE")}
        head = replace(film.header, patient_id="4711", issuer_of_patient_id=issuer, attributes=shared)
        seed(database, [replace(film, header=head, source_ae="SENDER")], info=info)

    def found() -> set[int]:
        with database.session() as session:
            return {hit.study_pk for hit in search(session, RegionQuery(anchor, FOUND, 10), asker, keep=False).hits}

    asker = replace(CALLER, last_from=(AETitle("SENDER"),))
    file(0, "")
    alone = found()
    file(1, "HOSPITAL")
    assert found() == alone, "the other is no hit"
    file(2, "OTHER")
    with pytest.raises(QueryRefused, match=r"several patients|more than one patient"):
        found()


def retrieve_identity(database: Database, study: str) -> str:
    with database.session() as session:
        return retrieve.copy_identities(session, [sent(database, study).pk])[sent(database, study).pk].patient_id


def test_what_is_sent_under_a_merged_id_is_filed_under_the_one_that_stays(database: Database) -> None:
    for number, who in enumerate(("A", "B", "C")):
        receive(database, header(1, study=f"1.2.{number}", patient_id=who))
    merge(database, "A", "B")
    merge(database, "B", "C")
    assert receive(database, header(1, study="1.2.0", patient_id="A")).outcome == "duplicate"
    assert receive(database, header(2, study="1.2.0", patient_id="A"), "late").outcome == "new"
    assert receive(database, header(1, study="1.2.9", patient_id="A"), "next year").outcome == "new"
    assert studies_of(database, "C") == {"1.2.0", "1.2.1", "1.2.2", "1.2.9"}
    assert sent(database, "1.2.9").corrected is not None


def test_a_corrected_id_keeps_its_pseudonym_and_the_wrong_one_may_be_somebody_elses(database: Database) -> None:
    receive(database, header(1, patient_id="4771"))
    before = pseudonym(database, "4771")
    done = correct(database, "4771", Changes(patient_id="4711", name="Right^Name", sex="M"))
    assert (done.patient_pseudonym, pseudonym(database, "4711")) == (before, before)
    assert answered(database, "1.2.3", "00100010", "00100020", "00100040") == ["Right^Name", "4711", "M"]
    assert sent(database, "1.2.3").corrected == PatientValues("4711", "", "Right^Name", dt.date(1960, 1, 1), "M")
    late = receive(database, header(2, patient_id="4771"), "late", may_correct=True)
    assert late.outcome == "new", "the study is still known under the wrong ID"
    assert studies_of(database, "4711") == {"1.2.3"}
    assert receive(database, header(1, study="1.2.4", patient_id="4771"), "of another").outcome == "new"
    assert studies_of(database, "4771") == {"1.2.4"}
    assert pseudonym(database, "4771") != before


def test_a_corrected_patient_is_not_changed_by_what_arrives(database: Database) -> None:
    receive(database, header(1, t00100010=element("PN", {"Alphabetic": "Right^Name"})))
    correct(database, "P1", Changes(name="Quite^Right"))
    assert receive(database, header(1), "changed", may_correct=True).outcome == "corrected"
    assert answered(database, "1.2.3", "00100010") == ["Quite^Right"]


def test_a_moved_study_is_the_other_patients_and_nobody_is_left_without_a_study(database: Database) -> None:
    receive(database, header(1, study="1.2.0", patient_id="WRONG"))
    with database.session() as session:
        to = patients.add(session, "RIGHT", "", "Right^Name", PSEUDONYMIZER)
        patients.move(session, "1.2.0", to, BY)
    assert studies_of(database, "RIGHT") == {"1.2.0"}
    assert answered(database, "1.2.0", "00100010", "00100020") == ["Right^Name", "RIGHT"]
    with database.session() as session:
        assert patients.find(session, "WRONG") == []
        with pytest.raises(RegionMirError, match="already"):
            patients.move(session, "1.2.0", to, BY)


def test_an_id_that_another_patient_has_is_not_given_twice(database: Database) -> None:
    receive(database, header(1, study="1.2.0", patient_id="A"))
    receive(database, header(1, study="1.2.1", patient_id="B"))
    with pytest.raises(RegionMirError, match="patient merge"):
        correct(database, "A", Changes(patient_id="B"))
