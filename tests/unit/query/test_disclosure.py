"""What anyone may see."""

import pytest

from regionmir.query.disclosure import seen_age


@pytest.mark.parametrize(
    ("years", "band"), [(None, ""), (0.5, "0-4"), (44.9, "40-44"), (45.0, "45-49"), (90.0, "90+"), (103.0, "90+")]
)
def test_ages_are_shown_in_bands_of_five_years(years: float | None, band: str) -> None:
    assert seen_age(years) == band
