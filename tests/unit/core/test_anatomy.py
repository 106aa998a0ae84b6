import pytest

from regionmir.core.anatomy import anatomies, anatomy_by_ae_title, anatomy_by_key, anatomy_by_name, anatomy_by_short
from regionmir.core.errors import UnknownAnatomy


def test_there_are_29_anatomies_and_every_key_leads_back_to_its_own() -> None:
    assert len(anatomies()) == 29
    for anatomy in anatomies():
        assert anatomy_by_key(anatomy.key) is anatomy
        assert anatomy_by_name(anatomy.name) is anatomy
        assert anatomy_by_short(anatomy.short.lower()) is anatomy
        assert anatomy_by_ae_title(anatomy.ae_title) is anatomy


def test_ae_titles_of_regions_fit_16_characters_and_are_distinct() -> None:
    titles = {a.ae_title for a in anatomies()}
    assert len(titles) == 29
    assert all(len(t) <= 16 and t.startswith("RGN_") for t in titles)


def test_a_sided_anatomy_has_its_twin() -> None:
    right = {a.name.removeprefix("right ") for a in anatomies() if a.laterality == "R"}
    left = {a.name.removeprefix("left ") for a in anatomies() if a.laterality == "L"}
    assert right - {"atrium"} == left


def test_an_unknown_region_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownAnatomy, match="LLLZ"):
        anatomy_by_short("XYZ")
