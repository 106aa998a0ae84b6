"""What a C-STORE status means for a delivery."""

import pytest

from regionmir.scu.status import Status
from workers.delivery import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s
from workers.outcome import Verdict, verdict


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        (0x0000, Verdict.DELIVERED),
        (0xB000, Verdict.DELIVERED),
        (0x0111, Verdict.DELIVERED),
        (0xA700, Verdict.LATER),
        (0x0213, Verdict.LATER),
        (0x0110, Verdict.DOUBTFUL),
        (0xFE00, Verdict.DOUBTFUL),
        (0xA900, Verdict.NEVER),
        (0xC000, Verdict.NEVER),
        (0x0122, Verdict.NEVER),
        (0x0124, Verdict.NEVER),
    ],
)
def test_a_status_is_taken_retried_or_final_as_the_standard_means_it(code: int, meant: Verdict) -> None:
    assert verdict(Status(code)) is meant


def test_pauses_double_up_to_half_an_hour() -> None:
    assert FIRST_PAUSE_S * 0.8 <= pause_s(1) <= FIRST_PAUSE_S * 1.2
    assert FIRST_PAUSE_S * 4 * 0.8 <= pause_s(3) <= FIRST_PAUSE_S * 4 * 1.2
    assert pause_s(100) <= LONGEST_PAUSE_S * 1.2
