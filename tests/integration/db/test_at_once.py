"""Filing by one statement: the same rows as step by step, and nothing where there is more to decide."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from db import at_once, ingest, pseudonyms
from db.engine import Database
from tests.support.records import PSEUDONYMIZER, header, receive, stored

TABLES = ("patient", "study", "series", "instance", "pseudonym")
OF_THE_ROW = {"pk", "patient_pk", "study_pk", "series_pk", "received_at", "created_at"}
"""Columns that differ between two filings of the same."""

KEY = "P1\x1f\x1f"
"""`patient.key` of the patient of `header`."""


def rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.session() as session:
        found = {table: session.execute(text(f"SELECT * FROM {table}")).mappings().all() for table in TABLES}
    kept = {
        table: [{name: value for name, value in one.items() if name not in OF_THE_ROW} for one in all_of_it]
        for table, all_of_it in found.items()
    }
    return {table: sorted(all_of_it, key=str) for table, all_of_it in kept.items()}


def file_all(database: Database) -> None:
    """A patient, a second study of theirs, a second series, a second instance, and one without PatientID."""
    for sop, series, study, patient in (
        ("1.2.3.1.1", "1.2.3.1", "1.2.3", "P1"),
        ("1.2.3.1.2", "1.2.3.1", "1.2.3", "P1"),
        ("1.2.3.2.1", "1.2.3.2", "1.2.3", "P1"),
        ("1.2.4.1.1", "1.2.4.1", "1.2.4", "P1"),
        ("1.2.5.1.1", "1.2.5.1", "1.2.5", ""),
    ):
        assert receive(database, header(sop=sop, series=series, study=study, patient_id=patient)).outcome == "new"


def test_it_files_the_rows_that_the_steps_file(database_factory: Callable[[], str], monkeypatch: Any) -> None:
    one, other = (Database(database_factory(), application_name="test") for _ in range(2))
    try:
        with monkeypatch.context() as patched:
            patched.setattr(ingest, "_present", None)  # no step is taken
            file_all(one)
        with monkeypatch.context() as patched:
            patched.setattr(at_once, "file", lambda _connection, _rows: False)
            file_all(other)
        assert rows(one) == rows(other)
        assert {table: len(found) for table, found in rows(one).items()} == {
            "patient": 2, "study": 3, "series": 4, "instance": 5, "pseudonym": 14
        }  # fmt: skip
    finally:
        one.close()
        other.close()


def test_a_new_patient_whose_pseudonym_another_has_gets_the_next(database: Database) -> None:
    taken = PSEUDONYMIZER.patient_id(KEY)
    with database.session() as session:
        session.execute(
            text(
                "INSERT INTO pseudonym (kind, original, pseudonym, key_version) VALUES ('patient', 'other', :taken, 1)"
            ),
            {"taken": taken},
        )
    receive(database, header())
    with database.session() as session:
        assert pseudonyms.for_originals(session, "patient", [KEY]) == {KEY: PSEUDONYMIZER.patient_id(KEY, 1)}


@pytest.mark.parametrize(
    "unusual",
    [
        "INSERT INTO merged_patient (key, into_key) VALUES (:key, 'P2' || chr(31) || chr(31))",
        "INSERT INTO removed_instance (sop_instance_uid, study_instance_uid, why, again, removed_by) "
        "VALUES ('1.2.3.1.1', '1.2.3', 'deleted', 'refuse', 'somebody')",
        "INSERT INTO pseudonym (kind, original, pseudonym, key_version) VALUES ('series', '9.9', '1.2.3.1', 1)",
    ],
)
def test_it_leaves_what_is_merged_removed_or_a_copy_of_ours_to_the_steps(
    database: Database, unusual: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        session.execute(text(unusual), {"key": KEY} if ":key" in unusual else {})
    filed: list[bool] = []
    file = at_once.file
    monkeypatch.setattr(at_once, "file", lambda connection, rows: filed.append(file(connection, rows)) or filed[-1])
    receive(database, header())
    assert filed == [False]


def test_in_a_transaction_of_its_own_it_files_what_is_new_and_nothing_else(database: Database) -> None:
    film = ingest.Arrival(header(), stored("film"), "MODALITY", "127.0.0.1", "REGIONMIR", PSEUDONYMIZER)
    assert ingest.receive_new(database, film) == ingest.Receipt("new")
    filed = rows(database)
    assert {table: len(found) for table, found in filed.items()} == {
        "patient": 1, "study": 1, "series": 1, "instance": 1, "pseudonym": 4
    }  # fmt: skip
    assert ingest.receive_new(database, film) is None
    assert rows(database) == filed
    assert receive(database, header(), "film").outcome == "duplicate"
