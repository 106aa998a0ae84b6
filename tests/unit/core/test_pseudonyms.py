import re

from regionmir.core.identifiers import Uid, parse_uid
from regionmir.core.pseudonyms import Pseudonymizer

one = Pseudonymizer(b"k" * 32)
other = Pseudonymizer(b"o" * 32)


def test_a_patient_has_one_pseudonym_and_another_site_gives_another() -> None:
    assert one.patient_id("4711") == one.patient_id("4711")
    assert re.fullmatch(r"RGN-[A-Z2-7]{10}", one.patient_id("4711"))
    assert len({one.patient_id("4711"), one.patient_id("4712"), other.patient_id("4711")}) == 3


def test_a_collision_moves_on_to_another_candidate() -> None:
    assert one.patient_id("4711", attempt=1) != one.patient_id("4711")


def test_pseudonymous_uids_are_valid_and_depend_on_the_kind() -> None:
    study, series = one.uid("study", Uid("1.2.3")), one.uid("series", Uid("1.2.3"))
    assert parse_uid(study).startswith("2.25.")
    assert study != series


def test_dates_move_back_by_at_most_a_year_and_never_by_nothing() -> None:
    shifts = {one.date_shift_days(str(n)) for n in range(2000)}
    assert min(shifts) >= -365
    assert max(shifts) <= -1
    assert len(shifts) > 300
