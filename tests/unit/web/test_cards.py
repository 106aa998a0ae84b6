"""What a page may show of an instance."""

from dataclasses import replace

import pytest

from db.browse import BrowsedInstance
from regionmir.core.anatomy import anatomy_by_short
from regionmir.core.geometry import Box
from regionmir.core.records import DetectedRegion, InstanceState
from regionmir.pixels.orientation import Turn
from regionmir.web.cards import age_band, instance_card, region_marks, shown_reason
from regionmir.web.pictures import View, view_of, why_withheld

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"

FILM = BrowsedInstance(
    pk=1,
    study_pk=1,
    uid="2.25.1",
    study_uid="2.25.2",
    sop_class_uid=DX,
    modality="DX",
    state=InstanceState.INDEXED,
    reason="",
    storage_key="",
    view="PA",
    age_years=41.5,
    rows=200,
    columns=100,
    burned_in_annotation="",
    orientation={},
    regions=(),
)


@pytest.mark.parametrize(
    ("sop_class", "burned_in", "shown"),
    [
        (CR, "", True), (DX, "", True), (DX, "NO", True), (DX, "YES", False), (CR, "YES", False), (DX, "Y", False),
        (DX, "TRUE", False), (CR, "UNKNOWN", False), (DX, "NO\\YES", False), (SC, "NO\\YES", False), (SC, " no", True),
        (SC, "NO", True), (SC, "", False), (SC, "YES", False), (CT, "NO", False), (CT, "", False),
        ("1.2.3", "NO", False),
    ],
)  # fmt: skip
def test_pixels_are_shown_of_radiographs_and_of_captures_without_burned_in_text(
    sop_class: str, burned_in: str, shown: bool
) -> None:
    film = replace(FILM, sop_class_uid=sop_class, burned_in_annotation=burned_in)
    assert (why_withheld(film) == "") is shown
    assert instance_card(film).has_picture is shown


def test_only_what_was_indexed_has_a_picture() -> None:
    for state in InstanceState:
        assert instance_card(replace(FILM, state=state)).has_picture is (state is InstanceState.INDEXED)


@pytest.mark.parametrize(
    ("years", "band"),
    [
        (None, ""), (0.2, "0 to 4 years"), (41.5, "40 to 44 years"), (89.9, "85 to 89 years"),
        (90, "90 years or older"), (101, "90 years or older"),
    ],
)  # fmt: skip
def test_ages_are_shown_in_bands_of_five_years(years: float | None, band: str) -> None:
    assert age_band(years) == band


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("modality CT", "modality CT"), ("modality SMITH", "another modality"),
        ("photometric PALETTE COLOR", "photometric PALETTE COLOR"),
        ("photometric SMITH", "another photometric interpretation"), ("body part SMITH", "another body part"),
        ("lateral view", "lateral view"), ("own_copy", "own copy"), ("", ""),
    ],
)  # fmt: skip
def test_reasons_repeat_no_free_text_of_the_object(reason: str, shown: str) -> None:
    assert shown_reason(reason) == shown


def test_modalities_and_views_that_the_standard_does_not_define_are_dropped() -> None:
    assert instance_card(replace(FILM, modality="SMITH", view="JOHN")).facts == ()
    assert instance_card(FILM).facts == ("DX", "PA")


def test_small_regions_lie_above_large_ones_and_boxes_turn_with_the_film() -> None:
    small = DetectedRegion(anatomy_by_short("LAPZ"), Box(0, 0, 10, 20), 1.0)
    large = DetectedRegion(anatomy_by_short("LL"), Box(0, 0, 50, 100), 1.0)
    film = replace(FILM, regions=(small, large))
    marks = region_marks(film, View(200, 100, Turn(columns_reversed=True), ""), anatomy_by_short("LAPZ"))
    assert [(mark.anatomy.short, mark.box, mark.chosen) for mark in marks] == [
        ("LL", Box(50, 0, 100, 100), False),
        ("LAPZ", Box(90, 0, 100, 20), True),
    ]
    assert marks[1].url == "/studies/2.25.2/2.25.1/LAPZ"
    assert all(mark.box is None for mark in region_marks(film, None, None))


@pytest.mark.parametrize(
    ("orientation", "turn", "note"),
    [
        ({}, Turn(), "side not stated"),
        ({"00200020": {"vr": "CS", "Value": ["L", "F"]}}, Turn(), ""),
        ({"00200020": {"vr": "CS", "Value": ["R", "F"]}}, Turn(columns_reversed=True), ""),
    ],
)
def test_how_a_film_lies_is_read_from_its_attributes(orientation: dict[str, object], turn: Turn, note: str) -> None:
    view = view_of(replace(FILM, orientation=orientation))
    assert view is not None
    assert (view.turn, view.note) == (turn, note)
    assert view.seen(view.stored(Box(1, 2, 30, 40))) == Box(1, 2, 30, 40)


@pytest.mark.parametrize(
    "orientation", [{"00200020": {"vr": "CS", "Value": ["A", "F"]}}, {"00200020": {"vr": "CS", "Value": 7}}]
)
def test_a_film_that_does_not_say_how_it_lies_has_no_view(orientation: dict[str, object]) -> None:
    assert view_of(replace(FILM, orientation=orientation)) is None
    assert view_of(replace(FILM, rows=None)) is None
