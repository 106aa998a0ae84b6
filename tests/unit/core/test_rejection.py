"""Rejection notes: what is one, what it names, and what the rules say."""

import pytest
from pydicom.dataset import Dataset

from regionmir.core.errors import ConfigurationError
from regionmir.core.rejection import DEFAULT_RULES, TITLES, Reaction, note_of, parse_rules
from regionmir.core.settings import load_settings
from tests.support.annotations import key_image, rejection_note
from tests.support.films import synthetic_film

FILMS = [synthetic_film(seed, rows=16, columns=16) for seed in range(2)]


@pytest.mark.parametrize("code", TITLES)
def test_a_note_of_each_title_names_its_films_with_their_studies(code: str) -> None:
    note = note_of(rejection_note(code, *FILMS))
    assert note is not None
    assert note.title.code == code
    assert {(one.study_instance_uid, one.sop_instance_uid) for one in note.references} == {
        (film.StudyInstanceUID, film.SOPInstanceUID) for film in FILMS
    }


def _of_another_scheme(note: Dataset) -> None:
    note.ConceptNameCodeSequence[0].CodingSchemeDesignator = "99LOCAL"


def _without_evidence(note: Dataset) -> None:
    del note.CurrentRequestedProcedureEvidenceSequence


def _with_broken_uids(note: Dataset) -> None:
    study = note.CurrentRequestedProcedureEvidenceSequence[0]
    study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = ""


@pytest.mark.parametrize("spoil", [_of_another_scheme, _without_evidence, _with_broken_uids])
def test_what_is_not_wholly_a_note_rejects_nothing(spoil: object) -> None:
    note = rejection_note("113001", FILMS[0])
    spoil(note)  # type: ignore[operator]
    assert note_of(note) is None


def test_a_key_image_is_no_rejection() -> None:
    assert note_of(key_image(FILMS[0])) is None


def test_rules_change_single_titles_and_the_others_keep_their_default() -> None:
    rules = parse_rules("113001=ignore, 113039=hide")
    assert (rules["113001"], rules["113039"]) == (Reaction.IGNORE, Reaction.HIDE)
    assert rules["113037"] is Reaction.HIDE_FOR_GOOD
    assert parse_rules(DEFAULT_RULES) == parse_rules("")


@pytest.mark.parametrize("wrong", ["113000=hide", "113001=destroy", "113001"])
def test_a_rule_that_is_none_is_refused_with_what_may_stand_there(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="hide-for-good"):
        parse_rules(wrong)
    with pytest.raises(ConfigurationError, match="rejection_rules"):
        load_settings(rejection_rules=wrong)
