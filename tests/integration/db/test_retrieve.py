"""Which instances a retrieve means, for those who know originals and for those who know pseudonyms."""

from pathlib import Path
from typing import cast

import pytest

from db import pseudonyms
from db.engine import Database
from db.retrieve import Key, Wanted, find_instances
from regionmir.core.records import Disclosure
from regionmir.storage import FileStore
from tests.support.filing import file_film
from tests.support.films import synthetic_film

IDENTIFIED, PSEUDONYMOUS = Disclosure.IDENTIFIED, Disclosure.PSEUDONYMOUS


@pytest.fixture
def films(database: Database, tmp_path: Path) -> list[dict[Key, str]]:
    """File three films: two of one patient, one of another; return their keys."""
    store = FileStore(tmp_path)
    made = [synthetic_film(seed, patient=patient) for seed, patient in ((1, 7), (2, 7), (3, 8))]
    for film in made:
        file_film(database, store, film)
    names: tuple[Key, ...] = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return [{name: str(film[name].value) for name in names} for film in made]


def found(database: Database, disclosure: Disclosure, **keys: list[str]) -> list[str]:
    wanted = Wanted(cast(dict[Key, list[str]], keys))
    with database.session() as session:
        return [one.sop_instance_uid for one in find_instances(session, wanted, disclosure, limit=100)]


def pseudonym(database: Database, kind: str, original: str) -> str:
    with database.session() as session:
        return pseudonyms.for_originals(session, kind, [original])[original]


def test_a_patient_id_means_all_instances_of_the_patient(database: Database, films: list[dict[Key, str]]) -> None:
    assert found(database, IDENTIFIED, PatientID=[films[0]["PatientID"]]) == [
        films[0]["SOPInstanceUID"],
        films[1]["SOPInstanceUID"],
    ]


def test_keys_of_several_levels_must_all_match(database: Database, films: list[dict[Key, str]]) -> None:
    one, _, other = films

    assert found(database, IDENTIFIED, PatientID=[one["PatientID"]], StudyInstanceUID=[other["StudyInstanceUID"]]) == []
    assert found(database, IDENTIFIED, **{name: [value] for name, value in one.items()}) == [one["SOPInstanceUID"]]


def test_an_issuer_tells_patients_of_one_id_apart(database: Database, films: list[dict[Key, str]]) -> None:
    patient = [films[0]["PatientID"]]

    assert found(database, IDENTIFIED, PatientID=patient, IssuerOfPatientID=["ANOTHER"]) == []
    assert len(found(database, IDENTIFIED, PatientID=patient, IssuerOfPatientID=[""])) == 2


@pytest.mark.parametrize(
    ("key", "kind"), [("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series"), ("SOPInstanceUID", "instance")]
)
def test_a_pseudonymous_uid_resolves_for_a_pseudonymous_asker_only(
    database: Database, films: list[dict[Key, str]], key: Key, kind: str
) -> None:
    known_as = pseudonym(database, kind, films[0][key])

    assert found(database, PSEUDONYMOUS, **{key: [known_as]}) == [films[0]["SOPInstanceUID"]]
    assert found(database, IDENTIFIED, **{key: [known_as]}) == []


def test_an_original_is_unknown_to_a_pseudonymous_asker(database: Database, films: list[dict[Key, str]]) -> None:
    for key, value in films[0].items():
        assert found(database, PSEUDONYMOUS, **{key: [value]}) == []


def test_a_pseudonymous_patient_id_repeated_beside_its_study_resolves(
    database: Database, films: list[dict[Key, str]]
) -> None:
    study = pseudonym(database, "study", films[0]["StudyInstanceUID"])
    patient = pseudonym(database, "patient", f"{films[0]['PatientID']}\x1f\x1f")

    both = {"PatientID": [patient], "StudyInstanceUID": [study], "IssuerOfPatientID": ["REGIONMIR"]}
    assert found(database, PSEUDONYMOUS, **both) == [films[0]["SOPInstanceUID"]]
    assert found(database, PSEUDONYMOUS, **{**both, "IssuerOfPatientID": ["HOSPITAL"]}) == []


def test_no_key_means_nothing(database: Database, films: list[dict[Key, str]]) -> None:
    assert found(database, IDENTIFIED) == []


def test_no_more_than_the_limit_is_returned(database: Database, films: list[dict[Key, str]]) -> None:
    wanted = Wanted({"StudyInstanceUID": [film["StudyInstanceUID"] for film in films]})

    with database.session() as session:
        assert len(find_instances(session, wanted, IDENTIFIED, limit=2)) == 2
