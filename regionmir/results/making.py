"""Every kind of result by its name: under which UID it will go, and how it is made."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset

from regionmir.core.errors import ResultError
from regionmir.core.records import DetectedRegion, Disclosure
from regionmir.results.document import similar_regions_pdf
from regionmir.results.key_objects import key_object
from regionmir.results.objects import DOCUMENT, KEY_OBJECTS, PRESENTATION, REPORT, SHEET, ResultKind
from regionmir.results.presentation import region_boxes
from regionmir.results.report import measurement_report
from regionmir.results.sheet import contact_sheet
from regionmir.results.source import KeptAnswer, ResultSource

KINDS: Final = {kind.name: kind for kind in (REPORT, SHEET, DOCUMENT, PRESENTATION, KEY_OBJECTS)}

OF_ONE_ANSWER: Final = {SHEET.name: contact_sheet, DOCUMENT.name: similar_regions_pdf, KEY_OBJECTS.name: key_object}
"""What is made only where regions were searched, one for each answer."""

WITH_CROPS: Final = (SHEET, DOCUMENT)
"""What shows pixels."""


def telling_parts(kind: ResultKind, regions: Sequence[DetectedRegion], codes: Sequence[str]) -> tuple[str, ...]:
    """Return what tells a result from others of its kind about the same image.

    Boxes are the same in every answer; everything else is about the answers under these codes.
    """
    return tuple(region.anatomy.short for region in regions) if kind is PRESENTATION else tuple(codes)


def make_result(kind: ResultKind, source: ResultSource, answers: Sequence[KeptAnswer]) -> Dataset:
    """Return the object. Raises `ResultError` where it cannot be made from what there is."""
    if kind is REPORT:
        return measurement_report(source, answers)
    if kind is PRESENTATION:
        return region_boxes(source)
    if len(answers) != 1:
        raise ResultError(f"a result of kind {kind.name} is about one answer")
    return OF_ONE_ANSWER[kind.name](source, answers[0])


def disclosed_time(when: dt.datetime, disclosure: Disclosure, date_shift_days: int) -> dt.datetime:
    """Return local time as a result may state it: for pseudonymous ones the day, moved as the patient's dates are.

    The day on which a film was asked about is mostly the day on which it was taken.
    """
    local = when.astimezone().replace(tzinfo=None)
    if disclosure is Disclosure.IDENTIFIED:
        return local
    return dt.datetime.combine(local.date() + dt.timedelta(days=date_shift_days), dt.time())
