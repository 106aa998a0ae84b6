"""How long a destination that cannot be reached is left alone."""

from regionmir.core.identifiers import AETitle
from workers.absence import Absences

PACS, OTHER = AETitle("PACS"), AETitle("OTHER")


def test_the_pause_grows_with_each_failure_in_a_row_and_for_that_destination_only() -> None:
    absences = Absences(lambda failures: failures * 1e-9)
    assert [round(absences.failed(PACS) * 1e9) for _ in range(3)] == [1, 2, 3]
    assert round(absences.failed(OTHER) * 1e9) == 1
    assert absences.answered(PACS)
    assert round(absences.failed(PACS) * 1e9) == 1


def test_what_fails_before_the_pause_is_over_makes_it_no_longer() -> None:
    absences = Absences(lambda failures: failures * 60.0)
    assert [absences.failed(PACS) for _ in range(3)] == [60.0, 60.0, 60.0]


def test_an_answer_is_news_the_first_time_and_after_a_failure() -> None:
    absences = Absences(lambda _: 60.0)
    assert [absences.answered(PACS), absences.answered(PACS)] == [True, False]
    absences.failed(PACS)
    assert [absences.answered(PACS), absences.answered(PACS)] == [True, False]
