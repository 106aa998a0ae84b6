"""The brake on guessing anchors."""

import pytest

from regionmir.core.errors import QueryRefused
from regionmir.query.limits import FailedAnchors


def test_an_ae_that_guesses_too_often_waits_and_no_other_does() -> None:
    clock = [0.0]
    failed = FailedAnchors(most=3, window_s=60, now=lambda: clock[0])
    for _ in range(3):
        failed.check("GUESSER")
        failed.note("GUESSER", QueryRefused("unknown-anchor", ""))
    with pytest.raises(QueryRefused) as refused:
        failed.check("GUESSER")
    assert refused.value.code == "rate-limited"
    failed.check("OTHER")
    clock[0] = 61.0
    failed.check("GUESSER")


def test_what_is_no_guess_does_not_count() -> None:
    failed = FailedAnchors(most=1)
    failed.note("VIEWER", QueryRefused("not-indexed", ""))
    failed.check("VIEWER")
