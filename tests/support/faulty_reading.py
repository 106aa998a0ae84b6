"""A worker's reader whose decoder crashes, hangs or takes all memory where the study description says so."""

from pydicom import dcmread

from regionmir.sandbox import Answer
from tests.support import faulty
from workers.reading import _read

FAULTS = {"CRASH": faulty.crash, "HANG": faulty.hang, "GROW": faulty.grow, "LEAVE": faulty.leave}


def read_or_fail(path: str, sop_class_uid: str, max_pixels: int, wanted: tuple[int, bool]) -> Answer:
    """Do what an object asks for, or read it as a worker does."""
    told = str(dcmread(path, stop_before_pixels=True).get("StudyDescription"))
    return FAULTS[told]() if told in FAULTS else _read(path, sop_class_uid, max_pixels, wanted)
